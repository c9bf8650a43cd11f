"""A block of genotypes: each variant in the encoding that its content asks for."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.jit import jit
from allscan.kernels.packing import pack_rows, row_bytes, unpack_calls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Encoding(IntEnum):
    """How one variant is held."""

    CALLS = 0  # two bits a sample
    CARRIERS = 1  # the samples that differ from the common homozygote
    DOSAGE8 = 2  # one byte a sample, 255 missing
    DOSAGE16 = 3  # two bytes a sample, 65535 missing


MISSING8 = 255
MISSING16 = 65535

# A variant is held as carriers when at most one sample in this many differs from the common homozygote:
# below it the list is smaller on disk, and summing over carriers beats a dense product (benchmarks/store).
CARRIER_DENSITY = 16

# Steps per allele copy that are tried in order; the first in which every dosage of a variant is exact is
# taken. They are what files hold: bit depths of BGEN, decimals of VCF, PLINK 2's 1/16384.
EXACT_STEPS = (2, 3, 7, 10, 15, 20, 31, 63, 100, 127, 255, 511, 1000, 1023, 2047, 4095, 8191, 10000, 16383, 16384)
FALLBACK_STEPS = 32767  # the finest that fits 16 bits: dosages are then rounded by at most 1/65534
DOSAGE_TOLERANCE = 1e-6  # of a dosage read as float32, to count as exact


class GenotypeBlock(NamedTuple):
    """Genotypes of ``v`` variants × ``n`` samples.

    Variant ``r`` is row ``slot[r]`` of the arrays of its encoding. In a carrier list the calls are copies
    of the *rarer homozygote's* allele (1, 2, or 3 for missing) and every other sample has none; where
    ``carrier_flipped`` is set that allele is REF, so that copies of ALT are two minus that.
    """

    n_samples: int
    encoding: NDArray[np.uint8]  # (variants,)
    slot: NDArray[np.int32]  # (variants,)
    steps: NDArray[np.uint16]  # (variants,) steps per allele copy: dosage = code / steps; 1 for calls
    calls: NDArray[np.uint8]  # (packed variants, row_bytes)
    carrier_offset: NDArray[np.int64]  # (carrier variants + 1,)
    carrier_sample: NDArray[np.int32]  # (carriers,) increasing within a variant
    carrier_call: NDArray[np.uint8]  # (carriers,) 1, 2, 3
    carrier_flipped: NDArray[np.bool_]  # (carrier variants,)
    dosage8: NDArray[np.uint8]  # (variants of this encoding, samples)
    dosage16: NDArray[np.uint16]  # (variants of this encoding, samples)

    @property
    def n_variants(self) -> int:
        """Number of variants."""
        return len(self.encoding)


@jit
def number_slots(encoding: NDArray[np.uint8], slot: NDArray[np.int32], found: NDArray[np.int64]) -> None:
    """Number the variants of each encoding, into ``slot`` (variants,), and count them, into ``found`` (256,), zeros."""
    for v in range(encoding.shape[0]):
        kind = encoding[v]
        slot[v] = found[kind]
        found[kind] += 1


def slots(encoding: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Rows of variants in the arrays of their encodings, shape (variants,)."""
    slot = np.empty(len(encoding), np.int32)
    number_slots(encoding, slot, np.zeros(256, np.int64))
    return slot


@jit
def _count_codes(calls: NDArray[np.int8], out: NDArray[np.int64]) -> None:
    for v in range(calls.shape[0]):
        for i in range(calls.shape[1]):
            out[v, calls[v, i] & 3] += 1


@jit
def _list_carriers(
    calls: NDArray[np.int8],
    rows: NDArray[np.int64],
    flipped: NDArray[np.bool_],
    offset: NDArray[np.int64],
    sample: NDArray[np.int32],
    call: NDArray[np.uint8],
) -> None:
    at = 0
    for k in range(rows.shape[0]):
        offset[k] = at
        for i in range(calls.shape[1]):
            code = calls[rows[k], i] & 3
            if flipped[k] and code < 3:
                code = 2 - code
            if code != 0:
                sample[at] = i
                call[at] = code
                at += 1
    offset[rows.shape[0]] = at


