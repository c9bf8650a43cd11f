"""The results cube: one Zarr group, (stratum, trait, variant), written by tasks and opened lazily.

Of a scan of several kinds of traits it has a group for each, with the columns of its test; :class:`ResultsCube` shows
them as one.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan import arrow
from allscan.engine.arrays import encode_numbers_chunk, read_group_attributes, write_array, write_group
from allscan.engine.columns import blank, cube_columns
from allscan.engine.manifest import RESULTS_VERSION
from allscan.engine.result_arrays import ResultArrays, column_layout
from allscan.engine.variant_names import VariantNames, VariantPlaces, encode_strings_chunk
from allscan.errors import FileFormatError, InputError
from allscan.kernels.association import OutputColumn
from allscan.storage import is_remote, place_of, write_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from allscan.engine.chunk_files import ChunkLayout
    from allscan.engine.plan import ScanPlan, ScanSpec, ScanTask
    from allscan.engine.store import GenotypeStore, VariantTable
    from allscan.engine.trait_parts import TraitPart
    from allscan.storage import Place

FORMAT = "allscan-results"
SEVERAL_KINDS_VERSION = 3
"""Of a cube with a group for each kind of traits."""
CUBE = "results.zarr"
CUBE_TRAITS = 32
"""Traits of a file: one trait of all variants and all traits of one variant both stay quick to read."""
NAME_ROWS = 1 << 16
"""Variants of a chunk of names, about."""

_NUMBERS = {
    name: np.dtype(kind)
    for name, kind in (
        ("variant_contig", "int16"),
        ("variant_position", "int32"),
        ("variant_info", "float32"),
    )
}
"""The variants' columns of the store that the cube repeats, beside names."""


def _part_layout(column: OutputColumn, part: TraitPart, plan: ScanPlan) -> ChunkLayout:
    traits = max(1, min(CUBE_TRAITS, part.per_task))
    variants = max(1, min(plan.variants_per_task, plan.n_variants))
    return column_layout(column.name, np.dtype(column.dtype), traits, variants)


def create_cube(path: Place, plan: ScanPlan, store: GenotypeStore, trait_names: Sequence[str], spec: ScanSpec) -> None:
    """Lay out an empty cube, with the variants' names copied from the store."""
    path.mkdir()
    parts = plan.layout.parts
    for part in parts:
        _create_part(part_folder(path, part.kind), part, plan, trait_names, spec.of_kind(part.kind))
    _describe_names(path, plan, store, trait_names)
    write_files(_name_files(path, plan, store, trait_names))
    # Written last: a cube without these attributes is one whose creation was interrupted.
    write_group(
        path,
        {
            "format": FORMAT,
            "format_version": SEVERAL_KINDS_VERSION if plan.kinds else RESULTS_VERSION,
            "digest": plan.made_of.digest,
            **({"kinds": [part.kind for part in parts]} if plan.kinds else {"test": spec.test}),
            "model": spec.model.name.lower(),
            "missing_genotypes": spec.missing.name.lower(),
            "precision": spec.precision.name.lower(),
            "effect_allele": "ALT (second column of variant_allele)",
            "reference_build": store.reference_build,
            "columns": [asdict(column) for column in cube_columns(spec)],
        },
    )


