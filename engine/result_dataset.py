"""The results of a run as a lazy xarray.Dataset, for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.columns import blank
from allscan.engine.results import ResultsCube, part_folder
from allscan.storage import zarr_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from allscan.engine.store import VariantTable
    from allscan.kernels.association import OutputColumn
    from allscan.storage import Place


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
    ``variant_ref``, ``effect_allele``; with traits of several kinds also ``trait_kind``.
    """
    import dask.array as da
    import xarray as xr
    import zarr

    cube = ResultsCube(path)
    groups = [zarr.open_group(zarr_store(part_folder(cube.path, kind.kind)), mode="r") for kind in cube.kinds]
    order = np.argsort(np.concatenate([kind.of_cube for kind in cube.kinds]))

    def lazy(column: OutputColumn) -> Any:
        arrays = [da.from_zarr(group[column.name]) if column.name in group else None for group in groups]
        if len(arrays) == 1:
            return arrays[0]
        like = next(array for array in arrays if array is not None)
        of_kinds = [
            da.full(
                (like.shape[0], len(kind.traits), like.shape[2]), blank(column), column.dtype, chunks=like.chunksize
            )
            if array is None
            else array
            for kind, array in zip(cube.kinds, arrays, strict=True)
        ]
        return da.concatenate(of_kinds, axis=1)[:, order]

    data = {
        column.name: xr.Variable(
            ("stratum", "trait", "variant"), lazy(column), {"description": column.description, "unit": column.unit}
        )
        for column in cube.columns
    }
    table = cube.variant_table()
    data["info"] = xr.Variable(("variant",), table.info, {"description": "Imputation quality"})
    coords = coordinates("stratum", cube.strata, cube.traits, table)
    if len(cube.kinds) > 1:
        kind = np.repeat([kind.kind for kind in cube.kinds], [len(kind.traits) for kind in cube.kinds])
        coords["trait_kind"] = ("trait", kind.astype(object)[order])
    return xr.Dataset(data, coords, attrs=cube.attrs)


def coordinates(
    first: str, names: Sequence[str], traits: Sequence[str], table: VariantTable
) -> dict[str, tuple[str, NDArray[Any]]]:
    """Coordinates of results: of the first dimension, of traits and of variants."""
    return {
        first: (first, np.array(names, object)),
        "trait": ("trait", np.array(traits, object)),
        "variant_contig": ("variant", table.contig),
        "variant_position": ("variant", table.position),
        "variant_id": ("variant", table.variant_id),
        "variant_ref": ("variant", table.ref),
        "effect_allele": ("variant", table.alt),
    }