def _dosage_codes(dosage: NDArray[np.float32]) -> tuple[int, NDArray[np.float64], NDArray[np.bool_]]:
    """Steps, codes and missing mask of one variant's dosages, shape (samples,)."""
    missing = np.isnan(dosage)
    values = dosage.astype(np.float64)
    values[missing] = 0.0
    for steps in EXACT_STEPS:
        codes = np.rint(values * steps)
        if np.max(np.abs(codes - values * steps), initial=0.0) <= DOSAGE_TOLERANCE * steps:
            return steps, codes, missing
    return FALLBACK_STEPS, np.rint(values * FALLBACK_STEPS), missing


def encode_block(
    genotypes: NDArray[np.int8],
    dosage: NDArray[np.float32] | None = None,
    is_dosage: NDArray[np.bool_] | None = None,
) -> GenotypeBlock:
    """Choose each variant's encoding by its content.

    Parameters
    ----------
    genotypes : (variants, samples) int8
        Copies of ALT: 0, 1, 2; negative is missing. Rows with ``is_dosage`` set are not looked at.
    dosage : (variants, samples) float32, optional
        Expected copies of ALT, 0 to 2; NaN is missing.
    is_dosage : (variants,) bool, optional
        Which rows to take from ``dosage``. A row whose dosages are all whole numbers becomes calls.
    """
    n_variants, n_samples = genotypes.shape
    encoding = np.zeros(n_variants, np.uint8)
    steps = np.ones(n_variants, np.uint16)
    coded: list[tuple[int, NDArray[np.float64]]] = []
    if dosage is not None and is_dosage is not None and is_dosage.any():
        genotypes = genotypes.copy()
        for v in np.flatnonzero(is_dosage):
            row = dosage[v]
            missing = np.isnan(row)
            whole = np.where(missing, -1.0, row)
            calls = np.rint(whole)
            if np.max(np.abs(calls - whole), initial=0.0) <= DOSAGE_TOLERANCE:
                genotypes[v] = calls
                continue
            row_steps, codes, missing = _dosage_codes(row)
            small = row_steps * 2 < MISSING8
            encoding[v] = Encoding.DOSAGE8 if small else Encoding.DOSAGE16
            steps[v] = row_steps
            codes[missing] = MISSING8 if small else MISSING16
            coded.append((int(v), codes))
    hard = encoding == Encoding.CALLS
    counts = np.zeros((n_variants, 4), np.int64)
    _count_codes(genotypes, counts)
    flipped = counts[:, 2] > counts[:, 0]
    carriers = n_samples - np.where(flipped, counts[:, 2], counts[:, 0])
    encoding[hard & (carriers * CARRIER_DENSITY <= n_samples)] = Encoding.CARRIERS
    slot = slots(encoding)

    packed_rows = np.flatnonzero(encoding == Encoding.CALLS)
    calls_packed = np.empty((len(packed_rows), row_bytes(n_samples)), np.uint8)
    pack_rows(genotypes[packed_rows], calls_packed)

    carrier_rows = np.flatnonzero(encoding == Encoding.CARRIERS)
    total = int(carriers[carrier_rows].sum())
    offset = np.zeros(len(carrier_rows) + 1, np.int64)
    sample = np.empty(total, np.int32)
    call = np.empty(total, np.uint8)
    _list_carriers(genotypes, carrier_rows, flipped[carrier_rows], offset, sample, call)

    dosage8 = np.empty((int((encoding == Encoding.DOSAGE8).sum()), n_samples), np.uint8)
    dosage16 = np.empty((int((encoding == Encoding.DOSAGE16).sum()), n_samples), np.uint16)
    for row_index, codes in coded:
        if encoding[row_index] == Encoding.DOSAGE8:
            dosage8[slot[row_index]] = codes
        else:
            dosage16[slot[row_index]] = codes
    return GenotypeBlock(
        n_samples, encoding, slot, steps, calls_packed, offset, sample, call, flipped[carrier_rows], dosage8, dosage16
    )


@jit
def _decode_calls(
    encoding: NDArray[np.uint8],
    slot: NDArray[np.int32],
    calls: NDArray[np.uint8],
    carrier_offset: NDArray[np.int64],
    carrier_sample: NDArray[np.int32],
    carrier_call: NDArray[np.uint8],
    carrier_flipped: NDArray[np.bool_],
    start: int,
    out: NDArray[np.int8],
) -> None:
    """Calls of the variants from ``start`` that are held as calls or carriers; other rows are left alone."""
    for r in range(out.shape[0]):
        s = slot[start + r]
        if encoding[start + r] == 0:
            unpack_calls(calls[s], out[r])
        elif encoding[start + r] == 1:
            flipped = carrier_flipped[s]
            out[r, :] = np.int8(2) if flipped else np.int8(0)
            for j in range(carrier_offset[s], carrier_offset[s + 1]):
                call = np.int8(carrier_call[j])
                if call == 3:
                    out[r, carrier_sample[j]] = -1
                else:
                    out[r, carrier_sample[j]] = 2 - call if flipped else call


