"""One basis of the covariates for all patterns of missing traits gives what each trait alone would give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from allscan.kernels.association import Missing, Model, Precision, ScanOptions, Status
from allscan.kernels.linear_general import fit_general
from allscan.kernels.linear_shared import SharedNull, fit_shared
from tests.kernels.linear_runs import (
    EITHER,
    GENERAL,
    SHARED,
    Closeness,
    Form,
    Results,
    assert_least_squares,
    assert_same,
    null_data,
    run,
)

Floats = NDArray[np.float64]

# Float64 on both sides.
TOLERANCE = 1e-9
EXACT = Closeness(errors=TOLERANCE, relative=TOLERANCE, tail=TOLERANCE)
# A few dozen people and as many digits fewer.
TINY = Closeness(errors=1e-6, relative=1e-6, tail=1e-6)
# What a trait's batch may change, in single precision.
BATCH = Closeness(errors=1e-5, relative=1e-6, tail=1e-5)
# What single precision may change; the bound that is stated is ten times as wide.
SINGLE = Closeness(errors=1e-4, relative=1e-5, tail=1e-5)
ONE_PREDICTOR = (Model.ADDITIVE, Model.DOMINANT, Model.RECESSIVE)


def cohort(seed: int, n: int = 700, analysed: float = 1.0) -> tuple[Floats, Floats, Floats]:
    """Dosages (variants, samples), traits and covariates; the traits miss no, few, half and most people, men, women.

    Where not everybody is analysed, the covariates of the others are unknown.
    """
    rng = np.random.default_rng(seed)
    frequency = np.array([0.004, 0.99, 0.5, 0.1, 0.3, 0.9, 0.05, 0.2, 0.4])
    dosage = rng.binomial(2, frequency[:, None], (9, n)).astype(np.float64)
    dosage[7:] = rng.integers(0, 2001, (2, n)) / 1000
    dosage[rng.random(dosage.shape) < 0.03] = np.nan
    sex = rng.integers(0, 2, n)
    site = rng.integers(0, 12, n) == 0
    covariates = np.column_stack([np.ones(n), rng.normal(1960.0, 12.0, n), sex, site, rng.normal(size=n)])
    traits = rng.normal(10.0, 3.0, (n, 10)) + 0.1 * covariates[:, 1:2] + sex[:, None]
    traits[:, :5] += np.nan_to_num(dosage[4])[:, None]
    for t, rate in ((1, 0.03), (2, 0.1), (3, 0.1), (4, 0.5), (5, 0.95), (7, 0.1)):
        traits[rng.random(n) < rate, t] = np.nan
    traits[sex == 0, 6:8] = np.nan
    traits[sex == 1, 8] = np.nan
    traits[:, 9] = traits[:, 2] * 2.0 - 1.0
    absent = rng.random(n) >= analysed
    traits[absent] = np.nan
    covariates[absent] = np.nan
    return dosage, traits, covariates


@pytest.mark.parametrize("model", ONE_PREDICTOR)
@pytest.mark.parametrize("missing", Missing)
@pytest.mark.parametrize("analysed", [1.0, 0.3])
def test_every_pattern_of_missing_traits_is_that_of_full_least_squares(
    model: Model, missing: Missing, analysed: float
) -> None:
    dosage, traits, covariates = cohort(int(model), analysed=analysed)
    options = ScanOptions(int(model), int(missing))
    out = run(dosage, traits, covariates, options, form=SHARED)
    compared = assert_least_squares(out, dosage, traits, covariates, options, tolerance=TOLERANCE)
    assert compared >= 60


@pytest.mark.parametrize("model", ONE_PREDICTOR)
@pytest.mark.parametrize("missing", Missing)
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_both_forms_agree(model: Model, missing: Missing, scale: float) -> None:
    """The two share no algebra for patterns of missing traits, nor for excluded samples."""
    options = ScanOptions(int(model), int(missing), int(Precision.FLOAT64))
    for seed, n in ((1, 700), (2, 300)):
        dosage, traits, covariates = cohort(seed, n)
        scales = np.full(n, scale)
        one, other = (run(dosage, traits, covariates, options, scales, form) for form in (SHARED, GENERAL))
        assert_same(one, other, EXACT)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(4, 60), st.sampled_from(list(Missing)), st.sampled_from(ONE_PREDICTOR))
def test_both_forms_agree_in_tiny_studies(seed: int, n: int, missing: Missing, model: Model) -> None:
    """Ranks, degrees of freedom and statuses where hardly anybody is left."""
    dosage, traits, covariates = cohort(seed, n)
    options = ScanOptions(int(model), int(missing))
    one, other = (run(dosage, traits, covariates, options, form=form) for form in (SHARED, GENERAL))
    assert_same(one, other, TINY)


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.FLOAT64])
@pytest.mark.parametrize("missing", Missing)
def test_a_trait_is_the_same_alone_and_in_a_batch(precision: Precision, missing: Missing) -> None:
    dosage, traits, covariates = cohort(12, 4000)
    options = ScanOptions(missing=int(missing), precision=int(precision))
    together = run(dosage, traits, covariates, options)
    for t in range(traits.shape[1]):
        alone = run(dosage, traits[:, [t]], covariates, options)
        assert_same({name: values[:, [t]] for name, values in together.items()}, alone, BATCH)


@pytest.mark.parametrize("missing", Missing)
def test_results_are_written_in_place_in_either_order(missing: Missing) -> None:
    dosage, traits, covariates = cohort(13)
    options = ScanOptions(missing=int(missing))
    one, other = (run(dosage, traits, covariates, options, by_trait=by_trait) for by_trait in (False, True))
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def groups_of(traits: Floats, covariates: Floats) -> list[set[int]]:
    """Traits of each group."""
    found = fit_shared(null_data(traits, covariates), ScanOptions())
    assert found is not None
    assert isinstance(found[0], SharedNull)
    return [set(group.traits.tolist()) for group in found[0].groups]


@pytest.mark.parametrize("missing", Missing)
@pytest.mark.parametrize("distance", [1e3, 1e4, 1e6, 1e8, 1e10])
def test_a_pattern_that_lacks_an_outlier_has_a_basis_of_its_own(missing: Missing, distance: float) -> None:
    """Beside one value far away, as an unmarked code of missing values is, the others of a covariate seem constant."""
    dosage, traits, covariates = cohort(14)
    traits = traits[:, :4]
    covariates[5, 4] = distance
    traits[5, :2] = 1.0
    traits[:, 2:] += covariates[:, [4]]
    traits[5, 2:] = np.nan
    assert groups_of(traits, covariates) == ([{0, 1, 2, 3}] if distance < 1e4 else [{0, 1}, {2, 3}])
    options = ScanOptions(missing=int(missing))
    out = run(dosage, traits, covariates, options)
    tested = out["status"][:, 2:] == Status.OK
    assert tested.sum() >= 14
    part = {name: values[:, 2:] for name, values in out.items()}
    assert_least_squares(part, dosage, traits[:, 2:], covariates, options, tolerance=1e-8)
    for t in range(4):
        alone = run(dosage, traits[:, [t]], covariates, options, form=GENERAL)
        assert_same({name: values[:, [t]] for name, values in out.items()}, alone, BATCH)


def test_one_sex_shares_the_basis_of_both_and_loses_the_rank_of_sex() -> None:
    _, traits, covariates = cohort(15)
    assert groups_of(traits, covariates) == [set(range(10))]
    found = fit_shared(null_data(traits, covariates), ScanOptions())
    assert found is not None
    (group,) = found[0].groups
    ranks = dict(zip(group.traits.tolist(), np.repeat(group.rank, np.diff(group.trait_start)).tolist(), strict=True))
    assert [ranks[t] for t in range(10)] == [5, 5, 5, 5, 5, 5, 4, 4, 4, 5]


def test_what_is_said_of_traits_is_the_same_in_both_forms() -> None:
    """The notes name duplicated covariates, and sex where there is one only; both count the samples."""
    _, traits, covariates = cohort(16)
    rng = np.random.default_rng(16)
    covariates = np.column_stack([covariates, 2 * covariates[:, 1] - covariates[:, 4], np.zeros(700)])
    more = np.column_stack([np.full(700, 3.0), covariates[:, 1], rng.normal(size=700), np.full(700, np.nan)])
    more[7:, 2] = np.nan
    more = np.column_stack([more, np.where(np.arange(700) == 9, 1.0, np.nan)])
    data = null_data(np.hstack([traits, more]), covariates)
    shared, general = fit_shared(data, ScanOptions()), fit_general(data, ScanOptions())
    assert shared is not None
    assert [note for note in shared[1] if note.trait != 13] == sorted(note for note in general[1] if note.trait != 13)
    said = {note.trait: (note.status, note.message) for note in shared[1]}
    assert set(said) == set(range(15))
    left_out = "covariates left out because others determine them: "
    assert said[0] == (Status.OK, left_out + "c5, c6")
    assert said[6] == (Status.OK, left_out + "c2, c5, c6")
    assert said[10][0] == said[11][0] == Status.TRAIT_CONSTANT
    assert [said[t][0] for t in (13, 14)] == [Status.TOO_FEW_SAMPLES] * 2
    assert said[13][1].startswith("0 samples")
    assert said[14][1].startswith("1 samples for 1 covariates")


@pytest.mark.parametrize("model", Model)
@pytest.mark.parametrize("missing", Missing)
@pytest.mark.parametrize("form", [SHARED, GENERAL], ids=["shared", "general"])
def test_a_dosage_that_is_the_same_for_everybody_does_not_vary(model: Model, missing: Missing, form: Form) -> None:
    if model == Model.GENOTYPIC and form is SHARED:
        form = EITHER
    _, traits, covariates = cohort(24)
    dosage = np.repeat([[0.001], [0.25], [0.999], [1.001], [1.5], [1.99], [1.999]], 700, axis=1)
    dosage[:, 3] = np.nan
    out = run(dosage, traits, covariates, ScanOptions(int(model), int(missing)), form=form)
    assert (out["status"] == Status.MONOMORPHIC).all()


def test_covariates_without_a_constant_take_the_general_form() -> None:
    dosage, traits, covariates = cohort(17)
    assert fit_shared(null_data(traits, covariates[:, 1:]), ScanOptions()) is None
    assert fit_shared(null_data(traits, covariates, np.where(covariates[:, 2] == 1, 0.5, 1.0)), ScanOptions()) is None
    out = run(dosage[4:6], traits, covariates[:, 1:])
    assert_least_squares(out, dosage[4:6], traits, covariates[:, 1:], ScanOptions(), tolerance=TOLERANCE)


def test_an_indicator_for_each_sex_is_as_good_as_an_intercept() -> None:
    dosage, traits, covariates = cohort(18)
    sexes = np.column_stack([covariates[:, 1], 1.0 - covariates[:, 2], covariates[:, 2:]])
    one = run(dosage, traits, sexes, form=SHARED)
    assert_same(one, run(dosage, traits, covariates, form=SHARED), EXACT)


@pytest.mark.parametrize("missing", Missing)
def test_only_an_intercept(missing: Missing) -> None:
    dosage, traits, covariates = cohort(19)
    options = ScanOptions(missing=int(missing))
    out = run(dosage, traits, covariates[:, :1], options, form=SHARED)
    assert assert_least_squares(out, dosage, traits, covariates[:, :1], options, tolerance=TOLERANCE) >= 80


# In single precision from here on: as many people as turn it on.
MANY = 12_000


def large_cohort(seed: int, missing_rate: float = 0.0) -> tuple[NDArray[np.float64], Floats, Floats]:
    """Calls, three traits (complete, with gaps, of one sex) and covariates."""
    rng = np.random.default_rng(seed)
    dosage = rng.binomial(2, rng.uniform(0.05, 0.95, 12)[:, None], (12, MANY)).astype(np.float64)
    dosage[rng.random(dosage.shape) < missing_rate] = np.nan
    sex = rng.integers(0, 2, MANY)
    covariates = np.column_stack([np.ones(MANY), sex, rng.normal(1960, 12, MANY)])
    traits = rng.normal(size=(MANY, 3)) + 0.1 * np.nan_to_num(dosage[:3].T)
    traits[rng.random(MANY) < 0.05, 1] = np.nan
    traits[sex == 1, 2] = np.nan
    return dosage, traits, covariates


def in_both_precisions(dosage: Floats, traits: Floats, covariates: Floats, missing: Missing) -> tuple[Results, Results]:
    """In single precision, as so many people ask for, and in double."""
    single = run(dosage, traits, covariates, ScanOptions(missing=int(missing)), form=SHARED)
    options = ScanOptions(missing=int(missing), precision=int(Precision.FLOAT64))
    return single, run(dosage, traits, covariates, options, form=SHARED)


@pytest.mark.parametrize("missing", Missing)
def test_variants_that_covariates_nearly_explain_are_done_again_in_double(missing: Missing) -> None:
    inflation = np.array([10.0, 30.0, 1e3, 1e5])
    dosage, traits, covariates = large_cohort(20, 0.001)
    rng = np.random.default_rng(21)
    copies = np.where(np.isnan(dosage[:4]), 1.0, dosage[:4])
    noise = rng.normal(size=(4, MANY)) * copies.std(axis=1, keepdims=True) / np.sqrt(inflation)[:, None]
    # Each in a covariate of its own: copies of ALT, and noise that leaves so much.
    for v, covariate in enumerate(copies + noise):
        single, double = in_both_precisions(dosage, traits, np.column_stack([covariates, covariate]), missing)
        assert (double["status"] == Status.OK).all()
        assert_same(single, double, SINGLE)
        again = [np.array_equal(single["beta"][k], double["beta"][k]) for k in range(12)]
        assert again == [k == v and inflation[v] > 20 for k in range(12)]


@pytest.mark.parametrize("missing", Missing)
def test_collinear_variants_and_perfect_fits_are_known_in_single_precision(missing: Missing) -> None:
    dosage, traits, covariates = large_cohort(22)
    # A covariate that is a variant, and traits that are one: but for a scale, but for covariates, and nearly.
    covariates = np.column_stack([covariates, 3.0 - 0.1 * dosage[5]])
    exact = np.column_stack([7e3 * dosage[6], dosage[7] - 0.01 * covariates[:, 2], dosage[8]])
    exact[:, 2] += 1e-4 * np.random.default_rng(23).normal(size=MANY)
    exact[100:900, 1] = np.nan
    single, double = in_both_precisions(dosage, np.hstack([traits, exact]), covariates, missing)
    assert_same(single, double, SINGLE)
    status = np.full((12, 6), Status.OK)
    status[5] = Status.COLLINEAR
    status[6, 3] = status[7, 4] = Status.PERFECT_FIT
    np.testing.assert_array_equal(single["status"], status)
    assert single["neg_log10_p"][8, 5] > 40_000


@pytest.mark.parametrize("seed", range(6))
def test_excluding_the_only_carriers_of_a_covariate_level_in_single_precision(seed: int) -> None:
    """What is left of the level is rounding, which must count neither as a direction nor as a degree of freedom."""
    dosage, traits, covariates = large_cohort(seed, 0.05)
    rng = np.random.default_rng(seed)
    level = np.zeros(MANY)
    carriers = rng.choice(MANY, 3, replace=False)
    level[carriers] = 1.0
    dosage[:4, carriers] = np.nan
    dosage[4:8, carriers[:2]] = np.nan
    traits[rng.random(MANY) < 0.9, 0] = np.nan
    single, double = in_both_precisions(dosage, traits, np.column_stack([covariates, level]), Missing.EXCLUDE)
    assert_same(single, double, SINGLE)
