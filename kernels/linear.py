"""Linear association of every variant with every trait, exact under missing traits and genotypes.

One predictor beside covariates with an intercept, the usual case, takes the form of
:mod:`allscan.kernels.linear_shared`, whose products serve all patterns of missing traits; everything else (two
predictors, no intercept, alleles of men and women that count differently) that of
:mod:`allscan.kernels.linear_general`, always in float64. Where both apply they give the same numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allscan.kernels.association import AssociationTest, Model, NullData, OutputColumn, ScanOptions, TraitNote
from allscan.kernels.linear_general import GeneralNull, fit_general, score_general
from allscan.kernels.linear_shared import SharedNull, fit_shared, score_shared

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from allscan.kernels.block import GenotypeBlock
    from allscan.kernels.counts import GenotypeCounts


LinearNull = SharedNull | GeneralNull


def fit_null(data: NullData, options: ScanOptions, _own: Mapping[str, Any]) -> tuple[LinearNull, tuple[TraitNote, ...]]:
    """Project the traits, less their offsets, off the covariates, pattern by pattern.

    Where relatives are named, variances are multiplied by what they make of them
    (:mod:`allscan.kernels.variance_factor`).
    """
    data = data.less_offset()
    shared = None if options.model == Model.GENOTYPIC else fit_shared(data, options)
    return fit_general(data, options) if shared is None else shared


def score_block(
    block: GenotypeBlock,
    counts: GenotypeCounts,
    null: LinearNull,
    options: ScanOptions,
    out: Mapping[str, NDArray[Any]],
) -> None:
    """Test every variant of a block against every trait of the null model."""
    if isinstance(null, SharedNull):
        score_shared(block, counts, null, options, out)
    else:
        score_general(block, counts, null, options, out)


def columns(options: ScanOptions) -> tuple[OutputColumn, ...]:
    """Output columns."""
    unit = "trait units per copy of the effect allele"
    if options.model == Model.DOMINANT:
        unit = "trait units, carriers against non-carriers"
    elif options.model == Model.RECESSIVE:
        unit = "trait units, two copies against fewer"
    genotypic = options.model == Model.GENOTYPIC
    shared = (
        OutputColumn("beta", "Effect of the effect allele (ALT)" + (", additive part" if genotypic else ""), unit),
        OutputColumn("standard_error", "Standard error of beta", unit),
        OutputColumn(
            "neg_log10_p",
            "F test of both parts on 2 degrees of freedom" if genotypic else "Two-sided t test of beta = 0",
            "-log10 p",
        ),
    )
    if not genotypic:
        return shared
    return (
        *shared,
        OutputColumn("beta_domdev", "Dominance deviation: effect of being heterozygous", "trait units"),
        OutputColumn("standard_error_domdev", "Standard error of beta_domdev", "trait units"),
    )


LINEAR = AssociationTest(
    name="linear",
    title="Linear regression, t test",
    doi="10.2307/1907330",
    trait_kinds=frozenset({"quantitative"}),
    columns=columns,
    fit_null=fit_null,
    score_block=score_block,
    uses_offset=True,
    uses_relatedness=True,
)