@jit
def _calls_to_dosage(calls: NDArray[np.int8], out: NDArray[np.float32]) -> None:
    for r in range(calls.shape[0]):
        for i in range(calls.shape[1]):
            out[r, i] = np.float32(calls[r, i]) if calls[r, i] >= 0 else np.float32(np.nan)


def hard_calls(block: GenotypeBlock, start: int, stop: int, out: NDArray[np.int8]) -> None:
    """Calls of variants ``start:stop``: 0, 1, 2, and -1 for missing; dosages are rounded to the nearest.

    ``out`` has shape (stop - start, samples).
    """
    _decode_calls(
        block.encoding,
        block.slot,
        block.calls,
        block.carrier_offset,
        block.carrier_sample,
        block.carrier_call,
        block.carrier_flipped,
        start,
        out[: stop - start],
    )
    for v in start + np.flatnonzero(block.encoding[start:stop] > Encoding.CARRIERS):
        values = dosage_row(block, int(v))
        values[np.isnan(values)] = -1.0
        out[v - start] = np.floor(values + 0.5)


def dosage_row(block: GenotypeBlock, variant: int) -> NDArray[np.float32]:
    """Dosages of one variant that is held as dosages, shape (samples,); NaN is missing."""
    s = block.slot[variant]
    if block.encoding[variant] == Encoding.DOSAGE8:
        codes, missing = block.dosage8[s].astype(np.float32), block.dosage8[s] == MISSING8
    else:
        codes, missing = block.dosage16[s].astype(np.float32), block.dosage16[s] == MISSING16
    values: NDArray[np.float32] = codes / np.float32(block.steps[variant])
    values[missing] = np.nan
    return values


def dosages(block: GenotypeBlock, start: int, stop: int, out: NDArray[np.float32]) -> None:
    """Expected copies of ALT of variants ``start:stop``; NaN is missing.

    ``out`` has shape (stop - start, samples).
    """
    calls = np.empty((stop - start, block.n_samples), np.int8)
    hard_calls(block, start, stop, calls)
    _calls_to_dosage(calls, out[: stop - start])
    for v in start + np.flatnonzero(block.encoding[start:stop] > Encoding.CARRIERS):
        out[v - start] = dosage_row(block, int(v))


def take(block: GenotypeBlock, variants: NDArray[np.int64]) -> GenotypeBlock:
    """The given variants of a block, in the given order."""
    encoding, old_slot = block.encoding[variants], block.slot[variants]
    rows = {kind: old_slot[encoding == kind] for kind in Encoding}
    chosen = rows[Encoding.CARRIERS]
    lengths = np.diff(block.carrier_offset)[chosen]
    offset = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    index = np.repeat(block.carrier_offset[chosen] - offset[:-1], lengths) + np.arange(offset[-1])
    return GenotypeBlock(
        block.n_samples,
        encoding,
        slots(encoding),
        block.steps[variants],
        block.calls[rows[Encoding.CALLS]],
        offset,
        block.carrier_sample[index],
        block.carrier_call[index],
        block.carrier_flipped[chosen],
        block.dosage8[rows[Encoding.DOSAGE8]],
        block.dosage16[rows[Encoding.DOSAGE16]],
    )


def concatenate(blocks: Sequence[GenotypeBlock]) -> GenotypeBlock:
    """Blocks of the same samples, one after the other."""
    encoding = np.concatenate([b.encoding for b in blocks])
    lengths = np.concatenate([np.diff(b.carrier_offset) for b in blocks])
    return GenotypeBlock(
        blocks[0].n_samples,
        encoding,
        slots(encoding),
        np.concatenate([b.steps for b in blocks]),
        np.concatenate([b.calls for b in blocks]),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([b.carrier_sample for b in blocks]),
        np.concatenate([b.carrier_call for b in blocks]),
        np.concatenate([b.carrier_flipped for b in blocks]),
        np.concatenate([b.dosage8 for b in blocks]),
        np.concatenate([b.dosage16 for b in blocks]),
    )
