"""allscan: genome-wide and phenome-wide association scans.

Everything that the command line does is a short call here:

>>> import allscan
>>> allscan.open_store  # doctest: +ELLIPSIS
<function open_store at ...>
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allscan.engine.dataset import open_dataset as open_dataset
    from allscan.engine.meta.dataset import open_meta as open_meta
    from allscan.engine.result_dataset import open_results as open_results
    from allscan.engine.store import open_store as open_store
    from allscan.engine.store import verify_store as verify_store
    from allscan.jobs.api import build_local_ancestry as build_local_ancestry
    from allscan.jobs.api import ingest as ingest
    from allscan.jobs.api import simulate as simulate
    from allscan.jobs.export import export as export
    from allscan.jobs.job import Job as Job
    from allscan.jobs.structure.folder import open_structure as open_structure

    __version__: str

# Where each public name lives. Imported on first use: `allscan --help` must not wait for numba and xarray.
_HOMES = {
    "Job": "allscan.jobs.job",
    "build_local_ancestry": "allscan.jobs.api",
    "export": "allscan.jobs.export",
    "ingest": "allscan.jobs.api",
    "open_dataset": "allscan.engine.dataset",
    "open_meta": "allscan.engine.meta.dataset",
    "open_results": "allscan.engine.result_dataset",
    "open_store": "allscan.engine.store",
    "open_structure": "allscan.jobs.structure.folder",
    "simulate": "allscan.jobs.api",
    "verify_store": "allscan.engine.store",
}

__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("allscan")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'allscan' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return __all__
