"""The results cube: one Zarr group, (stratum, trait, variant), written by tasks and opened lazily."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from allscan import arrow
from allscan.engine.arrays import (
    StoredArray,
    encode_numbers_chunk,
    read_group_attributes,
    write_array,
    write_group,
)
from allscan.engine.chunk_files import INNER_VALUES, ChunkLayout, Codec
from allscan.engine.columns import COUNT_COLUMNS, STATUS_COLUMN, cube_columns
from allscan.engine.manifest import RESULTS_VERSION
from allscan.engine.store import VariantTable
from allscan.engine.variant_names import VariantNames, encode_strings_chunk, read_strings, take_strings
from allscan.errors import AllscanError, CorruptChunkError, FileFormatError, InputError
from allscan.kernels.association import OutputColumn
from allscan.storage import is_remote, place_of, write_files, zarr_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa
    import xarray as xr
    from numpy.typing import NDArray

    from allscan.engine.design import Design
    from allscan.engine.plan import ScanPlan, ScanSpec, ScanTask
    from allscan.engine.store import GenotypeStore
    from allscan.storage import Place

R = TypeVar("R")

FORMAT = "allscan-results"
CUBE = "results.zarr"
CUBE_TRAITS = 32
"""Traits of a file: one trait of all variants and all traits of one variant both stay quick to read."""
COUNT_TRAITS = 8
"""Traits of a shard's inner chunks of counts: as many as Blosc compresses together."""
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

# A few distinct values, or one: zstd finds what repeats along variants and traits.
_REPETITIVE = frozenset({"missing_rate", "status"})
_COUNTED = frozenset(column.name for column in (*COUNT_COLUMNS, STATUS_COLUMN))


def column_layout(name: str, dtype: np.dtype[Any], traits: int, variants: int) -> ChunkLayout:
    """How a column is held, in files of so many traits and variants.

    The test's own columns are shards, of which one trait can be read alone. Counts are the same for all traits of one
    pattern of missing samples: their shards hold a few traits together, so that what repeats is compressed.
    """
    inner, least = 1, COUNT_TRAITS if name in _COUNTED else 1
    while (inner < least or inner * variants < INNER_VALUES) and traits % (2 * inner) == 0:
        inner *= 2
    # In one trait nothing repeats that would pay for zstd's search.
    repetitive = dtype.itemsize < 4 or (traits > 1 and name in _REPETITIVE)
    return ChunkLayout(dtype, traits, variants, inner, Codec.ZSTD if repetitive else Codec.BITSHUFFLE)


def _plan_layout(name: str, dtype: np.dtype[Any], plan: ScanPlan) -> ChunkLayout:
    traits = max(1, min(CUBE_TRAITS, plan.traits_per_task))
    return column_layout(name, dtype, traits, max(1, min(plan.variants_per_task, plan.n_variants)))