def _create_part(path: Place, part: TraitPart, plan: ScanPlan, trait_names: Sequence[str], spec: ScanSpec) -> None:
    """Lay out the results of one kind of traits: those of the whole cube, or a group of their own."""
    columns = cube_columns(spec)
    if part.kind:
        path.mkdir()
        names = [trait_names[trait] for trait in part.traits]
        write_group(path, {"test": spec.test, "columns": [asdict(column) for column in columns]})
        _describe_name_list(path, "trait", "trait", names)
        write_files([_name_list_file(path, "trait", names)])
    n_traits, n_strata = len(part.traits), len(plan.strata)
    for column in columns:
        layout = _part_layout(column, part, plan)
        write_array(
            path / column.name,
            dtype=layout.dtype,
            shape=(n_strata, n_traits, plan.n_variants),
            chunks=(1, layout.traits, layout.variants),
            dimensions=("stratum", "trait", "variant"),
            codecs=layout.codecs,
            attributes={"description": column.description, "unit": column.unit},
        )
        folders = [f"c/{g}/{t}" for g in range(n_strata) for t in range(-(-n_traits // layout.traits))]
        for folder in () if is_remote(path) else folders:
            (path / column.name / folder).mkdir(parents=True)


def _name_lists(
    plan: ScanPlan, store: GenotypeStore, trait_names: Sequence[str]
) -> dict[str, tuple[str, Sequence[str]]]:
    """Arrays of names that are not the variants': dimension, and names."""
    lists: dict[str, tuple[str, Sequence[str]]] = {
        "stratum": ("stratum", plan.strata),
        "trait": ("trait", trait_names),
        "contig_id": ("contig", store.contigs),
    }
    if plan.kinds:
        kind = np.empty(plan.n_traits, object)
        for part in plan.kinds:
            kind[part.traits] = part.kind
        lists["trait_kind"] = ("trait", kind.tolist())
    return lists


def _describe_name_list(path: Place, name: str, dimension: str, texts: Sequence[str]) -> None:
    write_array(path / name, dtype=None, shape=(len(texts),), chunks=(max(1, len(texts)),), dimensions=(dimension,))


def _name_list_file(path: Place, name: str, texts: Sequence[str]) -> tuple[Place, list[bytes]]:
    return _chunk_file(path, name, "0", encode_strings_chunk(arrow.string_array(texts), max(1, len(texts))))


def _chunk_file(path: Place, name: str, chunk: str, content: list[bytes]) -> tuple[Place, list[bytes]]:
    place = path / f"{name}/c/{chunk}"
    place.parent.mkdir(parents=True, exist_ok=True)
    return place, content


def _name_rows(plan: ScanPlan) -> int:
    """Variants of a chunk of names."""
    return plan.variants_per_task * max(1, NAME_ROWS // plan.variants_per_task)


def _describe_names(path: Place, plan: ScanPlan, store: GenotypeStore, trait_names: Sequence[str]) -> None:
    """Arrays of the names of strata, traits and contigs, and of the tested variants' columns of the store."""
    for name, (dimension, texts) in _name_lists(plan, store, trait_names).items():
        _describe_name_list(path, name, dimension, texts)
    chunk = min(_name_rows(plan), plan.n_variants)
    for name, dtype in _NUMBERS.items():
        write_array(path / name, dtype=dtype, shape=(plan.n_variants,), chunks=(chunk,), dimensions=("variant",))
    write_array(path / "variant_id", dtype=None, shape=(plan.n_variants,), chunks=(chunk,), dimensions=("variant",))
    write_array(
        path / "variant_allele",
        dtype=None,
        shape=(plan.n_variants, 2),
        chunks=(chunk, 2),
        dimensions=("variant", "allele"),
    )


def _name_files(
    path: Place, plan: ScanPlan, store: GenotypeStore, trait_names: Sequence[str]
) -> Iterator[tuple[Place, list[bytes]]]:
    """The files of these arrays."""
    for name, (_, texts) in _name_lists(plan, store, trait_names).items():
        yield _name_list_file(path, name, texts)
    rows = _name_rows(plan)
    chunk = min(rows, plan.n_variants)
    for index, start in enumerate(range(0, plan.n_variants, rows)):
        stop = min(start + rows, plan.n_variants)
        selected = np.arange(start, stop) if plan.rows is None else plan.rows[start:stop]
        first, last = int(selected[0]), int(selected[-1]) + 1
        for name, dtype in _NUMBERS.items():
            values = store.column(name, first, last)[selected - first].astype(dtype, copy=False)
            yield _chunk_file(path, name, str(index), encode_numbers_chunk(values, chunk))
        for name, width in (("variant_id", 1), ("variant_allele", 2)):
            strings = store.strings(name, first, last)
            if last - first > len(selected):
                of_selected = ((selected - first)[:, None] * width + np.arange(width)).ravel()
                strings = strings.take(arrow.number_array(of_selected))
            place = str(index) if width == 1 else f"{index}/0"
            yield _chunk_file(path, name, place, encode_strings_chunk(strings, chunk * width))


def write_block(path: Place, plan: ScanPlan, task: ScanTask, values: Mapping[str, NDArray[Any]]) -> None:
    """Write the arrays of one task; they are in their place for good when this returns.

    Parameters
    ----------
    path
        The cube.
    plan, task
        Which part of it.
    values
        Every column of the task's traits, each of shape (strata, traits, variants) and the column's dtype; best in C
        order, or one row that :func:`numpy.broadcast_to` repeats for all traits.
    """
    write_files(_task_files(path, plan, task, values))


def _task_files(
    path: Place, plan: ScanPlan, task: ScanTask, values: Mapping[str, NDArray[Any]]
) -> Iterator[tuple[Place, list[bytes]]]:
    part, first, _ = plan.batch(task.batch)
    folder = part_folder(path, part.kind)
    for name, of_strata in values.items():
        layout = _part_layout(OutputColumn(name, "", dtype=of_strata.dtype.name), part, plan)
        for stratum, rows in enumerate(of_strata):
            content: list[bytes] = []
            for start in range(0, len(rows), layout.traits):
                chunk = (first + start) // layout.traits
                inside = rows[start : start + layout.traits]
                # One row that is repeated, without copies, makes the same file again.
                if not content or rows.strides[0] or len(inside) < layout.traits:
                    content = layout.encode(inside)
                yield folder / f"{name}/c/{stratum}/{chunk}/{task.index}", content


class ResultsCube:
    """The results of a run, opened for reading."""

    def __init__(self, path: str | Place) -> None:
        folder = place_of(path)
        self.path = folder / CUBE if (folder / CUBE).exists() else folder
        try:
            self.attrs = read_group_attributes(self.path)
        except (OSError, ValueError) as error:
            if not self.path.exists():
                raise InputError(
                    "there are no results here", where=str(path), fix="give the output folder of a run"
                ) from None
            raise FileFormatError(
                "this folder holds no results of a scan", where=str(path), fix="give the output folder of a run"
            ) from error
        if self.attrs.get("format") != FORMAT:
            raise FileFormatError(
                "this is not a results cube of allscan", where=str(self.path), fix="give the output folder of a run"
            )
        version = self.attrs.get("format_version")
        if version not in (RESULTS_VERSION, SEVERAL_KINDS_VERSION):
            raise FileFormatError(
                f"the results have format version {version}; this program reads {RESULTS_VERSION} and "
                f"{SEVERAL_KINDS_VERSION}",
                where=str(self.path),
                fix="run the job again into another folder, or use the version of allscan that wrote them",
            )
        self._arrays = ResultArrays(self.path)
        self.columns = tuple(OutputColumn(**column) for column in self.attrs["columns"])
        self.traits = tuple(str(name) for name in self._arrays.read("trait"))
        self.strata = tuple(str(name) for name in self._arrays.read("stratum"))
        self.n_variants = self._arrays.array("variant_position").shape[0]

    @cached_property
    def kinds(self) -> tuple[KindResults, ...]:
        """The results by kind of trait: one, where all traits have the same test."""
        names = self.attrs.get("kinds")
        if names is None:
            return (KindResults(self, "", np.arange(len(self.traits))),)
        kind = self._arrays.read("trait_kind")
        return tuple(KindResults(self, name, np.flatnonzero(kind == name)) for name in names)

    @property
    def chunk_variants(self) -> int:
        """Variants of a chunk of results: what is read at a multiple of it is read once."""
        return self.kinds[0].chunk_variants

    def __reduce__(self) -> tuple[type[ResultsCube], tuple[Place]]:
        return (ResultsCube, (self.path,))

    @classmethod
    def open(cls, path: str | Place) -> ResultsCube:
        """Open the results in a run folder (or the cube itself)."""
        return cls(path)

    def __repr__(self) -> str:
        return f"ResultsCube({str(self.path)!r}: {len(self.traits)} traits × {self.n_variants:,} variants)"

    def _index(self, kind: str, known: tuple[str, ...], name: str) -> int:
        if name not in known:
            from difflib import get_close_matches

            near = get_close_matches(name, known, n=1)
            raise InputError(
                f"the results have no {kind} {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
                where=str(self.path),
                fix=f"they have {', '.join(known[:20])}" + (" …" if len(known) > 20 else ""),
            )
        return known.index(name)

    @cached_property
    def contigs(self) -> tuple[str, ...]:
        """Contig names."""
        return self._arrays.contigs

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
        """One result column of some traits and variants, shape (traits, variants).

        Traits whose kind has no such column are NaN in it, or 0 where it counts people.
        """
        if len(self.kinds) == 1:
            return self.kinds[0].block(column, stratum, traits, variants)
        known = next(known for known in self.columns if known.name == column)
        shape = (traits.stop - traits.start, variants.stop - variants.start)
        out = np.full(shape, blank(known), known.dtype)
        for kind in self.kinds:
            first, last = (int(place) for place in np.searchsorted(kind.of_cube, (traits.start, traits.stop)))
            if first < last and known.name in {own.name for own in kind.columns}:
                rows = kind.of_cube[first:last] - traits.start
                out[rows] = kind.block(column, stratum, slice(first, last), variants)
        return out

    def trait_columns(
        self, trait: str, stratum: str = "all", start: int = 0, stop: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Every result column of one trait's kind, without the variants' names; each of shape (variants,)."""
        t = self._index("trait", self.traits, trait)
        g = self._index("stratum", self.strata, stratum)
        variants = slice(*slice(start, stop).indices(self.n_variants)[:2])
        kind = next(kind for kind in self.kinds if t in kind.of_cube)
        here = int(np.searchsorted(kind.of_cube, t))
        return {column.name: kind.block(column.name, g, slice(here, here + 1), variants)[0] for column in kind.columns}

    def trait_table(
        self, trait: str, stratum: str = "all", start: int = 0, stop: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Variants and every result column of one trait's kind; each array has shape (variants,)."""
        table = self.variant_table(start, stop)
        return {
            "contig": table.contig,
            "position": table.position,
            "variant_id": table.variant_id,
            "ref": table.ref,
            "alt": table.alt,
            "info": table.info,
            **self.trait_columns(trait, stratum, start, stop),
        }


class KindResults:
    """The part of a cube whose traits have one test: it can be read like a cube of these traits alone.

    Parameters
    ----------
    cube
        The whole.
    kind
        Name of the group that holds it; empty: the cube itself.
    of_cube : (traits,)
        Its traits, as indices in the cube.
    """

    def __init__(self, cube: ResultsCube, kind: str, of_cube: NDArray[np.int64]) -> None:
        self._cube, self.kind, self.of_cube = cube, kind, of_cube
        self._arrays = ResultArrays(part_folder(cube.path, kind))
        own = read_group_attributes(self._arrays.path) if kind else {}
        self.attrs: Mapping[str, Any] = {name: value for name, value in cube.attrs.items() if name != "kinds"} | own
        self.columns = tuple(OutputColumn(**column) for column in self.attrs["columns"])
        self.traits = tuple(cube.traits[trait] for trait in of_cube)
        self.strata, self.n_variants = cube.strata, cube.n_variants
        self.chunk_variants = self._arrays.array("status").chunks[2]
        self.variant_names, self.variant_table = cube.variant_names, cube.variant_table
        self.variant_places = cube.variant_places

    @property
    def kinds(self) -> tuple[KindResults, ...]:
        """Itself."""
        return (self,)

    def block(self, column: str, stratum: int, traits: slice, variants: slice) -> NDArray[Any]:
        """One result column of some of its traits and of variants, shape (traits, variants)."""
        return self._arrays.block(column, stratum, traits, variants)


def part_folder(cube: Place, kind: str) -> Place:
    """The group of a cube that holds the traits of a kind."""
    return cube / kind if kind else cube
