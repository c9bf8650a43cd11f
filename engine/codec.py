"""The Zarr codec that lets any Zarr reader with allscan installed see genotype blocks as dosages.

Named ``allscan.genotypes`` and found through the entry point group ``zarr.codecs``. It turns a chunk of
``call_dosage`` (float32, NaN missing) into the bytes of :mod:`allscan.kernels.wire` and back. Reading through
Zarr is for notebooks and for other libraries; the scan takes the blocks as they are stored
(:meth:`allscan.engine.store.GenotypeStore.read_block`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from zarr.abc.codec import ArrayBytesCodec

from allscan.kernels.block import dosages, encode_block
from allscan.kernels.wire import from_bytes, to_bytes

if TYPE_CHECKING:
    from typing import Self

    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer
    from zarr.core.common import JSON

NAME = "allscan.genotypes"


@dataclass(frozen=True)
class GenotypeCodec(ArrayBytesCodec):
    """Chunks of (variants, samples) float32 dosages as genotype blocks."""

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:  # noqa: ARG003 - the codec has no settings
        """Make the codec from its metadata."""
        return cls()

    def to_dict(self) -> dict[str, JSON]:
        """Metadata of the codec."""
        return {"name": NAME, "configuration": {}}

    def compute_encoded_size(self, input_byte_length: int, _chunk_spec: ArraySpec) -> int:
        """Not known before encoding: it depends on the content."""
        raise NotImplementedError

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        block = from_bytes(chunk_data.as_numpy_array())
        # The last chunk holds fewer variants than the grid says; the rest of it lies outside the array.
        out = np.full(chunk_spec.shape, np.nan, np.float32)
        dosages(block, 0, block.n_variants, out[: block.n_variants])
        return chunk_spec.prototype.nd_buffer.from_numpy_array(out)

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        dosage = chunk_data.as_numpy_array().astype(np.float32, copy=False)
        block = encode_block(np.zeros(dosage.shape, np.int8), dosage, np.ones(len(dosage), np.bool_))
        return chunk_spec.prototype.buffer.from_bytes(to_bytes(block))
