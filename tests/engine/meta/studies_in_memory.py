"""Studies held in memory, for the tests of what combines them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from allscan.arrow import string_array
from allscan.engine.hashing import content_hash
from allscan.engine.meta.studies import StudyBlock, study_block
from allscan.engine.variant_names import VariantNames

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StudiesInMemory:
    """Arrays (studies, traits, variants)."""

    names: tuple[str, ...]
    traits: tuple[str, ...]
    beta: Array
    standard_error: Array
    neg_log10_p: Array
    n: Array
    frequency: Array
    cases: Array | None = None
    chunk_variants: int = 64
    position: NDArray[np.int32] | None = None
    reference_build: str | None = "GRCh38"
    reads: list[slice] = field(default_factory=list)

    @property
    def binary(self) -> NDArray[np.bool_]:
        return np.full(len(self.traits), self.cases is not None)

    @property
    def n_variants(self) -> int:
        return self.beta.shape[2]

    @property
    def digest(self) -> str:
        arrays = (self.beta, self.standard_error, self.neg_log10_p, self.n, self.frequency)
        return content_hash(*arrays, b"" if self.cases is None else self.cases)

    def variant_names(self, start: int = 0, stop: int | None = None) -> VariantNames:
        n = self.n_variants
        position = np.arange(1, n + 1, dtype=np.int32) * 1000 if self.position is None else self.position
        rows = slice(start, n if stop is None else min(stop, n))
        count = len(position[rows])
        return VariantNames(
            ("1",),
            np.zeros(count, np.int16),
            position[rows],
            string_array([f"rs{k}" for k in range(n)][rows]),
            string_array(["A"] * count),
            string_array(["C"] * count),
            np.full(count, np.nan, np.float32),
        )

    def read(self, members: Sequence[int], traits: slice, variants: slice) -> list[StudyBlock]:
        self.reads.append(variants)
        which = list(members)
        return [
            study_block(
                *(
                    array[which, t, variants].copy()
                    for array in (self.beta, self.standard_error, self.neg_log10_p, self.n, self.frequency)
                ),
                *(
                    ()
                    if self.cases is None
                    else (
                        self.cases[which, t, variants],
                        self.frequency[which, t, variants],
                        self.frequency[which, t, variants],
                    )
                ),
            )
            for t in range(*traits.indices(len(self.traits)))
        ]


def random_studies(
    studies: int = 5, traits: int = 3, variants: int = 400, *, seed: int = 1, binary: bool = False, missing: float = 0.2
) -> StudiesInMemory:
    """Effects of which some are shared, some differ; frequencies along one axis of ancestry."""
    from scipy import stats

    rng = np.random.default_rng(seed)
    shape = (studies, traits, variants)
    n = np.repeat(rng.integers(500, 5000, (studies, 1, 1)).astype(float), traits, 1) * np.ones(shape)
    place = np.linspace(-0.15, 0.15, studies)[:, None, None]
    frequency = np.clip(
        rng.uniform(0.2, 0.8, (1, 1, variants)) + place * rng.normal(1.0, 0.5, (1, 1, variants)), 0.02, 0.98
    )
    frequency = frequency * np.ones(shape)
    error = 1.0 / np.sqrt(2.0 * frequency * (1.0 - frequency) * n)
    true = np.where(rng.random((1, traits, variants)) < 0.05, 0.15, 0.0)
    beta = true + rng.normal(size=shape) * error
    present = rng.random(shape) >= missing
    p = -(np.log(2.0) + stats.norm.logsf(np.abs(beta / error))) / np.log(10.0)
    beta, error, p, n = (np.where(present, array, np.nan) for array in (beta, error, p, n))
    names = tuple(f"study{s}" for s in range(studies))
    cases = np.round(n * 0.2) if binary else None
    return StudiesInMemory(names, tuple(f"t{t}" for t in range(traits)), beta, error, p, n, frequency, cases)
