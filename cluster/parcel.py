"""A value as bytes whose arrays travel beside it, so that every process of a machine uses one copy of them."""

from __future__ import annotations

import importlib
import pickle
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALIGNMENT = 64  # bytes; that of Ray's object store


class Parcel(NamedTuple):
    """A pickled value."""

    payload: bytes
    buffers: list[NDArray[np.uint8]]  # contents of its arrays

    @property
    def size(self) -> int:
        """Bytes in all."""
        return len(self.payload) + sum(buffer.nbytes for buffer in self.buffers)


def pack(value: Any) -> Parcel:
    """Pickle a value; its arrays are referred to, not copied."""
    cloudpickle: Any = importlib.import_module("ray.cloudpickle")

    buffers: list[pickle.PickleBuffer] = []
    payload = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return Parcel(payload, [np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers])


def unpack(parcel: Parcel) -> Any:
    """The value; its arrays are views of the parcel's, and may be written to if they could be when it was packed.

    Arrays out of an object store are read-only. Numba takes that for another type and would compile every kernel
    anew, 15 seconds in each process, so the views say that they are not. Nobody writes to what tasks share: threads
    have the very same arrays.
    """
    return pickle.loads(parcel.payload, buffers=[_writable(buffer) for buffer in parcel.buffers])  # noqa: S301 - ours


class _Memory:
    """The memory of an array, held as long as a view of it lives."""

    def __init__(self, array: NDArray[np.uint8]) -> None:
        self._array = array
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def _writable(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if array.ctypes.data % ALIGNMENT:
        # A small one, which the object store does not align; unaligned arrays are of yet another type.
        memory = np.empty(array.nbytes + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        aligned = memory[start : start + array.nbytes]
        aligned[:] = array
        return aligned
    return np.asarray(_Memory(array))
