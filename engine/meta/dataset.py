"""A meta-analysis as a lazy xarray.Dataset, for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.meta.cube import DIMENSIONS, MetaCube
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
    table = cube.variant_table()
    coords = {
        "stratification": ("stratification", np.array(cube.strata, object)),
        "trait": ("trait", np.array(cube.traits, object)),
        "variant_contig": ("variant", table.contig),
        "variant_position": ("variant", table.position),
        "variant_id": ("variant", table.variant_id),
        "variant_ref": ("variant", table.ref),
        "effect_allele": ("variant", table.alt),
    }
    return xr.Dataset(data, coords, attrs=dict(cube.attrs))
