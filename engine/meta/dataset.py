"""A meta-analysis as a lazy xarray.Dataset, for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allscan.engine.meta.cube import DIMENSIONS, MetaCube
from allscan.engine.result_dataset import coordinates
from allscan.storage import zarr_store

if TYPE_CHECKING:
    import xarray as xr

    from allscan.storage import Place


def open_meta(path: str | Place) -> xr.Dataset:
    """Open a meta-analysis as a lazy ``xarray.Dataset``.

    Parameters
    ----------
    path
        Folder that holds it.

    Returns
    -------
    Dimensions (stratification, trait, variant), on dask arrays, with the coordinates of
    :func:`allscan.engine.result_dataset.open_results`.
    """
    import dask.array as da
    import xarray as xr
    import zarr

    cube = MetaCube(path)
    group = zarr.open_group(zarr_store(cube.path), mode="r")
    data = {
        column.name: xr.Variable(
            DIMENSIONS, da.from_zarr(group[column.name]), {"description": column.description, "unit": column.unit}
        )
        for column in cube.columns
    }
    coords = coordinates("stratification", cube.strata, cube.traits, cube.variant_table())
    return xr.Dataset(data, coords, attrs=dict(cube.attrs))
