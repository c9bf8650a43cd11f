"""The results cube: one Zarr group, (stratum, trait, variant), written by tasks and opened lazily."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from allscan.engine.association_tests import find_test
from allscan.engine.plan import RESULTS_VERSION
from allscan.engine.store import VariantTable, flush
from allscan.errors import CorruptChunkError, FileFormatError, InputError
from allscan.kernels.association import OutputColumn

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    from numpy.typing import NDArray

    from allscan.engine.design import Design
    from allscan.engine.plan import ScanPlan, ScanSpec, ScanTask
    from allscan.engine.store import GenotypeStore

FORMAT = "allscan-results"
CUBE = "results.zarr"
CUBE_TRAITS = 32
"""Traits of a chunk: one trait of all variants and all traits of one variant both stay quick to read."""

COUNT_COLUMNS = (
    OutputColumn("n", "Samples the variant was tested in", "people", "int32"),
    OutputColumn("effect_allele_count", "Copies of the effect allele; a male's allele on X counts one", "alleles"),
    OutputColumn("effect_allele_frequency", "Frequency of the effect allele among called alleles"),
    OutputColumn("missing_rate", "Fraction of the trait's samples without a call"),
)
STATUS_COLUMN = OutputColumn("status", "Code of allscan.kernels.association.Status; 0: tested", dtype="uint8")


def cube_columns(spec: ScanSpec) -> tuple[OutputColumn, ...]:
    """Every (stratum, trait, variant) array of a scan's cube."""
    return (*find_test(spec.test).columns(spec.options), *COUNT_COLUMNS, STATUS_COLUMN)


