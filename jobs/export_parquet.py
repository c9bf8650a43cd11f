"""Exports as Parquet: every column of the cube, typed."""

from __future__ import annotations

import json
from importlib import metadata
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from allscan.kernels.association import Status

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from allscan.jobs.export_rows import Rows, Selection

STRINGS = ("contig", "variant_id", "ref", "alt", "status")


def schema(selection: Selection) -> pa.Schema:
    """Columns with their descriptions, and what the file is about."""
    fields = [
        pa.field("contig", pa.string(), metadata={"description": "Contig, as the genotypes spell it"}),
        pa.field("position", pa.int32(), metadata={"description": "1-based position of REF"}),
        pa.field("variant_id", pa.string(), metadata={"description": "Identifier; '.' without one"}),
        pa.field("ref", pa.string(), metadata={"description": "Reference allele"}),
        pa.field("alt", pa.string(), metadata={"description": "Alternate allele: the effect allele"}),
        pa.field("info", pa.float32(), metadata={"description": "Imputation quality"}),
    ]
    for column in selection.source.columns:
        kind = pa.string() if column.name == "status" else pa.from_numpy_dtype(np.dtype(column.dtype))
        described = {"description": column.description, "unit": column.unit}
        fields.append(pa.field(column.name, kind, metadata=described))
    about = {
        "trait": selection.trait_name,
        "stratum": selection.stratum_name,
        "effect_allele": "alt",
        "software": f"allscan {metadata.version('allscan')}",
        **{key: selection.source.attrs.get(key) for key in ("test", "model", "reference_build", "digest")},
    }
    return pa.schema(fields, metadata={"allscan": json.dumps(about)})


def write_parquet(path: Path, selection: Selection, parts: Iterable[Rows]) -> int:
    """Write rows to a Parquet file, a row group for each part; returns their number.

    Floats are split by bytes (BYTE_STREAM_SPLIT) and compressed by zstd; a dictionary is kept for strings
    only: one of floats makes a file larger, not smaller.
    """
    layout = schema(selection)
    floats = [field.name for field in layout if pa.types.is_floating(field.type)]
    names = np.array([status.name for status in Status], dtype=object)
    count = 0
    with pq.ParquetWriter(
        path,
        layout,
        compression="zstd",
        use_dictionary=list(STRINGS),
        column_encoding={"position": "DELTA_BINARY_PACKED", **dict.fromkeys(floats, "BYTE_STREAM_SPLIT")},
    ) as writer:
        for rows in parts:
            values = {**rows.values, "status": names[rows.values["status"]]}
            for name in ("contig", "position", "variant_id", "ref", "alt", "info"):
                values[name] = getattr(rows.table, name)
            # NaN becomes null: databases keep the two apart, and these values are missing.
            arrays = [pa.array(values[field.name], field.type, from_pandas=True) for field in layout]
            writer.write_table(pa.Table.from_arrays(arrays, schema=layout), row_group_size=max(len(rows), 1))
            count += len(rows)
    return count
