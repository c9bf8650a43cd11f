"""The structure of a cohort as a folder: who is where, who is related, what it was made of.

``samples.parquet`` has a row for everybody in the genotype store, in its order; ``group_components.parquet`` one for
each person with components of their group; ``relatives.parquet`` one for each pair; ``variants.parquet`` one for each
variant, and ``axes.parquet`` one for each marker, with nothing of a single person. ``provenance.json`` is written last:
a folder that has it is whole.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from allscan.arrow import booleans, numbers, objects
from allscan.errors import FileFormatError, InputError
from allscan.storage import open_stream, place_of, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa
    import xarray as xr
    from numpy.typing import NDArray

    from allscan.storage import Place

FORMAT = "allscan structure 1"
SAMPLES, VARIANTS, GROUP_COMPONENTS, RELATIVES, AXES, PROVENANCE, REPORT = (
    "samples.parquet",
    "variants.parquet",
    "group_components.parquet",
    "relatives.parquet",
    "axes.parquet",
    "provenance.json",
    "report.html",
)
TABLES = (SAMPLES, VARIANTS, GROUP_COMPONENTS, RELATIVES, AXES)
ID, EXCLUDED, RELATED, GROUP = "person_id", "excluded", "related", "group"
UMAP = ("umap1", "umap2")
"""Columns of a picture; no covariates."""
SHOWN_COMPONENTS = 8
"""Leading components that reports show."""
ROW_GROUP = 1 << 16

_AGAIN = "build it: allscan structure build FILE.yaml"


def component_names(count: int) -> tuple[str, ...]:
    """``pc1``, ``pc2``, …"""
    return tuple(f"pc{k + 1}" for k in range(count))


@dataclass(frozen=True)
class StructureFolder:
    """The structure of a cohort that was built."""

    path: Place
    provenance: dict[str, Any]

    @property
    def digest(self) -> str:
        """What it was made of; two structures with the same digest hold the same."""
        return str(self.provenance["digest"])

    @property
    def name(self) -> str:
        """Title."""
        return str(self.provenance["name"])

    @property
    def components(self) -> tuple[str, ...]:
        """Columns of the principal components, of everybody and within groups."""
        return component_names(len(self.provenance["components"]["eigenvalues"]))

    @property
    def covariates(self) -> tuple[str, ...]:
        """Columns of numbers that formulas may use, the principal components first."""
        return (*self.components, *self.provenance["covariates"])

    @property
    def has_umap(self) -> bool:
        """Whether people are laid out in a plane, too: columns ``umap1`` and ``umap2``, which are no covariates."""
        return self.provenance["umap"] is not None

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, in order; nothing where the structure has none."""
        return tuple(one["name"] for one in self.provenance["groups"])

    @property
    def groups_with_components(self) -> tuple[str, ...]:
        """Groups with components of their own."""
        return tuple(one["name"] for one in self.provenance["groups"] if one["components"] is not None)

    @property
    def report(self) -> Place:
        """The page for people."""
        return self.path / REPORT

    @property
    def axes(self) -> Place:
        """Components and what it takes to place others (:mod:`allscan.engine.structure.axes_file`)."""
        return self.path / AXES

    @property
    def relatives(self) -> Place:
        """Pairs of relatives: a table that ``null_model.relatedness`` of a job takes."""
        return self.path / RELATIVES

    def samples(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Everybody in the genotype store, in its order.

        Parameters
        ----------
        columns
            Some of the columns; None: all.
        """
        return self._table(SAMPLES, columns)

    def group_components(self) -> pa.Table:
        """Everybody who has components of a group: ``person_id``, ``group``, ``pc1`` …"""
        return self._table(GROUP_COMPONENTS, None)

    def relatives_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Pairs of relatives: ``id1``, ``id2``, ``kinship`` …"""
        return self._table(RELATIVES, columns)

    def to_xarray(self) -> xr.Dataset:
        """What is known of everybody, for notebooks: dimensions ``samples`` and ``components``."""
        import numpy as np
        import xarray as xr

        table = self.samples()
        columns = {name: _values(table[name]) for name in table.column_names if name not in (ID, *self.components)}
        scores = np.column_stack([_values(table[name]) for name in self.components])
        return xr.Dataset(
            {
                "principal_component": (("samples", "components"), scores),
                **{name: (("samples",), values) for name, values in columns.items()},
                "eigenvalue": (("components",), np.array(self.provenance["components"]["eigenvalues"])),
            },
            coords={"sample_id": (("samples",), _values(table[ID])), "components": list(self.components)},
            attrs={"name": self.name, "digest": self.digest},
        )

    def _table(self, name: str, columns: Sequence[str] | None) -> pa.Table:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with open_stream(self.path / name) as source:
                return pq.read_table(source, columns=None if columns is None else list(columns))
        except (OSError, pa.ArrowException) as error:
            raise FileFormatError(
                f"a table of the structure cannot be read: {error}",
                where=str(self.path / name),
                fix="remove the folder's provenance.json and build it again",
            ) from error


def _values(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column as NumPy has it: NaN, None and False where there is no value."""
    import numpy as np
    import pyarrow as pa

    if pa.types.is_boolean(column.type):
        return booleans(column)
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        return numbers(column.cast(pa.float64()), np.float64, np.nan)
    return objects(column)


def is_structure(path: Place) -> bool:
    """Whether a folder is a structure that was built."""
    return (path / PROVENANCE).is_file() and (path / SAMPLES).is_file()


def open_structure(path: str | Place) -> StructureFolder:
    """Open the structure of a cohort: the folder that ``allscan structure build`` made.

    Raises
    ------
    InputError
        There is no structure, or none that is whole.
    FileFormatError
        The structure is of another version of the format.
    """
    path = place_of(path)
    try:
        provenance = json.loads((path / PROVENANCE).read_bytes())
        found = provenance["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError("the folder is no structure of a cohort, or not whole", where=str(path), fix=_AGAIN) from error
    if found != FORMAT:
        raise FileFormatError(
            f"the structure is of the format {found!r}, and this version reads {FORMAT!r}", where=str(path), fix=_AGAIN
        )
    return StructureFolder(path, provenance)


def write_structure(
    path: Place, tables: Mapping[str, pa.Table | Callable[[Place], None]], provenance: dict[str, Any]
) -> StructureFolder:
    """Write a structure: its tables, then the provenance that says it is whole.

    Parameters
    ----------
    tables
        By file name; or what writes the file.
    """
    from allscan.storage.parquet import write_table

    path.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        if callable(table):
            table(path / name)
        else:
            write_table(path / name, table, row_group_size=ROW_GROUP)
    document = {"format": FORMAT, **provenance}
    write_atomically(path / PROVENANCE, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())
    return StructureFolder(path, document)
