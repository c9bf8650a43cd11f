"""How far a run is, told from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from allscan.jobs.progress import format_seconds
from allscan.jobs.run_folder import COMPLETE, FAILED, RUNNING, STOPPED, RunFolder, open_run_folder, shown_path

if TYPE_CHECKING:
    from pathlib import Path

KILLED = "killed"
"""The folder says that a run works in it, but nobody holds its lock."""


@dataclass(frozen=True, repr=False)
class RunStatus:
    """State of a run."""

    folder: RunFolder
    name: str
    state: str  # running, stopped, failed, killed, complete
    tasks_done: int
    tasks_total: int
    variants_done: int
    variants_total: int
    updated: str
    elapsed_seconds: float
    process: str
    error: str | None
    n_hits: int | None

    def __repr__(self) -> str:
        return self.text()

    def text(self) -> str:
        """The status as lines of text."""
        share = f" ({self.variants_done / self.variants_total:.0%})" if self.variants_total else ""
        lines = [
            f"job         {self.name}",
            f"state       {self.state}{self._explanation()}",
            f"tasks       {self.tasks_done:,} of {self.tasks_total:,}{share}",
            f"updated     {self.updated}, after {format_seconds(self.elapsed_seconds)} of work",
        ]
        if self.state == COMPLETE:
            lines.append(f"hits        {self.n_hits:,}")
            written = self.folder.report.exists()
            lines.append(f"report      {shown_path(self.folder.report) if written else 'not written'}")
        return "\n".join(lines)

    def _explanation(self) -> str:
        again = "; run the job again: it goes on where it stopped"
        return {
            RUNNING: f" ({self.process})",
            STOPPED: again,
            FAILED: f" ({self.error}){again}",
            KILLED: f" (its process is gone){again}",
            COMPLETE: "",
        }[self.state]


def run_status(path: Path) -> RunStatus:
    """State of the run in a folder.

    Raises
    ------
    InputError
        There is no run in it.
    """
    folder, state = open_run_folder(path)
    told = str(state["state"])
    return RunStatus(
        folder=folder,
        name=state["name"],
        state=KILLED if told == RUNNING and not folder.is_locked() else told,
        tasks_done=state["tasks_done"],
        tasks_total=state["tasks_total"],
        variants_done=state["variants_done"],
        variants_total=state["variants_total"],
        updated=state["updated"],
        elapsed_seconds=_elapsed(state),
        process=f"process {state['process']} on {state['host']}",
        error=state.get("error"),
        n_hits=state.get("n_hits"),
    )


def _elapsed(state: dict[str, Any]) -> float:
    sessions = [*state["earlier_sessions"], state["session"]]
    return float(sum(session["elapsed_seconds"] for session in sessions))
