"""Work out a cohort with the library's own engine, which the tests compare with.

It runs where ibis and DuckDB go together (ibis 12 does not know DuckDB 2): in an environment of its own,
`pip install ohdsi-circepy==0.3.0 'duckdb<2'`.

Usage: python by_the_library.py COHORT.json TABLES PARQUET_FOLDER > members.json, where TABLES is the digest that
test_circe.py has of the tables, and PARQUET_FOLDER what it writes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import ibis
from circe.api import build_cohort, cohort_expression_from_json


def members(cohort: Path, folder: Path) -> dict[str, str]:
    """Who enters the cohort, and when first."""
    backend = ibis.duckdb.connect()
    for path in sorted(folder.glob("*.parquet")):
        backend.raw_sql(f"CREATE TABLE {path.stem} AS SELECT * FROM '{path}'")
    table = build_cohort(cohort_expression_from_json(cohort.read_text()), backend=backend, cdm_schema="main")
    rows = table.to_pyarrow().to_pylist()
    days = sorted((int(row["person_id"]), str(row["start_date"])[:10]) for row in rows)
    return {str(person): day for person, day in reversed(days)}


if __name__ == "__main__":
    found = members(Path(sys.argv[1]), Path(sys.argv[3]))
    ordered = dict(sorted(found.items(), key=lambda item: int(item[0])))
    sys.stdout.write(json.dumps({"tables": sys.argv[2], "members": ordered}, indent=0) + "\n")
