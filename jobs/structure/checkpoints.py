"""What stages gave, kept while the later ones are computed: a run that was killed goes on from them."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from allscan.storage import remove_tree, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray

    from allscan.storage import Place

WORK = "structure.partial"

Arrays = dict[str, "NDArray[Any]"]


class Checkpoints:
    """Arrays by stage, in a folder for one structure.

    Parameters
    ----------
    output
        Folder of the structure.
    digest
        What it is made of; what was kept of others is removed.
    """

    def __init__(self, output: Place, digest: str) -> None:
        self._all = output / WORK
        self._folder = self._all / digest
        if self._all.exists():
            for stale in self._all.iterdir():
                if stale.name != digest:
                    remove_tree(stale)
        self._folder.mkdir(parents=True, exist_ok=True)

    def stage(self, name: str, compute: Callable[[Place], Arrays]) -> Arrays:
        """What a stage gives: read if it is there, else computed and kept.

        Parameters
        ----------
        name
            Of the stage.
        compute
            Computes it; is given a folder of its own, which is removed when the stage is done.
        """
        file, own = self._folder / f"{name}.npz", self._folder / name
        try:
            with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as kept:
                return {key: kept[key] for key in kept.files}
        except FileNotFoundError:
            pass
        except (ValueError, zipfile.BadZipFile):
            file.unlink()  # damaged: computed again
        own.mkdir(parents=True, exist_ok=True)
        found = compute(own)
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **found)
        write_atomically(file, content.getvalue())
        remove_tree(own)
        return found

    def remove(self) -> None:
        """Forget everything: the structure is whole."""
        remove_tree(self._all)
