"""What a folder of a meta-analysis says of itself: what its results are made of, and whether they are whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from allscan.errors import FileFormatError, InputError
from allscan.jobs.run_folder import COMPLETE
from allscan.storage import write_atomically

if TYPE_CHECKING:
    from allscan.storage import Place

STATE = "meta.json"
STATE_FORMAT = "allscan-meta-job"


def read_state(folder: Place) -> dict[str, Any] | None:
    """State of the meta-analysis in a folder; None where there is none.

    Raises
    ------
    InputError
        The file is damaged, or of something else.
    """
    try:
        state = json.loads((folder / STATE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise FileFormatError(
            f"the state of the meta-analysis cannot be read: {error}",
            where=str(folder / STATE),
            fix="remove the folder and run again",
        ) from error
    if not isinstance(state, dict) or state.get("format") != STATE_FORMAT:
        raise InputError("this is not the state of a meta-analysis", where=str(folder / STATE), fix="name a new folder")
    return state


def write_state(folder: Place, state: dict[str, Any]) -> None:
    """Write the state, whole or not at all."""
    write_atomically(folder / STATE, json.dumps(state, indent=1, ensure_ascii=False).encode())


def refuse_incomplete(folder: Place) -> None:
    """Refuse a meta-analysis whose results are not whole.

    Raises
    ------
    InputError
        There is none, or it is not complete.
    """
    state = read_state(folder)
    if state is None or state.get("state") != COMPLETE:
        raise InputError(
            "the meta-analysis is not complete", where=str(folder), fix="run it again: it goes on where it stopped"
        )
