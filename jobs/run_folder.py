"""The folder of a run: what is in it, who may write to it, and which job it belongs to."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from allscan import errors
from allscan.errors import InputError, JobChangedError, OutputError
from allscan.jobs import lease
from allscan.storage import ObjectPlace, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from allscan.storage import Place

STATE_FORMAT = "allscan-run"
STATE_VERSION = 1

LOOKS = 10
LOOK_SECONDS = 0.02

SUBMITTED = "submitted"
RUNNING = "running"
STOPPED = "stopped"
FAILED = "failed"
COMPLETE = "complete"

STATES = (SUBMITTED, RUNNING, STOPPED, FAILED, COMPLETE)

_STATE_FIELDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("name", "state", "updated"), str),
    **dict.fromkeys(("tasks_done", "tasks_total", "variants_done", "variants_total"), int),
    **dict.fromkeys(("science", "session"), (dict, type(None))),  # a job that is submitted has none yet
    "earlier_sessions": list,
}

_AGAIN = "run the job again: it goes on where it stopped"
_ELSEWHERE = "name a folder that you may write to, and where no file is in the way, under `output`"


@dataclass(frozen=True)
class RunFolder:
    """Where everything of one run stands."""

    path: Place

    @property
    def results(self) -> Place:
        """Results cube."""
        return self.path / "results.zarr"

    @property
    def hits(self) -> Place:
        """Rows of the cube above the job's threshold."""
        return self.path / "hits.parquet"

    @property
    def phewas(self) -> Place:
        """The table of a phenome-wide scan: predictors × traits."""
        return self.path / "phewas.parquet"

    @property
    def provenance(self) -> Place:
        """What was done, with which inputs and programs, and what became of every sample and variant."""
        return self.path / "provenance.json"

    @property
    def report(self) -> Place:
        """The page for people."""
        return self.path / "report.html"

    @property
    def job_file(self) -> Place:
        """The job as it was given."""
        return self.path / "job.yaml"

    @property
    def log(self) -> Place:
        """Log of every session, one JSON object per line."""
        return self.path / "run.log.jsonl"

    @property
    def cancel_file(self) -> Place:
        """Where somebody asks the process that works here to stop."""
        return self.path / "cancel.json"

    @property
    def lock(self) -> Place:
        """What tells that a process works here."""
        return self.path / "run.lock"

    @property
    def state_file(self) -> Place:
        """Which job this folder belongs to, and how far it is."""
        return self.path / "run.json"

    def read_state(self) -> dict[str, Any] | None:
        """State of the run, or None where there is no run.

        Raises
        ------
        InputError
            The state file is damaged.
        """
        try:
            state = json.loads(self.state_file.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise InputError(
                f"the state of the run cannot be read: {error}",
                where=str(self.state_file),
                fix="remove the run folder and run the job again",
            ) from error
        if not isinstance(state, dict) or state.get("format") != STATE_FORMAT:
            raise InputError(
                "this is not the state of a run", where=str(self.state_file), fix="name another run folder"
            )
        if state.get("format_version") != STATE_VERSION:
            raise InputError(
                f"the run was made by another version of allscan (state version {state.get('format_version')})",
                where=str(self.state_file),
                fix="use that version, or name a new folder under `output`",
            )
        damaged = [name for name, kind in _STATE_FIELDS.items() if not isinstance(state.get(name), kind)]
        if damaged or state["state"] not in STATES:
            raise InputError(
                f"the state of the run is damaged: see {', '.join(damaged) or 'state'}",
                where=str(self.state_file),
                fix="remove the run folder and run the job again",
            )
        return state

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Write the state, whole or not at all."""
        if isinstance(self.lock, ObjectPlace):
            lease.refuse_if_lost(self.lock)
        header = {"format": STATE_FORMAT, "format_version": STATE_VERSION}
        write_text(self.state_file, json.dumps({**header, **state}, indent=1, ensure_ascii=False) + "\n")

    def create(self) -> None:
        """Make the folder, and check that it can be written and holds nothing that is not of a run.

        Raises
        ------
        OutputError
            The folder is read-only, in the way, or holds other files.
        """
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            if self.read_state() is None and self._strangers():
                raise OutputError(
                    f"the output folder holds other files ({', '.join(self._strangers()[:3])}) and no run",
                    where=str(self.path),
                    fix="name a new folder under `output`",
                )
            probe = self.path / f".probe-{uuid.uuid4().hex}"
            probe.write_bytes(b"allscan")
            probe.unlink()

    def _strangers(self) -> list[str]:
        # A run killed before its first state was written leaves its log, its lock and temporary files.
        own = {self.log.name, self.lock.name}
        return sorted(p.name for p in self.path.iterdir() if p.name not in own and not p.name.startswith("."))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder: two runs must not write to it at the same time.

        The lock belongs to the process and ends with it, however it ends; in object storage it is a lease, which ends
        a minute later (see :mod:`allscan.jobs.lease`).

        Raises
        ------
        OutputError
            Another run holds it.
        """
        if isinstance(self.lock, ObjectPlace):
            with lease.held(self.lock):
                yield
            return
        with writing(self.lock):
            handle = os.fdopen(not_through_links(str(self.lock), os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+")
        with handle:
            try:
                _lock(handle)
            except BlockingIOError:
                handle.seek(0)
                holder = handle.read().strip() or "another process"
                raise OutputError(
                    f"another run is working in this folder ({holder})",
                    where=str(self.path),
                    fix="wait for it, or stop it; `allscan status` shows how far it is",
                ) from None
            handle.truncate(0)
            handle.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            handle.flush()
            yield

    def is_locked(self) -> bool:
        """Whether a run is working in the folder now."""
        if isinstance(self.lock, ObjectPlace):
            return lease.is_held(self.lock)
        try:
            with self.lock.open() as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


def _lock(handle: IO[str]) -> None:
    """Take the lock of a run, also from under those who only look whether it is held, and hold it for a moment."""
    for chance in range(LOOKS):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if chance == LOOKS - 1:
                raise
            time.sleep(LOOK_SECONDS)
        else:
            return


def not_through_links(path: str, flags: int) -> int:
    """Open a file that is none of somebody else's: an ``opener`` that refuses symbolic links."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def open_run_folder(path: Place) -> tuple[RunFolder, dict[str, Any]]:
    """A run folder and its state.

    Raises
    ------
    InputError
        There is no run in ``path``.
    """
    folder = RunFolder(path)
    state = folder.read_state()
    if state is None:
        what = "there is no run in this folder" if path.is_dir() else "there is no such run folder"
        raise InputError(what, where=str(path), fix="name the folder that is `output` in the job file")
    return folder, state


def open_complete_run(path: Place) -> RunFolder:
    """A run folder whose run is complete.

    Raises
    ------
    InputError
        There is no run, or it is not complete.
    """
    folder, state = open_run_folder(path)
    if state["state"] != COMPLETE:
        done, total = state.get("tasks_done", 0), state.get("tasks_total", 0)
        raise InputError(
            f"the run is not complete ({done:,} of {total:,} tasks are done)",
            where=str(path),
            fix="run the job again: it goes on where it stopped",
        )
    return folder


def refuse_predictors(folder: RunFolder) -> None:
    """Refuse to look for the results of variants where columns of a table were scanned.

    Raises
    ------
    InputError
        There is a table of a phenome-wide scan, and no results of variants.
    """
    if folder.phewas.exists() and not folder.results.exists():
        raise InputError(
            "the run scanned columns of a table, and no variants",
            where=str(folder.path),
            fix=f"its results are the table {folder.phewas.name}",
        )


def refuse_changes(before: Mapping[str, Any], now: Mapping[str, Any], folder: Place, where: str) -> None:
    """Compare the science of the job that began a folder with that of the job given now.

    Parameters
    ----------
    before, now
        Key path → value, or content hash for files.
    folder
        The run folder.
    where
        The job file, for the message.

    Raises
    ------
    JobChangedError
        They differ; the message names every key with both values.
    """
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    if not changed:
        return
    told = [_told_change(key, before.get(key), now.get(key)) for key in changed]
    raise JobChangedError(
        f"{folder} holds results of another job; these keys differ:\n  " + "\n  ".join(told),
        where=where,
        fix="put them back, name a new folder under `output`, or give `--update`: results that still hold are kept, "
        "the others computed again",
    )


def _told_change(key: str, before: Any, now: Any) -> str:
    if isinstance(before, str) and isinstance(now, str) and before.startswith("sha256:"):
        return f"{key}: the content of the file is not the same"
    return f"{key}: {_short(before)} before, {_short(now)} now"


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}…"


def write_text(path: Place, text: str) -> None:
    """Write a text file, whole or not at all.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    with writing(path):
        write_atomically(path, text.encode())


def writing(path: Place) -> AbstractContextManager[None]:
    """Turn the system's errors about the outputs of a run into what, where, and what to do.

    Raises
    ------
    OutputError
        The disk is full, the folder is read-only, or something else keeps the file from being written.
    """
    return errors.writing(path, again=_AGAIN, elsewhere=_ELSEWHERE)


def output_error(error: OSError, path: Place) -> OutputError:
    """What a failed write of a run means for the user."""
    return errors.output_error(error, path, again=_AGAIN, elsewhere=_ELSEWHERE)


def shown_path(path: Place) -> str:
    """A place for the eyes of the user: from the working directory where it lies below it."""
    if isinstance(path, ObjectPlace):
        return str(path)
    resolved = path.resolve()
    working = Path.cwd()
    return str(resolved.relative_to(working) if resolved.is_relative_to(working) else resolved)


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
