"""Fit a test and score blocks with it, as the engine does, without files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.kernels.association import AssociationTest, NullData, ScanOptions
from allscan.kernels.counts import count_genotypes, sample_sets
from allscan.kernels.missingness import missingness_patterns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from allscan.kernels.block import GenotypeBlock
    from allscan.kernels.relatedness import Relatedness


def null_data(
    traits: NDArray[np.float64], covariates: NDArray[np.float64], related: Relatedness | None = None
) -> NullData:
    """Traits (samples, traits) and covariates (samples, covariates) on an autosome."""
    member, set_of_trait = missingness_patterns(traits)
    names = tuple(f"c{k}" for k in range(covariates.shape[1]))
    return NullData(traits, covariates, names, np.ones(len(traits)), member, set_of_trait, relatedness=related)


def score(
    test: AssociationTest, data: NullData, blocks: Iterable[GenotypeBlock], **own: object
) -> tuple[Any, NDArray[np.float64]]:
    """The null model, and −log10 p of all blocks' variants, shape (variants, traits); ``own``: the test's options."""
    options = ScanOptions()
    null, _ = test.fit_null(data, options, {**(test.options or {}), **own})
    sets = sample_sets(data.member)
    found = []
    for block in blocks:
        shape = (block.n_variants, data.traits.shape[1])
        out: dict[str, NDArray[Any]] = {column.name: np.empty(shape) for column in test.columns(options)}
        out["status"] = np.empty(shape, np.uint8)
        test.score_block(block, count_genotypes(block, sets), null, options, out)
        found.append(out["neg_log10_p"])
    return null, np.concatenate(found)
