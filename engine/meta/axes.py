"""Axes of genetic variation between studies, from their allele frequencies, as MR-MEGA takes them.

Mägi R et al. Hum Mol Genet 2017;26:3639–3650, doi:10.1093/hmg/ddx280: the squared distance of two studies is the mean
squared difference of their allele frequencies, at variants that are frequent in all studies, one of each megabase;
multidimensional scaling makes axes of the distances.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.meta.block import frequent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.meta.spec import StudySet
    from allscan.engine.meta.studies import Studies
    from allscan.engine.scan import TaskRunner

LEAST_FREQUENCY = 0.05
APART = 1_000_000
"""Base pairs: one variant of each such stretch is looked at."""
LEAST_VARIANTS = 20
"""Variants without which distances would be noise."""
TRAITS = 8
"""Traits that are looked at for the frequencies in a study, at most: the first that the study has."""
_FLAT = 1e-9
"""An axis this much shorter than the longest is none."""


class _Shared(NamedTuple):
    studies: Studies
    members: tuple[int, ...]


class _Found(NamedTuple):
    """Frequent variants, the first of each stretch."""

    stretch: list[tuple[int, int]]  # contig, megabase
    frequency: NDArray[np.float64]  # (studies, variants)


def ancestry_axes(
    studies: Studies, one: StudySet, n_axes: int, executor: TaskRunner, size: int
) -> NDArray[np.float64] | None:
    """Places of the studies of a set on axes of genetic variation, (studies, axes); None if they cannot be told.

    Parameters
    ----------
    studies
        All studies.
    one
        Those that are wanted.
    n_axes
        Axes, at least one; fewer come back where the studies do not spread along so many.
    executor
        What reads the frequencies.
    size
        Variants read at a time.
    """
    tasks = [slice(start, min(start + size, studies.n_variants)) for start in range(0, studies.n_variants, size)]
    found = sorted(executor.run(_frequencies, _Shared(studies, one.members), tasks), key=lambda pair: pair[0].start)
    held: dict[tuple[int, int], NDArray[np.float64]] = {}
    for _, part in found:
        for k, stretch in enumerate(part.stretch):
            held.setdefault(stretch, part.frequency[:, k])
    if len(held) < LEAST_VARIANTS:
        return None
    frequency = np.stack(list(held.values()), axis=1)
    return scaled_axes(np.square(frequency[:, None] - frequency[None]).mean(axis=2), n_axes)


def scaled_axes(distance: NDArray[np.float64], n_axes: int) -> NDArray[np.float64] | None:
    """Classical multidimensional scaling, (studies, axes); None where all studies stand in one place.

    Parameters
    ----------
    distance : (studies, studies)
        Squared.
    n_axes
        At most.
    """
    centred = distance - distance.mean(axis=0) - distance.mean(axis=1)[:, None] + distance.mean()
    values, vectors = np.linalg.eigh(-0.5 * centred)
    values, vectors = values[::-1][:n_axes], vectors[:, ::-1][:, :n_axes]
    kept = values > max(_FLAT * values[0], 1e-12)
    if not kept.any():
        return None
    axes = vectors[:, kept] * np.sqrt(values[kept])
    # The side of an axis is arbitrary: the study farthest from the middle is above zero.
    farthest = np.argmax(np.abs(axes), axis=0)
    return np.asarray(axes * np.sign(axes[farthest, np.arange(axes.shape[1])]))


def _frequencies(shared: _Shared, variants: slice) -> _Found:
    studies, members = shared
    blocks = studies.read(members, slice(0, min(TRAITS, len(studies.traits))), variants)
    frequency = blocks[0].frequency.copy()
    for block in blocks[1:]:
        unknown = np.isnan(frequency)
        frequency[unknown] = block.frequency[unknown]
    everywhere = np.flatnonzero(frequent(blocks[0]._replace(frequency=frequency), range(len(members)), LEAST_FREQUENCY))
    names = studies.variant_names(variants.start, variants.stop)
    contig, stretch = names.contig[everywhere], names.position[everywhere] // APART
    found: dict[tuple[int, int], int] = {}
    for variant, key in zip(everywhere.tolist(), zip(contig.tolist(), stretch.tolist(), strict=True), strict=True):
        found.setdefault(key, variant)
    return _Found(list(found), frequency[:, list(found.values())])
