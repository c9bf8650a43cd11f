"""What fitting the whole-genome model takes: memory of a task, and disk between the levels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allscan.engine.whole_genome.level0 import traits_per_batch
from allscan.kernels.ridge import STRIP

if TYPE_CHECKING:
    from allscan.engine.store import GenotypeStore
    from allscan.engine.whole_genome.cohort import Cohort
    from allscan.engine.whole_genome.model import WholeGenomeSpec


def task_memory(store: GenotypeStore, cohort: Cohort, spec: WholeGenomeSpec) -> int:
    """Bytes of the largest task."""
    batch = min(len(cohort.trait_names), traits_per_batch(cohort.n_people, len(spec.heritabilities)))
    return level0_memory(store, cohort_size=cohort.n_people, spec=spec, traits=batch)


def work_bytes(store: GenotypeStore, cohort: Cohort, spec: WholeGenomeSpec) -> int:
    """Bytes of the predictions of a batch of traits between the levels, at most: which markers there are is not known.

    They are taken away before the next batch.
    """
    grid = len(spec.heritabilities)
    batch = min(len(cohort.trait_names), traits_per_batch(cohort.n_people, grid))
    markers = min(store.n_variants, spec.markers.max_markers or store.n_variants)
    blocks = -(-markers // spec.block_markers) + len(store.contigs)
    return 4 * cohort.n_people * batch * grid * blocks


def level0_memory(store: GenotypeStore, *, cohort_size: int, spec: WholeGenomeSpec, traits: int) -> int:
    """Bytes of a task: sums of squares of each fold, a tile, coefficients, packed genotypes, predictions."""
    m, columns = spec.block_markers, traits * len(spec.heritabilities)
    squares = 8 * m * m * (spec.folds + 4)
    tile = 4 * STRIP * (m + columns)
    coefficients = 4 * m * columns * (spec.folds + 1)
    predictions = 2 * 4 * cohort_size * columns
    return squares + tile + coefficients + predictions + 2 * m * store.n_samples
