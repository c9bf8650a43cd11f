"""Decodes the genotype block of a BGEN variant, any bit depth and ploidy.

The bgen package of PyPI does this too, but it passes over the checksum of a damaged zlib block and returns
other probabilities, keeps 24 bits of them, and begins at a given variant only through a .bgi index that it does
not check. The tests compare with it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import comb
from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.ingest.alleles import BAD_DOSAGE, NO_PLOIDY, PLOIDY
from allscan.engine.ingest.calls import diploid_copies, impute_info
from allscan.kernels.probabilities import diploid_dosage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.ingest.batch import ReadCounts

_MISSING_BIT = 0x80
_PLOIDY_BITS = 0x3F
_MAX_PLOIDY = 63


def decompress(data: bytes, compression: int) -> bytes:
    """Undo the compression of a genotype block: 0 none, 1 zlib, 2 zstd.

    Raises
    ------
    ValueError
        If the data are damaged or have another length than they say.
    """
    if compression == 0:
        return data
    size = int.from_bytes(data[:4], "little")
    try:
        if compression == 1:
            decompressor = zlib.decompressobj()
            # One byte more than is said, so that a longer block is seen and does not fill the memory.
            block = decompressor.decompress(data[4:], size + 1)
            if not decompressor.eof and len(block) <= size:
                raise zlib.error("the stream is incomplete")
        else:
            import pyarrow as pa

            block = pa.decompress(data[4:], decompressed_size=size, codec="zstd", asbytes=True)
    except (zlib.error, OSError) as error:
        raise ValueError(f"the compressed genotypes are damaged ({error})") from error
    if len(block) != size:
        raise ValueError(f"the genotypes take {len(block)} bytes, but are said to take {size}")
    return block


@dataclass(frozen=True)
class ProbabilityBlock:
    """The probabilities of one variant, as stored.

    Those of the last genotype, or the last allele of a haplotype, are not stored: they make up the whole.
    """

    n_alleles: int
    ploidy: NDArray[np.uint8]  # (samples,)
    missing: NDArray[np.bool_]  # (samples,)
    phased: bool
    whole: int  # the number that stands for probability 1
    stored: NDArray[np.unsignedinteger]  # (values,) of all samples, one after the other

    @classmethod
    def parse(cls, block: bytes, n_samples: int, n_alleles: int) -> ProbabilityBlock:
        """Read a decompressed block.

        Raises
        ------
        ValueError
            If it contradicts the number of samples or alleles, or itself.
        """
        if len(block) < 10 + n_samples:
            raise ValueError(f"the genotypes end after {len(block)} bytes")
        listed = int.from_bytes(block[:4], "little")
        alleles = int.from_bytes(block[4:6], "little")
        if (listed, alleles) != (n_samples, n_alleles):
            raise ValueError(
                f"the genotypes are of {listed} samples and {alleles} alleles, the variant of {n_samples} and "
                f"{n_alleles}"
            )
        flags = np.frombuffer(block, dtype=np.uint8, count=n_samples, offset=8)
        phased, bits = block[8 + n_samples], block[9 + n_samples]
        if phased > 1 or not 1 <= bits <= 32:
            raise ValueError(f"phase flag {phased} and {bits} bits per probability are not those of BGEN")
        ploidy = flags & np.uint8(_PLOIDY_BITS)
        n_values = int(np.bincount(ploidy, minlength=_MAX_PLOIDY + 1) @ _stored_values(n_alleles, phased=bool(phased)))
        expected = 10 + n_samples + (n_values * bits + 7) // 8
        if len(block) != expected:
            raise ValueError(f"the genotypes take {len(block)} bytes where {expected} are expected")
        return cls(
            n_alleles,
            ploidy,
            (flags & _MISSING_BIT) != 0,
            bool(phased),
            (1 << bits) - 1,
            _unpack(block, 10 + n_samples, n_values, bits),
        )

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """Where the values of each sample begin."""
        numbers = _stored_values(self.n_alleles, phased=self.phased)[self.ploidy]
        return np.cumsum(numbers) - numbers

    def probabilities(self, ploidy: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rows of the samples of one ploidy that are not missing, and their probabilities.

        Returns
        -------
        tuple
            Sample numbers (rows,), and probabilities: (genotypes, rows) if unphased, (haplotypes, alleles, rows)
            if phased. The last genotype's or allele's is below 0 where a file says more than 1 in all.
        """
        rows = np.flatnonzero((self.ploidy == ploidy) & ~self.missing)
        number = int(_stored_values(self.n_alleles, phased=self.phased)[ploidy])
        if len(rows) == len(self.ploidy):
            stored = self.stored.reshape(len(rows), number)
        elif len(rows):
            stored = self.stored[self._starts[rows, None] + np.arange(number)]
        else:
            stored = self.stored[:0].reshape(0, number)
        # Samples come last: sums over a short first axis are sums of long vectors.
        if self.phased:
            values = np.empty((ploidy, self.n_alleles, len(rows)))
            values[:, :-1] = stored.reshape(len(rows), ploidy, self.n_alleles - 1).transpose(1, 2, 0)
        else:
            values = np.empty((number + 1, len(rows)))
            values[:-1] = stored.T
        last = values[:, -1] if self.phased else values[-1]
        last[...] = self.whole - values[..., :-1, :].sum(axis=-2)
        values /= self.whole
        return rows, values


