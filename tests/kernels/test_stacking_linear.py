"""Ridge learners of quantitative traits, against explicit fits without each fold and each person."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allscan.kernels.accuracy import r_squared
from allscan.kernels.stacking import StackStatus, penalties
from allscan.kernels.stacking_linear import LINEAR_FOLDS, LINEAR_LEAVE_ONE_OUT, LinearFolds, LinearLeaveOneOut
from tests.kernels.stacking_cases import GRID, Case, InMemory, level_0_like, naive_linear, quantitative

LEARNERS = pytest.mark.parametrize("learner", [LINEAR_FOLDS, LINEAR_LEAVE_ONE_OUT], ids=lambda each: each.name)
# Of the trait's standard deviation: products in float32 within a strip, and in float64.
TOLERANCE = {LINEAR_FOLDS.name: 3e-6, LINEAR_LEAVE_ONE_OUT.name: 1e-6}


def groups(case, learner):
    return case.folds if learner.name == LINEAR_FOLDS.name else np.arange(len(case.y))


@LEARNERS
@pytest.mark.parametrize("h2", GRID)
@pytest.mark.parametrize("n", [120, 25])  # more people than columns, and fewer
def test_matches_explicit_fits(learner, h2, n):
    case = quantitative(n=n)
    stack = case.fit(learner, (h2,))
    score, loco, total = naive_linear(case, groups(case, learner), h2)
    assert stack.status == StackStatus.OK
    assert stack.message == ""
    assert stack.loco.dtype == stack.total.dtype == np.float32
    assert stack.scores[0] == pytest.approx(score, rel=2e-6)
    sd = TOLERANCE[learner.name] * max(1.0, h2 / (1 - h2) / 10) * case.y.std()
    np.testing.assert_allclose(stack.total, total, rtol=1e-6, atol=sd)
    np.testing.assert_allclose(stack.loco, loco, rtol=1e-6, atol=sd)
    assert stack.accuracy == pytest.approx(r_squared(case.y, total), abs=1e-5)


@LEARNERS
def test_chooses_the_least_loss_out_of_sample(learner):
    for seed in range(5):
        case = quantitative(seed)
        stack = case.fit(learner)
        scores = [naive_linear(case, groups(case, learner), h2)[0] for h2 in GRID]
        np.testing.assert_allclose(stack.scores, scores, rtol=2e-6)
        assert stack.chosen == np.argmin(scores)
        np.testing.assert_allclose(stack.total, case.fit(learner, (GRID[stack.chosen],)).total)


def test_nobody_is_predicted_by_their_own_fold():
    case = quantitative()
    before = case.fit(LINEAR_FOLDS, (0.5,))
    here = case.folds == 2
    case.y[here] = case.y[here].mean() - 20 * (case.y[here] - case.y[here].mean())
    after = case.fit(LINEAR_FOLDS, (0.5,))
    np.testing.assert_allclose(after.loco[:, here], before.loco[:, here], atol=1e-4)
    assert np.abs(after.total[~here] - before.total[~here]).min(initial=np.inf, where=case.folds[~here] == 3) > 1e-3


@LEARNERS
@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_order_of_people_does_not_matter(learner, seed):
    case = quantitative()
    order = np.random.default_rng(seed).permutation(len(case.y))
    shuffled = Case(case.x[order], case.y[order], case.chromosome, case.folds[order], case.offset[order])
    one, other = case.fit(learner), shuffled.fit(learner)
    assert one.chosen == other.chosen
    np.testing.assert_allclose(other.loco, one.loco[:, order], atol=2e-5 * case.y.std())


@LEARNERS
@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_scale_and_place_of_columns_do_not_matter(learner, seed):
    case = quantitative()
    rng = np.random.default_rng(seed)
    scale = 2.0 ** rng.integers(-20, 20, case.x.shape[1]) * rng.choice([-1, 1], case.x.shape[1])
    moved = Case(case.x * scale, case.y, case.chromosome, case.folds, case.offset)
    order = rng.permutation(case.x.shape[1])
    sorted_ = Case(case.x[:, order], case.y, case.chromosome[order], case.folds, case.offset)
    expected = case.fit(learner)
    for other in (moved.fit(learner), sorted_.fit(learner)):
        np.testing.assert_allclose(other.loco, expected.loco, atol=2e-5 * case.y.std())


@LEARNERS
def test_predictions_scale_with_the_trait(learner):
    case = quantitative()
    one = case.fit(learner)
    case.y = case.y * 1e-9 + 1e-7
    other = case.fit(learner)
    assert other.chosen == one.chosen
    np.testing.assert_allclose(other.total * 1e9, one.total, atol=2e-5 * one.total.std())
    np.testing.assert_allclose(other.scores * 1e18, one.scores, rtol=1e-5)


@LEARNERS
def test_an_offset_is_taken_off_the_trait(learner):
    case = quantitative()
    one = case.fit(learner)
    case.offset = np.linspace(-50, 80, len(case.y))
    case.y = case.y + case.offset
    other = case.fit(learner)
    np.testing.assert_allclose(other.loco, one.loco, atol=1e-5 * one.total.std())
    assert other.accuracy == pytest.approx(one.accuracy, abs=1e-6)


@LEARNERS
@pytest.mark.parametrize("strip", [1, 7, 64, 119, 120])
def test_size_of_strips_changes_rounding_only(learner, strip):
    case = quantitative()
    one, other = case.fit(learner), case.fit(type(learner)(strip=strip))
    assert one.chosen == other.chosen
    np.testing.assert_allclose(other.loco, one.loco, atol=1e-5 * case.y.std())
    np.testing.assert_allclose(other.scores, one.scores, rtol=1e-5)


@LEARNERS
def test_the_same_bits_every_time(learner):
    one, other = quantitative().fit(learner), quantitative().fit(learner)
    assert one.loco.tobytes() == other.loco.tobytes()
    assert one.scores.tobytes() == other.scores.tobytes()


@pytest.mark.parametrize(("learner", "passes"), [(LinearFolds(strip=50), 2), (LinearLeaveOneOut(strip=50), 3)])
def test_passes_over_the_features(learner, passes):
    case = quantitative()
    features = InMemory(case.x)
    learner.fit(features, case.y, case.chromosome, GRID, case.folds, case.offset)
    assert features.rows_read == passes * features.n


@LEARNERS
def test_constant_columns_weigh_nothing(learner):
    case = quantitative()
    with_more = Case(
        np.column_stack([case.x, np.full((120, 3), [0.1, 0.0, 1e6])]),
        case.y,
        np.append(case.chromosome, [0, 1, 4]),
        case.folds,
        case.offset,
    )
    one, other = case.fit(learner), with_more.fit(learner)
    assert len(other.loco) == 5  # of which the last chromosome has no column that varies
    np.testing.assert_allclose(other.loco[:4], one.loco, atol=1e-5 * case.y.std())
    np.testing.assert_allclose(other.loco[4], other.total, rtol=1e-6)


@LEARNERS
def test_float32_products_of_columns_far_from_zero(learner):
    case = quantitative()
    far = Case(case.x + 1000.0, case.y, case.chromosome, case.folds, case.offset)
    near = Case(
        (case.x + 1000.0).astype(np.float32).astype(float) - 1000.0, case.y, case.chromosome, case.folds, case.offset
    )
    np.testing.assert_allclose(far.fit(learner).loco, near.fit(learner).loco, atol=1e-4 * case.y.std())


def test_one_chromosome_leaves_nothing():
    case = quantitative()
    case.chromosome[:] = 0
    stack = case.fit(LINEAR_FOLDS)
    np.testing.assert_allclose(stack.loco, 0, atol=1e-5)
    assert stack.total.std() > 1


def _few(case):
    return Case(case.x[:9], case.y[:9], case.chromosome, case.folds[:9], case.offset[:9])


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        (_few, StackStatus.TOO_FEW_SAMPLES, "9 people"),
        (
            lambda case: Case(case.x, case.y * 0 + 0.1, case.chromosome, case.folds, case.offset),
            StackStatus.TRAIT_CONSTANT,
            "not vary",
        ),
        (
            lambda case: Case(case.x, case.y, case.chromosome, case.folds, case.y - 3.0),
            StackStatus.TRAIT_CONSTANT,
            "not vary",
        ),
        (
            lambda case: Case(case.x * 0 + 0.1, case.y, case.chromosome, case.folds, case.offset),
            StackStatus.NO_VARIATION,
            "no block",
        ),
    ],
)
@LEARNERS
def test_what_data_can_cause_is_a_status(learner, change, status, message):
    stack = change(quantitative()).fit(learner)
    assert stack.status == status
    assert message in stack.message
    assert stack.chosen == -1
    assert not stack.loco.any()
    assert not stack.total.any()
    assert np.isnan(stack.scores).all()
    assert np.isnan(stack.accuracy)


def test_one_fold_is_a_status():
    case = quantitative()
    case.folds[:] = 3
    assert case.fit(LINEAR_FOLDS).status == StackStatus.TOO_FEW_SAMPLES


def test_labels_of_folds_do_not_matter():
    case = quantitative()
    one = case.fit(LINEAR_FOLDS)
    case.folds = case.folds * 100 - 7
    assert one.loco.tobytes() == case.fit(LINEAR_FOLDS).loco.tobytes()


@LEARNERS
def test_a_mistake_of_the_caller_is_an_error(learner):
    case = quantitative()
    for name, value, text in (
        ("y", case.y[:-1], "y has shape"),
        ("folds", case.folds[:-1], "folds has shape"),
        ("chromosome", case.chromosome - 1, "numbered from 0"),
        ("y", np.where(np.arange(120) == 5, np.nan, case.y), "1 values that are not finite"),
        ("x", np.where(np.arange(40) == 5, np.inf, case.x), "1 columns of the features are not finite"),
    ):
        broken = quantitative()
        setattr(broken, name, value)
        with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=text):
            broken.fit(learner)
    with pytest.raises(ValueError, match="between 0 and 1"):
        case.fit(learner, (0.5, 1.0))


@LEARNERS
def test_near_copies_of_columns(learner):
    """Level 0 gives columns that are all but equal; the weakest penalty must not break on them."""
    rng = np.random.default_rng(3)
    n = 2000
    x = rng.normal(size=(n, 40)).repeat(5, axis=1) * (1 + 1e-6 * rng.normal(size=(n, 200)))
    case = Case(
        x, x[:, ::5].sum(axis=1) * 0.1 + rng.normal(size=n), np.arange(200) // 20, np.arange(n) % 5, np.zeros(n)
    )
    stack = case.fit(learner)
    assert np.isfinite(stack.scores).all()
    assert stack.accuracy == pytest.approx(0.4 / 1.4, abs=0.05)


@LEARNERS
def test_accuracy_is_that_of_theory(learner):
    """Independent columns with normal effects: the penalty of the true share of variance is the best there is.

    The expected R² of ridge regression out of sample is that of random-matrix theory (Dobriban & Wager,
    10.1214/17-AOS1549): with the Stieltjes transform m of the Marchenko-Pastur law at −λ/n, γ = p/n.
    """
    n, p, h2 = 2000, 200, 0.3
    stacks = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(n, p))
        effects = rng.normal(size=p)
        y = x @ effects * np.sqrt(h2 / (effects @ effects)) + rng.normal(0, np.sqrt(1 - h2), n)
        case = Case(x, y, np.arange(p) // 20, rng.integers(0, 10, n), np.zeros(n))
        stacks.append(case.fit(learner, (0.03, 0.1, 0.3, 0.6, 0.9)))
    assert np.mean([stack.scores for stack in stacks], axis=0).argmin() == 2
    trained = n if learner.name == LINEAR_LEAVE_ONE_OUT.name else 0.9 * n
    gamma, z = p / trained, penalties((h2,), p)[0] / trained
    m = (-(1 - gamma + z) + np.sqrt((1 - gamma + z) ** 2 + 4 * gamma * z)) / (2 * gamma * z)
    # At the best penalty the risk of a prediction is σ² (1 + γ m).
    expected = 1 - (1 - h2) * (1 + gamma * m)
    assert np.mean([stack.accuracy for stack in stacks]) == pytest.approx(expected, abs=0.015)


@LEARNERS
def test_memory_is_what_is_said(learner):
    rng = np.random.default_rng(0)
    n, p = 4000, 400
    case = Case(
        level_0_like(rng, n, p // 5), rng.normal(size=n), np.arange(p) * 22 // p, rng.integers(0, 5, n), np.zeros(n)
    )
    learner = type(learner)(strip=1000)
    features = InMemory(case.x)
    tracemalloc.start()
    try:
        learner.fit(features, case.y, case.chromosome, GRID, case.folds, case.offset)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    said = learner.memory_bytes(n, p, 22, len(GRID), 5)
    assert 0.5 * said < peak < said
