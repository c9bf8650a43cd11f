"""A genotype store as a lazy xarray.Dataset, for notebooks and for sgkit's functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.store import GenotypeStore

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from allscan.storage import Place

# Names in the store and in the dataset. sgkit has names of its own for counts of every allele, (variants, alleles).
VARIANT_ARRAYS = {
    "variant_contig": "variant_contig",
    "variant_position": "variant_position",
    "variant_id": "variant_id",
    "variant_allele": "variant_allele",
    "variant_info": "variant_info",
    "variant_allele_count": "variant_alt_count",
    "variant_allele_frequency": "variant_alt_frequency",
    "variant_missing_rate": "variant_missing_rate",
    "variant_hwe_neg_log10_p": "variant_hwe_neg_log10_p",
}


def _to_genotype(dosage: NDArray[np.float32]) -> NDArray[np.int8]:
    """Unphased calls (variants, samples, ploidy): ALT copies last; a missing call is (-1, -1)."""
    calls = np.where(np.isnan(dosage), -1, np.floor(np.nan_to_num(dosage) + 0.5)).astype(np.int8)
    missing = calls < 0
    first = np.where(missing, np.int8(-1), (calls == 2).astype(np.int8))
    second = np.where(missing, np.int8(-1), (calls >= 1).astype(np.int8))
    return np.stack([first, second], axis=-1)


def open_dataset(path: str | Place) -> xr.Dataset:
    """Open a genotype store as an ``xarray.Dataset`` on dask arrays, decoded on access.

    Names and dimensions are those of VCF Zarr and sgkit: ``call_dosage`` (variants, samples) float32,
    ``call_genotype`` (variants, samples, ploidy) int8 with unphased calls (dosages rounded to the nearest),
    ``call_genotype_mask``, ``call_dosage_mask``, ``variant_*``, ``sample_id``, ``contig_id``.

    Raises
    ------
    InputError
        If there is no store at ``path``.
    """
    import dask.array as da
    import xarray as xr

    store = GenotypeStore(path)

    def lazy(name: str) -> Any:
        return da.from_zarr(store.array(name))

    dosage = lazy("call_dosage")
    genotype = dosage.map_blocks(
        _to_genotype, dtype=np.int8, chunks=(*dosage.chunks, (2,)), new_axis=2, meta=np.empty((0, 0, 0), np.int8)
    )
    data: dict[str, Any] = {
        "call_dosage": (("variants", "samples"), dosage),
        "call_dosage_mask": (("variants", "samples"), da.isnan(dosage)),
        "call_genotype": (("variants", "samples", "ploidy"), genotype, {"mixed_ploidy": False}),
        "call_genotype_mask": (("variants", "samples", "ploidy"), genotype < 0),
    }
    for name, shown in VARIANT_ARRAYS.items():
        dims = ("variants", "alleles") if name == "variant_allele" else ("variants",)
        data[shown] = (dims, lazy(name))
    data["sample_id"] = (("samples",), store.sample_ids)
    data["sample_sex"] = (("samples",), store.sample_sex)
    data["contig_id"] = (("contigs",), np.array(store.contigs, object))
    # sgkit finds the names of contigs in this attribute.
    return xr.Dataset(data, attrs={**store.attrs, "contigs": list(store.contigs)})