class ExpectedCopies:
    """Expected copies of the alleles of one variant, and how certain they are."""

    def __init__(self, block: ProbabilityBlock, counts: ReadCounts) -> None:
        called = ~block.missing
        counts.add(PLOIDY, int((called & (block.ploidy > 2)).sum()))
        counts.add(NO_PLOIDY, int((called & (block.ploidy == 0)).sum()))
        self._block = block
        self._groups = []
        # Writers round each probability: as many steps too many as there are values are no error.
        slack = 1.5 * block.n_alleles / block.whole
        for ploidy in (1, 2):
            rows, values = block.probabilities(ploidy)
            last = values[..., -1, :]
            if last.size and last.min() < 0:
                wrong: NDArray[np.bool_] = np.logical_or.reduce(np.atleast_2d(last) < -slack, axis=0)
                np.maximum(last, 0, out=last)
                counts.add(BAD_DOSAGE, int(wrong.sum()))
                rows, values = rows[~wrong], values[..., ~wrong]
            self._groups.append((ploidy, rows, values))
        self.n_haploid = len(self._groups[0][1])

    def dosage(self, allele: int) -> tuple[NDArray[np.float32], float]:
        """Expected copies of an allele on the scale 0..2, (samples,), NaN missing; and IMPUTE's info.

        See :func:`~allscan.engine.ingest.calls.impute_info`.
        """
        dosage = np.full(len(self._block.ploidy), np.nan, dtype=np.float32)
        alleles = expected = variance = 0.0
        for ploidy, rows, values in self._groups:
            if not len(rows):
                continue
            if self._block.phased:
                chance = values[:, allele]
                mean = chance.sum(axis=0)
                spread = (chance * (1 - chance)).sum(axis=0)
            elif ploidy == 1:
                mean = values[allele]
                spread = mean * (1 - mean)
            else:
                mean = np.zeros(len(rows))
                square = np.zeros(len(rows))
                weights = diploid_copies(self._block.n_alleles, allele)
                for genotype in np.flatnonzero(weights):
                    mean += weights[genotype] * values[genotype]
                    square += weights[genotype] ** 2 * values[genotype]
                spread = square - mean**2
            dosage[rows] = np.clip(mean * (2 / ploidy), 0, 2)
            alleles += ploidy * len(rows)
            expected += float(mean.sum())
            variance += float(spread.sum())
        return dosage, impute_info(alleles, expected, variance)


class DiploidCopies:
    """As :class:`ExpectedCopies`, for two alleles in diploid samples only: one compiled pass over the samples."""

    n_haploid = 0

    def __init__(self, block: ProbabilityBlock, counts: ReadCounts) -> None:
        self._block = block
        self._counts: ReadCounts | None = counts

    @staticmethod
    def fits(block: ProbabilityBlock) -> bool:
        """Whether this block is of that kind."""
        return block.n_alleles == 2 and bool((block.ploidy == 2).all())

    def dosage(self, allele: int) -> tuple[NDArray[np.float32], float]:
        """Expected copies of an allele, (samples,), NaN missing; and IMPUTE's info."""
        block = self._block
        dosage = np.empty(len(block.ploidy), np.float32)
        sums = np.empty(3)
        flags = block.missing.view(np.uint8) << np.uint8(7)
        slack = 1.5 * block.n_alleles / block.whole
        wrong = diploid_dosage(flags, block.stored, block.whole, block.phased, allele == 1, slack, dosage, sums)
        if self._counts is not None:  # once a variant, whichever alleles are asked for
            self._counts.add(BAD_DOSAGE, wrong)
            self._counts = None
        called, expected, variance = sums.tolist()
        return dosage, impute_info(2.0 * called, expected, variance)


def expected_copies(block: ProbabilityBlock, counts: ReadCounts) -> ExpectedCopies | DiploidCopies:
    """Expected copies of the alleles of one variant, by the faster way where it will do."""
    return DiploidCopies(block, counts) if DiploidCopies.fits(block) else ExpectedCopies(block, counts)


@lru_cache(maxsize=64)
def _stored_values(n_alleles: int, *, phased: bool) -> NDArray[np.int64]:
    """Values stored for a sample of each ploidy, shape (64,)."""
    if phased:
        return np.arange(_MAX_PLOIDY + 1) * (n_alleles - 1)
    # A huge number of genotypes cannot be in the file, and need not be exact to be refused.
    numbers = [min(comb(ploidy + n_alleles - 1, n_alleles - 1) - 1, 1 << 40) for ploidy in range(_MAX_PLOIDY + 1)]
    return np.array(numbers, dtype=np.int64)


def _unpack(block: bytes, offset: int, n_values: int, bits: int) -> NDArray[np.unsignedinteger]:
    """Unsigned numbers of a fixed number of bits, lowest bit first."""
    if bits in (8, 16, 32):
        return np.frombuffer(block, dtype=f"<u{bits // 8}", count=n_values, offset=offset)
    data = np.zeros(len(block) - offset + 5, dtype=np.uint8)
    data[:-5] = np.frombuffer(block, dtype=np.uint8, offset=offset)
    first_bit = np.arange(n_values, dtype=np.int64) * bits
    first_byte = first_bit >> 3
    # A number of up to 32 bits lies within five bytes.
    window = np.zeros(n_values, dtype=np.uint64)
    for byte in range((bits + 14) // 8):
        window |= data[first_byte + byte].astype(np.uint64) << np.uint64(8 * byte)
    window >>= (first_bit & 7).astype(np.uint64)
    return window & np.uint64((1 << bits) - 1)
