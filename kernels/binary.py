"""Association of binary traits: score tests of all pairs by products, exact treatment of those that deserve it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.kernels.association import AssociationTest, Missing, Model, OutputColumn, ScanOptions
from allscan.kernels.binary_null import BinaryNull, BinaryOptions, check_options, fit_binary
from allscan.kernels.binary_refinement import refine
from allscan.kernels.binary_score import Scores, Sums, finish_scores, heed_relatives, score_pairs
from allscan.kernels.block import take
from allscan.kernels.entries import missing_entries
from allscan.kernels.linear_shared import CODINGS, predictor_moments
from allscan.kernels.products import Term, genotype_products, missing_products, shifts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from allscan.kernels.block import GenotypeBlock
    from allscan.kernels.counts import GenotypeCounts

PRODUCT_BYTES = 1 << 26
"""Products of the variants that are scored together, at most; but no fewer than LEAST_VARIANTS."""
LEAST_VARIANTS = 768


def score_block(
    block: GenotypeBlock,
    counts: GenotypeCounts,
    null: BinaryNull,
    options: ScanOptions,
    out: Mapping[str, NDArray[Any]],
) -> None:
    """Test every variant of a block against every trait of the null model."""
    size = max(LEAST_VARIANTS, PRODUCT_BYTES // (8 * max(1, null.panel.n_columns)))
    for first in range(0, block.n_variants, size):
        rows = np.arange(first, min(first + size, block.n_variants))
        whole = len(rows) == block.n_variants
        part = block if whole else take(block, rows)
        few = (
            counts
            if whole
            else counts._replace(**{name: getattr(counts, name)[rows] for name in counts._fields if name != "size"})
        )
        cells = {name: values[first : first + len(rows)] for name, values in out.items()}
        _score_part(part, few, null, options, cells)


def _score_part(
    block: GenotypeBlock,
    counts: GenotypeCounts,
    null: BinaryNull,
    options: ScanOptions,
    out: Mapping[str, NDArray[Any]],
) -> None:
    coding = CODINGS[Model(options.model)]
    exclude = options.missing == Missing.EXCLUDE
    shift = shifts(block, coding) if null.shifted else np.zeros(block.n_variants)
    predictor = predictor_moments(block, counts, null.member, coding, shift)
    missing = missing_entries(block)
    sums = Sums(
        genotype_products(block, null.panel, coding, shifted=null.shifted),
        missing_products(missing, null.panel).total,
        genotype_products(block, null.squares, coding, Term.SQUARE, shifted=null.shifted),
        missing_products(missing, null.squares).total,
    )
    shape = (len(null.status), block.n_variants)
    scores = Scores(np.empty(shape), np.empty(shape), np.empty(shape, np.uint8), np.empty(shape, np.bool_))
    score_pairs(
        sums,
        predictor,
        counts.size,
        missing,
        exclude,
        null.set_of_trait,
        null.status,
        null.people,
        null.weights,
        null.root,
        scores,
    )
    cells = (np.empty(shape), np.empty(shape), np.empty(shape))
    finish_scores(scores, *cells)
    refine(block, coding, shift, null, sums, predictor, missing, counts.size, exclude, scores, cells)
    heed_relatives(null.variance_factor, *cells[1:])
    for name, values in zip(("beta", "standard_error", "neg_log10_p"), cells, strict=True):
        out[name][...] = values.T
    out["status"][...] = scores.status.T


def columns(options: ScanOptions) -> tuple[OutputColumn, ...]:
    """Output columns."""
    unit = "log odds per copy of the effect allele"
    if options.model == Model.DOMINANT:
        unit = "log odds, carriers against non-carriers"
    elif options.model == Model.RECESSIVE:
        unit = "log odds, two copies against fewer"
    return (
        OutputColumn("beta", "Log odds ratio of the effect allele (ALT)", unit),
        OutputColumn("standard_error", "Standard error of beta", unit),
        OutputColumn("neg_log10_p", "Two-sided p of beta = 0; the status says by which method", "-log10 p"),
    )


LOGISTIC = AssociationTest(
    name="logistic",
    title="Logistic regression: score test, saddlepoint approximation and Firth estimates",
    doi="10.1016/j.ajhg.2017.05.014",
    trait_kinds=frozenset({"binary"}),
    columns=columns,
    fit_null=fit_binary,
    score_block=score_block,
    options=BinaryOptions()._asdict(),
    models=frozenset(CODINGS),
    check_options=check_options,
    seconds_per_person=3e-10,  # common variants: one pair in twenty is gone through, 8 ns a person
    uses_relatedness=True,
    uses_offset=True,
)
