"""The cube of a meta-analysis: one Zarr group, (stratification, trait, variant), laid out as that of a scan."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan import arrow
from allscan.engine.arrays import encode_numbers_chunk, read_group_attributes, write_array, write_group
from allscan.engine.columns import CASE_COLUMNS
from allscan.engine.meta.block import meta_columns
from allscan.engine.meta.files import META
from allscan.engine.meta.spec import MetaSpec
from allscan.engine.result_arrays import ResultArrays, column_layout
from allscan.engine.results import CUBE_TRAITS, NAME_ROWS
from allscan.engine.variant_names import VariantNames, VariantPlaces, encode_strings_chunk, take_strings
from allscan.errors import FileFormatError, InputError
from allscan.kernels.association import OutputColumn
from allscan.storage import place_of, write_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from allscan.engine.chunk_files import ChunkLayout
    from allscan.engine.meta.spec import StudySet
    from allscan.engine.meta.studies import Studies
    from allscan.engine.store import VariantTable
    from allscan.storage import Place

FORMAT = "allscan-meta"
FORMAT_VERSION = 1
TASK_TESTS = 1 << 19
"""Traits × variants of a task, about; whole chunks of what is read."""
LEAST_VARIANTS = 1 << 14
DIMENSIONS = ("stratification", "trait", "variant")
_NUMBERS = {"variant_contig": "int16", "variant_position": "int32", "variant_info": "float32"}


def variants_per_task(studies: Studies) -> int:
    """Variants of a chunk of the cube, which is what a task makes: whole chunks of what it reads."""
    wanted = max(LEAST_VARIANTS, min(1 << 16, TASK_TESTS // min(CUBE_TRAITS, max(1, len(studies.traits)))))
    chunk = max(1, studies.chunk_variants)
    return min(chunk * max(1, wanted // chunk), max(1, studies.n_variants))


def create_cube(
    path: Place,
    studies: Studies,
    sets: Sequence[StudySet],
    spec: MetaSpec,
    digest: str,
    inflation: NDArray[np.float64] | None = None,
) -> None:
    """Lay out an empty cube, with the variants' names.

    Parameters
    ----------
    path
        Folder of the cube, which is not there.
    studies, sets, spec
        What will be combined.
    digest
        Of what it is made of.
    inflation : (studies, traits)
        λ that errors are widened by; None where they are not.
    """
    path.mkdir(parents=True, exist_ok=True)
    columns = meta_columns(spec, binary=bool(studies.binary.any()))
    n_traits, size = len(studies.traits), variants_per_task(studies)
    traits = min(CUBE_TRAITS, max(1, n_traits))
    for column in columns:
        layout = column_layout(column.name, np.dtype(column.dtype), traits, size)
        write_array(
            path / column.name,
            dtype=layout.dtype,
            shape=(len(sets), n_traits, studies.n_variants),
            chunks=(1, traits, size),
            dimensions=DIMENSIONS,
            codecs=layout.codecs,
            attributes={"description": column.description, "unit": column.unit},
        )
    write_files(_name_files(path, studies, sets, size))
    # Written last: a cube without these attributes is one whose creation was interrupted.
    write_group(
        path,
        {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "digest": digest,
            "test": "fixed-effects meta-analysis",
            "spec": json.loads(spec.to_json()),
            "inflation": {} if inflation is None else told_inflation(studies, inflation),
            "studies": {one.name: [studies.names[member] for member in one.members] for one in sets},
            "effect_allele": "ALT (second column of variant_allele)",
            "reference_build": studies.reference_build,
            "columns": [asdict(column) for column in columns],
        },
    )


def told_inflation(studies: Studies, inflation: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    """λ by study and trait; without those that are not known."""
    return {
        study: {trait: float(value) for trait, value in zip(studies.traits, row, strict=True) if value == value}
        for study, row in zip(studies.names, inflation, strict=True)
    }


class Counting(NamedTuple):
    """How the studies of a meta-analysis that was made count in it."""

    spec: MetaSpec
    inflation: Mapping[str, Mapping[str, float]]
    """λ by study and trait that errors were widened by; empty where they were not."""

    @classmethod
    def of(cls, attrs: Mapping[str, Any]) -> Counting:
        """As the attributes of a cube tell."""
        spec = {**attrs["spec"], "methods": tuple(attrs["spec"]["methods"])}
        return cls(MetaSpec(**spec), attrs["inflation"])

    def factors(self, studies: Sequence[str], traits: Sequence[str]) -> NDArray[np.float64]:
        """λ that errors were widened by, (studies, traits); 1 where it is not known."""
        told = [[self.inflation.get(study, {}).get(trait, 1.0) for trait in traits] for study in studies]
        return np.array(told).reshape(len(studies), len(traits))


def _name_files(
    path: Place, studies: Studies, sets: Sequence[StudySet], size: int
) -> Iterator[tuple[Place, list[bytes]]]:
    """The files of the arrays of names, which are described here."""
    n = studies.n_variants
    contigs = studies.variant_names(0, 0).contigs
    kinds = np.where(studies.binary, "binary", "quantitative")
    for name, dimension, texts in (
        ("stratification", "stratification", [one.name for one in sets]),
        ("trait", "trait", studies.traits),
        ("trait_kind", "trait", kinds.tolist()),
        ("contig_id", "contig", contigs),
    ):
        count = max(1, len(texts))
        write_array(path / name, dtype=None, shape=(len(texts),), chunks=(count,), dimensions=(dimension,))
        yield _file(path, name, "0"), encode_strings_chunk(arrow.string_array(texts), count)
    rows = size * max(1, NAME_ROWS // size)
    chunk = max(1, min(rows, n))
    for name, dtype in _NUMBERS.items():
        write_array(path / name, dtype=np.dtype(dtype), shape=(n,), chunks=(chunk,), dimensions=("variant",))
    write_array(path / "variant_id", dtype=None, shape=(n,), chunks=(chunk,), dimensions=("variant",))
    write_array(path / "variant_allele", dtype=None, shape=(n, 2), chunks=(chunk, 2), dimensions=("variant", "allele"))
    for index, start in enumerate(range(0, n, rows)):
        names = studies.variant_names(start, min(start + rows, n))
        for name, values in (
            ("variant_contig", names.contig),
            ("variant_position", names.position),
            ("variant_info", names.info),
        ):
            yield _file(path, name, str(index)), encode_numbers_chunk(values.astype(_NUMBERS[name]), chunk)
        yield _file(path, "variant_id", str(index)), encode_strings_chunk(names.variant_id, chunk)
        yield _file(path, "variant_allele", f"{index}/0"), encode_strings_chunk(_paired(names), 2 * chunk)


def _paired(names: VariantNames) -> Any:
    """REF and ALT of each variant in turn."""
    import pyarrow as pa

    count = len(names)
    order = np.arange(2 * count).reshape(2, count).T.ravel()
    return take_strings(pa.concat_arrays([names.ref, names.alt]), order)


def _file(path: Place, name: str, chunk: str) -> Place:
    place = path / f"{name}/c/{chunk}"
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def write_chunks(
    path: Place, index: int, batch: int, set_index: int, traits: int, size: int, values: Mapping[str, NDArray[Any]]
) -> None:
    """Write every column of one set, some traits and one chunk of variants; in place for good when this returns.

    Parameters
    ----------
    path
        The cube.
    index, batch, set_index
        Of the chunk of variants, of the batch of traits, of the set.
    traits, size
        Of a chunk of the cube.
    values
        Each (traits, variants).
    """

    def files() -> Iterator[tuple[Place, list[bytes]]]:
        for name, rows in values.items():
            layout: ChunkLayout = column_layout(name, rows.dtype, traits, size)
            yield _file(path, name, f"{set_index}/{batch}/{index}"), layout.encode(rows)

    write_files(files())


class MetaCube:
    """The results of a meta-analysis, opened for reading, in the way of the results of a scan.

    What is a stratum there is a stratification here (or a set of studies).

    Parameters
    ----------
    path
        Folder that holds the cube, or the cube itself.

    Raises
    ------
    InputError
        There is none.
    """

    def __init__(self, path: str | Place) -> None:
        folder = place_of(path)
        self.path = folder / META if (folder / META).exists() else folder
        try:
            self.attrs: Mapping[str, Any] = read_group_attributes(self.path)
        except (OSError, ValueError):
            self.attrs = {}
        if self.attrs.get("format") != FORMAT:
            raise InputError(
                "there is no meta-analysis here", where=str(path), fix="give the output folder of a meta-analysis"
            )
        if self.attrs.get("format_version") != FORMAT_VERSION:
            raise FileFormatError(
                f"the meta-analysis has format version {self.attrs.get('format_version')}; this program reads "
                f"{FORMAT_VERSION}",
                where=str(self.path),
                fix="make it again, or use the version of allscan that wrote it",
            )
        self._arrays = ResultArrays(self.path, fix="delete meta.zarr and make it again: run the same command")
        self.columns = tuple(OutputColumn(**column) for column in self.attrs["columns"])
        self.traits = tuple(str(name) for name in self._arrays.read("trait"))
        self.strata = tuple(str(name) for name in self._arrays.read("stratification"))
        self.n_variants = self._arrays.array("variant_position").shape[0]
        self.chunk_variants = self._arrays.array("status").chunks[2]

    def __reduce__(self) -> tuple[type[MetaCube], tuple[Place]]:
        return (MetaCube, (self.path,))

    def __repr__(self) -> str:
        return f"MetaCube({str(self.path)!r}: {len(self.traits)} traits × {self.n_variants:,} variants)"

    @cached_property
    def contigs(self) -> tuple[str, ...]:
        """Contig names."""
        return self._arrays.contigs

    @cached_property
    def kinds(self) -> tuple[MetaKind, ...]:
        """Results by kind of trait."""
        kind = self._arrays.read("trait_kind")
        found = (MetaKind(self, name, np.flatnonzero(kind == name)) for name in ("quantitative", "binary"))
        return tuple(one for one in found if len(one.traits))

    def variant_names(self, start: int = 0, stop: int | None = None) -> VariantNames:
        """Names and places of variants ``start:stop``."""
        return self._arrays.variant_names(start, stop)

    def variant_places(self, start: int = 0, stop: int | None = None) -> VariantPlaces:
        """Places of variants ``start:stop``."""
        return self._arrays.variant_places(start, stop)

    def variant_table(self, start: int = 0, stop: int | None = None) -> VariantTable:
        """As :meth:`variant_names`, with Python's strings."""
        return self._arrays.variant_table(start, stop)

    def block(self, column: str, stratum: int, traits: slice, variants: slice) -> NDArray[Any]:
        """One column of some traits and variants, shape (traits, variants); ``stratum`` counts stratifications."""
        return self._arrays.block(column, stratum, traits, variants)


