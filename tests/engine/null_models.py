"""Null models for tests: drawn, not fitted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from allscan.engine.design import Design
from allscan.engine.null_model_files import Accuracy, NullModelHeader, TraitModel, write_null_model
from allscan.engine.offsets import ALL


class DrawnOffsets:
    """Offsets that are in memory."""

    def __init__(self, design: Design, chromosomes: tuple[str, ...], seed: int = 0, scale: float = 1.0) -> None:
        self.chromosomes = chromosomes
        shape = (design.n_samples, len(design.trait_names))
        rng = np.random.default_rng(seed)
        self.values = {name: scale * rng.normal(size=shape) for name in (*chromosomes, ALL)}

    def of(self, chromosome: str, traits: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.values[chromosome if chromosome in self.chromosomes else ALL][:, traits]

    def digest(self, trait: int) -> str:
        return str([float(values[:, trait].sum()) for values in self.values.values()])


def draw_model(
    place: Path,
    sample_ids: Sequence[str],
    traits: Sequence[str],
    *,
    chromosomes: Sequence[str] = ("1", "2"),
    missing: float = 0.0,
    failed: Sequence[str] = (),
    seed: int = 3,
    **of_traits: object,
) -> dict[str, NDArray[np.float64]]:
    """Write a null model of drawn predictions, each (chromosomes + 1, samples), and return them."""
    drawn: dict[str, NDArray[np.float64]] = {}
    models = []
    for k, name in enumerate(traits):
        # Of its own: another trait beside it changes nothing.
        rng = np.random.default_rng((seed, k))
        values = rng.normal(size=(len(chromosomes) + 1, len(sample_ids)))
        values[:, rng.random(len(sample_ids)) < missing] = np.nan
        if name in failed:
            models.append(TraitModel(name, 0, "not_converged", "the fit did not converge"))
            continue
        drawn[name] = values
        n = int(np.isfinite(values[0]).sum())
        known = {"kind": "quantitative", "residual_sd": 2.0 + k, "accuracy": Accuracy("r2", 0.1)} | of_traits
        models.append(TraitModel(name, n, **known))  # type: ignore[arg-type]
    header = NullModelHeader("drawn", tuple(models), {"seed": seed})
    write_null_model(place, header, np.array(sample_ids, object), chromosomes, iter(drawn.items()))
    return drawn
