"""The state of a run while a process works on it, written every few seconds, and how that process is stopped."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
import traceback
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from allscan.errors import AllscanError
from allscan.jobs.progress import RecentRate, format_seconds
from allscan.jobs.run_folder import RUNNING, RunFolder, now
from allscan.jobs.run_log import log_event
from allscan.storage import is_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from allscan.cluster.executor import Executor
    from allscan.engine.scan import ScanProgress
    from allscan.jobs.provenance import Session

STATE_SECONDS = 2.0
"""How often the state is written; it is a sign of life, too."""
CANCEL_SECONDS = 0.5
"""How often the process looks whether it shall stop."""
REMOTE_FACTOR = 5
"""How much seldomer both are done in object storage, where every request is paid."""
MOST_RUNNING = 200
"""Running tasks that the state names; the others are counted."""

CHECKING = "checking"
PLANNING = "planning"
JOINING = "joining the cluster"
REPORT = "report"

logger = logging.getLogger(__name__)


class StateKeeper:
    """Keeps the state of a run in its folder while this process works on it.

    Parameters
    ----------
    folder
        The run folder, which this process has locked.
    session
        The times of this process.
    facts
        What the state says beside what is kept here: name, paths and the like.
    earlier
        State that the folder held before, or None.
    """

    def __init__(
        self, folder: RunFolder, session: Session, facts: dict[str, Any], earlier: dict[str, Any] | None
    ) -> None:
        self._folder = folder
        self._session = session
        self._facts = facts
        self._earlier = sessions_of(earlier)
        self._counts = {
            "tasks_done": 0,
            "tasks_total": 0,
            "tasks_resumed": 0,
            "variants_done": 0,
            "variants_total": 0,
        }
        if earlier is not None:
            self._counts.update({key: earlier.get(key, 0) for key in self._counts})
        self._rate = RecentRate()
        self._executor: Executor | None = None
        self._stage = ("", time.time(), time.monotonic())
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.has_begun = False  # whether the folder says that this session works
        self.cancelled = False

    @property
    def earlier_sessions(self) -> list[dict[str, Any]]:
        """What sessions took that worked on this run before, oldest first."""
        return self._earlier

    @property
    def stage_seconds(self) -> dict[str, float]:
        """How long each stage took so far."""
        name, _, since = self._stage
        seconds = dict(self._seconds)
        if name:
            seconds[name] = seconds.get(name, 0.0) + time.monotonic() - since
        return {stage: round(took, 3) for stage, took in seconds.items()}

    def begin(self, wake: Callable[[], None] | None) -> None:
        """Call the run running, and begin to write its state from time to time.

        Parameters
        ----------
        wake
            Interrupts the work when somebody wants the run stopped; None where the work asks :attr:`cancelled`.
        """
        self.has_begun = True
        self.write(RUNNING)
        if is_cancelled(self._folder, self._session.id):
            # A cluster can start a process long after it was given the run.
            self.cancelled = True
            raise KeyboardInterrupt
        self._thread = threading.Thread(target=self._keep, args=(wake,), name="allscan-state", daemon=True)
        self._thread.start()

    def know(self, **facts: Any) -> None:
        """Add to what the state says."""
        with self._lock:
            self._facts.update(facts)

    def watch(self, executor: Executor) -> None:
        """Let the state tell what an executor is doing."""
        self._executor = executor

    def enter(self, stage: str, **fields: Any) -> None:
        """Say which stage of the work begins; the one before ends."""
        before, _, since = self._stage
        if stage == before:
            return
        if before:
            took = time.monotonic() - since
            self._seconds[before] = self._seconds.get(before, 0.0) + took
            log_event("stage_ended", f"{before}: {format_seconds(took)}", stage=before, seconds=round(took, 3))
        self._stage = (stage, time.time(), time.monotonic())
        if stage:
            log_event("stage_begun", f"{stage}: begun", stage=stage, **fields)

    def spent(self, stage: str, seconds: float) -> None:
        """Account for a stage that was over before the folder could be written."""
        self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds

    def update(self, progress: ScanProgress) -> None:
        """Take over how far the scan is."""
        with self._lock:
            self._counts = {key: getattr(progress, key) for key in self._counts}
            self._rate.update(progress.variants_done)

    def end(self, state: str, **more: Any) -> None:
        """Write the last state of this session."""
        self.enter("")
        self.quiet()
        self._executor = None
        self.write(state, **more)

    def quiet(self) -> None:
        """Write nothing from now on but what is asked for."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def write(self, state: str, **more: Any) -> None:
        """Write the state, whole or not at all."""
        with self._lock:
            self._folder.write_state({**self._told(), "state": state, **more})

    def _told(self) -> dict[str, Any]:
        stage, since, _ = self._stage
        told: dict[str, Any] = {
            **self._facts,
            "process": os.getpid(),
            "host": socket.gethostname(),
            "updated": now(),
            **self._counts,
            "stage": {"name": stage, "since": moment(since)} if stage else None,
            "stages": self.stage_seconds,
            "rate": self._rate.per_second,
            "seconds_left": self._rate.seconds_left(self._counts["variants_total"]),
            "stopping": self.cancelled,
            "session": self._session.to_json(),
            "earlier_sessions": self._earlier,
        }
        if self._executor is not None:
            activity = self._executor.activity()
            told["running"] = [
                {"task": task_name(task.task), "since": moment(task.since), "node": task.node}
                for task in sorted(activity.running, key=lambda task: task.since)[:MOST_RUNNING]
            ]
            told["n_running"] = len(activity.running)
            told["retried"] = activity.retried
            told["duplicated"] = activity.duplicated
        return told

    def _keep(self, wake: Callable[[], None] | None) -> None:
        written = time.monotonic()
        factor = REMOTE_FACTOR if is_remote(self._folder.path) else 1
        while not self._over.wait(factor * CANCEL_SECONDS):
            try:
                if not self.cancelled and is_cancelled(self._folder, self._session.id):
                    self.cancelled = True
                    log_event("cancel_noticed", "asked to stop")
                    self.write(RUNNING)
                    if wake is not None:
                        wake()
                if time.monotonic() - written >= factor * STATE_SECONDS:
                    self.write(RUNNING)
                    written = time.monotonic()
            except (AllscanError, OSError) as error:
                # On a full disk the work fails by itself and says so.
                logger.debug("the state could not be written: %s", type(error).__name__)


