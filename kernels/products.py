"""Products of genotypes with a panel of sample vectors: the heart of every scan.

For ``v`` variants and a panel of ``k`` columns over ``n`` samples these compute ``G W`` without ever holding
``G``: packed calls are summed by table lookup (:mod:`allscan.kernels.lookup`), carriers one by one, so that a rare
variant costs what its carriers cost, and dosages are decoded tile by tile, each small enough to stay in cache, and
multiplied at once. Missing genotypes contribute zero; :func:`missing_products` gives the sums over
them, from which mean imputation follows.

A float32 panel is summed in float32 within strips of a few thousand samples and in float64 across them, a float64
panel in float64 throughout.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.kernels.association import Coding
from allscan.kernels.block import MISSING8, MISSING16, Encoding, GenotypeBlock
from allscan.kernels.entries import Entries, add_carriers, add_entries
from allscan.kernels.jit import jit
from allscan.kernels.lookup import PASS_VARIANTS, STRIP_ROWS, sum_calls
from allscan.kernels.panel import Panel, aligned_zeros, make_panel
from allscan.kernels.subsets import Subsets, no_subsets

if TYPE_CHECKING:
    from numpy.typing import NDArray

TILE_VARIANTS = 256
LOOKED_AT = 1024  # people of whom the common homozygote of dosages is learnt


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
def _coded_dosage(dosage: float, coding: int, term: int, shift: float) -> float:
    if coding == 0:
        value = dosage
    elif coding == 1:
        value = min(dosage, 1.0)
    elif coding == 2:
        value = max(dosage - 1.0, 0.0)
    else:
        value = min(dosage, 2.0 - dosage)
    if term == 2:
        return value * dosage
    value -= shift
    return value * value if term == 1 else value


@jit
def code_dosages(row: NDArray[np.floating[Any]], coding: int, shift: float) -> None:
    """Turn dosages of people, NaN without a call, into the predictor less its shift, in place."""
    for i in range(row.shape[0]):
        if not math.isnan(row[i]):
            row[i] = _coded_dosage(row[i], coding, 0, shift)


@jit
def _dosage_tile(
    codes: NDArray[np.uint16] | NDArray[np.uint8],
    steps: NDArray[np.uint16],
    missing_code: int,
    first_row: int,
    first_sample: int,
    coding: int,
    term: int,
    shift: NDArray[np.float64],
    out: NDArray[np.floating[Any]],
) -> None:
    for r in range(out.shape[0]):
        scale = 1.0 / steps[first_row + r]
        base = shift[first_row + r]
        for i in range(out.shape[1]):
            code = codes[first_row + r, first_sample + i]
            if code == missing_code:
                out[r, i] = 0.0
            else:
                out[r, i] = _coded_dosage(code * scale, coding, term, base)


class Products(NamedTuple):
    """Sums of panel rows over samples, times their genotypes."""

    total: NDArray[np.float64]  # (variants, columns)
    of_subset: NDArray[np.float64]  # (subsets, variants, columns of subsets)


def genotype_products(
    block: GenotypeBlock,
    panel: Panel | NDArray[np.floating[Any]],
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
    panel : Panel, or (samples, columns) float32 or float64
        Samples that are not analysed have zeros.
    coding, term
        ``f``: see :class:`~allscan.kernels.association.Coding` and :class:`Term`.
    shifted
        Sum ``f(g) − s``, or its square, with the :func:`shifts` of each variant. Not for ``Term.CROSS``.

    Returns
    -------
    (variants, columns) float64
    """
    if not isinstance(panel, Panel):
        panel = make_panel(panel, panel.dtype)
    return subset_products(block, panel, no_subsets(block.n_samples), coding, term, shifted=shifted).total


