"""The mixed model against whole matrices in float64: tests, likelihood, bounds, and what never changes a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from allscan.errors import InputError
from allscan.kernels import reml, testing
from allscan.kernels.association import Missing, Model, NullData, ScanOptions, Status, TraitNote
from allscan.kernels.block import Encoding, GenotypeBlock, encode_block
from allscan.kernels.counts import count_genotypes, sample_sets
from allscan.kernels.linear import LINEAR
from allscan.kernels.missingness import missingness_patterns
from allscan.kernels.mixed import MIXED, MixedNull
from allscan.kernels.modes import inverse_eigenvalues, modes_of
from allscan.kernels.relatedness import Relatedness, make_relatedness, no_relatives
from allscan.kernels.reml import Bound
from tests import naive
from tests.kernels.blocks import mixed_block

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cohort:
    """Genotypes with the values that they stand for, traits, covariates, relatives."""

    block: GenotypeBlock
    exact: Floats  # (variants, samples), NaN missing
    traits: Floats
    covariates: Floats
    relatedness: Relatedness
    scale: Floats

    @property
    def relationship(self) -> Floats:
        return naive.dense(
            self.relatedness.first, self.relatedness.second, self.relatedness.value, self.relatedness.diagonal
        )

    def null_data(self) -> NullData:
        member, set_of_trait = missingness_patterns(self.traits)
        names = tuple(f"c{j}" for j in range(self.covariates.shape[1]))
        return NullData(self.traits, self.covariates, names, self.scale, member, set_of_trait, self.relatedness)


@dataclass(frozen=True)
class Run:
    out: dict[str, NDArray[Any]]
    null: MixedNull
    notes: tuple[TraitNote, ...]


def run(cohort: Cohort, options: ScanOptions | None = None, heritability: float | None = None) -> Run:
    options = options or ScanOptions()
    data = cohort.null_data()
    null, notes = MIXED.fit_null(data, options, {"heritability": heritability})
    shape = (cohort.block.n_variants, cohort.traits.shape[1])
    out: dict[str, NDArray[Any]] = {column.name: np.zeros(shape) for column in MIXED.columns(options)}
    out["status"] = np.full(shape, 255, np.uint8)
    MIXED.score_block(cohort.block, count_genotypes(cohort.block, sample_sets(data.member)), null, options, out)
    return Run(out, null, notes)


def some_relatives(rng: np.random.Generator, n: int, *, inbred: bool) -> Relatedness:
    """Half of the people in families of two to nine, of random closeness that a matrix can have."""
    people, first, second, value = rng.permutation(n)[: n // 2], [], [], []
    while len(people) > 9:
        size = rng.integers(2, 10)
        family, people = people[:size], people[size:]
        closeness = rng.choice([0.0625, 0.125, 0.25, 0.5], size)
        for a in range(size):
            for b in range(a):
                first.append(family[a])
                second.append(family[b])
                value.append(min(closeness[a], closeness[b]))
    diagonal = 1.0 + (rng.uniform(-0.05, 0.1, n) * (rng.random(n) < 0.5) if inbred else np.zeros(n))
    return make_relatedness(np.array(first), np.array(second), np.array(value), n, diagonal=diagonal)


def heritable(rng: np.random.Generator, relationship: Floats, h2: float) -> Floats:
    """A trait with this covariance."""
    n = len(relationship)
    return rng.multivariate_normal(np.zeros(n), h2 * relationship + (1 - h2) * np.eye(n), method="cholesky")


def cohort(
    seed: int, *, samples: int = 300, inbred: bool = False, intercept: bool = True, scale: Floats | None = None
) -> Cohort:
    """Every encoding; seven traits in four patterns of missing values, four of them with the same samples."""
    block, exact = mixed_block(seed, samples)
    n = exact.shape[1]
    rng = np.random.default_rng(seed + 1)
    related = some_relatives(rng, n, inbred=inbred)
    matrix = naive.dense(related.first, related.second, related.value, related.diagonal)
    covariates = np.column_stack([np.ones(n), rng.normal(40, 5, n), rng.integers(0, 2, n)])
    traits = np.column_stack([heritable(rng, matrix, h2) for h2 in (0.2, 0.4, 0.6, 0.8, 0.5, 0.7, 0.5)])
    traits += 0.1 * covariates[:, 1:2] + 0.2 * np.nan_to_num(exact[0])[:, None]
    for t, rate in ((4, 0.1), (5, 0.5), (6, 0.02)):
        traits[rng.random(n) < rate, t] = np.nan
    chosen = covariates if intercept else covariates[:, 1:]
    return Cohort(block, exact, traits, chosen, related, np.ones(n) if scale is None else scale)


def assert_generalised_least_squares(data: Cohort, model: Model = Model.ADDITIVE) -> None:
    """Every result is the one of the whole matrices at the heritability that was estimated."""
    done = run(data, ScanOptions(int(model)))
    relationship = data.relationship
    tested = 0
    for v, t in np.ndindex(done.out["status"].shape):
        if done.out["status"][v, t] != Status.OK:
            seen = data.exact[v, ~np.isnan(data.traits[:, t])]
            values = {naive.code(float(g), model.name.lower())[0] for g in seen[~np.isnan(seen)]}
            assert len(values) <= 1, "only variants that do not vary have no result"
            continue
        fit = naive.mixed(
            data.exact[v],
            data.traits[:, t],
            data.covariates,
            relationship,
            np.nan_to_num(done.null.components.heritability[t]),
            model=model.name.lower(),
            scale=data.scale,
        )
        tested += 1
        error = fit.standard_error[0]
        assert abs(done.out["beta"][v, t] - fit.beta[0]) <= 1e-8 * error
        assert done.out["standard_error"][v, t] == pytest.approx(error, rel=1e-8)
        assert done.out["neg_log10_p"][v, t] == pytest.approx(fit.neg_log10_p, rel=1e-7, abs=1e-8)
    assert tested > 40


@pytest.mark.parametrize("inbred", [False, True])
@pytest.mark.parametrize("model", [Model.ADDITIVE, Model.DOMINANT, Model.RECESSIVE])
def test_every_result_is_generalised_least_squares(model: Model, inbred: bool) -> None:
    data = cohort(3, inbred=inbred)
    assert set(data.block.encoding.tolist()) == set(Encoding)
    assert data.block.carrier_flipped.any()
    assert_generalised_least_squares(data, model)


def test_without_an_intercept() -> None:
    assert_generalised_least_squares(cohort(4, intercept=False))


def test_alleles_that_count_a_half_in_some_or_in_all() -> None:
    n = cohort(5).exact.shape[1]
    some = np.where(np.random.default_rng(5).random(n) < 0.5, 0.5, 1.0)
    assert_generalised_least_squares(cohort(5, scale=some))
    assert_generalised_least_squares(cohort(5, scale=np.full(n, 0.5)))


def test_it_conforms() -> None:
    """Where missing genotypes are excluded no variant of the kit's examples is tested, but of the last check's."""
    testing.check_association_test(MIXED, missing=(Missing.IMPUTE_MEAN,))


# ---- properties -----------------------------------------------------------------------------------------


@st.composite
def small_cohorts(draw: st.DrawFn) -> Cohort:
    """Anything: few people, pairs at random (not always a possible matrix), traits with gaps."""
    rng = np.random.default_rng(draw(st.integers(0, 100_000)))
    n = draw(st.integers(30, 90))
    i, j = np.triu_indices(n, 1)
    chosen = rng.permutation(len(i))[: draw(st.integers(0, n))]
    diagonal = rng.uniform(0.9, 1.2, n) if draw(st.booleans()) else np.ones(n)
    related = make_relatedness(i[chosen], j[chosen], rng.uniform(0.05, 0.5, len(chosen)), n, diagonal=diagonal)
    frequency = rng.uniform(0.02, 0.98, 8)
    calls = rng.binomial(2, frequency[:, None], (8, n)).astype(np.int8)
    calls[rng.random(calls.shape) < 0.05] = -1
    traits = rng.normal(size=(n, draw(st.integers(1, 4))))
    traits[rng.random(traits.shape) < draw(st.sampled_from([0.0, 0.1]))] = np.nan
    covariates = np.column_stack([np.ones(n), rng.normal(size=n)])
    exact = np.where(calls < 0, np.nan, calls).astype(float)
    return Cohort(encode_block(calls), exact, traits, covariates, related, np.ones(n))


def assert_same(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> None:
    np.testing.assert_array_equal(one["status"], other["status"])
    error = np.where(one["status"] == Status.OK, other["standard_error"], 1.0)
    np.testing.assert_allclose(one["beta"] / error, other["beta"] / error, atol=1e-7)
    np.testing.assert_allclose(one["standard_error"], other["standard_error"], rtol=1e-7)
    np.testing.assert_allclose(one["neg_log10_p"], other["neg_log10_p"], rtol=1e-6, atol=1e-7)


@settings(max_examples=12, deadline=None)
@given(small_cohorts())
def test_without_relatives_it_is_linear_regression(data: Cohort) -> None:
    n = len(data.traits)
    alone = Cohort(data.block, data.exact, data.traits, data.covariates, no_relatives(n), data.scale)
    done = run(alone)
    example = testing.Example(np.nan_to_num(data.exact, nan=-1).astype(np.int8), data.traits, data.covariates)
    assert_same(done.out, testing.run_test(LINEAR, example))
    assert (done.null.components.bound == Bound.UNKNOWN).all()
    assert {note.trait for note in done.notes} == set(range(data.traits.shape[1]))


@settings(max_examples=12, deadline=None)
@given(small_cohorts())
def test_a_trait_alone_is_the_same_as_in_a_batch(data: Cohort) -> None:
    done = run(data)
    for t in range(data.traits.shape[1]):
        alone = run(Cohort(data.block, data.exact, data.traits[:, [t]], data.covariates, data.relatedness, data.scale))
        assert_same({name: values[:, [t]] for name, values in done.out.items()}, alone.out)


@settings(max_examples=12, deadline=None)
@given(small_cohorts(), st.randoms(use_true_random=False))
def test_the_order_of_people_changes_nothing(data: Cohort, random: Any) -> None:
    order = np.array(random.sample(range(len(data.traits)), len(data.traits)))
    place = np.argsort(order)
    old = data.relatedness
    related = make_relatedness(place[old.first], place[old.second], old.value, len(order), diagonal=old.diagonal[order])
    calls = np.nan_to_num(data.exact[:, order], nan=-1).astype(np.int8)
    other = Cohort(
        encode_block(calls), data.exact[:, order], data.traits[order], data.covariates[order], related, data.scale
    )
    assert_same(run(data).out, run(other).out)


@settings(max_examples=12, deadline=None)
@given(small_cohorts())
def test_the_other_allele_turns_the_sign(data: Cohort) -> None:
    exact = 2.0 - data.exact
    block = encode_block(np.nan_to_num(exact, nan=-1).astype(np.int8))
    other = run(Cohort(block, exact, data.traits, data.covariates, data.relatedness, data.scale)).out
    other["beta"] = -other["beta"]
    assert_same(run(data).out, other)


# ---- variance components ----------------------------------------------------------------------------------


@pytest.mark.parametrize("inbred", [False, True])
def test_heritability_is_where_the_dense_likelihood_is_highest(inbred: bool) -> None:
    data = cohort(8, inbred=inbred)
    found = run(data).null.components
    relationship = data.relationship
    inside = np.flatnonzero(found.bound == Bound.INSIDE)[:4]
    assert len(inside) == 4
    for t in inside:
        rows = ~np.isnan(data.traits[:, t])
        y, x, k = data.traits[rows, t], data.covariates[rows], relationship[np.ix_(rows, rows)]
        likelihood = naive.restricted_likelihood(y, x, k)
        best = minimize_scalar(
            lambda h2, f=likelihood: -f(h2), bounds=(0.0, 0.9999), method="bounded", options={"xatol": 1e-9}
        )
        h2 = found.heritability[t]
        assert h2 == pytest.approx(best.x, abs=2e-6)
        assert found.log_likelihood[t] == pytest.approx(likelihood(h2), abs=1e-8)
        step = 1e-3
        curvature = (2 * likelihood(h2) - likelihood(h2 + step) - likelihood(h2 - step)) / step**2
        assert found.heritability_error[t] == pytest.approx(curvature**-0.5, rel=1e-3)
        v = h2 * k + (1 - h2) * np.eye(len(y))
        inverse = np.linalg.inv(v)
        residuals = y - x @ np.linalg.solve(x.T @ inverse @ x, x.T @ inverse @ y)
        total = residuals @ inverse @ residuals / (len(y) - x.shape[1])
        assert found.genetic_variance[t] == pytest.approx(h2 * total)
        assert found.residual_variance[t] == pytest.approx((1 - h2) * total)


def pairs_of_two(value: float, n: int = 200) -> Relatedness:
    return make_relatedness(np.arange(0, n, 2), np.arange(1, n, 2), np.full(n // 2, value), n)


def simple(traits: Floats, related: Relatedness) -> Cohort:
    rng = np.random.default_rng(1)
    n = len(traits)
    calls = rng.binomial(2, 0.3, (4, n)).astype(np.int8)
    return Cohort(encode_block(calls), calls.astype(float), traits, np.ones((n, 1)), related, np.ones(n))


def test_bounds_are_said() -> None:
    """Relatives that are less alike than strangers, as alike as can be, something between; nobody related."""
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=100), rng.normal(size=100)
    lower = np.stack([one, -one], axis=1).ravel()
    upper = np.stack([one, one + 1e-3 * other], axis=1).ravel()
    inside = np.stack([one, 0.5 * one + other], axis=1).ravel()
    nobody = lower.copy()
    nobody[::2] = np.nan
    done = run(simple(np.column_stack([lower, upper, inside, nobody]), pairs_of_two(1.0)))
    found = done.null.components
    assert found.bound.tolist() == [Bound.ZERO, Bound.ONE, Bound.INSIDE, Bound.UNKNOWN]
    assert found.heritability[:2].tolist() == [0.0, reml.HIGHEST]
    assert np.isnan(found.heritability[3])
    assert np.isnan(found.heritability_error).tolist() == [True, True, False, True]
    said = {note.trait: note.message for note in done.notes}
    assert set(said) == {0, 1, 2, 3}
    assert said[2] == f"heritability {found.heritability[2]:.4g}, standard error {found.heritability_error[2]:.2g}"
    assert "lower bound" in said[0]
    assert "upper bound" in said[1]
    assert "no two of its samples are related" in said[3]
    assert (done.out["status"] == Status.OK).all()


def test_a_trait_without_a_maximum_has_a_status_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    data = simple(rng.normal(size=(200, 2)), pairs_of_two(0.5))
    real = reml._top
    calls = iter([True, False])
    monkeypatch.setattr(reml, "_top", lambda *a: (np.nan, Bound.NO_MAXIMUM) if next(calls) else real(*a))
    done = run(data)
    assert (done.out["status"][:, 0] == Status.NOT_CONVERGED).all()
    assert np.isnan(done.out["beta"][:, 0]).all()
    assert (done.out["status"][:, 1] == Status.OK).all()
    assert next(note.status for note in done.notes if note.trait == 0) == Status.NOT_CONVERGED


def test_a_likelihood_that_only_rises_inside_has_no_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    data = simple(np.random.default_rng(3).normal(size=(200, 1)), pairs_of_two(0.5))
    monkeypatch.setattr(reml, "_derivatives", lambda *_: reml._Curve(1.0, -1.0))
    monkeypatch.setattr(reml, "log_likelihood", lambda _rotated, h2: -np.array([(h2 - 0.5) ** 2]))
    assert run(data).null.components.bound.tolist() == [Bound.NO_MAXIMUM]


def test_an_impossible_matrix_is_clipped_with_a_note() -> None:
    """Two people who are both twins of a third, and not related to each other."""
    related = make_relatedness(np.array([0, 1]), np.array([1, 2]), np.array([1.0, 1.0]), 60)
    done = run(simple(np.random.default_rng(4).normal(size=(60, 1)), related))
    assert any(
        "relationship matrices with negative eigenvalues in 1 of the families" in note.message for note in done.notes
    )
    assert (done.out["status"] == Status.OK).all()


def test_a_given_heritability_is_taken() -> None:
    data = cohort(9)
    done = run(data, heritability=0.3)
    assert (done.null.components.heritability == 0.3).all()
    assert (done.null.components.bound == Bound.GIVEN).all()
    fit = naive.mixed(data.exact[0], data.traits[:, 1], data.covariates, data.relationship, 0.3)
    assert done.out["beta"][0, 1] == pytest.approx(fit.beta[0])


@pytest.mark.parametrize("heritability", [-0.1, 1.0, np.nan])
def test_a_heritability_that_is_none_is_refused(heritability: float) -> None:
    with pytest.raises(InputError, match="heritability is"):
        run(cohort(9), heritability=heritability)


def test_without_relatedness_it_is_refused() -> None:
    data = cohort(9).null_data()._replace(relatedness=None)
    with pytest.raises(InputError, match="who is related"):
        MIXED.fit_null(data, ScanOptions(), {})


# ---- what it does not do ------------------------------------------------------------------------------------


def test_variants_with_missing_genotypes_are_not_tested_where_these_are_excluded() -> None:
    data = cohort(10)
    imputed, excluded = run(data), run(data, ScanOptions(missing=int(Missing.EXCLUDE)))
    assert {note.trait for note in excluded.notes if "are not tested" in note.message} == set(range(7))
    compared = 0
    for v, t in np.ndindex(imputed.out["status"].shape):
        if np.isnan(data.exact[v, ~np.isnan(data.traits[:, t])]).any():
            assert excluded.out["status"][v, t] in (Status.NOT_TESTED, Status.MONOMORPHIC, Status.ALL_MISSING)
            assert np.isnan(excluded.out["beta"][v, t])
        else:
            compared += 1
            np.testing.assert_equal(excluded.out["beta"][v, t], imputed.out["beta"][v, t])
    assert compared > 0


def test_two_predictors_are_not_tested() -> None:
    done = run(cohort(10), ScanOptions(int(Model.GENOTYPIC)))
    assert (done.out["status"] == Status.NOT_TESTED).all()
    assert all(np.isnan(done.out[name]).all() for name in ("beta", "standard_error", "neg_log10_p"))
    assert {note.status for note in done.notes if "genotypic" in note.message} == {Status.NOT_TESTED}


def test_a_trait_that_the_covariates_explain_has_a_status() -> None:
    data = cohort(11)
    data.traits[:, 2] = data.covariates[:, 1]
    done = run(data)
    assert (done.out["status"][:, 2] == Status.TRAIT_CONSTANT).all()
    assert (done.out["status"][0, [0, 1, 3]] == Status.OK).all()


# ---- modes --------------------------------------------------------------------------------------------------


def test_few_modes_are_enough_for_many_traits() -> None:
    rng = np.random.default_rng(12)
    values = np.concatenate([rng.uniform(0.0, 3.0, 20_000), [0.0, 40.0]])
    heritability = np.append(rng.uniform(0.0, 0.95, 300), [0.0, reml.HIGHEST])
    modes = modes_of(values, heritability)
    assert len(modes.mix) < 30
    np.testing.assert_allclose(modes.values @ modes.mix, inverse_eigenvalues(values, heritability), rtol=1e-8)
    np.testing.assert_allclose(modes.unrelated @ modes.mix, 1.0, rtol=1e-8)


def test_modes_of_many_equal_eigenvalues_are_few() -> None:
    """Siblings alone: one half and one and a half; one, of the unrelated, is among none of them."""
    values = np.repeat([0.5, 1.5], 15_000)
    modes = modes_of(values, np.linspace(0.1, 0.9, 64))
    assert len(modes.mix) == 3
    np.testing.assert_allclose(modes.unrelated @ modes.mix, 1.0, rtol=1e-8)


def test_modes_that_are_not_exact_are_not_used() -> None:
    """All eigenvalues but one are the same, so that the one is not looked at."""
    values = np.ones(100_000)
    values[99_999] = 0.0
    values[50_123:50_200] = 0.5
    heritability = np.linspace(0.1, 0.9, 5)
    modes = modes_of(values, heritability)
    np.testing.assert_allclose(modes.values @ modes.mix, inverse_eigenvalues(values, heritability), rtol=1e-8)
