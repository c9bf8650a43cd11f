"""Products of genotypes with a panel of sample vectors: the heart of every scan.

For ``v`` variants and a panel of ``k`` columns over ``n`` samples these compute ``G W`` without ever holding
``G``: packed calls are decoded tile by tile, each tile small enough to stay in cache, and multiplied at once;
carriers are summed one by one, so that a rare variant costs what its carriers cost. Missing genotypes
contribute zero; :func:`missing_products` gives the sums over them, from which mean imputation follows.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.association import Coding
from allscan.kernels.block import MISSING8, MISSING16, Encoding, GenotypeBlock
from allscan.kernels.jit import jit, jit_fast
from allscan.kernels.packing import GROUP, PLANE, unpack_tile

if TYPE_CHECKING:
    from numpy.typing import NDArray

TILE_VARIANTS = 64
TILE_SAMPLES = 16 * GROUP


class Term(IntEnum):
    """What is summed: the coded genotype, its square, or additive × heterozygous (two predictors)."""

    VALUE = 0
    SQUARE = 1
    CROSS = 2


def code_values(coding: int, term: int = Term.VALUE) -> NDArray[np.float64]:
    """Value of 0, 1 and 2 copies, and 0 for missing; shape (4,)."""
    copies = np.array([0.0, 1.0, 2.0])
    values = {
        Coding.ADDITIVE: copies,
        Coding.DOMINANT: np.minimum(copies, 1.0),
        Coding.RECESSIVE: np.maximum(copies - 1.0, 0.0),
        Coding.HETEROZYGOUS: np.minimum(copies, 2.0 - copies),
    }[Coding(coding)]
    if term == Term.SQUARE:
        values = values**2
    elif term == Term.CROSS:
        values = values * copies
    return np.append(values, 0.0)


@jit
def _coded_dosage(dosage: float, coding: int, term: int) -> float:
    if coding == 0:
        value = dosage
    elif coding == 1:
        value = min(dosage, 1.0)
    elif coding == 2:
        value = max(dosage - 1.0, 0.0)
    else:
        value = min(dosage, 2.0 - dosage)
    if term == 1:
        return value * value
    if term == 2:
        return value * dosage
    return value


@jit
def _dosage_tile(
    codes: NDArray[np.uint16] | NDArray[np.uint8],
    steps: NDArray[np.uint16],
    missing_code: int,
    first_row: int,
    first_sample: int,
    coding: int,
    term: int,
    out: NDArray[np.float64],
) -> None:
    for r in range(out.shape[0]):
        scale = 1.0 / steps[first_row + r]
        for i in range(out.shape[1]):
            code = codes[first_row + r, first_sample + i]
            if code == missing_code:
                out[r, i] = 0.0
            else:
                out[r, i] = _coded_dosage(code * scale, coding, term)


@jit_fast
def _add_carriers(
    offset: NDArray[np.int64],
    sample: NDArray[np.int32],
    call: NDArray[np.uint8],
    flipped: NDArray[np.bool_],
    values: NDArray[np.float64],
    panel: NDArray[np.float64],
    column_sum: NDArray[np.float64],
    shifted: bool,
    out: NDArray[np.float64],
) -> None:
    """``out`` (carrier variants, columns), overwritten. ``values`` as :func:`code_values`."""
    n_columns = panel.shape[1]
    for v in range(offset.shape[0] - 1):
        base = values[2] if flipped[v] else values[0]
        for c in range(n_columns):
            out[v, c] = 0.0 if shifted else base * column_sum[c]
        for j in range(offset[v], offset[v + 1]):
            code = call[j]
            if code == 3:
                weight = 0.0 if shifted else -base
            elif flipped[v]:
                weight = values[2 - code] - base
            else:
                weight = values[code] - base
            if weight != 0.0:
                row = panel[sample[j]]
                for c in range(n_columns):
                    out[v, c] += weight * row[c]


def genotype_products(
    block: GenotypeBlock,
    panel: NDArray[np.float64],
    coding: int = Coding.ADDITIVE,
    term: int = Term.VALUE,
    *,
    shifted: bool = False,
) -> NDArray[np.float64]:
    """``Σ_i f(g_vi) W_ic`` over called genotypes.

    Parameters
    ----------
    block
        ``v`` variants × ``n`` samples.
    panel : (samples, columns) float64, C-contiguous
        Samples that are not analysed have zeros.
    coding, term
        ``f``: see :class:`~allscan.kernels.association.Coding` and :class:`Term`.
    shifted
        Sum ``f(g) − s`` with the :func:`shifts` of each variant.

    Returns
    -------
    (variants, columns) float64
    """
    out = np.empty((block.n_variants, panel.shape[1]))
    values = code_values(coding, term)
    of_kind = {kind: np.flatnonzero(block.encoding == kind) for kind in Encoding}

    packed = of_kind[Encoding.CALLS]
    if len(packed):
        out[packed] = _packed_products(block.calls, values, panel)
    rare = of_kind[Encoding.CARRIERS]
    if len(rare):
        sums = np.empty((len(rare), panel.shape[1]))
        _add_carriers(
            block.carrier_offset,
            block.carrier_sample,
            block.carrier_call,
            block.carrier_flipped,
            values,
            panel,
            panel.sum(axis=0),
            shifted,
            sums,
        )
        out[rare] = sums
    for kind, codes, missing in (
        (Encoding.DOSAGE8, block.dosage8, MISSING8),
        (Encoding.DOSAGE16, block.dosage16, MISSING16),
    ):
        rows = of_kind[kind]
        if len(rows):
            out[rows] = _dosage_products(codes, block.steps[rows], missing, int(coding), int(term), panel)
    return out


def shifts(block: GenotypeBlock, coding: int) -> NDArray[np.float64]:
    """The value of the common homozygote, for variants held as carriers who lack the ALT allele, else 0.

    A constant that is taken off a predictor changes nothing beside an intercept. Taking this one off leaves
    sums over few carriers, where otherwise all digits of a singleton drown in two copies of everybody else.
    Shape (variants,).
    """
    out = np.zeros(block.n_variants)
    rare = np.flatnonzero(block.encoding == Encoding.CARRIERS)
    out[rare] = np.where(block.carrier_flipped, code_values(coding)[2], 0.0)
    return out


def _packed_products(
    packed: NDArray[np.uint8], values: NDArray[np.float64], panel: NDArray[np.float64]
) -> NDArray[np.float64]:
    n_rows, n_samples = len(packed), len(panel)
    out = np.zeros((n_rows, panel.shape[1]))
    buffer = np.empty((TILE_VARIANTS, TILE_SAMPLES))
    for first in range(0, n_samples, TILE_SAMPLES):
        part = panel[first : first + TILE_SAMPLES]
        groups = -(-len(part) // GROUP)
        for row in range(0, n_rows, TILE_VARIANTS):
            rows = min(TILE_VARIANTS, n_rows - row)
            tile = buffer[:rows, : groups * GROUP]
            unpack_tile(packed, row, first // GROUP, values, tile)
            out[row : row + rows] += tile[:, : len(part)] @ part
    return out


def _dosage_products(
    codes: NDArray[np.uint8] | NDArray[np.uint16],
    steps: NDArray[np.uint16],
    missing: int,
    coding: int,
    term: int,
    panel: NDArray[np.float64],
) -> NDArray[np.float64]:
    n_rows, n_samples = codes.shape
    out = np.zeros((n_rows, panel.shape[1]))
    buffer = np.empty((TILE_VARIANTS, TILE_SAMPLES))
    for first in range(0, n_samples, TILE_SAMPLES):
        part = panel[first : first + TILE_SAMPLES]
        for row in range(0, n_rows, TILE_VARIANTS):
            tile = buffer[: min(TILE_VARIANTS, n_rows - row), : len(part)]
            _dosage_tile(codes, steps, missing, row, first, coding, term, tile)
            out[row : row + len(tile)] += tile @ part
    return out


class MissingEntries(NamedTuple):
    """The samples without a call, variant by variant."""

    offset: NDArray[np.int64]  # (variants + 1,)
    sample: NDArray[np.int32]  # (missing calls,) increasing within a variant


@jit
def _missing_in_packed(row: NDArray[np.uint8], out: NDArray[np.int32]) -> int:
    found = 0
    for b in range(row.shape[0]):
        both = row[b] & (row[b] >> np.uint8(1)) & np.uint8(0x55)
        if both:
            for plane in range(4):
                if (both >> np.uint8(2 * plane)) & np.uint8(1):
                    out[found] = (b // 64) * 256 + plane * 64 + b % 64
                    found += 1
    return found


def missing_entries(block: GenotypeBlock) -> MissingEntries:
    """List the missing genotypes of a block."""
    lists: list[NDArray[np.int32]] = []
    buffer = np.empty(block.n_samples + GROUP, np.int32)
    assert GROUP == 4 * PLANE
    for v in range(block.n_variants):
        s = block.slot[v]
        match block.encoding[v]:
            case Encoding.CALLS:
                found = buffer[: _missing_in_packed(block.calls[s], buffer)]
                lists.append(np.sort(found))
            case Encoding.CARRIERS:
                a, b = block.carrier_offset[s], block.carrier_offset[s + 1]
                lists.append(block.carrier_sample[a:b][block.carrier_call[a:b] == 3])
            case Encoding.DOSAGE8:
                lists.append(np.flatnonzero(block.dosage8[s] == MISSING8).astype(np.int32))
            case _:
                lists.append(np.flatnonzero(block.dosage16[s] == MISSING16).astype(np.int32))
    offset = np.zeros(block.n_variants + 1, np.int64)
    np.cumsum([len(entry) for entry in lists], out=offset[1:])
    return MissingEntries(offset, np.concatenate(lists) if lists else np.empty(0, np.int32))


@jit_fast
def _add_rows(
    offset: NDArray[np.int64], sample: NDArray[np.int32], panel: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    for v in range(offset.shape[0] - 1):
        for c in range(panel.shape[1]):
            out[v, c] = 0.0
        for j in range(offset[v], offset[v + 1]):
            row = panel[sample[j]]
            for c in range(panel.shape[1]):
                out[v, c] += row[c]


def missing_products(missing: MissingEntries, panel: NDArray[np.float64]) -> NDArray[np.float64]:
    """``Σ_i W_ic`` over the samples without a call, shape (variants, columns)."""
    out = np.empty((len(missing.offset) - 1, panel.shape[1]))
    _add_rows(missing.offset, missing.sample, panel, out)
    return out
