"""What can go wrong, said the same way everywhere: what, where, and what to do about it."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from allscan.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_IN_THE_WAY = frozenset({errno.ENOTDIR, errno.EEXIST, errno.EISDIR})

WRITE_REFUSALS = _NO_SPACE | _IN_THE_WAY | {errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
"""Numbers of the system's errors that mean a file cannot be written, and not something else."""


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

    quotes_people = False
    """Whether the words may quote cells of people's tables: such an error is for the eyes of who runs the job, and for
    no log (see :func:`quoting_people`)."""

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what, where, fix)
        self.what = what
        self.where = where
        self.fix = fix

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and errors cross process boundaries.
        return (_rebuild, (type(self), self.what, self.where, self.fix))

    def for_log(self) -> AllscanError:
        """The same error in words that a log may hold (see :attr:`quotes_people`)."""
        if not self.quotes_people:
            return self
        return AllscanError(
            "a table of people is refused; why is not written to a log, as the words may quote the table",
            fix="run `allscan check` with the job file: it shows them",
        )

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  to do: {self.fix}")
        # Errors quote what stands in files.
        return printable("\n".join(lines))


def _rebuild(kind: type[AllscanError], what: str, where: str | None, fix: str | None) -> AllscanError:
    return kind(what, where=where, fix=fix)


class InputError(AllscanError, ValueError):
    """The user's input is refused before work starts (exit code 2)."""

    exit_code = 2


class FileFormatError(InputError):
    """A file is damaged, truncated, or not what its name says."""


class JobError(InputError):
    """A job file, or another file of keys and values, is refused: syntax, unknown key, wrong type, contradiction."""


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


class StorageError(AllscanError):
    """Object storage refuses, or does not answer.

    Neither an ``OSError`` nor a ``ValueError``: what is not reached is not taken for damaged or absent.
    """

    exit_code = 2


class MissingDependencyError(AllscanError, ImportError):
    """An optional package that this operation needs is not installed."""

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        AllscanError.__init__(self, what, where=where, fix=fix)

    __str__ = AllscanError.__str__


class WorkerDiedError(AllscanError, RuntimeError):
    """A worker process ended without an answer, usually for want of memory."""


class RunStoppedError(AllscanError):
    """The run was stopped, as somebody asked; it goes on when it is resumed."""

    exit_code = 130


class ClusterError(AllscanError, ConnectionError):
    """A cluster cannot be reached, refuses what it is asked, or was lost."""

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        AllscanError.__init__(self, what, where=where, fix=fix)

    __str__ = AllscanError.__str__


@contextmanager
def quoting_people() -> Iterator[None]:
    """Mark the errors of this block: their words may quote cells of people's tables."""
    try:
        yield
    except AllscanError as error:
        error.quotes_people = True
        raise


def output_error(error: OSError, path: object, *, again: str, elsewhere: str) -> OutputError:
    """What a failed write means for the user.

    Parameters
    ----------
    error
        The system's.
    path
        What was to be written.
    again
        What to do when there is room, as in "run the job again".
    elsewhere
        What to do where nothing can be written.
    """
    if isinstance(error, OutputError):
        return error
    # A file is written under a temporary name first, which tells the user nothing.
    named = error.filename if isinstance(error.filename, str) and not error.filename.endswith(".partial") else None
    where = named or str(path)
    why = error.strerror or str(error)
    if error.errno in _NO_SPACE:
        free = f"; {size_text(free_space(path))} are free" if isinstance(path, Path) else ""
        what, fix = f"the disk is full ({why}){free}", f"make room and {again}"
    elif error.errno == errno.EFBIG:
        what = f"the system refuses a file of this size ({why})"
        fix = f"raise the limit (ulimit -f) and {again}"
    elif error.errno in _IN_THE_WAY:
        what, fix = f"the output cannot be written, a file is in the way: {why}", elsewhere
    else:
        what, fix = f"the output cannot be written: {why}", elsewhere
    return OutputError(what, where=where, fix=fix)


@contextmanager
def writing(path: object, *, again: str, elsewhere: str) -> Iterator[None]:
    """Turn the system's errors about an output into what, where, and what to do (see :func:`output_error`).

    Raises
    ------
    OutputError
        In place of any other OSError.
    """
    try:
        yield
    except AllscanError:
        raise
    except OSError as error:
        raise output_error(error, path, again=again, elsewhere=elsewhere) from error


def free_space(path: Path) -> int:
    """Free bytes of the disk that holds ``path`` (or will, once it is made)."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    disk = os.statvfs(place)
    return disk.f_bavail * disk.f_frsize


def size_text(size: float) -> str:
    """A number of bytes for people."""
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"
