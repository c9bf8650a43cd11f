"""Object storage for the Zarr library, whose errors say no more than they should."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zarr.storage import ObjectStore

from allscan.storage.clients import client
from allscan.storage.objects import told

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    from allscan.storage.places import ObjectPlace


class _Objects(ObjectStore[Any]):
    """Zarr's own store, with errors that are allscan's. Pickles with its place, without credentials."""

    def __init__(self, place: ObjectPlace, *, read_only: bool) -> None:
        super().__init__(client(place, prefix=place.key or None), read_only=read_only)
        self._place = place

    def with_read_only(self, read_only: bool = False) -> _Objects:
        """The same store, for reading only or not."""
        return _Objects(self._place, read_only=read_only)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopened, (self._place, self.read_only))

    def __str__(self) -> str:
        return str(self._place)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Content of an object; None if there is none."""
        try:
            with told(self._place / key):
                return await super().get(key, prototype, byte_range)
        except FileNotFoundError:
            return None


def store_below(place: ObjectPlace, *, read_only: bool) -> _Objects:
    """All objects below a place, as a Zarr store."""
    return _Objects(place, read_only=read_only)


def _reopened(place: ObjectPlace, read_only: bool) -> _Objects:
    return _Objects(place, read_only=read_only)
