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

REPEATED = ("contig", "ref", "alt", "status")
"""Strings that a dictionary makes smaller; identifiers differ."""
SOUGHT = ("contig", "position", "neg_log10_p")
"""Columns whose range in each row group is kept, so that a reader may pass over it."""


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

    Floats are split by bytes (BYTE_STREAM_SPLIT) and compressed by zstd; a dictionary is kept for repeated
    strings only: one of floats makes a file larger, not smaller.
    """
    layout = schema(selection)
    floats = [field.name for field in layout if pa.types.is_floating(field.type)]
    names = pa.array([status.name for status in Status], pa.string())
    count = 0
    with pq.ParquetWriter(
        path,
        layout,
        compression="zstd",
        use_dictionary=list(REPEATED),
        write_statistics=list(SOUGHT),
        column_encoding={"position": "DELTA_BINARY_PACKED", **dict.fromkeys(floats, "BYTE_STREAM_SPLIT")},
    ) as writer:
        for rows in parts:
            table = rows.table
            known = {
                "contig": table.contig_names,
                "position": pa.array(table.position),
                "variant_id": table.variant_id,
                "ref": table.ref,
                "alt": table.alt,
                "info": pa.array(table.info, from_pandas=True),
                "status": names.take(pa.array(rows.values["status"])),
            }
            # NaN becomes null: databases keep the two apart, and these values are missing.
            arrays = [
                known[field.name]
                if field.name in known
                else pa.array(rows.values[field.name], field.type, from_pandas=True)
                for field in layout
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=layout), row_group_size=max(len(rows), 1))
            count += len(rows)
    return count