class MetaKind:
    """The part of a cube whose traits are of one kind: it can be read like a cube of these traits alone.

    Parameters
    ----------
    cube
        The whole.
    kind
        ``quantitative`` or ``binary``.
    of_cube : (traits,)
        Its traits, as indices in the cube.
    """

    def __init__(self, cube: MetaCube, kind: str, of_cube: NDArray[np.int64]) -> None:
        self._cube, self.kind, self.of_cube = cube, kind, of_cube
        of_cases = {column.name for column in CASE_COLUMNS}
        self.columns = tuple(one for one in cube.columns if kind == "binary" or one.name not in of_cases)
        self.traits = tuple(cube.traits[trait] for trait in of_cube)
        self.strata, self.n_variants, self.attrs = cube.strata, cube.n_variants, cube.attrs
        self.chunk_variants = cube.chunk_variants
        self.variant_names, self.variant_table = cube.variant_names, cube.variant_table
        self.variant_places = cube.variant_places

    @property
    def kinds(self) -> tuple[MetaKind, ...]:
        """Itself."""
        return (self,)

    def block(self, column: str, stratum: int, traits: slice, variants: slice) -> NDArray[Any]:
        """One column of some of its traits and of variants, shape (traits, variants)."""
        wanted = self.of_cube[traits]
        if not len(wanted):
            return self._cube.block(column, stratum, slice(0, 0), variants)
        first, last = int(wanted[0]), int(wanted[-1]) + 1
        return self._cube.block(column, stratum, slice(first, last), variants)[wanted - first]