def create_cube(path: Path, plan: ScanPlan, store: GenotypeStore, design: Design, spec: ScanSpec) -> None:
    """Lay out an empty cube, with the variants' names copied from the store."""
    group = zarr.create_group(path, zarr_format=3)
    codecs = (ZstdCodec(level=1), Crc32cCodec())
    shape = (len(design.strata), plan.n_traits, plan.n_variants)
    columns = cube_columns(spec)

    def array(name: str, dtype: str, size: tuple[int, ...], chunks: tuple[int, ...], dims: tuple[str, ...]) -> Any:
        return group.create_array(
            name,
            shape=size,
            dtype=dtype,
            chunks=tuple(max(1, min(c, s)) for c, s in zip(chunks, size, strict=True)),
            compressors=codecs,
            dimension_names=dims,
            fill_value=float("nan") if dtype.startswith("float") else None,
            config={"write_empty_chunks": True},
        )

    for column in columns:
        created = array(
            column.name,
            column.dtype,
            shape,
            (1, min(CUBE_TRAITS, plan.traits_per_task), plan.variants_per_task),
            ("stratum", "trait", "variant"),
        )
        created.attrs.update({"description": column.description, "unit": column.unit})
    for name, values in (("stratum", design.strata), ("trait", design.trait_names), ("contig_id", store.contigs)):
        dim = "contig" if name == "contig_id" else name
        array(name, "string", (len(values),), (len(values),), (dim,))[:] = np.array(values, object)
    rows = plan.variants_per_task * max(1, 65536 // plan.variants_per_task)
    names = {"variant_contig": "int16", "variant_position": "int32", "variant_id": "string", "variant_info": "float32"}
    arrays = {name: array(name, dtype, shape[2:], (rows,), ("variant",)) for name, dtype in names.items()}
    arrays["variant_allele"] = array("variant_allele", "string", (shape[2], 2), (rows, 2), ("variant", "allele"))
    for start in range(0, plan.n_variants, rows):
        stop = min(start + rows, plan.n_variants)
        selected = np.arange(start, stop) if plan.rows is None else plan.rows[start:stop]
        first, last = int(selected[0]), int(selected[-1]) + 1
        for name, target in arrays.items():
            target[start:stop] = store.column(name, first, last)[selected - first]
    # Written last: a cube without these attributes is one whose creation was interrupted.
    group.attrs.update(
        {
            "format": FORMAT,
            "format_version": RESULTS_VERSION,
            "digest": plan.digest,
            "test": spec.test,
            "model": spec.model.name.lower(),
            "missing_genotypes": spec.missing.name.lower(),
            "effect_allele": "ALT (second column of variant_allele)",
            "reference_build": store.reference_build,
            "columns": [asdict(column) for column in columns],
        }
    )


def write_block(path: Path, plan: ScanPlan, task: ScanTask, values: Mapping[str, NDArray[Any]]) -> None:
    """Write the arrays of one task, each of shape (variants, traits)."""
    group = zarr.open_group(path, mode="r+")
    traits = plan.batch_traits(task.batch)
    start = task.index * plan.variants_per_task
    for name, block in values.items():
        array = group[name]
        assert isinstance(array, zarr.Array)
        # The setting is not kept in the metadata: a chunk of zeros would be left out, and a lost one not be missed.
        target = array.with_config({"write_empty_chunks": True})
        target[task.stratum, traits, start : start + len(block)] = np.ascontiguousarray(block.T)
        # The commit that follows must not outlive the chunks it stands for, not even in a power cut.
        for chunk in range(traits.start // array.chunks[1], -(-traits.stop // array.chunks[1])):
            flush(path / name / "c" / str(task.stratum) / str(chunk) / str(task.index))


class ResultsCube:
    """The results of a run, opened for reading."""

    def __init__(self, path: str | Path) -> None:
        folder = Path(path)
        self.path = folder / CUBE if (folder / CUBE).exists() else folder
        if not self.path.exists():
            raise InputError("there are no results here", where=str(path), fix="give the output folder of a run")
        try:
            self._group = zarr.open_group(self.path, mode="r")
        except Exception as error:
            raise FileFormatError(
                "this folder holds no results of a scan", where=str(path), fix="give the output folder of a run"
            ) from error
        self.attrs: dict[str, Any] = dict(self._group.attrs)
        if self.attrs.get("format") != FORMAT:
            raise FileFormatError(
                "this is not a results cube of allscan", where=str(self.path), fix="give the output folder of a run"
            )
        self.columns = tuple(OutputColumn(**column) for column in self.attrs["columns"])
        self.traits = tuple(str(name) for name in self._read("trait"))
        self.strata = tuple(str(name) for name in self._read("stratum"))
        self.n_variants = int(self._array("variant_position").shape[0])
        self.chunk_variants = int(self._array("status").chunks[2])

    @classmethod
    def open(cls, path: str | Path) -> ResultsCube:
        """Open the results in a run folder (or the cube itself)."""
        return cls(path)

    def __repr__(self) -> str:
        return f"ResultsCube({str(self.path)!r}: {len(self.traits)} traits × {self.n_variants:,} variants)"

    def _array(self, name: str) -> zarr.Array[Any]:
        array = self._group[name]
        assert isinstance(array, zarr.Array)
        return array

    def _read(self, name: str, selection: Any = slice(None)) -> NDArray[Any]:
        try:
            return np.asarray(self._array(name)[selection])
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

    def variant_table(self, start: int = 0, stop: int | None = None) -> VariantTable:
        """Names and places of variants ``start:stop``."""
        rows = slice(start, stop)
        alleles = self._read("variant_allele", rows)
        return VariantTable(
            np.array(self.contigs, object)[self._read("variant_contig", rows)],
            self._read("variant_position", rows),
            self._read("variant_id", rows).astype(object),
            alleles[:, 0].astype(object),
            alleles[:, 1].astype(object),
            self._read("variant_info", rows),
        )

    def block(self, column: str, stratum: int, traits: slice, variants: slice) -> NDArray[Any]:
        """One result column of some traits and variants, shape (traits, variants)."""
        return self._read(column, (stratum, traits, variants))

    def trait_columns(
        self, trait: str, stratum: str = "all", start: int = 0, stop: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Every result column of one trait, without the variants' names; each of shape (variants,)."""
        t = self._index("trait", self.traits, trait)
        g = self._index("stratum", self.strata, stratum)
        return {column.name: self._read(column.name, (g, t, slice(start, stop))) for column in self.columns}

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


def open_results(path: str | Path) -> xr.Dataset:
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

    cube = ResultsCube(path)
    dims = ("stratum", "trait", "variant")
    data = {
        column.name: xr.Variable(
            dims,
            da.from_zarr(cube._array(column.name)),
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
