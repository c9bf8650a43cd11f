"""Variants that a meta-analysis found, with what each study says of them and what is left without it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from allscan.arrow import number_array, string_array
from allscan.engine.hits import names_of
from allscan.engine.meta.block import ASSOCIATION, leave_out
from allscan.storage import each, write_atomically
from allscan.storage.parquet import write_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from allscan.engine.meta.cube import MetaCube
    from allscan.engine.meta.studies import StudyBlock
    from allscan.storage import Place

"""The table, by stratification and trait, then genome order."""

STUDY_FIELDS = {
    "beta": "effect in the study, per copy of the variant's effect allele",
    "standard_error": "of it, widened where genomic control was asked for",
    "n": "people",
    "effect_allele_frequency": "in the study",
    "beta_without": "effect common to all other studies",
    "standard_error_without": "of it",
    "neg_log10_p_without": "−log10 p of it",
}
"""What is told of each study of a hit."""


def find_hits(
    values: Mapping[str, NDArray[Any]], block: StudyBlock, names: Sequence[str], least: float
) -> pa.Table | None:
    """Hits of one set, trait and block of variants; None without any.

    Parameters
    ----------
    values
        Every column, each (variants,).
    block
        Studies that count.
    names
        Their names.
    least
        A hit's −log10 p is at least this, by one of the tests of association.
    """
    # NaN is no hit: it compares false.
    reached = [values[name] >= least for name in ASSOCIATION if name in values]
    found = np.flatnonzero(np.logical_or.reduce(reached))
    if not len(found):
        return None
    of_hits = type(block)._make(None if array is None else array[:, found] for array in block)
    without = leave_out(of_hits)
    told = {
        "beta": of_hits.beta,
        "standard_error": of_hits.standard_error,
        "n": of_hits.n,
        "effect_allele_frequency": of_hits.frequency,
        "beta_without": without.beta,
        "standard_error_without": without.standard_error,
        "neg_log10_p_without": without.neg_log10_p,
    }
    # Of each hit the studies that have it, in their order.
    hit, study = np.nonzero((np.isfinite(of_hits.beta) & np.isfinite(of_hits.standard_error)).T)
    fields = {"study": string_array([names[k] for k in study.tolist()])}
    fields |= {name: _nullable(array[study, hit].astype(np.float32)) for name, array in told.items()}
    ends = np.searchsorted(hit, np.arange(len(found) + 1)).astype(np.int32)
    studies = pa.ListArray.from_arrays(number_array(ends), pa.StructArray.from_arrays(fields.values(), fields.keys()))
    columns = {name: number_array(array[found]) for name, array in values.items()}
    return pa.table({"variant": number_array(found.astype(np.int64)), **columns, "studies": studies})


def placed(table: pa.Table, set_index: int, trait: int, first_variant: int) -> pa.Table:
    """A block's hits with their place in the cube."""
    count = len(table)
    variant = table["variant"].combine_chunks()
    index = np.frombuffer(variant.buffers()[1], np.int64, count) + first_variant
    table = table.set_column(0, "variant", number_array(index))
    table = table.add_column(0, "trait", number_array(np.full(count, trait, np.int32)))
    return table.add_column(0, "stratification", number_array(np.full(count, set_index, np.int32)))


def write_part(place: Place, table: pa.Table) -> None:
    """Write the hits of a task."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    write_atomically(place, sink.getvalue())


def join_hits(parts: Sequence[Place], cube: MetaCube, target: Place) -> int:
    """Join the hits of all tasks into one table; returns their number.

    Parameters
    ----------
    parts
        What :func:`write_part` wrote.
    cube
        The meta-analysis.
    target
        The table to write.
    """
    tables = [pa.ipc.open_stream(content).read_all() for content in each(lambda part: part.read_bytes(), parts)]
    if not tables:
        tables = [_nothing(cube)]
    hits = pa.concat_tables(tables).sort_by([(key, "ascending") for key in ("stratification", "trait", "variant")])
    variants, of_hit = np.unique(np.array(hits["variant"].to_pylist(), np.int64), return_inverse=True)
    names = names_of(cube, variants).take(of_hit)
    index = {key: hits[key].combine_chunks() for key in ("stratification", "trait")}
    columns = {
        "stratification": string_array(cube.strata).take(index["stratification"]),
        "trait": string_array(cube.traits).take(index["trait"]),
        "contig": names.contig_names,
        "position": number_array(names.position),
        "variant_id": names.variant_id,
        "ref": names.ref,
        "effect_allele": names.alt,
    }
    columns |= {name: hits[name] for name in hits.column_names if name not in {*columns, "variant", "status"}}
    write_table(target, pa.table(columns))
    return len(hits)


def _nothing(cube: MetaCube) -> pa.Table:
    """No hits, with the columns of some."""
    study = pa.struct([("study", pa.string()), *((name, pa.float32()) for name in STUDY_FIELDS)])
    schema = pa.schema(
        [
            ("stratification", pa.int32()),
            ("trait", pa.int32()),
            ("variant", pa.int64()),
            *((column.name, pa.from_numpy_dtype(np.dtype(column.dtype))) for column in cube.columns),
            ("studies", pa.list_(study)),
        ]
    )
    return schema.empty_table()


def _nullable(values: NDArray[np.float32]) -> Any:
    """Numbers, null where they are NaN."""
    return pa.array(values, pa.float32(), mask=np.isnan(values))
