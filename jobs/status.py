"""How a run stands, told from its folder, and from its cluster where the folder does not know."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from allscan.errors import AllscanError
from allscan.jobs.progress import format_bytes, format_count, format_seconds
from allscan.jobs.run_cluster import cluster_of
from allscan.jobs.run_folder import (
    COMPLETE,
    FAILED,
    RUNNING,
    STOPPED,
    SUBMITTED,
    RunFolder,
    open_run_folder,
    shown_path,
)
from allscan.jobs.run_state import sessions_of
from allscan.printable import printable

if TYPE_CHECKING:
    from allscan.cluster.ray_jobs import ClusterJob
    from allscan.storage import Place

STATUS_VERSION = 1

KILLED = "killed"
"""The folder says that a run works in it, but the process that did is gone."""

SILENT_SECONDS = 60.0
"""A process that works gives a sign of life every two seconds. After this long without one, something is wrong."""

MOST_TASKS_SHOWN = 10


@dataclass(frozen=True, repr=False)
class RunStatus:
    """How a run stands."""

    folder: RunFolder
    name: str
    state: str  # submitted, running, stopped, failed, killed, complete
    stage: str | None  # what a running one is at
    stages: dict[str, float]  # seconds of each stage of the last session
    tasks_done: int
    tasks_total: int
    variants_done: int
    variants_total: int
    rate: float | None  # variants × traits batches per second, over the last minutes
    seconds_left: float | None
    running: tuple[dict[str, Any], ...]  # task, since, node
    n_running: int
    retried: int
    duplicated: int
    executor: dict[str, Any] | None
    memory: dict[str, int] | None  # task_bytes, peak_bytes, limit_bytes
    cluster: dict[str, Any] | None  # address, submission_id, submitted, and what the cluster said when asked
    updated: str
    elapsed_seconds: float
    process: str
    stopping: bool
    failure: dict[str, Any] | None  # kind, what, where, fix
    remarks: tuple[str, ...]  # what is odd
    n_hits: int | None

    def __repr__(self) -> str:
        return self.text()

    @property
    def is_active(self) -> bool:
        """Whether the run is at work, or will be without anybody doing anything."""
        return self.state in (RUNNING, SUBMITTED)

    def text(self) -> str:
        """The status as lines of text."""
        share = f" ({self.variants_done / self.variants_total:.0%})" if self.variants_total else ""
        lines = [f"job         {self.name}", f"state       {self.state}{self._explanation()}"]
        lines += [f"            {remark}" for remark in self.remarks]
        if self.failure is not None and self.state == FAILED:
            lines += [f"{label:<12}{word}" for label, word in self._reason() if word]
        if self.cluster is not None:
            lines.append(f"cluster     {self.cluster['address']}, submission {self.cluster['submission_id']}")
        if self.stage is not None and self.state == RUNNING:
            lines.append(f"stage       {self.stage}")
        if self.tasks_total:
            lines.append(f"tasks       {self.tasks_done:,} of {self.tasks_total:,}{share}{self._trouble()}")
        if self.state == RUNNING:
            lines += self._work()
        if self.stages and self.state != RUNNING:
            told = ", ".join(f"{stage} {format_seconds(seconds)}" for stage, seconds in self.stages.items())
            lines.append(f"stages      {told}")
        lines.append(f"updated     {self.updated}, after {format_seconds(self.elapsed_seconds)} of work")
        if self.state == COMPLETE:
            lines.append(f"hits        {self.n_hits:,}")
            written = self.folder.report.exists()
            lines.append(f"report      {shown_path(self.folder.report) if written else 'not written'}")
        return printable("\n".join(lines))

    def to_json(self) -> dict[str, Any]:
        """The status as JSON has it; described in docs/reference/run-log.md."""
        told = {key: value for key, value in self.__dict__.items() if key != "folder"}
        return {"format": "allscan-status", "format_version": STATUS_VERSION, "run": str(self.folder.path), **told}

    def _explanation(self) -> str:
        again = f"; `allscan resume {shown_path(self.folder.path)}` goes on where it stopped"
        return {
            SUBMITTED: " (waits for the cluster)",
            RUNNING: f" ({self.process})" + (", stopping" if self.stopping else ""),
            STOPPED: again,
            FAILED: again,
            KILLED: f" (its process is gone){again}",
            COMPLETE: "",
        }[self.state]

    def _reason(self) -> list[tuple[str, str]]:
        failure = self.failure or {}
        what = ": ".join(word for word in (failure.get("kind"), failure.get("what")) if word)
        return [("reason", what), ("where", failure.get("where") or ""), ("to do", failure.get("fix") or "")]

    def _trouble(self) -> str:
        counts = ((self.retried, "given out again"), (self.duplicated, "run twice, being slow"))
        return "".join(f", {count:,} {what}" for count, what in counts if count)

    def _work(self) -> list[str]:
        lines = []
        if self.rate is not None:
            left = f", {format_seconds(self.seconds_left)} left" if self.seconds_left is not None else ""
            lines.append(f"rate        {format_count(self.rate)} variants/s{left}")
        if self.executor is not None:
            lines.append(f"executor    {self.executor['name']}, {self.executor['workers']:,} workers")
        if self.memory is not None:
            each, peak, limit = (format_bytes(self.memory[key]) for key in ("task_bytes", "peak_bytes", "limit_bytes"))
            lines.append(f"memory      {each} per task; {peak} at most of {limit} planned")
        for task in self.running[:MOST_TASKS_SHOWN]:
            label = "now" if task is self.running[0] else ""
            lines.append(f"{label:<12}{task['task']} since {task['since']} on {task['node']}")
        if self.n_running > MOST_TASKS_SHOWN:
            lines.append(f"            and {self.n_running - MOST_TASKS_SHOWN:,} more")
        return lines


def run_status(path: Place) -> RunStatus:
    """How the run in a folder stands.

    Raises
    ------
    InputError
        There is no run in it.
    """
    folder, state = open_run_folder(path)
    told, failure, remarks, asked = _judged(folder, state)
    if told != state["state"] and (later := folder.read_state()) != state and later is not None:
        # It ended between the two looks, and said so.
        state = later
        told, failure, remarks, asked = _judged(folder, state)
    cluster = state.get("cluster")
    return RunStatus(
        folder=folder,
        name=state["name"],
        state=told,
        stage=(state.get("stage") or {}).get("name"),
        stages=state.get("stages", {}),
        tasks_done=state["tasks_done"],
        tasks_total=state["tasks_total"],
        variants_done=state["variants_done"],
        variants_total=state["variants_total"],
        rate=state.get("rate"),
        seconds_left=state.get("seconds_left"),
        running=tuple(state.get("running", ())),
        n_running=state.get("n_running", 0),
        retried=state.get("retried", 0),
        duplicated=state.get("duplicated", 0),
        executor=state.get("executor"),
        memory=state.get("memory"),
        cluster={**cluster, **({"job": asked.__dict__} if asked else {})} if cluster else None,
        updated=state["updated"],
        elapsed_seconds=float(sum(session["elapsed_seconds"] for session in sessions_of(state))),
        process=_process(state),
        stopping=bool(state.get("stopping")),
        failure=failure,
        remarks=remarks,
        n_hits=state.get("n_hits"),
    )


def _process(state: dict[str, Any]) -> str:
    if state["state"] == SUBMITTED:
        return f"submission {state['cluster']['submission_id']}"
    return f"process {state['process']} on {state['host']}"


def _judged(
    folder: RunFolder, state: dict[str, Any]
) -> tuple[str, dict[str, Any] | None, tuple[str, ...], ClusterJob | None]:
    """State of the run as it is, why it failed, what is odd about it, and what the cluster says."""
    told = str(state["state"])
    failure = state.get("failure")
    if told not in (RUNNING, SUBMITTED):
        return told, failure, (), None
    silent = seconds_since(state["updated"])
    mute = f"no sign of life for {format_seconds(silent)}"
    if folder.is_locked():
        return told, None, ((mute,) if silent > SILENT_SECONDS else ()), None
    if told == RUNNING and state["host"] == socket.gethostname():
        # The lock of a process of this machine is gone with it.
        return KILLED, None, (), None
    if told == RUNNING and silent <= SILENT_SECONDS:
        # Locks are not seen across machines on every file system.
        return told, None, (), None
    job, remark = _ask_cluster(folder, state)
    remarks = (*((mute,) if told == RUNNING else ()), *((remark,) if remark else ()))
    if job is None:
        return (KILLED if told == RUNNING and not state.get("cluster") else told), None, remarks, None
    if not job.is_over:
        return told, None, remarks, job
    if told == RUNNING:
        return KILLED, None, remarks, job
    return FAILED, _never_begun(job), remarks, job


def _ask_cluster(folder: RunFolder, state: dict[str, Any]) -> tuple[ClusterJob | None, str]:
    """What the cluster says of the process that was submitted, or why it cannot be asked."""
    try:
        cluster = cluster_of(folder, state)
        if cluster is None:
            return None, ""
        job = cluster.look(state["cluster"]["submission_id"])
    except AllscanError as error:
        return None, f"the cluster cannot be asked: {error.what}"
    return job, f"the cluster says: {job.status}" + (f" ({job.message})" if job.message else "")


def _never_begun(job: ClusterJob) -> dict[str, Any]:
    return {
        "kind": "ClusterError",
        "what": f"the process on the cluster ended before it began to work ({job.status})",
        "where": None,
        "fix": "`allscan logs` shows what it printed",
    }


def seconds_since(moment: str) -> float:
    """Seconds from a moment of a state file to now."""
    then = datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return max(0.0, (datetime.now(UTC) - then).total_seconds())
