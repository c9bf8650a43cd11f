"""What relatives make of the variances of linear association: against whole matrices, and against genotypes that were
passed down."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from allscan.errors import InputError
from allscan.kernels import testing
from allscan.kernels.association import Missing, Model, Precision, ScanOptions, Status
from allscan.kernels.linear import LINEAR
from allscan.kernels.mixed import MIXED, MixedNull
from allscan.kernels.relatedness import Relatedness, make_relatedness, no_relatives
from benchmarks.science import relatives
from tests import naive
from tests.kernels.linear_runs import GENERAL, SHARED, Form, assert_least_squares, null_data, run

Floats = NDArray[np.float64]


def matrix(related: Relatedness) -> Floats:
    return naive.dense(related.first, related.second, related.value, related.diagonal)


def people(seed: int, samples: int = 120) -> tuple[Floats, Floats, Floats, Relatedness]:
    """Genotypes with gaps; traits that families share, in three patterns, and one that they share the other way."""
    rng = np.random.default_rng(seed)
    related = testing.families(samples)
    dosage = rng.binomial(2, rng.uniform(0.1, 0.9, (8, 1)), (8, samples)).astype(float)
    dosage[rng.random(dosage.shape) < 0.03] = np.nan
    dosage[2] = np.round(rng.uniform(0, 2, samples), 3)
    root = np.linalg.cholesky(matrix(related))
    traits = np.column_stack([root @ rng.normal(size=(samples, 3)), np.linalg.solve(root.T, rng.normal(size=samples))])
    traits[rng.random(samples) < 0.1, 1] = np.nan
    traits[rng.random(samples) < 0.6, 2] = np.nan
    covariates = np.column_stack([np.ones(samples), rng.normal(50, 10, samples), np.arange(samples) % 4 < 2])
    return dosage, traits, covariates, related


@pytest.mark.parametrize("missing", list(Missing))
@pytest.mark.parametrize("model", list(Model))
@pytest.mark.parametrize("form", [SHARED, GENERAL], ids=["shared", "general"])
def test_variances_are_those_of_whole_matrices(form: Form, model: Model, missing: Missing) -> None:
    if model == Model.GENOTYPIC and form is SHARED:
        return
    dosage, traits, covariates, related = people(1)
    options = ScanOptions(model, missing, Precision.FLOAT64)
    found = run(dosage, traits, covariates, options, form=form, relatedness=related)
    done = assert_least_squares(
        found, dosage, traits, covariates, options, tolerance=1e-8, relationship=matrix(related)
    )
    assert done > 20
    plain = run(dosage, traits, covariates, options, form=form)
    ratio = found["standard_error"] / plain["standard_error"]
    assert (ratio[:, 0] > 1.05).all()
    assert (ratio[:, 3] < 0.95).all() if model == Model.ADDITIVE else (ratio[:, 3] == 1.0).all()
    np.testing.assert_array_equal(found["beta"], plain["beta"])


def test_strangers_have_the_variances_of_least_squares() -> None:
    dosage, traits, covariates, _ = people(2)
    alone, plain = (run(dosage, traits, covariates, relatedness=who) for who in (no_relatives(len(traits)), None))
    for name in ("standard_error", "neg_log10_p"):
        np.testing.assert_allclose(alone[name], plain[name], rtol=1e-12)


def test_what_is_noted() -> None:
    _, traits, covariates, related = people(3)
    _, notes = LINEAR.fit_null(null_data(traits, covariates, None, related), ScanOptions(), {})
    assert [note.trait for note in notes] == [0, 1, 2, 3]
    factor = naive.relatives_factor(traits[:, 0], covariates, matrix(related), "additive")
    assert notes[0].message == f"standard errors times {np.sqrt(factor):.4g}, for relatives"
    _, notes = LINEAR.fit_null(null_data(traits, covariates), ScanOptions(), {})
    assert not notes


def test_a_matrix_that_is_no_covariance_has_no_result() -> None:
    """Everybody twin of both neighbours, who are strangers to each other."""
    dosage, _, covariates, _ = people(4)
    n = len(covariates)
    related = make_relatedness(np.arange(n - 1), np.arange(1, n), np.ones(n - 1), n)
    trait = np.column_stack([(-1.0) ** np.arange(n)])
    data = null_data(trait, covariates[:, :1], None, related)
    _, notes = LINEAR.fit_null(data, ScanOptions(), {})
    assert [note.status for note in notes] == [Status.NOT_CONVERGED]
    found = run(dosage, trait, covariates[:, :1], relatedness=related)
    assert (found["status"] == Status.NOT_CONVERGED).all()
    assert np.isnan(found["standard_error"]).all()


def test_null_variants_are_calibrated_whatever_relatives_share() -> None:
    """A trait of one heritability, and what is left of it once everybody is predicted by all others."""
    rng = np.random.default_rng(5)
    families, singles, h2 = 100, 200, 0.8
    calls = relatives.drop_genotypes(rng, 2000, families, singles).astype(float)
    related = relatives.population(families, singles)
    alike = relatives.polygenic_traits(rng, 10, families, singles, h2)
    kinship = matrix(related)
    unlike = np.linalg.solve(h2 * kinship + (1 - h2) * np.eye(len(kinship)), alike)
    covariates = np.column_stack([np.ones(len(alike)), rng.normal(size=len(alike))])
    traits = np.hstack([alike, unlike])
    plain, heeded = (run(calls, traits, covariates, relatedness=who) for who in (None, related))
    mean = [
        [((found["beta"] / found["standard_error"]) ** 2)[:, part].mean() for part in (slice(0, 10), slice(10, 20))]
        for found in (plain, heeded)
    ]
    assert mean[0][0] > 1.3
    assert mean[0][1] < 0.8
    np.testing.assert_allclose(mean[1], 1.0, atol=0.04)
    # Relatives share less of other codings: what would be too much is a bound.
    for model in (Model.DOMINANT, Model.RECESSIVE):
        found = run(calls, traits, covariates, ScanOptions(model), relatedness=related)
        square = (found["beta"] / found["standard_error"]) ** 2
        assert 0.75 < np.nanmean(square[:, :10]) < 1.02
        assert np.nanmean(square[:, 10:]) < 0.95


def test_an_average_variant_of_the_mixed_model() -> None:
    """Regression of ``P y`` over the share of a genotype's variance that ``P`` leaves on average, by whole matrices."""
    dosage, traits, covariates, related = people(6)
    h2 = 0.6
    own = {"heritability": h2, "variance": "average"}
    for precision in (Precision.FLOAT64, Precision.FLOAT32):
        options = ScanOptions(precision=precision)
        form = (lambda data, options: MIXED.fit_null(data, options, own), MIXED.score_block)
        found = run(dosage, traits, covariates, options, form=form, relatedness=related)
        relationship = matrix(related)
        for t in range(traits.shape[1]):
            rows = ~np.isnan(traits[:, t])
            c, k = covariates[rows], relationship[np.ix_(rows, rows)]
            inverse = np.linalg.inv(h2 * k + (1 - h2) * np.eye(len(k)))
            p = inverse - inverse @ c @ np.linalg.pinv(c.T @ inverse @ c) @ c.T @ inverse
            maker = np.eye(len(c)) - c @ np.linalg.pinv(c)
            working = np.full(len(traits), np.nan)
            working[rows] = p @ traits[rows, t] * (np.trace(maker @ k) / np.trace(p @ k))
            expected = naive.linear(dosage[0], working, covariates, relationship=relationship)
            assert expected is not None
            rtol = 1e-8 if precision == Precision.FLOAT64 else 1e-4
            np.testing.assert_allclose(found["beta"][0, t], expected.beta[0], rtol=rtol)
            np.testing.assert_allclose(found["standard_error"][0, t], expected.standard_error[0], rtol=rtol)
            np.testing.assert_allclose(found["neg_log10_p"][0, t], expected.neg_log10_p, rtol=rtol)


