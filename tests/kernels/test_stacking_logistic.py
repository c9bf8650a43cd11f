"""Ridge learners of binary traits, against optima that scipy finds and explicit Newton steps without each person."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from allscan.kernels.accuracy import area_under_curve
from allscan.kernels.stacking import StackStatus
from allscan.kernels.stacking_logistic import (
    LOGISTIC_FOLDS,
    LOGISTIC_LEAVE_ONE_OUT,
    LogisticFolds,
    LogisticLeaveOneOut,
)
from tests.kernels.stacking_cases import (
    GRID,
    Case,
    InMemory,
    binary,
    level_0_like,
    log_loss,
    logistic_ridge,
    naive_logistic,
    naive_logistic_step,
)

LEARNERS = pytest.mark.parametrize("learner", [LOGISTIC_FOLDS, LOGISTIC_LEAVE_ONE_OUT], ids=lambda each: each.name)
# Of log odds. The fits stop when the step that is left is below 1e-5 and 1e-7; columns are float32 in one of them.
TOLERANCE = {LOGISTIC_FOLDS.name: 1e-4, LOGISTIC_LEAVE_ONE_OUT.name: 2e-6}
NAIVE = {LOGISTIC_FOLDS.name: naive_logistic, LOGISTIC_LEAVE_ONE_OUT.name: naive_logistic_step}


@LEARNERS
@pytest.mark.parametrize("h2", GRID)
@pytest.mark.parametrize("n", [200, 70])
def test_matches_explicit_fits(learner, h2, n):
    case = binary(n=n, blocks=8 if n == 200 else 20)  # more people than columns, and fewer
    stack = case.fit(learner, (h2,))
    score, loco, total = NAIVE[learner.name](case, h2)
    assert stack.status == StackStatus.OK
    assert stack.message == ""
    assert stack.scores[0] == pytest.approx(score, rel=1e-4)
    tolerance = TOLERANCE[learner.name] * max(1.0, total.std())
    np.testing.assert_allclose(stack.total, total, rtol=0, atol=tolerance)
    np.testing.assert_allclose(stack.loco, loco, rtol=0, atol=tolerance)
    assert stack.accuracy == pytest.approx(area_under_curve(case.y == 1, total), abs=2e-3)


@LEARNERS
def test_chooses_the_least_loss_out_of_sample(learner):
    for seed in range(4):
        case = binary(seed)
        stack = case.fit(learner)
        scores = [NAIVE[learner.name](case, h2)[0] for h2 in GRID]
        np.testing.assert_allclose(stack.scores, scores, rtol=1e-4)
        assert stack.chosen == np.argmin(scores)


def test_a_step_without_a_person_is_nearly_the_fit_without_them():
    case = binary()
    x, penalty = case.standardised(), case.penalty(0.25, binary=True)
    refitted = np.empty(40)
    for i in range(40):
        others = np.arange(len(x)) != i
        refitted[i] = x[i] @ logistic_ridge(x[others], case.y[others], case.offset[others], penalty)
    stepped = case.fit(LOGISTIC_LEAVE_ONE_OUT, (0.25,)).total[:40]
    np.testing.assert_allclose(stepped, refitted, atol=0.02 * refitted.std())


@LEARNERS
@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_order_of_people_and_columns_does_not_matter(learner, seed):
    case = binary()
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(len(case.y)), rng.permutation(case.x.shape[1])
    scale = 2.0 ** rng.integers(-10, 10, len(columns)) * rng.choice([-1, 1], len(columns))
    shuffled = Case(
        (case.x * scale)[np.ix_(rows, columns)],
        case.y[rows],
        case.chromosome[columns],
        case.folds[rows],
        case.offset[rows],
    )
    one, other = case.fit(learner), shuffled.fit(learner)
    assert one.chosen == other.chosen
    np.testing.assert_allclose(other.loco, one.loco[:, rows], atol=TOLERANCE[learner.name])


@LEARNERS
@pytest.mark.parametrize("strip", [1, 33, 199])
def test_size_of_strips_changes_rounding_only(learner, strip):
    case = binary()
    one, other = case.fit(learner), case.fit(replace(learner, strip=strip))
    assert one.chosen == other.chosen
    np.testing.assert_allclose(other.loco, one.loco, atol=TOLERANCE[learner.name])


@LEARNERS
def test_the_same_bits_every_time(learner):
    assert binary().fit(learner).loco.tobytes() == binary().fit(learner).loco.tobytes()


@LEARNERS
def test_cases_and_controls_are_mirror_images(learner):
    case = binary()
    mirrored = Case(case.x, 1 - case.y, case.chromosome, case.folds, -case.offset)
    one, other = case.fit(learner), mirrored.fit(learner)
    np.testing.assert_allclose(other.loco, -one.loco, atol=TOLERANCE[learner.name])
    assert other.accuracy == pytest.approx(one.accuracy, abs=1e-4)


def test_the_offset_is_adjusted_for():
    """A column that repeats the covariates' log odds brings nothing beside them."""
    rng = np.random.default_rng(0)
    n = 4000
    x = rng.normal(size=(n, 6))
    offset = 2 * x[:, 0] - 1
    y = (rng.random(n) < special.expit(offset + 0.5 * x[:, 1])).astype(float)
    case = Case(x, y, np.arange(6), np.arange(n) % 5, offset)
    stack = case.fit(LOGISTIC_FOLDS, (0.9,))
    brought = stack.total - stack.loco
    assert brought[1].std() == pytest.approx(0.5, abs=0.1)
    assert brought[0].std() < 0.1
    assert np.abs(case.fit(LOGISTIC_FOLDS).total - case.fit(LOGISTIC_LEAVE_ONE_OUT).total).max() < 0.3


