"""Results at single variants, for tables: every block that holds any is read once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.hits import names_of
from allscan.jobs.result_source import of_binary_traits, own_columns
from allscan.kernels.association import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from allscan.jobs.result_source import ResultSource

LEAST_PIECE = 1024
"""Variants read at a time, at least."""


def name_columns(source: ResultSource, variant: NDArray[np.int64]) -> dict[str, list[Any]]:
    """Names and places of variants, in any order and repeated, as lists of their length."""
    distinct, of_row = np.unique(variant, return_inverse=True)
    named = names_of(source, distinct).take(of_row)
    return {
        "contig": [named.contigs[code] for code in named.contig],
        "position": named.position.tolist(),
        "id": named.variant_id.to_pylist(),
        "ref": named.ref.to_pylist(),
        "alt": named.alt.to_pylist(),
        "info": [json_number(value) for value in named.info],
    }


def read_rows(
    source: ResultSource,
    stratum: int,
    traits: slice,
    wanted: Sequence[NDArray[np.int64]],
    held: Mapping[str, NDArray[Any]],
) -> list[dict[str, list[Any]]]:
    """Table rows of each trait's variants; every block that holds any is read once for all traits.

    Columns that are ``held``, of these traits and all variants, are not read.
    """
    sizes = [len(rows) for rows in wanted]
    trait = np.repeat(np.arange(len(wanted)), sizes)
    variant = np.concatenate([np.empty(0, np.int64), *wanted])
    names = ["n", "effect_allele_frequency", *(column.name for column in own_columns(source))]
    if of_binary_traits(source):
        names += ["cases", "effect_allele_frequency_cases", "effect_allele_frequency_controls", "status"]
    results = read_cells(source, stratum, traits, trait, variant, [name for name in names if name not in held])
    results |= {name: held[name][trait, variant] for name in names if name in held}
    results = {name: results[name] for name in names}
    columns = {
        **name_columns(source, variant),
        **{name: [json_number(value) for value in values] for name, values in results.items()},
    }
    if "status" in columns:
        columns["status"] = [Status(code).name for code in columns["status"]]
    ends = np.cumsum(sizes).tolist()
    return [
        {name: column[end - size : end] for name, column in columns.items()}
        for size, end in zip(sizes, ends, strict=True)
    ]


def read_cells(
    source: ResultSource,
    stratum: int,
    traits: slice,
    trait: NDArray[np.int64],
    variant: NDArray[np.int64],
    names: Sequence[str],
) -> dict[str, NDArray[Any]]:
    """Result columns at some traits (counted from the first of ``traits``) and variants, each of their shape."""
    # Smaller pieces than the pass's blocks: a few leads must not cost the whole table again. Whole chunks, each
    # read once; tiny ones together.
    piece = source.chunk_variants * -(-LEAST_PIECE // source.chunk_variants)
    found: dict[str, NDArray[Any]] = {}
    for number in np.unique(variant // piece).tolist():
        rows = np.flatnonzero(variant // piece == number)
        here = slice(number * piece, min((number + 1) * piece, source.n_variants))
        for name in names:
            values = source.block(name, stratum, traits, here)
            column = found.setdefault(name, np.empty(len(variant), values.dtype))
            column[rows] = values[trait[rows], variant[rows] - here.start]
    return found or {name: np.empty(0) for name in names}


def json_number(value: Any) -> float | int | None:
    """A number as JSON holds it: float32 by its shortest decimal, NaN as null."""
    if not np.isfinite(value):
        return None
    if isinstance(value, np.integer):
        return int(value)
    return float(np.format_float_scientific(value))
