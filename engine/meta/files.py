"""Files of a meta-analysis in the folder of its results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allscan.storage import remove_tree

if TYPE_CHECKING:
    from allscan.storage import Place

META = "meta.zarr"
"""The cube."""
META_HITS = "meta_hits.parquet"
META_COMMITS = "meta.commits"
META_PARTS = "meta.parts"


def remove_meta(output: Place) -> None:
    """Remove a meta-analysis from a folder, if there is one."""
    for folder in (output / META, output / META_COMMITS, output / META_PARTS):
        remove_tree(folder)
    (output / META_HITS).unlink(missing_ok=True)