def subset_products(
    block: GenotypeBlock,
    panel: Panel,
    subsets: Subsets,
    coding: int = Coding.ADDITIVE,
    term: int = Term.VALUE,
    *,
    shifted: bool = False,
) -> Products:
    """As :func:`genotype_products`, and of the first columns also the sums over subsets of the samples."""
    values = code_values(coding, term)
    total, of_subset = _dense_products(block, panel, subsets, coding, term, shifted=shifted)
    rows = np.flatnonzero(block.encoding == Encoding.CARRIERS)
    if len(rows):
        away = (code_values(coding) - code_values(coding)[2]) ** 2 if shifted and term == Term.SQUARE else values
        _add_carriers(block, rows, values, away, panel, subsets, total, of_subset, shifted=shifted)
    return _trimmed(total, of_subset, panel, subsets)


def called_and_missing_products(
    block: GenotypeBlock, missing: Entries, panel: Panel, subsets: Subsets, coding: int
) -> tuple[Products, Products]:
    """As :func:`subset_products`, shifted, and as :func:`missing_products`, with one walk over carriers for both.

    ``missing`` are the missing genotypes of variants that are not held as carriers.
    """
    total, of_subset = _dense_products(block, panel, subsets, coding, Term.VALUE, shifted=True)
    absent = _add_missing(missing, panel, subsets)
    rows = np.flatnonzero(block.encoding == Encoding.CARRIERS)
    if len(rows):
        values = code_values(coding)
        add_carriers(block, _carrier_weights(values, values), rows, panel, subsets, total, of_subset, *absent)
    return _trimmed(total, of_subset, panel, subsets), _trimmed(*absent, panel, subsets)