def test_the_average_form_conforms() -> None:
    test = replace(MIXED, options={"heritability": None, "variance": "average"})
    testing.check_association_test(test, models=(Model.ADDITIVE,))


def test_other_models_have_exact_variances() -> None:
    _, traits, covariates, related = people(7)
    data = null_data(traits, covariates, None, related)
    for model in (Model.DOMINANT, Model.RECESSIVE):
        null, _ = MIXED.fit_null(data, ScanOptions(model), {"heritability": None, "variance": "average"})
        assert isinstance(null, MixedNull)


def test_traits_that_the_average_form_cannot_do() -> None:
    dosage, traits, covariates, related = people(8)
    traits[:, 1] = np.where(np.isnan(traits[:, 1]), np.nan, covariates[:, 1])
    form = (
        lambda data, options: MIXED.fit_null(data, options, {"heritability": None, "variance": "average"}),
        MIXED.score_block,
    )
    found = run(dosage, traits, covariates, form=form, relatedness=related)
    assert (found["status"][:, 1] == Status.TRAIT_CONSTANT).all()
    assert np.isnan(found["beta"][:, 1]).all()
    assert (found["status"][:, 0] == Status.OK).all()
    with pytest.raises(InputError, match="write exact or average"):
        MIXED.fit_null(null_data(traits, covariates, None, related), ScanOptions(), {"variance": "neither"})
