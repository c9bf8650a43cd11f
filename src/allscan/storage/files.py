"""Reading and writing files, on disks and in object storage, by the same functions."""

from __future__ import annotations

import io
import os
import re
import shutil
import threading
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

from allscan.errors import InputError
from allscan.storage import objects
from allscan.storage.places import ObjectPlace, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from concurrent.futures import Future, ThreadPoolExecutor
    from pathlib import Path
    from typing import Self

    from _typeshed import WriteableBuffer

T = TypeVar("T")
R = TypeVar("R")

MOST_OPEN = 16
"""Files of one worker that wait for the disk together."""
MOST_REQUESTS = 32
"""Requests of one process to object storage at the same time."""
STREAM_BYTES = 8 << 20
"""Read at once where an object is read as a stream."""

_pools: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()


def write_atomically(place: Place, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut; its folder is made."""
    if isinstance(place, ObjectPlace):
        objects.put(place, content)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{place.name}.{uuid.uuid4().hex}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_files(contents: Iterable[tuple[Place, list[bytes]]]) -> None:
    """Write files, each of some pieces, whole or not at all; all are in their place for good when this returns."""
    waiting: list[int] = []

    def begin(path: Path, pieces: list[bytes]) -> None:
        if len(waiting) == MOST_OPEN:
            _sync(waiting)
        temporary = path.with_name(f".{path.name}.partial")
        waiting.append(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o666))
        content = memoryview(b"".join(pieces))
        while content:
            content = content[os.write(waiting[-1], content) :]
        # The disk begins now; waiting for each file in turn would take twice as long.
        os.posix_fadvise(waiting[-1], 0, 0, os.POSIX_FADV_DONTNEED)
        temporary.replace(path)

    def remote() -> Iterator[tuple[ObjectPlace, bytes]]:
        for place, pieces in contents:
            if isinstance(place, ObjectPlace):
                yield place, b"".join(pieces)
            else:
                begin(place, pieces)

    try:
        for _ in _side_by_side(lambda item: objects.put(*item), remote(), MOST_OPEN):
            pass
        _sync(waiting)
    finally:
        for descriptor in waiting:
            os.close(descriptor)


def _sync(waiting: list[int]) -> None:
    """Wait until files have reached the disk, and close them."""
    while waiting:
        os.fsync(waiting[-1])
        os.close(waiting.pop())


def one_match(place: Place) -> Place:
    """The file or folder that a name with ``*``, which stands for any text, means; the place itself if there is none.

    Raises
    ------
    InputError
        It means more than one.
    """
    if "*" not in place.name or place.exists() or not place.parent.is_dir():
        return place
    pattern = re.compile(".*".join(map(re.escape, place.name.split("*"))))
    found = sorted(one.name for one in place.parent.iterdir() if pattern.fullmatch(one.name))
    if not place.name.startswith("."):
        found = [name for name in found if not name.startswith(".")]
    if len(found) > 1:
        raise InputError(
            f"{place.name!r} may be {len(found):,} files: {', '.join(found[:3])}{', …' if len(found) > 3 else ''}",
            where=str(place),
            fix="write more of the name",
        )
    return place.with_name(found[0]) if found else place


def is_remote(place: Place) -> bool:
    """Whether a place is in object storage, where requests wait side by side."""
    return isinstance(place, ObjectPlace)


def each(
    function: Callable[[T], R], items: Iterable[T], *, side_by_side: bool | None = None, most: int = MOST_REQUESTS
) -> Iterator[R]:
    """Results of a function that reads or writes, in the order of the items.

    Parameters
    ----------
    function, items
        What is done with what.
    side_by_side
        Whether calls wait side by side, in threads. None: when an item is in object storage.
    most
        Calls at the same time.
    """
    if side_by_side is None:
        items = list(items)
        side_by_side = any(isinstance(item, ObjectPlace) for item in items)
    return _side_by_side(function, items, most) if side_by_side else map(function, items)


def _side_by_side(function: Callable[[T], R], items: Iterable[T], most: int) -> Iterator[R]:
    begun: deque[Future[R]] = deque()
    try:
        for item in items:
            if len(begun) == most:
                yield begun.popleft().result()
            begun.append(_pool().submit(function, item))
        while begun:
            yield begun.popleft().result()
    finally:
        # After an error, nothing goes on behind the caller's back.
        for future in begun:
            if not future.cancel():
                future.exception()


def _pool() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    with _lock:
        if os.getpid() not in _pools:
            _pools[os.getpid()] = ThreadPoolExecutor(MOST_REQUESTS, "storage")
        return _pools[os.getpid()]


def create_exclusive(place: Place, content: bytes) -> None:
    """Write a small file where none is.

    Raises
    ------
    FileExistsError
        There is one.
    """
    if isinstance(place, ObjectPlace):
        objects.create(place, content)
        return
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


class Opened:
    """A file that stretches are read from. What is loaded is at hand; of a file on a disk, everything is."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def load_all(self) -> None:
        """Have everything at hand."""

    def load_end(self, size: int) -> None:
        """Have the last bytes at hand."""

    def load(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Have stretches (offset, size) at hand."""

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of a stretch, or of a part of one, that was loaded; fewer where the file ends before."""
        return os.pread(self._descriptor, size, offset)


class _OpenedObject(Opened):
    def __init__(self, place: ObjectPlace) -> None:
        self._place = place
        self._parts: list[tuple[int, bytes]] = []
        self.size = 0  # known once something is loaded

    def __exit__(self, *_: object) -> None:
        self._parts = []

    def load_all(self) -> None:
        content = objects.get(self._place)
        self.size = len(content)
        self._parts = [(0, content)]

    def load_end(self, size: int) -> None:
        content, self.size = objects.get_end(self._place, size)
        self._parts.append((self.size - len(content), content))

    def load(self, ranges: Sequence[tuple[int, int]]) -> None:
        if ranges:
            contents = objects.get_ranges(self._place, ranges)
            self._parts += [(offset, content) for (offset, _), content in zip(ranges, contents, strict=True)]

    def read(self, offset: int, size: int) -> bytes:
        for start, content in reversed(self._parts):
            if start <= offset < start + len(content):
                return content[offset - start : offset - start + size]
        return b""


def opened(place: Place) -> Opened:
    """Open a file for reading stretches of it, in a ``with`` block.

    Raises
    ------
    FileNotFoundError
        There is no such file; of an object, when something is loaded.
    StorageError
        It cannot be read.
    """
    return _OpenedObject(place) if isinstance(place, ObjectPlace) else Opened(os.open(place, os.O_RDONLY))


def open_stream(place: Place) -> io.BufferedReader:
    """Open a file as a stream that can be read and sought in.

    Raises
    ------
    FileNotFoundError, StorageError
        It is not there, or cannot be read.
    """
    if isinstance(place, ObjectPlace):
        return io.BufferedReader(ObjectStream(place), STREAM_BYTES)
    return place.open("rb")


class ObjectStream(io.RawIOBase):
    """An object as a file; reads are requests. It is refused when it is replaced meanwhile."""

    def __init__(self, place: ObjectPlace) -> None:
        found = objects.find(place)
        if found is None:
            raise objects.missing(place)
        self._place, self._at = place, 0
        self._size, self._tag = int(found["size"]), found["e_tag"]

    def readable(self) -> bool:
        """Whether it can be read: it can."""
        return True

    def seekable(self) -> bool:
        """Whether it can be sought in: it can."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to an offset."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """The offset that is read next."""
        return self._at

    def readall(self) -> bytes:
        """What is left of it."""
        return b"".join(iter(lambda: self.read(STREAM_BYTES), b""))

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer; 0 at the end."""
        target = memoryview(buffer).cast("B")
        wanted = min(len(target), self._size - self._at)
        content = objects.get_range(self._place, self._at, wanted, self._tag)
        target[: len(content)] = content
        self._at += len(content)
        return len(content)


def first_bytes(place: Place, size: int) -> bytes:
    """The start of a file."""
    if isinstance(place, ObjectPlace):
        return objects.get_range(place, 0, size)
    with place.open("rb") as file:
        return file.read(size)


def read_from(place: Place, offset: int) -> bytes:
    """What a file holds from an offset on."""
    if isinstance(place, ObjectPlace):
        return objects.get_from(place, offset)
    with place.open("rb") as file:
        file.seek(offset)
        return file.read()


def size_of(place: Place) -> int:
    """Size of a file.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    if isinstance(place, ObjectPlace):
        found = objects.find(place)
        if found is None:
            raise objects.missing(place)
        return int(found["size"])
    return place.stat().st_size


def files_below(folder: Place) -> list[tuple[str, int]]:
    """Every file in a folder and below: its path relative to it, with slashes, and its size; sorted."""
    if isinstance(folder, ObjectPlace):
        return sorted(objects.listed(folder))
    found = (file for file in folder.rglob("*") if file.is_file())
    return sorted((file.relative_to(folder).as_posix(), file.stat().st_size) for file in found)


def remove_tree(folder: Place) -> None:
    """Remove a folder with all that is in it, or a file, if it is there."""
    if isinstance(folder, ObjectPlace):
        objects.delete([folder / key for key, _ in objects.listed(folder)])
        if folder.key:
            objects.delete([folder])
    elif folder.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
    else:
        folder.unlink(missing_ok=True)


def copy_tree(folder: ObjectPlace, to: ObjectPlace) -> None:
    """Copy all objects below a prefix, or one object, within a bucket."""
    if folder.is_file():
        objects.copy(folder, to)
    pairs = ((folder / key, to / key) for key, _ in objects.listed(folder))
    for _ in _side_by_side(lambda pair: objects.copy(*pair), pairs, MOST_REQUESTS):
        pass


def upload_tree(folder: Path, to: ObjectPlace, *, last: str, without: Collection[tuple[str, int]] = ()) -> None:
    """Put all files of a folder on a disk into object storage.

    Parameters
    ----------
    folder, to
        From where, and to where.
    last
        The file that is put after all others are there.
    without
        Files (path, size) that are there already.
    """
    names = [item[0] for item in files_below(folder) if item[0] != last and item not in without]
    for _ in _side_by_side(lambda name: objects.put(to / name, (folder / name).read_bytes()), names, MOST_OPEN):
        pass
    objects.put(to / last, (folder / last).read_bytes())


def flush(path: Path) -> None:
    """Wait until a file has reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def zarr_store(place: Place, *, read_only: bool = True) -> Any:
    """A place as the Zarr library takes it."""
    if not isinstance(place, ObjectPlace):
        return str(place)
    from allscan.storage.zarr_objects import store_below

    return store_below(place, read_only=read_only)
