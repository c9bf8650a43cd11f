"""What a Ray worker does with a task. Runs in the worker's process, which serves one driver."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import time
import traceback
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from allscan.cluster.allocator import keep_freed_memory
from allscan.cluster.parcel import Parcel, pack, unpack
from allscan.cluster.ray_board import NAME, NAMESPACE
from allscan.cluster.threads import limit_libraries_to_come, one_thread
from allscan.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable


class Assignment(NamedTuple):
    """Which task of which run, and whom to tell that it has begun."""

    run: str
    attempt: int
    driver: str
    board: str  # which board it is, of those that there have been; "" where there is none


class Answer(NamedTuple):
    """What became of a task."""

    value: Any
    error: Exception | None
    trace: str  # of the error
    seconds: float
    node: str  # Ray's id of it


class _Kept(NamedTuple):
    """What the tasks of a run share, ready for use in this process."""

    run: str
    function: Callable[[Any, Any], Any]
    shared: Any


_kept: _Kept | None = None


def make_parcel(function: Callable[[Any, Any], Any], shared: Any) -> Parcel:
    """What every task of a run needs."""
    return pack((function, shared, os.getcwd(), code_digest()))


def execute(parcel: Parcel, assignment: Assignment, task: Any) -> Answer:
    """Run one task; what it raises is part of the answer."""
    node = _node()
    _tell_begun(assignment, node)
    started = time.perf_counter()
    try:
        kept = _open(parcel, assignment.run)
        with one_thread():
            value = kept.function(kept.shared, task)
    except Exception as error:
        return Answer(None, _portable(error), traceback.format_exc(), time.perf_counter() - started, node)
    return Answer(value, None, "", time.perf_counter() - started, node)


def _open(parcel: Parcel, run: str) -> _Kept:
    global _kept
    if _kept is None or _kept.run != run:
        # The arrays of an earlier run are let go before others are taken.
        _kept = None
        limit_libraries_to_come()
        keep_freed_memory()
        function, shared, folder, digest = unpack(parcel)
        if digest != code_digest():
            raise ClusterError(
                "a worker has another version of allscan than this program",
                where=socket.gethostname(),
                fix="install the same version on every machine of the cluster (results could differ otherwise)",
            )
        if Path(folder).is_dir():
            # Relative paths mean what they mean to the driver.
            os.chdir(folder)
        _kept = _Kept(run, function, shared)
    return _kept


def _portable(error: Exception) -> Exception:
    """The error itself if it can travel, else its words."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


@cache
def code_digest() -> str:
    """Hash of the sources of allscan that this process runs."""
    import allscan

    digest = hashlib.sha256()
    for room in ("engine", "jobs", "kernels", "phenotypes", "cluster"):
        folder = _folder(f"{allscan.__name__}.{room}")
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{room}/{path.relative_to(folder)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _folder(package: str) -> Path:
    from importlib.util import find_spec

    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).resolve().parent


@cache
def _find_board(_which: str) -> Any:
    import ray

    return ray.get_actor(NAME, namespace=NAMESPACE)


@cache
def _node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


def _tell_begun(assignment: Assignment, node: str) -> None:
    if not assignment.board:
        return
    import ray

    # Nobody waits for the answer, and a board that is lost costs a task nothing.
    with suppress(ValueError, ray.exceptions.RayError):
        _find_board(assignment.board).begun.remote(assignment.driver, assignment.run, assignment.attempt, node)