def sessions_of(state: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Sessions that worked on a run, oldest first."""
    if not state:
        return []
    last = state.get("session")
    return [*state.get("earlier_sessions", []), *([last] if last else [])]


def task_name(task: Any) -> str:
    """How a task is called in commits, states and logs."""
    return str(getattr(task, "name", task))


def moment(seconds: float) -> str:
    """A time in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ask_to_stop(folder: RunFolder, session: str) -> None:
    """Ask the process that works on a run as this session to stop."""
    from allscan.jobs.run_folder import write_text

    write_text(folder.cancel_file, json.dumps({"session": session, "requested": now()}) + "\n")


def is_cancelled(folder: RunFolder, session: str) -> bool:
    """Whether somebody wants this session to stop; what was asked of an earlier one does not count."""
    try:
        asked = json.loads(folder.cancel_file.read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(asked, dict) and asked.get("session") == session


@contextmanager
def stopped_by_signals() -> Iterator[Callable[[], None] | None]:
    """Let SIGTERM end the block as Ctrl-C does; gives a call that does the same from another thread.

    Schedulers send SIGTERM before they kill. Only the main thread can be interrupted: elsewhere None is given, and
    nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield None
        return
    main = threading.get_ident()

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield lambda: signal.pthread_kill(main, signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def this_process() -> dict[str, Any]:
    """Where a session works, for the log."""
    import allscan

    return {"process": os.getpid(), "host": socket.gethostname(), "version": allscan.__version__}


def failure_of(error: BaseException) -> dict[str, Any]:
    """What a log may say of an error: its words only where they cannot quote cells of people's tables."""
    kind = type(error).__name__
    if isinstance(error, AllscanError):
        told = error.for_log()
        return {"kind": kind, "what": told.what, "where": told.where, "fix": told.fix}
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f"{place[0].filename.rsplit('/', 1)[-1]}:{place[0].lineno}" if place else None
    return {"kind": kind, "what": None, "where": where, "fix": None}