@LEARNERS
def test_rare_cases(learner):
    """1:100, where weights are small and folds have few cases."""
    rng = np.random.default_rng(5)
    n = 3000
    x = level_0_like(rng, n, 10)
    offset = rng.normal(size=n) * 0.5 - 5.2
    y = (rng.random(n) < special.expit(offset + x[:, ::5].sum(axis=1) * 0.3)).astype(float)
    assert 20 < y.sum() < 60
    case = Case(x, y, np.arange(50) // 10, np.arange(n) % 5, offset)
    stack = case.fit(learner)
    assert stack.status == StackStatus.OK
    assert stack.message == ""
    assert stack.scores[stack.chosen] < log_loss(case, np.zeros(n))
    assert stack.accuracy > 0.6


@LEARNERS
def test_a_column_that_is_the_trait_separates(learner):
    case = binary()
    case.x[:, 3] = case.y
    stack = case.fit(learner)
    assert stack.status == StackStatus.SEPARATED
    assert "is a marker" in stack.message
    assert stack.accuracy == 1.0
    assert np.isfinite(stack.loco).all()
    assert stack.chosen >= 3


def _fold_of_cases(case):
    return replace(case, folds=np.where(case.y == 1, 0, 1 + case.folds))


def _cases(case, number):
    return replace(case, y=np.where(np.cumsum(case.y) <= number, case.y, 0))


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        (lambda case: _cases(case, 9), StackStatus.TOO_FEW_CASES, "9 cases"),
        (lambda case: _cases(case, 0), StackStatus.TOO_FEW_CASES, "0 cases"),
        (lambda case: replace(case, y=1 - _cases(case, 9).y), StackStatus.TOO_FEW_CASES, "9 controls"),
        (lambda case: replace(case, offset=case.y * 30 - 15), StackStatus.SEPARATED, "covariates"),
        (lambda case: replace(case, x=case.x * 0), StackStatus.NO_VARIATION, "no block"),
        (lambda case: Case(case.x[:9], case.y[:9], case.chromosome, case.folds[:9], case.offset[:9]), 4, "9 people"),
    ],
)
@LEARNERS
def test_what_data_can_cause_is_a_status(learner, change, status, message):
    stack = change(binary()).fit(learner)
    assert stack.status == status
    assert message in stack.message
    assert stack.chosen == -1
    assert not stack.loco.any()
    assert not stack.total.any()


