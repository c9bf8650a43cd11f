"""Association by local ancestry: an allele may have another effect on haplotypes of another ancestry.

The model of Tractor (Atkinson et al. 2021, 10.1038/s41588-020-00766-y)::

    y ~ covariates + Σ_k γ_k · haplotypes_k + Σ_k β_k · alleles_k

where ``haplotypes_k`` is the number of a person's haplotypes of ancestry ``k`` at the variant (0, 1, 2) and
``alleles_k`` how many of them carry the effect allele. With an intercept one of the ``haplotypes_k`` follows from the
others; which one is left out changes nothing. Tests of a variant and trait:

- joint: all ``β_k`` are 0, on as many degrees of freedom as there are ancestries with a term;
- shared: one ``β`` for all of them, which is the ordinary test with local ancestry as a covariate;
- heterogeneity: whether the ``β_k`` differ;
- ancestry: all ``γ_k`` are 0 in the model without alleles, which is admixture mapping;
- of each ancestry: its own ``β_k``.

An allele that is rare among the haplotypes of an ancestry (``min_ancestry_allele_count``) has no term there, and the
ancestry's status says so. Least squares are exact: every test is that of the regression with all predictors. For cases
and controls a score test at the null model looks at every pair, and what may be associated (``refine_below``) is
fitted in full by maximum likelihood (:mod:`allscan.kernels.local_ancestry_logistic`).

What the predictors need of the people are sums by ancestry (:mod:`allscan.kernels.local_ancestry_numba`): over
haplotypes, which follow the changes of ancestry along the chromosome, and over the carriers of the rarer allele. So two
ancestries or five cost the same, and a rare variant what its carriers cost.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from allscan.kernels.association import (
    AssociationTest,
    Missing,
    Model,
    NullData,
    OutputColumn,
    ScanOptions,
    TraitNote,
)
from allscan.kernels.linear_general import fit_general
from allscan.kernels.local_ancestry_numba import OF_ANCESTRY, score_haplotypes
from allscan.kernels.local_ancestry_sums import LocalNull, padded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from allscan.kernels.haplotypes import HaplotypeBlock

LEAST_COUNT = 20
"""Copies of the rarer allele among the haplotypes of an ancestry, below which it has no term."""

_SHARED = ("beta", "standard_error", "neg_log10_p", "neg_log10_p_shared", "neg_log10_p_heterogeneity",
           "neg_log10_p_ancestry")  # fmt: skip
_OF_ANCESTRY = ("beta", "standard_error", "neg_log10_p")


def columns(unit: str, options: ScanOptions) -> tuple[OutputColumn, ...]:
    """Output columns, those of an ancestry with its name."""
    out = [
        OutputColumn("beta", "Effect of the effect allele (ALT), the same in all ancestries with a term", unit),
        OutputColumn("standard_error", "Standard error of beta", unit),
        OutputColumn("neg_log10_p", "Joint test of the effects in all ancestries with a term", "-log10 p"),
        OutputColumn("neg_log10_p_shared", "Test of beta", "-log10 p"),
        OutputColumn("neg_log10_p_heterogeneity", "Test of whether the effects differ by ancestry", "-log10 p"),
        OutputColumn("neg_log10_p_ancestry", "Admixture mapping: local ancestry without alleles", "-log10 p"),
    ]
    for name in options.ancestries:
        on = f"on haplotypes of {name}"
        out += [
            OutputColumn(f"beta_{name}", f"Effect of the effect allele {on}", unit),
            OutputColumn(f"standard_error_{name}", f"Standard error of beta_{name}", unit),
            OutputColumn(f"neg_log10_p_{name}", f"Test of beta_{name} = 0", "-log10 p"),
            OutputColumn(f"effect_allele_frequency_{name}", f"Frequency of the effect allele {on}"),
            OutputColumn(f"haplotypes_{name}", f"Haplotypes of {name} with a call", "haplotypes"),
            OutputColumn(f"status_{name}", f"Code of the status of the term of {name}; 0: it has one"),
        ]
    return tuple(out)


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse values that mean nothing."""
    value = options["min_ancestry_allele_count"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"min_ancestry_allele_count is {value!r}; it is a number of alleles, at least 0")


