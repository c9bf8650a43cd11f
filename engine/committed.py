"""Tasks whose results are files, so that work that was killed goes on where it was.

A task's result is a few arrays. The worker that computed it writes them, with a checksum, in one step; what is there
and whole is not computed again. A folder belongs to one *key*, a hash of all that decides the results: under another
key it starts empty.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NamedTuple

import numcodecs
import numpy as np

from allscan.engine.chunk_files import ChecksumError, read_file, with_checksum
from allscan.engine.zstd import decompress
from allscan.errors import CorruptChunkError
from allscan.storage import remove_tree, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from allscan.engine.scan import TaskRunner
    from allscan.storage import Place

    Arrays = dict[str, NDArray[Any]]
    Task = tuple[int, ...]

_KEY = "key"


class _Committing(NamedTuple):
    """What tasks share."""

    function: Callable[[Any, Task], Arrays]
    shared: Any
    folder: Place
    name: str
    compressed: bool


def claim(folder: Place, key: str) -> None:
    """Make a folder the one of a key: results of another one are removed."""
    mark = folder / _KEY
    if mark.exists() and mark.read_bytes() == key.encode():
        return
    remove_tree(folder)
    write_atomically(mark, key.encode())


def run_committed(
    executor: TaskRunner,
    function: Callable[[Any, Task], Arrays],
    shared: Any,
    tasks: Sequence[Task],
    folder: Place,
    name: str,
    *,
    memory_bytes: int,
    on_done: Callable[[int, int], None],
    most_bytes: int | None = None,
) -> Iterator[Arrays]:
    """Run the tasks whose results are not there, and yield all results in the order of the tasks.

    Parameters
    ----------
    function
        Importable; ``function(shared, task)`` gives arrays by name.
    folder
        Reached by every worker, and claimed (:func:`claim`).
    name
        Of these tasks among others in the folder.
    on_done
        Called with tasks done and tasks in all.
    most_bytes
        Results are compressed, and cannot be larger than this; None: they are written as they are.
    """
    missing = [task for task in tasks if _read(folder, name, task, most_bytes) is None]
    done = len(tasks) - len(missing)
    on_done(done, len(tasks))
    committing = _Committing(function, shared, folder, name, most_bytes is not None)
    for _ in executor.run(_run, committing, missing, memory_bytes=memory_bytes):
        done += 1
        on_done(done, len(tasks))
    for task in tasks:
        yield read_committed(folder, name, task, most_bytes)


def read_committed(folder: Place, name: str, task: Task, most_bytes: int | None = None) -> Arrays:
    """The result of a task that is done, as :func:`run_committed` was told to write it.

    Raises
    ------
    CorruptChunkError
        Its bytes are not those that were written.
    """
    found = _read(folder, name, task, most_bytes)
    if found is None:
        raise damaged(_file(folder, name, task))
    return found


def damaged(file: Place) -> CorruptChunkError:
    """What to say of a file that is not what was written."""
    return CorruptChunkError(
        "an intermediate result is not what was written",
        where=str(file),
        fix=f"remove the folder {file.parent} and run the same command again",
    )


def _run(committing: _Committing, task: Task) -> None:
    """Run a task, and write its result in one step."""
    stream = io.BytesIO()
    np.savez(stream, **committing.function(committing.shared, task))  # type: ignore[arg-type]
    content = stream.getvalue()
    if committing.compressed:
        content = bytes(numcodecs.Zstd(level=1).encode(content))
    write_atomically(_file(committing.folder, committing.name, task), b"".join(with_checksum(content)))


def _read(folder: Place, name: str, task: Task, most_bytes: int | None) -> Arrays | None:
    try:
        content: bytes | memoryview = read_file(_file(folder, name, task))
        if most_bytes is not None:
            content = decompress(content, most_bytes)
    except (FileNotFoundError, ChecksumError):
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def _file(folder: Place, name: str, task: Task) -> Place:
    return folder / f"{name}-{'-'.join(f'{number:06d}' for number in task)}.npz"
