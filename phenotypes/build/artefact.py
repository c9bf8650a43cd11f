"""The trait table as a folder: traits, covariates, what each of them is, and where everything came from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from allscan.arrow import number_array
from allscan.errors import FileFormatError, InputError, output_error
from allscan.phenotypes.phenotype import BINARY, CASE, MISSING, ONLY_SEX
from allscan.storage import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from allscan.phenotypes.build.covariates import Covariate
    from allscan.phenotypes.phenotype import Phenotype
    from allscan.storage import Place

FORMAT = "allscan trait table 1"
_SEX_WORDS = {code: word for word, code in ONLY_SEX.items()}
TRAITS, COVARIATES, PROVENANCE, DESCRIPTIONS, REPORT = (
    "traits.parquet",
    "covariates.parquet",
    "provenance.json",
    "descriptions.tsv",
    "report.html",
)
ID_COLUMN = "person_id"
ROW_GROUP = 1 << 16


@dataclass(frozen=True)
class TraitTableFolder:
    """A trait table that was built."""

    path: Place
    provenance: dict[str, Any]

    @property
    def digest(self) -> str:
        """What it was made of; two tables with the same digest hold the same."""
        return str(self.provenance["digest"])

    @property
    def traits_file(self) -> Place:
        """Everybody's traits."""
        return self.path / TRAITS

    @property
    def covariates(self) -> Place:
        """Everybody's covariates."""
        return self.path / COVARIATES

    @property
    def descriptions(self) -> Place:
        """What the traits are: a table."""
        return self.path / DESCRIPTIONS

    id_column = ID_COLUMN

    @property
    def traits(self) -> list[dict[str, Any]]:
        """What is known of each trait, in order of the columns."""
        found: list[dict[str, Any]] = self.provenance["traits"]
        return found


def is_trait_table(path: Place) -> bool:
    """Whether a folder is a trait table."""
    return (path / PROVENANCE).is_file() and (path / TRAITS).is_file()


def open_trait_table(path: Place) -> TraitTableFolder:
    """Open a trait table.

    Raises
    ------
    FileFormatError
        If the folder is no trait table of this version.
    """
    try:
        provenance = json.loads((path / PROVENANCE).read_bytes())
        found = provenance["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileFormatError(
            "the folder is no trait table", where=str(path), fix="make one: allscan phenotypes build FILE.yaml"
        ) from error
    if found != FORMAT:
        raise FileFormatError(
            f"the trait table is of the format {found!r}, and this version reads {FORMAT!r}",
            where=str(path),
            fix="build it again: allscan phenotypes build FILE.yaml",
        )
    return TraitTableFolder(path, provenance)


class Columns:
    """Traits as they are made, each packed at once: a case takes a bit."""

    def __init__(self) -> None:
        self.arrays: list[Any] = []
        self.names: list[str] = []
        self.facts: list[dict[str, Any]] = []

    def add(self, trait: Phenotype) -> None:
        """Take a trait.

        Raises
        ------
        InputError
            If there is one of that name.
        """
        if trait.name in self.names or trait.name == ID_COLUMN:
            raise InputError(f"two traits are called {trait.name!r}", fix="give one of them another id")
        self.names.append(trait.name)
        self.arrays.append(_packed(trait))
        self.facts.append(facts_of(trait))


def facts_of(trait: Phenotype) -> dict[str, Any]:
    """What the provenance says of a trait."""
    counts = {"n": trait.n}
    if trait.kind == BINARY:
        counts |= {"cases": trait.cases, "controls": trait.n - trait.cases}
    return {
        "name": trait.name,
        "kind": trait.kind,
        "label": trait.label,
        "category": trait.category,
        "sex": _SEX_WORDS[trait.only_sex],
        "units": trait.units,
        "transform": trait.transform,
        **counts,
        "recipe": dict(trait.recipe),
        "steps": [{"what": step.what, "people": step.people, "kind": step.kind} for step in trait.steps],
        "notes": list(trait.notes),
        "warnings": list(trait.warnings),
    }


def write_trait_table(
    path: Path,
    person_id: NDArray[np.int64],
    columns: Columns,
    covariates: Sequence[Covariate],
    provenance: dict[str, Any],
) -> TraitTableFolder:
    """Write a trait table; its provenance comes last, so that a folder with one is whole.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    provenance = {"format": FORMAT, **provenance, "traits": columns.facts}
    ids = number_array(person_id)
    try:
        path.mkdir(parents=True, exist_ok=True)
        for of_another in (PROVENANCE, REPORT):
            (path / of_another).unlink(missing_ok=True)
        _write(path / TRAITS, pa.Table.from_arrays([ids, *columns.arrays], names=[ID_COLUMN, *columns.names]))
        cells = [_cells(one.values) for one in covariates]
        _write(
            path / COVARIATES, pa.Table.from_arrays([ids, *cells], names=[ID_COLUMN, *(one.name for one in covariates)])
        )
        write_atomically(path / DESCRIPTIONS, _descriptions(columns.facts).encode())
        write_atomically(path / PROVENANCE, (json.dumps(provenance, indent=1, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise output_error(
            error, path, again="run the same command again", elsewhere="check the folder and its rights"
        ) from error
    return TraitTableFolder(path, provenance)


def _write(path: Path, table: Any) -> None:
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(table, partial, compression="zstd", row_group_size=ROW_GROUP, use_dictionary=False)
    partial.replace(path)


def _packed(trait: Phenotype) -> Any:
    if trait.kind == BINARY:
        return pa.array(trait.values == CASE, mask=trait.values == MISSING)
    return pa.array(trait.values, mask=np.isnan(trait.values))


def _cells(values: NDArray[Any]) -> Any:
    """A column of numbers or texts; whole numbers as such: 2, not 2.0, in what other programs read."""
    if values.dtype == object:
        return pa.array(values.tolist(), pa.string())
    missing = np.isnan(values)
    known = values[~missing]
    if known.size and (known == np.rint(known)).all() and np.abs(known).max() < 2**53:
        values = np.where(missing, 0, values).astype(np.int64)
    return pa.array(values, mask=missing)


def _descriptions(facts: Sequence[dict[str, Any]]) -> str:
    rows = ["\t".join(("trait", "label", "category", "kind", "sex", "units"))]
    for fact in facts:
        cells = (fact["name"], fact["label"], fact["category"], fact["kind"], fact["sex"], fact["units"])
        rows.append("\t".join(" ".join(str(cell).split()) for cell in cells))
    return "\n".join(rows) + "\n"