def fit_linear(data: NullData, options: ScanOptions, own: Mapping[str, Any]) -> tuple[LocalNull, tuple[TraitNote, ...]]:
    """Project the traits, less their offsets, off the covariates, pattern by pattern."""
    general, notes = fit_general(data.less_offset(), options)
    member = np.ascontiguousarray(data.member.T.astype(np.float64))
    null = LocalNull(
        padded(general.panel),
        padded(np.hstack([member, member])),
        general.start,
        general.rank,
        np.arange(len(general.rank)),
        general.size,
        general.set_of_trait,
        general.column,
        general.residual_ss,
        general.variance_factor,
        general.status,
        float(own["min_ancestry_allele_count"]),
        False,
    )
    return null, notes


def score_linear(block: HaplotypeBlock, null: LocalNull, options: ScanOptions, out: Mapping[str, NDArray[Any]]) -> None:
    """Test every variant of a block against every trait."""
    cells, status = score(block, null, options.missing == Missing.EXCLUDE, options.ancestries, out)
    write_cells(cells, status, options.ancestries, out)


def score(
    block: HaplotypeBlock, null: LocalNull, exclude: bool, names: tuple[str, ...], out: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """All tests of a block from sums; what is counted of each ancestry is written to ``out``."""
    v, k, n_groups, n_traits = block.n_variants, block.n_ancestries, len(null.rank), len(null.column)
    assert k == len(names)
    cells = np.empty((v, n_traits, OF_ANCESTRY + 3 * k))
    status = np.empty((v, n_traits), np.uint8)
    haplotypes, alleles = np.empty((v, n_groups, k)), np.empty((v, n_groups, k))
    terms = np.empty((v, n_groups, k), np.uint8)
    score_haplotypes(block, null, exclude, cells, status, haplotypes, alleles, terms)
    with np.errstate(invalid="ignore", divide="ignore"):
        frequency = alleles / haplotypes
    of_trait = null.group_of_trait
    for a, name in enumerate(names):
        out[f"haplotypes_{name}"][...] = haplotypes[:, of_trait, a]
        out[f"effect_allele_frequency_{name}"][...] = frequency[:, of_trait, a]
        out[f"status_{name}"][...] = terms[:, of_trait, a]
    return cells, status


def write_cells(
    cells: NDArray[np.float64], status: NDArray[np.uint8], names: tuple[str, ...], out: Mapping[str, NDArray[Any]]
) -> None:
    """Write results into the columns of a test."""
    out["status"][...] = status
    for place, name in enumerate(_SHARED):
        out[name][...] = cells[:, :, place]
    for a, ancestry in enumerate(names):
        for place, name in enumerate(_OF_ANCESTRY):
            out[f"{name}_{ancestry}"][...] = cells[:, :, OF_ANCESTRY + 3 * a + place]


def not_of_genotypes(*_arguments: Any) -> NoReturn:
    """What a test of local ancestry is in place of ``score_block``."""
    raise TypeError("this test is called with haplotypes: score_haplotypes")


def _linear_columns(options: ScanOptions) -> tuple[OutputColumn, ...]:
    return columns("trait units per copy of the effect allele", options)


LOCAL_ANCESTRY_LINEAR = AssociationTest(
    name="local_ancestry_linear",
    title="Linear regression with effects by local ancestry",
    doi="10.1038/s41588-020-00766-y",
    trait_kinds=frozenset({"quantitative"}),
    columns=_linear_columns,
    fit_null=fit_linear,
    score_block=not_of_genotypes,
    options={"min_ancestry_allele_count": LEAST_COUNT},
    models=frozenset({Model.ADDITIVE}),
    check_options=check_options,
    seconds_per_person=1e-10,
    uses_offset=True,
    uses_relatedness=True,
    score_haplotypes=score_linear,
)
