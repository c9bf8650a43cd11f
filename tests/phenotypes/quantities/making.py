"""From rows written down by hand to a trait."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from allscan.phenotypes.definitions.loading import derive, load_definition
from allscan.phenotypes.phenotype import Phenotype
from allscan.phenotypes.records.opening import open_records
from tests.phenotypes.cdr import Cdr

LDL, STATIN, PREGNANT, INFARCTION = 3028437, 1539403, 4299535, 4329847
MG_DL, MMOL_L = 8840, 8753

_number = itertools.count()


def ldl(**keys: Any) -> dict[str, Any]:
    """A definition of LDL cholesterol, with other keys."""
    first = {"kind": "measurement", "id": "ldl", "codes": {"concepts": [LDL]}, "unit": "mg/dL", "summary": "median"}
    return {key: value for key, value in {**first, **keys}.items() if value is not None}


def people(n: int, **more: Any) -> Cdr:
    """People 1 to n, born on 1 July 1960, with records until the end of 2020."""
    cdr = Cdr()
    for person in range(1, n + 1):
        cdr.person(person, "F" if person % 2 else "M", 1960, **more)
    return cdr.observed(1, "1990-01-01", "2020-12-31")


def made(folder: Path, cdr: Cdr, definition: dict[str, Any], form: str = "parquet") -> Phenotype:
    """The trait of a definition."""
    return made_with_quality(folder, cdr, definition, form)[0]


def made_with_quality(
    folder: Path, cdr: Cdr, definition: dict[str, Any], form: str = "parquet"
) -> tuple[Phenotype, dict[str, int]]:
    """The trait, and what was wrong with the rows."""
    place = cdr.write(folder / f"cdr-{next(_number)}", form)
    with open_records(place, threads=1) as records:
        (trait,) = derive(records, load_definition(definition, folder))
        left = records.connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        assert not [name for (name,) in left if name.startswith(("values_", "beside_"))], "tables are left behind"
        return trait, {line.what: line.rows for line in records.quality()}


def steps(trait: Phenotype) -> list[tuple[str, int]]:
    return [(step.what, step.people) for step in trait.steps]
