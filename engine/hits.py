"""The rows below a p threshold, as one small Parquet table for instant look-ups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.store import flush

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from allscan.engine.plan import ScanTask
    from allscan.engine.scan import ScanShared


HITS = "hits.parquet"
"""The table in the run folder, by stratum and trait, then genome order."""
HIT_PARTS = "hits.parts"
"""Folder of the tasks' parts."""


def write_hits(shared: ScanShared, task: ScanTask, rows: NDArray[np.int64], columns: Mapping[str, NDArray[Any]]) -> int:
    """Write the hits of one task as a part; returns their number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    p = columns["neg_log10_p"]
    with np.errstate(invalid="ignore"):
        trait, variant = np.nonzero((p >= shared.spec.hits_neg_log10_p).T)
    table = shared.store.variants(int(rows[0]), int(rows[-1]) + 1)
    local = rows[variant] - rows[0]
    data: dict[str, Any] = {
        "stratum": np.full(len(trait), shared.strata[task.stratum], object),
        "trait": np.array(shared.traits, object)[trait],
        "contig": table.contig[local],
        "position": table.position[local],
        "variant_id": table.variant_id[local],
        "ref": table.ref[local],
        "effect_allele": table.alt[local],
        "info": table.info[local],
    }
    for name, values in columns.items():
        if name != "status":
            data[name] = values[variant, trait]
    strings = ("stratum", "trait", "contig", "variant_id", "ref", "effect_allele")
    arrays = {
        name: pa.array(values.tolist(), pa.string()) if name in strings else pa.array(values)
        for name, values in data.items()
    }
    path = shared.output / HIT_PARTS / f"{task.name}.parquet"
    temporary = path.with_suffix(".partial")
    pq.write_table(pa.table(arrays), temporary)
    flush(temporary)
    temporary.replace(path)
    return len(trait)


def compact_hits(parts: Path, out: Path, names: Iterable[str], strata: tuple[str, ...], traits: tuple[str, ...]) -> int:
    """Join the parts into one table, by stratum and trait in the order of the cube, then genome order.

    ``names`` are the parts' in genome order; returns the number of rows.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    joined = pa.concat_tables([pq.read_table(parts / f"{name}.parquet") for name in names])
    # A stable sort keeps the genome order within a trait.
    stratum, trait = (
        pc.index_in(joined[name], value_set=pa.array(order, pa.string())).to_numpy()
        for name, order in (("stratum", strata), ("trait", traits))
    )
    order = np.lexsort([trait, stratum])
    temporary = out.with_name(f".{out.name}.partial")
    floats = [field.name for field in joined.schema if pa.types.is_floating(field.type)]
    pq.write_table(
        joined.take(pa.array(order)),
        temporary,
        compression="zstd",
        use_dictionary=["stratum", "trait", "contig", "ref", "effect_allele"],
        use_byte_stream_split=floats,
    )
    temporary.replace(out)
    return int(joined.num_rows)