def create_cube(path: Place, plan: ScanPlan, store: GenotypeStore, design: Design, spec: ScanSpec) -> None:
    """Lay out an empty cube, with the variants' names copied from the store."""
    path.mkdir()
    columns = cube_columns(spec)
    for column in columns:
        layout = _plan_layout(column.name, np.dtype(column.dtype), plan)
        write_array(
            path / column.name,
            dtype=layout.dtype,
            shape=(len(design.strata), plan.n_traits, plan.n_variants),
            chunks=(1, layout.traits, layout.variants),
            dimensions=("stratum", "trait", "variant"),
            codecs=layout.codecs,
            attributes={"description": column.description, "unit": column.unit},
        )
        folders = [f"c/{g}/{t}" for g in range(len(design.strata)) for t in range(-(-plan.n_traits // layout.traits))]
        for folder in () if is_remote(path) else folders:
            (path / column.name / folder).mkdir(parents=True)
    _describe_names(path, plan, store, design)
    write_files(_name_files(path, plan, store, design))
    # Written last: a cube without these attributes is one whose creation was interrupted.
    write_group(
        path,
        {
            "format": FORMAT,
            "format_version": RESULTS_VERSION,
            "digest": plan.made_of.digest,
            "test": spec.test,
            "model": spec.model.name.lower(),
            "missing_genotypes": spec.missing.name.lower(),
            "precision": spec.precision.name.lower(),
            "effect_allele": "ALT (second column of variant_allele)",
            "reference_build": store.reference_build,
            "columns": [asdict(column) for column in columns],
        },
    )


def _name_lists(store: GenotypeStore, design: Design) -> dict[str, tuple[str, Sequence[str]]]:
    """Arrays of names that are not the variants': dimension, and names."""
    return {
        "stratum": ("stratum", design.strata),
        "trait": ("trait", design.trait_names),
        "contig_id": ("contig", store.contigs),
    }


def _name_rows(plan: ScanPlan) -> int:
    """Variants of a chunk of names."""
    return plan.variants_per_task * max(1, NAME_ROWS // plan.variants_per_task)


def _describe_names(path: Place, plan: ScanPlan, store: GenotypeStore, design: Design) -> None:
    """Arrays of the names of strata, traits and contigs, and of the tested variants' columns of the store."""
    for name, (dimension, texts) in _name_lists(store, design).items():
        write_array(path / name, dtype=None, shape=(len(texts),), chunks=(max(1, len(texts)),), dimensions=(dimension,))
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
    path: Place, plan: ScanPlan, store: GenotypeStore, design: Design
) -> Iterator[tuple[Place, list[bytes]]]:
    """The files of these arrays."""

    def file(name: str, chunk: str, content: list[bytes]) -> tuple[Place, list[bytes]]:
        place = path / f"{name}/c/{chunk}"
        place.parent.mkdir(parents=True, exist_ok=True)
        return place, content

    for name, (_, texts) in _name_lists(store, design).items():
        yield file(name, "0", encode_strings_chunk(arrow.string_array(texts), max(1, len(texts))))
    rows = _name_rows(plan)
    chunk = min(rows, plan.n_variants)
    for index, start in enumerate(range(0, plan.n_variants, rows)):
        stop = min(start + rows, plan.n_variants)
        selected = np.arange(start, stop) if plan.rows is None else plan.rows[start:stop]
        first, last = int(selected[0]), int(selected[-1]) + 1
        for name, dtype in _NUMBERS.items():
            values = store.column(name, first, last)[selected - first].astype(dtype, copy=False)
            yield file(name, str(index), encode_numbers_chunk(values, chunk))
        for name, width in (("variant_id", 1), ("variant_allele", 2)):
            strings = store.strings(name, first, last)
            if last - first > len(selected):
                of_selected = ((selected - first)[:, None] * width + np.arange(width)).ravel()
                strings = strings.take(arrow.number_array(of_selected))
            place = str(index) if width == 1 else f"{index}/0"
            yield file(name, place, encode_strings_chunk(strings, chunk * width))


def write_block(path: Place, plan: ScanPlan, task: ScanTask, values: Mapping[str, NDArray[Any]]) -> None:
    """Write the arrays of one task; they are in their place for good when this returns.

    Parameters
    ----------
    path
        The cube.
    plan, task
        Which part of it.
    values
        Every column of the cube, each of shape (traits, variants) and the column's dtype; best in C order.
    """
    write_files(_task_files(path, plan, task, values))


def _task_files(
    path: Place, plan: ScanPlan, task: ScanTask, values: Mapping[str, NDArray[Any]]
) -> Iterator[tuple[Place, list[bytes]]]:
    first = plan.batch_traits(task.batch).start
    for name, rows in values.items():
        layout = _plan_layout(name, rows.dtype, plan)
        for start in range(0, len(rows), layout.traits):
            chunk = (first + start) // layout.traits
            yield (
                path / f"{name}/c/{task.stratum}/{chunk}/{task.index}",
                layout.encode(rows[start : start + layout.traits]),
            )


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
        if version != RESULTS_VERSION:
            raise FileFormatError(
                f"the results have format version {version}; this program reads {RESULTS_VERSION}",
                where=str(self.path),
                fix="run the job again into another folder, or use the version of allscan that wrote them",
            )
        self._arrays: dict[str, StoredArray] = {}
        self.columns = tuple(OutputColumn(**column) for column in self.attrs["columns"])
        self.traits = tuple(str(name) for name in self._read("trait"))
        self.strata = tuple(str(name) for name in self._read("stratum"))
        self.n_variants = self._array("variant_position").shape[0]
        self.chunk_variants = self._array("status").chunks[2]
        self._layouts: dict[str, ChunkLayout] = {}

    def __reduce__(self) -> tuple[type[ResultsCube], tuple[Place]]:
        return (ResultsCube, (self.path,))

    @classmethod
    def open(cls, path: str | Place) -> ResultsCube:
        """Open the results in a run folder (or the cube itself)."""
        return cls(path)

    def __repr__(self) -> str:
        return f"ResultsCube({str(self.path)!r}: {len(self.traits)} traits × {self.n_variants:,} variants)"

    def _array(self, name: str) -> StoredArray:
        if name not in self._arrays:
            self._arrays[name] = self._checked(name, lambda: StoredArray(self.path / name))
        return self._arrays[name]

    def _read(self, name: str, rows: slice = slice(None)) -> NDArray[Any]:
        array = self._array(name)
        return self._checked(name, lambda: array.read(rows.start or 0, rows.stop))

    def _checked(self, name: str, read: Callable[[], R]) -> R:
        try:
            return read()
        except AllscanError:
            raise
        except Exception as error:
            raise CorruptChunkError(
                f"a chunk of the results cannot be read: {error}",
                where=f"{self.path}, {name}",
                fix="delete the run's commits/ folder and run the job again: it recomputes its blocks",
            ) from error

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
        return tuple(str(name) for name in self._read("contig_id"))

    def variant_names(self, start: int = 0, stop: int | None = None) -> VariantNames:
        """Names and places of variants ``start:stop``."""
        rows = slice(start, self.n_variants if stop is None else min(stop, self.n_variants))
        ids, alleles = (self._strings(name, rows) for name in ("variant_id", "variant_allele"))
        ref = np.arange(0, len(alleles), 2)
        return VariantNames(
            self.contigs,
            self._read("variant_contig", rows),
            self._read("variant_position", rows),
            ids,
            take_strings(alleles, ref),
            take_strings(alleles, ref + 1),
            self._read("variant_info", rows),
        )

    def _strings(self, name: str, rows: slice) -> pa.StringArray:
        array = self._array(name)
        return self._checked(
            name, lambda: read_strings(self.path / name, array.shape, array.chunks[0], rows.start, rows.stop)
        )

    def variant_table(self, start: int = 0, stop: int | None = None) -> VariantTable:
        """As :meth:`variant_names`, with Python's strings."""
        names = self.variant_names(start, stop)
        return VariantTable(
            np.array(self.contigs, object)[names.contig],
            names.position,
            arrow.objects(names.variant_id),
            arrow.objects(names.ref),
            arrow.objects(names.alt),
            names.info,
        )

    def block(self, column: str, stratum: int, traits: slice, variants: slice) -> NDArray[Any]:
        """One result column of some traits and variants, shape (traits, variants)."""
        layout = self._layout(column)
        out = np.empty((traits.stop - traits.start, variants.stop - variants.start), layout.dtype)
        for t in range(traits.start // layout.traits, -(-traits.stop // layout.traits)):
            inside, target = _overlap(traits, t * layout.traits, layout.traits)
            for v in range(variants.start // layout.variants, -(-variants.stop // layout.variants)):
                part, columns = _overlap(variants, v * layout.variants, layout.variants)
                path = self.path / f"{column}/c/{stratum}/{t}/{v}"
                self._checked(column, partial(layout.read, path, inside, part, out[target, columns]))
        return out

    def _layout(self, column: str) -> ChunkLayout:
        if column not in self._layouts:
            array = self._array(column)
            _, traits, variants = array.chunks
            self._layouts[column] = column_layout(column, np.dtype(array.data_type), traits, variants)
        return self._layouts[column]

    def trait_columns(
        self, trait: str, stratum: str = "all", start: int = 0, stop: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Every result column of one trait, without the variants' names; each of shape (variants,)."""
        t = self._index("trait", self.traits, trait)
        g = self._index("stratum", self.strata, stratum)
        variants = slice(*slice(start, stop).indices(self.n_variants)[:2])
        return {column.name: self.block(column.name, g, slice(t, t + 1), variants)[0] for column in self.columns}

    def trait_table(
        self, trait: str, stratum: str = "all", start: int = 0, stop: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Variants and every result column of one trait; each array has shape (variants,)."""
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


def _overlap(wanted: slice, first: int, size: int) -> tuple[slice, slice]:
    """The part of a chunk that is wanted, and where in the result it goes."""
    low, high = max(wanted.start, first), min(wanted.stop, first + size)
    return slice(low - first, high - first), slice(low - wanted.start, high - wanted.start)


def open_results(path: str | Place) -> xr.Dataset:
    """Open the results of a run as a lazy ``xarray.Dataset``.

    Parameters
    ----------
    path
        Output folder of a run.

    Returns
    -------
    Dimensions (stratum, trait, variant), with ``beta``, ``standard_error``, ``neg_log10_p`` … on dask arrays,
    coordinates ``trait``, ``stratum``, ``variant_contig`` (names), ``variant_position``, ``variant_id``,
    ``variant_ref``, ``effect_allele``.
    """
    import dask.array as da
    import xarray as xr
    import zarr

    cube = ResultsCube(path)
    group = zarr.open_group(zarr_store(cube.path), mode="r")
    dims = ("stratum", "trait", "variant")
    data = {
        column.name: xr.Variable(
            dims,
            da.from_zarr(group[column.name]),
            {"description": column.description, "unit": column.unit},
        )
        for column in cube.columns
    }
    table = cube.variant_table()
    data["info"] = xr.Variable(("variant",), table.info, {"description": "Imputation quality"})
    coords = {
        "stratum": ("stratum", np.array(cube.strata, object)),
        "trait": ("trait", np.array(cube.traits, object)),
        "variant_contig": ("variant", table.contig),
        "variant_position": ("variant", table.position),
        "variant_id": ("variant", table.variant_id),
        "variant_ref": ("variant", table.ref),
        "effect_allele": ("variant", table.alt),
    }
    return xr.Dataset(data, coords, attrs=cube.attrs)
