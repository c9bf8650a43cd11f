"""What can go wrong, said the same way everywhere: what, where, and what to do about it."""

from __future__ import annotations


class AllscanError(Exception):
    """Base of every error that allscan raises on purpose.

    Parameters
    ----------
    what
        What is wrong, with the offending value.
    where
        File, line, column, variant, key: whatever leads there.
    fix
        What the user can do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what, where, fix)
        self.what = what
        self.where = where
        self.fix = fix

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and errors cross process boundaries.
        return (_rebuild, (type(self), self.what, self.where, self.fix))

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  to do: {self.fix}")
        return "\n".join(lines)


def _rebuild(kind: type[AllscanError], what: str, where: str | None, fix: str | None) -> AllscanError:
    return kind(what, where=where, fix=fix)


class InputError(AllscanError, ValueError):
    """The user's input is refused before work starts (exit code 2)."""

    exit_code = 2


class FileFormatError(InputError):
    """A file is damaged, truncated, or not what its name says."""


class JobError(InputError):
    """The job file is refused: syntax, unknown key, wrong type, or keys that contradict each other."""


class JobChangedError(InputError):
    """The output folder holds blocks of a job that differs from the one given."""


class OutputError(AllscanError, OSError):
    """An output cannot be written: full disk, read-only folder, or something is in the way."""

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        AllscanError.__init__(self, what, where=where, fix=fix)

    __str__ = AllscanError.__str__


class CorruptChunkError(FileFormatError):
    """A chunk of a store does not match its checksum; it was not used."""


class MissingDependencyError(AllscanError, ImportError):
    """An optional package that this operation needs is not installed."""

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        AllscanError.__init__(self, what, where=where, fix=fix)

    __str__ = AllscanError.__str__


class WorkerDiedError(AllscanError, RuntimeError):
    """A worker process ended without an answer, usually for want of memory."""
