"""What an interrupted ingest left, and what of it still holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allscan.storage import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from allscan.engine.ingest.request import IngestRequest


def discard_outdated(
    request: IngestRequest, partial: Path, parts: Sequence[Path], assembled: Iterable[Path]
) -> list[str]:
    """Compare with what an earlier run was about, and discard what no longer holds.

    Parameters
    ----------
    request
        What is asked for now; it is noted for the next run.
    partial
        The staging folder.
    parts
        Folders of the sources' parts, which are made where they are not there; those of others are removed.
    assembled
        Folders of what is made of all parts.

    Returns
    -------
    What changed, in words; empty when nothing did.
    """
    path = partial / "ingest.json"
    state = {
        "key": request.key,
        "reading": request.reading,
        "on_duplicate": request.on_duplicate,
        "sources": {identity["path"]: identity for identity in request.identities},
    }
    earlier = json.loads(path.read_bytes()) if path.exists() else state
    for folder in partial.glob("parts/*"):
        if folder not in parts:
            shutil.rmtree(folder)
    if earlier["key"] != request.key:
        for folder in assembled:
            shutil.rmtree(folder, ignore_errors=True)
    # Left by a kill while the empty store was laid out.
    shutil.rmtree(partial / "layout", ignore_errors=True)
    now = json.dumps(state, default=str)
    write_atomically(path, now.encode())
    for folder in parts:
        folder.mkdir(parents=True, exist_ok=True)
    return _differences(earlier, json.loads(now))


def _differences(earlier: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What changed, in words."""
    if earlier["key"] == now["key"]:
        return []
    messages = [
        f"{name} changed since the interrupted ingest: everything is read again"
        for name, value in now["reading"].items()
        if earlier["reading"].get(name) != value
    ]
    for path, identity in now["sources"].items():
        before = earlier["sources"].get(path)
        if before is not None and before != identity:
            messages.append(f"{Path(path).name} changed since the interrupted ingest: it is read again")
    if not messages:
        messages.append("the sources or on_duplicate changed: finished parts are kept, blocks are not")
    return messages
