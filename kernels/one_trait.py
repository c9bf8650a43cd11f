"""The one-trait form: write a test for one variant and one trait, and let the engine do the rest.

The newcomer's way into :class:`~allscan.kernels.association.AssociationTest`. You give two functions::

    def fit(trait, covariates, options):          # (samples,), (samples, covariates) of the analysed samples
        return anything                           # what scoring needs, e.g. residuals

    def score(predictors, fitted, options):       # (samples, predictors); NaN-free
        return {"beta": 0.1, "standard_error": 0.02, "neg_log10_p": 6.2}

and :func:`one_trait_test` makes the test: it loops over variants and traits, decodes and codes the genotypes, and
imputes or excludes the missing ones. A ``score`` that raises :class:`CannotTest` gives NaN and its status.
With excluded missing genotypes ``fit`` is called again for every variant that has some: exact, and slow. A
test whose null model is expensive should write ``score_block`` itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.kernels.association import (
    AssociationTest,
    Missing,
    Model,
    NullData,
    OutputColumn,
    ScanOptions,
    Status,
    TraitNote,
)
from allscan.kernels.block import GenotypeBlock, dosages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from allscan.kernels.counts import GenotypeCounts


class CannotTest(Exception):  # noqa: N818 - an outcome with a status code, not an error
    """Raised by ``fit`` or ``score``: this trait, or this variant and trait, has no result."""

    def __init__(self, status: Status, message: str = "") -> None:
        super().__init__(message or status.name.lower())
        self.status = status


class OneTraitNull(NamedTuple):
    """Null models of a batch, one a trait."""

    data: NullData
    fitted: tuple[Any, ...]  # None where the fit failed
    status: tuple[int, ...]
    options: Mapping[str, Any]  # the test's own, defaults filled in


def _predictors(dosage: NDArray[np.float64], model: int) -> NDArray[np.float64]:
    """Coded genotypes, shape (samples, predictors); NaN stays NaN."""
    if model == Model.DOMINANT:
        return np.minimum(dosage, 1.0)[:, None]
    if model == Model.RECESSIVE:
        return np.maximum(dosage - 1.0, 0.0)[:, None]
    if model == Model.GENOTYPIC:
        return np.column_stack([dosage, np.minimum(dosage, 2.0 - dosage)])
    return dosage[:, None]


def one_trait_test(
    name: str,
    *,
    title: str,
    doi: str,
    fit: Callable[[NDArray[np.float64], NDArray[np.float64], Mapping[str, Any]], Any],
    score: Callable[[NDArray[np.float64], Any, Mapping[str, Any]], Mapping[str, float]],
    columns: Sequence[OutputColumn],
    trait_kinds: Sequence[str] = ("quantitative",),
    models: Sequence[Model] = (Model.ADDITIVE, Model.DOMINANT, Model.RECESSIVE),
    options: Mapping[str, Any] | None = None,
) -> AssociationTest:
    """Make an association test of a function of one variant and one trait.

    Parameters
    ----------
    fit
        ``fit(trait, covariates, options)``: the null model of one trait in its analysed samples.
    score
        ``score(predictors, fitted, options)``: a value for each output column, in the same samples.
    columns
        What ``score`` returns.
    models
        Genetic models the test can do; under another every result has the status ``NOT_TESTED``.

    Notes
    -----
    A test that is for quantitative traits alone runs with whole-genome null models: ``fit`` is given the trait less
    what the rest of the genome predicts of it.
    """
    defaults = dict(options or {})

    def fit_null(
        data: NullData, _scan: ScanOptions, own: Mapping[str, Any]
    ) -> tuple[OneTraitNull, tuple[TraitNote, ...]]:
        data = data.less_offset()
        chosen = defaults | dict(own)
        fitted: list[Any] = []
        status: list[int] = []
        notes: list[TraitNote] = []
        for t in range(data.traits.shape[1]):
            member = data.member[data.set_of_trait[t]]
            try:
                fitted.append(fit(data.traits[member, t], data.covariates[member], chosen))
                status.append(int(Status.OK))
            except CannotTest as reason:
                fitted.append(None)
                status.append(int(reason.status))
                notes.append(TraitNote(t, int(reason.status), str(reason)))
        return OneTraitNull(data, tuple(fitted), tuple(status), chosen), tuple(notes)

    def score_block(
        block: GenotypeBlock,
        counts: GenotypeCounts,  # noqa: ARG001 - part of the contract; this form counts for itself
        null: OneTraitNull,
        scan: ScanOptions,
        out: Mapping[str, NDArray[Any]],
    ) -> None:
        data = null.data
        names = [column.name for column in columns]
        for column in names:
            out[column][...] = np.nan
        if scan.model not in tuple(models):
            out["status"][...] = Status.NOT_TESTED
            return
        row = np.empty((1, block.n_samples), np.float32)
        for v in range(block.n_variants):
            dosages(block, v, v + 1, row)
            predictors = _predictors(row[0].astype(np.float64), scan.model)
            for t in range(data.traits.shape[1]):
                if null.status[t] != Status.OK:
                    out["status"][v, t] = null.status[t]
                    continue
                try:
                    values = _score_one(predictors, null, t, scan)
                except CannotTest as reason:
                    out["status"][v, t] = reason.status
                    continue
                out["status"][v, t] = Status.OK
                for column in names:
                    out[column][v, t] = values[column]

    def _score_one(
        predictors: NDArray[np.float64], null: OneTraitNull, t: int, scan: ScanOptions
    ) -> Mapping[str, float]:
        data, fitted = null.data, null.fitted[t]
        member = data.member[data.set_of_trait[t]]
        called = member & ~np.isnan(predictors[:, 0])
        if not called.any():
            raise CannotTest(Status.ALL_MISSING)
        if np.ptp(predictors[called], axis=0).max() == 0:
            raise CannotTest(Status.MONOMORPHIC)
        if scan.missing == Missing.EXCLUDE and called.sum() < member.sum():
            member = called
            fitted = fit(data.traits[member, t], data.covariates[member], null.options)
        x = np.where(np.isnan(predictors), predictors[called].mean(axis=0), predictors)[member]
        return score(x * data.dosage_scale[member, None], fitted, null.options)

    return AssociationTest(
        name=name,
        title=title,
        doi=doi,
        trait_kinds=frozenset(trait_kinds),
        columns=lambda _options: tuple(columns),
        fit_null=fit_null,
        score_block=score_block,
        options=defaults,
        models=frozenset(models),
        uses_offset=set(trait_kinds) == {"quantitative"},
    )
