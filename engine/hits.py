"""The rows below a p threshold, as one small Parquet table for instant look-ups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from allscan.engine.columns import blank
from allscan.kernels.association import Status
from allscan.storage import ObjectPlace, each, flush, write_atomically, write_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from allscan.engine.plan import ScanPlan, ScanTask
    from allscan.engine.results import ResultsCube
    from allscan.engine.variant_names import VariantNames
    from allscan.storage import Place

HITS = "hits.parquet"
"""The table in the run folder, by stratum and trait, then genome order."""
HIT_PARTS = "hits.parts"
"""Folder of the tasks' parts."""

ROW_GROUP = 1 << 16
_PLACE = [("stratum", "<i4"), ("trait", "<i4"), ("variant", "<i8")]  # indices into the cube
_DICTIONARIES = ["stratum", "trait", "contig", "ref", "effect_allele", "status"]


def write_hits(output: Place, plan: ScanPlan, task: ScanTask, values: Mapping[str, NDArray[Any]], least: float) -> int:
    """Write the hits of one task as a part, if there are any; returns their number.

    Parameters
    ----------
    output
        The run folder.
    plan, task
        Where the rows stand in the cube.
    values
        As for :func:`allscan.engine.results.write_block`, each of shape (strata, traits, variants).
    least
        A hit's −log10 p is at least this.
    """
    shape = values["neg_log10_p"].shape
    # NaN is no hit: it compares false.
    found = np.flatnonzero(values["neg_log10_p"].ravel() >= least)
    if not len(found):
        return 0
    stratum, trait, variant = np.unravel_index(found, shape)
    hits = np.empty(len(found), _layout({name: rows.dtype for name, rows in values.items()}))
    hits["stratum"] = stratum
    hits["trait"] = plan.batch_traits(task.batch)[trait]
    hits["variant"] = task.index * plan.variants_per_task + variant
    for name in hits.dtype.names[len(_PLACE) :]:
        hits[name] = values[name][stratum, trait, variant]
    write_files([(_part(output, task.name), [hits.tobytes()])])
    return len(found)


def _layout(dtypes: Mapping[str, np.dtype[Any]]) -> np.dtype[Any]:
    """A row of a part: its place in the cube, then every column."""
    return np.dtype(_PLACE + [(name, dtypes[name].newbyteorder("<")) for name in sorted(dtypes)])


def _part(output: Place, name: str) -> Place:
    return output / HIT_PARTS / f"{name}.bin"


def _read_part(content: bytes, cube: ResultsCube, layout: np.dtype[Any]) -> NDArray[Any]:
    """Rows of a part, with every column of the cube; the part has those of the kind that its traits are of."""
    if len(cube.kinds) == 1:
        return np.frombuffer(content, layout)
    trait = np.frombuffer(content, np.dtype(_PLACE), count=1)["trait"][0]
    kind = next(kind for kind in cube.kinds if trait in kind.of_cube)
    own_types = {column.name: np.dtype(column.dtype) for column in kind.columns}
    own = np.frombuffer(content, _layout(own_types))
    rows = np.empty(len(own), layout)
    for column in cube.columns:
        rows[column.name] = own[column.name] if column.name in own_types else blank(column)
    for name, _ in _PLACE:
        rows[name] = own[name]
    return rows


def compact_hits(output: Place, cube: ResultsCube, names: Iterable[str]) -> int:
    """Join the parts into one table, by stratum and trait in the order of the cube, then genome order.

    Parameters
    ----------
    output
        The run folder.
    cube
        Its results.
    names
        Tasks that have hits.

    Returns
    -------
    Number of rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from allscan.arrow import compute, number_array, string_array

    dtypes = {column.name: np.dtype(column.dtype) for column in cube.columns}
    layout = _layout(dtypes)
    files = [_part(output, name) for name in names]
    parts = [_read_part(content, cube, layout) for content in each(lambda file: file.read_bytes(), files)]
    hits = np.concatenate(parts) if parts else np.empty(0, layout)
    hits = hits[np.lexsort([hits["variant"], hits["trait"], hits["stratum"]])]
    variants, of_hit = np.unique(hits["variant"], return_inverse=True)
    table = names_of(cube, variants)
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("stratum", "trait", "contig")),
            ("position", pa.int32()),
            *((name, pa.string()) for name in ("variant_id", "ref", "effect_allele")),
            ("info", pa.float32()),
            *((name, pa.from_numpy_dtype(dtype)) for name, dtype in dtypes.items() if name != "status"),
            ("status", pa.string()),
        ]
    )
    known = {
        "stratum": string_array(cube.strata),
        "trait": string_array(cube.traits),
        "contig": table.contig_names,
        "position": number_array(table.position),
        "variant_id": table.variant_id,
        "ref": table.ref,
        "effect_allele": table.alt,
        "info": number_array(table.info),
        "status": string_array([status.name for status in Status]),
    }
    # An object is put when it is whole.
    target: Any = pa.BufferOutputStream() if isinstance(output, ObjectPlace) else output / f".{HITS}.partial"
    if not isinstance(output, ObjectPlace):
        target.unlink(missing_ok=True)  # whatever it is: a link would be written through
    with pq.ParquetWriter(
        target,
        schema,
        compression="zstd",
        use_dictionary=_DICTIONARIES,
        use_byte_stream_split=[field.name for field in schema if pa.types.is_floating(field.type)],
    ) as writer:
        for start in range(0, len(hits), ROW_GROUP):
            rows = slice(start, start + ROW_GROUP)
            index = {name: hits[name][rows] for name in ("stratum", "trait", "status")}
            arrays = [
                compute("take", known[field.name], number_array(index.get(field.name, of_hit[rows])))
                if field.name in known
                else number_array(hits[field.name][rows])
                for field in schema
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    if isinstance(output, ObjectPlace):
        write_atomically(output / HITS, target.getvalue().to_pybytes())
    else:
        flush(target)
        target.replace(output / HITS)
    return len(hits)


class NameSource(Protocol):
    """What holds the names of variants: a results cube."""

    def variant_names(self, start: int = 0, stop: int | None = None) -> VariantNames:
        """Names and places of variants ``start:stop``."""
        ...


def names_of(cube: NameSource, variants: NDArray[np.int64]) -> VariantNames:
    """Names of some variants, in ascending order; only the chunks that hold one are read, each once."""
    from allscan.engine.results import NAME_ROWS
    from allscan.engine.variant_names import VariantNames

    parts = [cube.variant_names(0, 0)]
    for block in np.unique(variants // NAME_ROWS):
        start = int(block) * NAME_ROWS
        inside = variants[(variants >= start) & (variants < start + NAME_ROWS)]
        parts.append(cube.variant_names(start, start + NAME_ROWS).take(inside - start))
    return VariantNames.concatenate(parts)
