"""The log of a run: one JSON object per line, for programs, and the same told to people.

Described in docs/reference/run-log.md. Whatever a room of allscan logs while a run works goes there; a record with
``extra={"event": …, "fields": {…}}`` as that event with those fields, any other one as the event ``message``. Ids of
people go nowhere near it.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from allscan.errors import AllscanError
from allscan.jobs.run_folder import not_through_links, writing
from allscan.printable import printable
from allscan.storage import ObjectPlace, read_from, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from allscan.jobs.run_folder import RunFolder
    from allscan.storage import Place

LOG_VERSION = 1
FOLLOW_SECONDS = 0.5
COPY_SECONDS = 5.0
"""How often a log in object storage is put there while it grows."""

logger = logging.getLogger(__name__)


def log_event(event: str, message: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log an event of a run.

    Parameters
    ----------
    event
        Its name, as in docs/reference/run-log.md.
    message
        The same in words.
    level
        As in :mod:`logging`.
    fields
        Its data, as JSON has them.
    """
    logger.log(level, message, extra={"event": event, "fields": fields})


class _JsonLine(logging.Formatter):
    """A record as one line of JSON. No traceback: its lines may hold what no log should."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        entry = {
            "v": LOG_VERSION,
            "time": moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z",
            "level": record.levelname.lower(),
            "event": getattr(record, "event", "message"),
            **getattr(record, "fields", {}),
            "message": record.getMessage(),
        }
        return json.dumps(entry, ensure_ascii=False, default=str)


class _LogFile(logging.FileHandler):
    """A log that gives up quietly: when the disk is full, the run itself says so."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        pass


@contextmanager
def logged(folder: RunFolder) -> Iterator[None]:
    """Append what allscan logs to the run's log while the run works.

    Raises
    ------
    OutputError
        The log cannot be opened.
    """
    with _file_of_log(folder.log) as file:
        with writing(folder.log):
            # Made here, as logging would follow a link that leads out of the folder.
            open(file, "a", opener=not_through_links).close()
            handler = _LogFile(file, encoding="utf-8")
        with _logged_to(handler):
            yield


@contextmanager
def _logged_to(handler: logging.Handler) -> Iterator[None]:
    handler.setFormatter(_JsonLine())
    package = logging.getLogger("allscan")
    level = package.level
    package.setLevel(logging.INFO)
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        handler.close()


@contextmanager
def _file_of_log(log: Place) -> Iterator[Path]:
    """The file that the log is appended to. An object cannot be: a copy grows on the disk, and is put now and then."""
    if not isinstance(log, ObjectPlace):
        yield log
        return
    with TemporaryDirectory(prefix="allscan-log-") as folder:
        file = Path(folder) / log.name
        file.write_bytes(log.read_bytes() if log.is_file() else b"")
        over = threading.Event()
        copying = threading.Thread(target=_copy_on, args=(file, log, over), name="allscan-log", daemon=True)
        copying.start()
        try:
            yield file
        finally:
            over.set()
            copying.join()
            _copy(file, log)


def _copy_on(file: Path, log: ObjectPlace, over: threading.Event) -> None:
    pause = COPY_SECONDS
    while not over.wait(pause):
        began = time.monotonic()
        _copy(file, log)
        # A long log takes long to put, and is put less often.
        pause = max(COPY_SECONDS, 50 * (time.monotonic() - began))


def _copy(file: Path, log: ObjectPlace) -> None:
    # What keeps a log from being written keeps the run from its work, which says so.
    with suppress(AllscanError):
        write_atomically(log, file.read_bytes())


def read_log(folder: RunFolder) -> list[dict[str, Any]]:
    """Entries of the log, oldest first; a line that a killed process left half-written is left out."""
    return _read_on(folder, 0)[0]


def follow_log(folder: RunFolder, is_over: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    """Entries of the log from the first one on, each as soon as it is written, until the run is over."""
    offset = 0
    while True:
        over = is_over()
        entries, offset = _read_on(folder, offset)
        yield from entries
        if over:
            return
        time.sleep(FOLLOW_SECONDS)


def _read_on(folder: RunFolder, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Entries of the whole lines from a byte of the log on, and where they end."""
    try:
        text = read_from(folder.log, offset)
    except FileNotFoundError:
        return [], offset
    whole = text[: text.rfind(b"\n") + 1]
    return list(_entries(whole)), offset + len(whole)


def _entries(text: bytes) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            # A process was killed as it wrote, and the next one wrote on.
            continue
        if isinstance(entry, dict) and "event" in entry:
            yield entry


def told_entry(entry: dict[str, Any]) -> str:
    """An entry as one line for people."""
    moment = str(entry.get("time", ""))[:19].replace("T", " ")
    level = str(entry.get("level", "info"))
    mark = "" if level == "info" else f"{level}: "
    return printable(f"{moment}  {mark}{entry.get('message', entry['event'])}")