def _dense_products(
    block: GenotypeBlock, panel: Panel, subsets: Subsets, coding: int, term: int, *, shifted: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of whole chunks of columns, zero for variants that are held as carriers."""
    total, of_subset = _no_sums(block.n_variants, panel, subsets)
    for kind in (Encoding.CALLS, Encoding.DOSAGE8, Encoding.DOSAGE16):
        rows = np.flatnonzero(block.encoding == kind)
        if len(rows) == 0:
            continue
        if kind == Encoding.CALLS:
            whole = len(rows) == block.n_variants
            found = (total, of_subset) if whole else _no_sums(len(rows), panel, subsets)
            _sum_packed(block.calls, code_values(coding, term), panel, subsets, *found)
            if not whole:
                total[rows], of_subset[:, rows] = found
            continue
        found = _dosage_products(block, kind, rows, coding, term, panel, subsets, shifted=shifted)
        total[rows, : panel.n_columns] = found.total
        of_subset[:, rows, : subsets.n_columns] = found.of_subset
    return total, of_subset


def _no_sums(n_variants: int, panel: Panel, subsets: Subsets) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Zeros (variants, columns), and (subsets, variants, columns of subsets), the columns filled up to whole chunks."""
    chunks, _, lanes = panel.data.shape
    subset_chunks = -(-subsets.n_columns // lanes)
    return (
        np.zeros((n_variants, chunks * lanes)),
        np.zeros((subsets.n_subsets, n_variants, subset_chunks * lanes)),
    )


def shifts(block: GenotypeBlock, coding: int) -> NDArray[np.float64]:
    """The value of two copies, for variants held as carriers or as dosages of which most people have two, else 0.

    A constant that is taken off a predictor changes nothing beside an intercept. Taking this one off leaves
    sums over few carriers, where otherwise all digits of a singleton drown in two copies of everybody else.
    Shape (variants,).
    """
    out = np.zeros(block.n_variants)
    common = code_values(coding)[2]
    rare = np.flatnonzero(block.encoding == Encoding.CARRIERS)
    out[rare] = np.where(block.carrier_flipped, common, 0.0)
    for kind in (Encoding.DOSAGE8, Encoding.DOSAGE16):
        rows = np.flatnonzero(block.encoding == kind)
        codes, missing = _dosage_codes(block, kind)
        # Any constant would do, so that a look at some of the people is enough.
        some = codes[:, :: max(1, codes.shape[1] // LOOKED_AT)]
        called = some != missing
        copies = np.where(called, some, 0).sum(axis=1, dtype=np.int64)
        out[rows] = np.where(copies > called.sum(axis=1) * block.steps[rows].astype(np.int64), common, 0.0)
    return out


def _sum_packed(
    packed: NDArray[np.uint8],
    values: NDArray[np.float64],
    panel: Panel,
    subsets: Subsets,
    total: NDArray[np.float64],
    of_subset: NDArray[np.float64],
) -> None:
    """Sums of packed calls into ``total`` and ``of_subset``, zeros, of whole chunks of columns."""
    chunks, _, lanes = panel.data.shape
    by_chunk = (subsets.n_subsets, len(packed), -(-subsets.n_columns // lanes), lanes)
    kind = panel.data.dtype.type
    # Tables first, then the sums of a pass, in the panel's type.
    scratch = aligned_zeros((2 + by_chunk[0] * by_chunk[2], PASS_VARIANTS, lanes), panel.data.dtype)
    sum_calls(
        packed,
        kind(values[1]),
        kind(values[2]),
        panel.data,
        subsets.start,
        subsets.row,
        scratch,
        total.reshape(len(packed), chunks, lanes),
        of_subset.reshape(by_chunk),
    )


def _trimmed(total: NDArray[np.float64], of_subset: NDArray[np.float64], panel: Panel, subsets: Subsets) -> Products:
    """Without the columns that only fill up a chunk."""
    return Products(total[:, : panel.n_columns], of_subset[:, :, : subsets.n_columns])


@jit
def _weigh_carriers(
    offset: NDArray[np.int64],
    sample: NDArray[np.int32],
    call: NDArray[np.uint8],
    flipped: NDArray[np.bool_],
    weight_of: NDArray[np.float32],
    new_offset: NDArray[np.int64],
    new_sample: NDArray[np.int32],
    weight: NDArray[np.float32],
) -> None:
    """Carriers whose call has a weight, ``weight_of[flipped, call]``; the arrays have room for one more."""
    at = 0
    for v in range(offset.shape[0] - 1):
        new_offset[v] = at
        of_call = weight_of[int(flipped[v])]
        samples, calls = sample[offset[v] : offset[v + 1]], call[offset[v] : offset[v + 1]]
        listed, weights = new_sample[at:], weight[at:]
        n = 0
        for j in range(samples.shape[0]):
            # Written in any case, counted if it has one: no branch to guess wrong.
            listed[n] = samples[j]
            weights[n] = of_call[calls[j]]
            n += of_call[calls[j]] != 0.0
        at += n
    new_offset[offset.shape[0] - 1] = at


def _carrier_weights(values: NDArray[np.float64], flipped_values: NDArray[np.float64]) -> NDArray[np.float32]:
    """What calls add, beyond the common homozygote, of carriers of ALT and of carriers of REF; shape (2, 4)."""
    weight_of = np.zeros((2, 4), np.float32)
    weight_of[:, :3] = values[:3] - values[0], flipped_values[2::-1] - flipped_values[2]
    return weight_of


def _add_carriers(
    block: GenotypeBlock,
    variants: NDArray[np.int64],
    values: NDArray[np.float64],
    flipped_values: NDArray[np.float64],
    panel: Panel,
    subsets: Subsets,
    total: NDArray[np.float64],
    of_subset: NDArray[np.float64],
    *,
    shifted: bool,
) -> None:
    """Add sums over carriers, in the rows of their variants.

    Of a variant whose carriers carry REF the values are ``flipped_values``.
    """
    # What each carrier adds to the sum in which everybody else counts as the common homozygote.
    weight_of = _carrier_weights(values, flipped_values)
    if not shifted:
        weight_of[:, 3] = -values[0], -flipped_values[2]
    n_rows, n_carriers = len(block.carrier_flipped), len(block.carrier_sample)
    entries = Entries(np.empty(n_rows + 1, np.int64), np.empty(n_carriers + 1, np.int32))
    weight = np.empty(n_carriers + 1, np.float32)
    _weigh_carriers(
        block.carrier_offset,
        block.carrier_sample,
        block.carrier_call,
        block.carrier_flipped,
        weight_of,
        *entries,
        weight,
    )
    add_entries(entries, weight, variants, panel, subsets, total, of_subset)
    others = np.where(block.carrier_flipped, values[2], values[0])
    if not shifted and others.any():
        total[variants] += np.outer(others, panel.data.sum(axis=1, dtype=np.float64))
        chunks = of_subset.shape[2] // panel.data.shape[2]
        for s in range(subsets.n_subsets):
            rows = subsets.row[subsets.start[s] : subsets.start[s + 1]]
            of_subset[s, variants] += np.outer(others, panel.data[:chunks, rows].sum(axis=1, dtype=np.float64))


def _dosage_codes(block: GenotypeBlock, kind: Encoding) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], int]:
    return (block.dosage8, MISSING8) if kind == Encoding.DOSAGE8 else (block.dosage16, MISSING16)


def _dosage_products(
    block: GenotypeBlock,
    kind: Encoding,
    rows: NDArray[np.int64],
    coding: int,
    term: int,
    panel: Panel,
    subsets: Subsets,
    *,
    shifted: bool,
) -> Products:
    codes, missing = _dosage_codes(block, kind)
    n_rows, n_samples = codes.shape
    steps = block.steps[rows]
    shift = shifts(block, coding)[rows] if shifted else np.zeros(n_rows)
    total = np.zeros((n_rows, panel.n_columns))
    of_subset = np.zeros((subsets.n_subsets, n_rows, subsets.n_columns))
    buffer = np.empty((TILE_VARIANTS, STRIP_ROWS), panel.data.dtype)
    for first in range(0, n_samples, STRIP_ROWS):
        stop = min(first + STRIP_ROWS, n_samples)
        part = np.ascontiguousarray(panel.matrix(first, stop))
        inside = _members(subsets, first, stop)
        for row in range(0, n_rows, TILE_VARIANTS):
            tile = buffer[: min(TILE_VARIANTS, n_rows - row), : stop - first]
            _dosage_tile(codes, steps, missing, row, first, int(coding), int(term), shift, tile)
            total[row : row + len(tile)] += tile @ part
            for s, samples in enumerate(inside):
                of_subset[s, row : row + len(tile)] += tile[:, samples] @ part[samples, : subsets.n_columns]
    return Products(total, of_subset)


def _members(subsets: Subsets, first: int, stop: int) -> list[NDArray[np.int64]]:
    """Samples of each subset among ``first:stop``, counted from ``first``."""
    a, b = subsets.of_sample_start[first], subsets.of_sample_start[stop]
    sample = np.repeat(np.arange(stop - first), np.diff(subsets.of_sample_start[first : stop + 1]))
    order = np.argsort(subsets.of_sample[a:b], kind="stable")
    ends = np.cumsum(np.bincount(subsets.of_sample[a:b], minlength=subsets.n_subsets))
    return np.split(sample[order], ends[:-1]) if subsets.n_subsets else []


def missing_products(
    missing: Entries, panel: Panel | NDArray[np.floating[Any]], subsets: Subsets | None = None
) -> Products:
    """``Σ_i W_ic`` over the samples without a call, and of the first columns over those in each subset."""
    if not isinstance(panel, Panel):
        panel = make_panel(panel, panel.dtype)
    subsets = no_subsets(panel.n_samples) if subsets is None else subsets
    return _trimmed(*_add_missing(missing, panel, subsets), panel, subsets)


def _add_missing(missing: Entries, panel: Panel, subsets: Subsets) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of whole chunks of columns over listed samples."""
    v = len(missing.offset) - 1
    sums = _no_sums(v, panel, subsets)
    add_entries(missing, np.ones(len(missing.sample), np.float32), np.arange(v), panel, subsets, *sums)
    return sums