def test_all_cases_in_one_fold_is_a_status():
    case = _fold_of_cases(binary())
    stack = case.fit(LOGISTIC_FOLDS)
    assert stack.status == StackStatus.TOO_FEW_CASES
    assert stack.message == "all cases are in one fold: the fit to the other folds has none"
    assert case.fit(LOGISTIC_LEAVE_ONE_OUT).status == StackStatus.OK


def test_a_fold_without_cases_is_predicted():
    case = binary()
    case.folds = np.where(case.y == 1, case.folds % 4, case.folds)
    assert not case.y[case.folds == 4].any()
    stack = case.fit(LOGISTIC_FOLDS, (0.5,))
    assert stack.status == StackStatus.OK
    np.testing.assert_allclose(stack.total, naive_logistic(case, 0.5)[2], atol=1e-4)


@LEARNERS
def test_fits_that_do_not_converge(learner):
    case = binary()
    stack = case.fit(replace(learner, max_passes=2))
    assert stack.status == StackStatus.NOT_CONVERGED
    assert stack.message == "5 of 5 penalties did not converge"
    assert np.isfinite(stack.loco).all()
    reference = case.fit(learner)
    some = case.fit(replace(learner, max_passes=6))
    assert some.status == StackStatus.OK
    assert "of 5 penalties did not converge" in some.message
    # What did converge is what a run with more passes finds.
    np.testing.assert_allclose(some.scores[0], reference.scores[0], rtol=1e-6)


@LEARNERS
def test_a_mistake_of_the_caller_is_an_error(learner):
    with pytest.raises(ValueError, match="must be 0 and 1"):
        replace(binary(), y=binary().y + 1).fit(learner)
    with pytest.raises(ValueError, match="offset has 200 values that are not finite"):
        replace(binary(), offset=np.full(200, np.inf)).fit(learner)


def test_extreme_offsets():
    """Log odds at which exp overflows, and people who then weigh nothing."""
    case = binary()
    case.offset[:5] = [800, -800, 400, -400, 100]
    case.y[:5] = [1, 0, 1, 0, 1]
    stack = case.fit(LOGISTIC_FOLDS, (0.5,))
    assert stack.status == StackStatus.OK
    np.testing.assert_allclose(stack.total, naive_logistic(case, 0.5)[2], atol=1e-4)


@pytest.mark.parametrize(("learner", "most"), [(LogisticFolds(strip=500), 14), (LogisticLeaveOneOut(strip=500), 18)])
def test_passes_over_the_features(learner, most):
    rng = np.random.default_rng(5)
    n = 4000
    x = level_0_like(rng, n, 20)
    y = (rng.random(n) < special.expit(x[:, ::5].sum(axis=1) * 0.2 - 1)).astype(float)
    features = InMemory(x)
    stack = learner.fit(features, y, np.arange(100) // 5, GRID, np.arange(n) % 5, np.full(n, -1.0))
    assert stack.message == ""
    assert features.rows_read <= most * n


@LEARNERS
def test_memory_is_what_is_said(learner):
    rng = np.random.default_rng(0)
    n, p = 4000, 300
    x = level_0_like(rng, n, p // 5)
    y = (rng.random(n) < 0.3).astype(float)
    learner = replace(learner, strip=1000)
    features, chromosome, folds, offset = InMemory(x), np.arange(p) * 22 // p, rng.integers(0, 5, n), np.full(n, -1.0)
    tracemalloc.start()
    try:
        learner.fit(features, y, chromosome, GRID, folds, offset)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    said = learner.memory_bytes(n, p, 22, len(GRID), 5)
    assert 0.5 * said < peak < said
