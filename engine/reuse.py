"""Results of an earlier scan in the same folder, of which those that still hold are taken over.

When a job changes and its folder is to follow (`update`), what the folder holds moves to ``previous/`` in it, and a
new cube is made beside. A task of the new scan takes from the earlier cube what depends on nothing that changed,
wherever it stands there, and computes the rest. ``previous/`` goes when the new scan is complete; until then nothing is
lost.
"""

from __future__ import annotations

import json
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from allscan.engine.hits import HIT_PARTS
from allscan.engine.manifest import MANIFEST, Manifest
from allscan.engine.plan import ScanTask
from allscan.engine.results import CUBE, ResultsCube
from allscan.storage import ObjectPlace, copy_tree, each, remove_tree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.storage import Place

COMMITS = "commits"
"""Folder of a file for each task that is finished."""
PREVIOUS = "previous"
_MOVING = ".previous.partial"


def read_manifest(folder: Place) -> Manifest | None:
    """What the results in a folder are made of, or None where there are none.

    Raises
    ------
    FileFormatError
        If the list is damaged.
    """
    file = folder / MANIFEST
    try:
        return Manifest.from_json(file.read_bytes(), str(file))
    except FileNotFoundError:
        return None


def read_commits(folder: Place, manifest: Manifest) -> dict[str, dict[str, Any]]:
    """What the finished tasks of a folder say of themselves, by name; those of another scan are left out."""
    commits = {}
    paths: list[Place] = list((folder / COMMITS).glob("b*-v*.json"))
    for path, content in zip(paths, each(lambda path: path.read_bytes(), paths), strict=True):
        try:
            commit = json.loads(content)
            holds = commit.pop("digest", None) == manifest.of_task(ScanTask.of_name(path.stem))
        except (ValueError, TypeError, AttributeError, IndexError):
            continue  # not a commit of ours: its task is computed
        if holds:
            commits[path.stem] = commit
    return commits


def set_aside(output: Place) -> None:
    """Move the results of a folder to ``previous/``; may be interrupted and called again.

    Where there is a ``previous/`` already, an update was cut short by another: what it had made so far goes.
    """
    # The list comes last: where it is, everything is.
    names = (CUBE, COMMITS, MANIFEST)
    if not has_previous(output):
        remove_tree(output / PREVIOUS)  # the rest of one that was forgotten
    if isinstance(output, ObjectPlace) and not has_previous(output):
        for name in names:
            copy_tree(output / name, output / PREVIOUS / name)
    if has_previous(output):
        for name in (CUBE, COMMITS, HIT_PARTS, MANIFEST):
            remove_tree(output / name)
        return
    assert not isinstance(output, ObjectPlace)
    moving = output / _MOVING
    moving.mkdir(exist_ok=True)
    for name in names:
        # While this folder has its temporary name, nothing beside it is new.
        if (output / name).exists():
            (output / name).rename(moving / name)
    moving.rename(output / PREVIOUS)


def is_being_set_aside(output: Place) -> bool:
    """Whether :func:`set_aside` was interrupted."""
    return (output / _MOVING).exists()


def has_previous(output: Place) -> bool:
    """Whether there are results of an earlier scan."""
    return (output / PREVIOUS / MANIFEST).exists()


def forget_previous(output: Place) -> None:
    """Remove what an update no longer needs."""
    # From here on it counts as gone, whatever interrupts the rest.
    (output / PREVIOUS / MANIFEST).unlink(missing_ok=True)
    remove_tree(output / PREVIOUS)


class Earlier:
    """The results in ``previous/``, looked up by what they are made of.

    Parameters
    ----------
    output
        The run folder.
    now
        What the scan at work is made of.
    """

    def __init__(self, output: Place, now: Manifest) -> None:
        self._folder = output / PREVIOUS
        self._now = now
        before = read_manifest(self._folder)
        self._before = before if before is not None and before.everything == now.everything else None
        if self._before is not None:
            self._traits = {
                part: (stratum, index)
                for stratum, of_stratum in enumerate(self._before.traits)
                for index, part in enumerate(of_stratum)
            }
            self._runs = {part: index for index, part in enumerate(self._before.runs)}
            self._commits = read_commits(self._folder, self._before)

    @cached_property
    def _cube(self) -> ResultsCube:
        return ResultsCube(self._folder)

    def __getstate__(self) -> dict[str, Any]:
        # A worker opens the cube itself.
        return {name: value for name, value in self.__dict__.items() if name != "_cube"}

    @property
    def same_males(self) -> bool:
        """Whether impossible calls were counted in the same people."""
        return self._before is not None and self._before.males == self._now.males

    def _place(self, task: ScanTask, stratum: int, trait: int) -> tuple[int, int] | None:
        """Stratum and trait in the earlier cube of a trait (counted from the batch's first), if its result is there."""
        before, batch = self._before, self._now.layout.batches[task.batch]
        if before is None:
            return None
        run = self._runs.get(self._now.runs[task.index])
        found = self._traits.get(self._now.traits[stratum][batch.traits[trait]])
        if run is None or found is None:
            return None
        return found if self._task(before, found, run).name in self._commits else None

    @staticmethod
    def _task(before: Manifest, place: tuple[int, int], run: int) -> ScanTask:
        """The earlier task that computed a stratum's trait."""
        return ScanTask(int(before.layout.batch_of_trait[place[1]]), run)

    def kept(self, task: ScanTask, n_traits: int) -> tuple[tuple[int, ...], ...]:
        """Of each stratum the traits of a task's batch, counted from its first, whose results still hold."""
        return tuple(
            tuple(trait for trait in range(n_traits) if self._place(task, stratum, trait) is not None)
            for stratum in range(len(self._now.traits))
        )

    def take(self, task: ScanTask, stratum: int, kept: tuple[int, ...], columns: dict[str, NDArray[Any]]) -> int:
        """Fill in the rows of kept traits.

        Parameters
        ----------
        task, stratum
            Which results.
        kept
            Traits, as :meth:`kept` gives them for the stratum.
        columns
            Every column of the stratum in the cube, (traits of the batch, variants); written.

        Returns
        -------
        Heterozygous calls that were hidden when they were computed.

        Raises
        ------
        CorruptChunkError
            If the earlier results are damaged.
        """
        assert self._before is not None
        run = self._runs[self._now.runs[task.index]]
        places = [place for trait in kept if (place := self._place(task, stratum, trait)) is not None]
        start = run * self._before.variants_per_task
        for name, rows in columns.items():
            variants = slice(start, start + rows.shape[1])
            # Neighbours are read together: they share files.
            for low, high in _stretches(places):
                earlier, trait = places[low]
                block = self._cube.block(name, earlier, slice(trait, trait + high - low), variants)
                rows[list(kept[low:high])] = block
        commit = self._commits[self._task(self._before, places[0], run).name]
        return int(commit["hidden_heterozygotes"])


def _stretches(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Runs of consecutive traits of one stratum, as (first, one past the last) indices."""
    cuts = [k for k in range(1, len(places)) if places[k] != (places[k - 1][0], places[k - 1][1] + 1)]
    return list(pairwise([0, *cuts, len(places)]))
