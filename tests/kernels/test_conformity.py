"""The conformity kit passes good tests and finds every planted fault."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from allscan.kernels import testing
from allscan.kernels.association import AssociationTest, Missing, Model, NullData, OutputColumn, ScanOptions, Status
from allscan.kernels.linear import LINEAR
from allscan.kernels.logistic_full import LOGISTIC_WALD
from allscan.kernels.normal import normal_neg_log10_p
from allscan.kernels.one_trait import CannotTest, one_trait_test
from allscan.kernels.student import t_neg_log10_p

COLUMNS = tuple(OutputColumn(name, name) for name in ("beta", "standard_error", "neg_log10_p"))


@pytest.mark.parametrize("model", Model)
def test_linear_conforms(model: Model) -> None:
    testing.check_association_test(LINEAR, (model,))


class Fitted:
    """Residuals and basis of one trait."""

    def __init__(self, trait: NDArray[np.float64], covariates: NDArray[np.float64]) -> None:
        self.basis = np.linalg.qr(covariates)[0]
        self.residuals = trait - self.basis @ (self.basis.T @ trait)
        self.df = len(trait) - covariates.shape[1] - 1


def fit(trait: NDArray[np.float64], covariates: NDArray[np.float64], _options: Mapping[str, Any]) -> Fitted:
    return Fitted(trait, covariates)


def score(predictors: NDArray[np.float64], fitted: Fitted, options: Mapping[str, Any]) -> dict[str, float]:
    x = predictors[:, 0]
    x = x - fitted.basis @ (fitted.basis.T @ x)
    if x @ x < 1e-9:
        raise CannotTest(Status.COLLINEAR)
    beta = float(x @ fitted.residuals / (x @ x))
    rss = float(fitted.residuals @ fitted.residuals) - beta * beta * float(x @ x)
    error = math.sqrt(rss / fitted.df / (x @ x)) * options["se_factor"]
    return {"beta": beta, "standard_error": error, "neg_log10_p": t_neg_log10_p(beta / error, fitted.df)}


def newcomer(**changes: Any) -> AssociationTest:
    settings = {"fit": fit, "score": score, "columns": COLUMNS, "options": {"se_factor": 1.0}} | changes
    return one_trait_test("newcomer", title="Linear, one trait at a time", doi="", **settings)


def test_the_one_trait_form_conforms_and_agrees_with_linear() -> None:
    test = newcomer()
    testing.check_association_test(test)
    example = replace(testing.make_example(12), relatedness=None)
    for missing in Missing:
        options = ScanOptions(missing=int(missing))
        one, other = testing.run_test(test, example, options), testing.run_test(LINEAR, example, options)
        np.testing.assert_array_equal(one["status"], other["status"])
        for column in COLUMNS:
            np.testing.assert_allclose(one[column.name], other[column.name], rtol=1e-8, atol=1e-9)


def test_a_model_the_test_does_not_do_is_said() -> None:
    out = testing.run_test(newcomer(), testing.make_example(1), ScanOptions(int(Model.GENOTYPIC)))
    assert set(out["status"].ravel()) == {Status.NOT_TESTED}


def test_a_trait_that_cannot_be_fitted_has_a_status() -> None:
    def refuse(trait: NDArray[np.float64], covariates: NDArray[np.float64], options: Mapping[str, Any]) -> Fitted:
        if np.std(trait) > 100:
            raise CannotTest(Status.NOT_CONVERGED, "the trait is too wild")
        return fit(trait, covariates, options)

    example = testing.make_example(2)
    example.traits[:, 2] *= 1000
    out = testing.run_test(newcomer(fit=refuse), example)
    assert set(out["status"][:, 2]) == {Status.NOT_CONVERGED}
    assert np.isnan(out["beta"][:, 2]).all()
    assert (out["status"][-1, [0, 1, 3, 4]] == Status.OK).all()


Mutation = Callable[[Any, Any, Any, ScanOptions, Mapping[str, NDArray[Any]]], None]


def mutate(change: Callable[[Mapping[str, NDArray[Any]], Any, Any], None]) -> AssociationTest:
    """Linear, with its outputs changed afterwards."""

    def score_block(block: Any, counts: Any, null: Any, options: ScanOptions, out: Mapping[str, NDArray[Any]]) -> None:
        LINEAR.score_block(block, counts, null, options, out)
        change(out, block, null)

    return replace(LINEAR, score_block=score_block)


def unwritten(out: Mapping[str, NDArray[Any]], _block: Any, _null: Any) -> None:
    out["beta"][2, 1] = -12345.678


def zero_for_monomorphic(out: Mapping[str, NDArray[Any]], _block: Any, _null: Any) -> None:
    out["beta"][np.isnan(out["beta"])] = 0.0


def small_errors(out: Mapping[str, NDArray[Any]], _block: Any, _null: Any) -> None:
    out["standard_error"][...] /= 1.3


def one_sided(out: Mapping[str, NDArray[Any]], _block: Any, _null: Any) -> None:
    out["neg_log10_p"][...] += math.log10(2)


def mean_of_the_block(out: Mapping[str, NDArray[Any]], _block: Any, _null: Any) -> None:
    out["beta"][...] -= 1e-3 * np.nanmean(out["beta"])


def mean_of_the_batch(out: Mapping[str, NDArray[Any]], _block: Any, _null: Any) -> None:
    out["neg_log10_p"][...] *= 1 + 1e-3 * out["beta"].shape[1]


def first_person_counts_more(out: Mapping[str, NDArray[Any]], _block: Any, null: Any) -> None:
    group = null.groups[0]
    residual = np.empty(len(group.traits))
    residual[group.traits] = group.exact.matrix(0, 1)[0, group.n_basis :]
    out["beta"][...] += 1e-2 * residual * out["standard_error"]


def inputs_written(_out: Mapping[str, NDArray[Any]], _block: Any, null: Any) -> None:
    null.groups[0].exact.data[0, 0, 0] += 1e-9


def status_forgotten(out: Mapping[str, NDArray[Any]], _block: Any, _null: Any) -> None:
    out["status"][...] = Status.OK


def other_allele(out: Mapping[str, NDArray[Any]], _block: Any, _null: Any) -> None:
    out["beta"][...] = np.abs(out["beta"])


@pytest.mark.parametrize(
    ("fault", "found_by"),
    [
        (unwritten, "every_cell"),
        (zero_for_monomorphic, "every_cell"),
        (status_forgotten, "every_cell"),
        (small_errors, "null_calibration"),
        (one_sided, "null_calibration"),
        (mean_of_the_block, "block_independence"),
        (mean_of_the_batch, "batch_independence"),
        (first_person_counts_more, "sample_order"),
        (inputs_written, "inputs_are_not_changed"),
        (other_allele, "allele_swap"),
    ],
)
def test_planted_faults_are_found(fault: Any, found_by: str) -> None:
    with pytest.raises(testing.ConformityError, match=found_by):
        testing.check_association_test(mutate(fault))


def test_a_forgotten_intercept_is_found() -> None:
    def without(trait: NDArray[np.float64], covariates: NDArray[np.float64], options: Mapping[str, Any]) -> Fitted:
        return fit(trait, covariates[:, 1:], options)

    with pytest.raises(testing.ConformityError, match="intercept"):
        testing.check_association_test(newcomer(fit=without), missing=(Missing.IMPUTE_MEAN,))


def test_wrong_degrees_of_freedom_are_found() -> None:
    with pytest.raises(testing.ConformityError, match="null_calibration"):
        testing.check_association_test(newcomer(options={"se_factor": 0.8}), missing=(Missing.IMPUTE_MEAN,))


def offset_forgotten(data: NullData) -> NullData:
    return data._replace(offset=None)


def offset_added(data: NullData) -> NullData:
    assert data.offset is not None
    return data._replace(offset=-data.offset)


def offset_of_the_first_trait(data: NullData) -> NullData:
    assert data.offset is not None
    return data._replace(offset=np.repeat(data.offset[:, :1], data.offset.shape[1], axis=1))


@pytest.mark.parametrize("change", [offset_forgotten, offset_added, offset_of_the_first_trait])
def test_an_offset_that_is_not_heeded_is_found(change: Callable[[NullData], NullData]) -> None:
    def fit_null(data: NullData, options: ScanOptions, own: Mapping[str, Any]) -> Any:
        return LINEAR.fit_null(data if data.offset is None else change(data), options, own)

    with pytest.raises(testing.ConformityError, match="check_offset"):
        testing.check_association_test(replace(LINEAR, fit_null=fit_null), missing=(Missing.IMPUTE_MEAN,))


def test_a_test_that_uses_no_offset_need_not_heed_it() -> None:
    test = newcomer(trait_kinds=("quantitative", "binary"))
    assert not test.uses_offset
    assert newcomer().uses_offset
    testing.check_offset(test, ScanOptions())


# ---- binary traits ---------------------------------------------------------------------------------------


def mutate_binary(change: Callable[[Mapping[str, NDArray[Any]], Any, Any], None]) -> AssociationTest:
    """Logistic regression, with its outputs changed afterwards."""

    def score_block(block: Any, counts: Any, null: Any, options: ScanOptions, out: Mapping[str, NDArray[Any]]) -> None:
        LOGISTIC_WALD.score_block(block, counts, null, options, out)
        change(out, block, null)

    return replace(LOGISTIC_WALD, score_block=score_block)


def number_for_separated(out: Mapping[str, NDArray[Any]], _block: Any, _null: Any) -> None:
    out["beta"][out["status"] == Status.SEPARATED] = -20.0


def cases_weigh_more(out: Mapping[str, NDArray[Any]], _block: Any, null: Any) -> None:
    out["beta"][...] += 1e-4 * null.case.sum(axis=1) * out["standard_error"]


@pytest.mark.parametrize(
    ("fault", "found_by"),
    [
        (number_for_separated, "every_cell"),
        (cases_weigh_more, "exchange_of_cases"),
        (other_allele, "exchange_of_cases"),
        (small_errors, "null_calibration"),
        (one_sided, "null_calibration"),
    ],
)
def test_planted_faults_of_binary_tests_are_found(fault: Any, found_by: str) -> None:
    with pytest.raises(testing.ConformityError, match=found_by):
        testing.check_association_test(mutate_binary(fault), missing=(Missing.IMPUTE_MEAN,))


@pytest.mark.parametrize(
    ("change", "found_by"),
    [
        (lambda data: data._replace(covariates=data.covariates[:, 1:]), "intercept"),
        (lambda data: data if data.offset is None else offset_forgotten(data), "check_offset"),
        (lambda data: data if data.offset is None else offset_added(data), "check_offset"),
        (lambda data: data if data.offset is None else offset_of_the_first_trait(data), "check_offset"),
        # As a linear test would take it: a trait less an offset is no longer 0 or 1.
        (lambda data: data if data.offset is None else data.less_offset(), "intercept"),
    ],
)
def test_null_models_of_binary_tests_that_are_wrong_are_found(
    change: Callable[[NullData], NullData], found_by: str
) -> None:
    def fit_null(data: NullData, options: ScanOptions, own: Mapping[str, Any]) -> Any:
        return LOGISTIC_WALD.fit_null(change(data), options, own)

    with pytest.raises(testing.ConformityError, match=found_by):
        testing.check_association_test(replace(LOGISTIC_WALD, fit_null=fit_null), missing=(Missing.IMPUTE_MEAN,))


def test_the_one_trait_form_serves_binary_traits() -> None:
    def fit_logistic(trait: NDArray[np.float64], covariates: NDArray[np.float64], _options: Mapping[str, Any]) -> Any:
        centred = covariates - np.append(0.0, covariates[:, 1:].mean(axis=0))
        return trait, np.linalg.qr(centred)[0]

    def score_logistic(predictors: NDArray[np.float64], fitted: Any, _options: Mapping[str, Any]) -> dict[str, float]:
        """Score test by plain algebra: no fit with the variant."""
        trait, basis = fitted
        b = np.zeros(basis.shape[1])
        for _ in range(12):
            p = 1 / (1 + np.exp(-basis @ b))
            w = p * (1 - p)
            b += np.linalg.solve((basis * w[:, None]).T @ basis, basis.T @ (trait - p))
        x = predictors[:, 0]
        x = x - basis @ np.linalg.solve((basis * w[:, None]).T @ basis, basis.T @ (w * x))
        variance = float(w @ x**2)
        if variance < 1e-9:
            raise CannotTest(Status.COLLINEAR)
        beta, error = float(x @ (trait - p)) / variance, variance**-0.5
        return {"beta": beta, "standard_error": error, "neg_log10_p": normal_neg_log10_p(beta / error)}

    test = newcomer(fit=fit_logistic, score=score_logistic, trait_kinds=("binary",))
    assert not test.uses_offset
    testing.check_association_test(test, missing=(Missing.IMPUTE_MEAN,))
