"""Logistic regression in full, against plain formulas, linear programming and what must not change."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from allscan.kernels import testing
from allscan.kernels.association import AssociationTest, Missing, Model, NullData, ScanOptions, Status, has_result
from allscan.kernels.block import encode_block
from allscan.kernels.counts import count_genotypes, sample_sets
from allscan.kernels.logistic_full import LOGISTIC_FIRTH, LOGISTIC_LRT, LOGISTIC_WALD
from allscan.kernels.missingness import missingness_patterns
from tests import naive_logistic

TESTS = {"wald": LOGISTIC_WALD, "lrt": LOGISTIC_LRT, "firth": LOGISTIC_FIRTH}
ALL = pytest.mark.parametrize("method", TESTS)
# Of a standard error, and of a statistic: both sides stop within 1e-9 standard errors of the maximum, and a
# difference of log likelihoods of some hundreds is rounded to 1e-13.
CLOSE = 1e-7

Floats = NDArray[np.float64]
Out = dict[str, NDArray[np.floating]]


def run(
    test: AssociationTest,
    example: testing.Example,
    options: ScanOptions | None = None,
    *,
    dosage: NDArray[np.float32] | None = None,
    scale: Floats | None = None,
    min_cases: int = 1,
) -> tuple[Out, tuple]:
    """Results and notes."""
    options = options or ScanOptions()
    chosen = None if dosage is None else np.ones(len(dosage), bool)
    block = encode_block(example.genotypes, dosage, chosen)
    member, set_of_trait = missingness_patterns(example.traits)
    names = tuple(f"c{j}" for j in range(example.covariates.shape[1]))
    scale = np.ones(len(example.traits)) if scale is None else scale
    data = NullData(example.traits, example.covariates, names, scale, member, set_of_trait, None, example.offset)
    null, notes = test.fit_null(data, options, {"min_cases": min_cases})
    shape = (block.n_variants, example.traits.shape[1])
    out = {column.name: np.full(shape, -1.0) for column in test.columns(options)}
    out["status"] = np.full(shape, 255, np.uint8)
    test.score_block(block, count_genotypes(block, sample_sets(member)), null, options, out)
    return out, notes


def coded(dosage: Floats, model: int) -> Floats:
    """Predictors, shape (samples, predictors)."""
    return {
        Model.ADDITIVE: lambda g: g[:, None],
        Model.DOMINANT: lambda g: np.minimum(g, 1)[:, None],
        Model.RECESSIVE: lambda g: np.maximum(g - 1, 0)[:, None],
        Model.GENOTYPIC: lambda g: np.column_stack([g, np.minimum(g, 2 - g)]),
    }[Model(model)](dosage)


def expected(
    example: testing.Example, dosage: Floats, variant: int, trait: int, method: str, options: ScanOptions, scale: Floats
) -> naive_logistic.Fitted:
    """The same by plain formulas."""
    g = dosage[variant]
    used = ~np.isnan(example.traits[:, trait])
    x = coded(g, options.model)
    mean = x[used & ~np.isnan(g)].mean(axis=0)
    if options.missing == Missing.EXCLUDE:
        used = used & ~np.isnan(g)
    x = np.where(np.isnan(x), mean, x) * scale[:, None]
    covariates = example.covariates - np.append(0.0, example.covariates[:, 1:].mean(axis=0))
    covariates = covariates / np.append(1.0, covariates[:, 1:].std(axis=0))
    offset = np.zeros(len(g)) if example.offset is None else example.offset[:, trait]
    return naive_logistic.regression(covariates[used], x[used], example.traits[used, trait], offset[used], method)


def assert_close(out: Out, v: int, t: int, theirs: naive_logistic.Fitted, method: str) -> None:
    beta = [out["beta"][v, t]]
    error = [out["standard_error"][v, t]]
    if "beta_domdev" in out:
        beta.append(out["beta_domdev"][v, t])
        error.append(out["standard_error_domdev"][v, t])
    np.testing.assert_allclose(beta, theirs.beta, rtol=0, atol=CLOSE * theirs.standard_error.min())
    np.testing.assert_allclose(error, theirs.standard_error, rtol=CLOSE)
    p = -stats.chi2.logsf(theirs.statistic, len(beta)) / np.log(10)
    assert out["neg_log10_p"][v, t] == pytest.approx(p, rel=CLOSE, abs=1e-7), method


@ALL
@pytest.mark.parametrize(("model", "missing"), list(product(Model, Missing)))
def test_as_plain_formulas_have_it(method: str, model: Model, missing: Missing) -> None:
    """Patterns of missing traits, missing calls, an offset, and people whose copies count a half."""
    rng = np.random.default_rng(3)
    example = testing.make_example(20, binary=True, variants=12, samples=260, traits=3, missing=0.06)
    example = replace(example, offset=rng.normal(0, 0.7, example.traits.shape))
    scale = np.where(rng.random(260) < 0.4, 0.5, 1.0)
    options = ScanOptions(int(model), int(missing))
    out, _ = run(TESTS[method], example, options, scale=scale)
    dosage = np.where(example.genotypes < 0, np.nan, example.genotypes)
    cells = np.argwhere(has_result(out["status"]))
    assert len(cells) >= (10 if model == Model.GENOTYPIC else 18)
    for v, t in cells:
        assert_close(out, v, t, expected(example, dosage, v, t, method, options, scale), method)


@ALL
def test_dosages_are_not_rounded(method: str) -> None:
    rng = np.random.default_rng(5)
    example = testing.make_example(21, binary=True, variants=6, samples=200, traits=2)
    # Steps that are no power of two: as float32 they would be off by 1e-7 of a copy.
    steps = np.array([255, 1000, 16383, 10, 3, 100])[:, None]
    dosage = np.rint(rng.uniform(0, 2, (6, 200)) * steps) / steps
    dosage[rng.random(dosage.shape) < 0.05] = np.nan
    out, _ = run(TESTS[method], example, dosage=dosage.astype(np.float32))
    for v, t in product(range(6), range(2)):
        theirs = expected(example, dosage, v, t, method, ScanOptions(), np.ones(200))
        np.testing.assert_allclose(out["beta"][v, t], theirs.beta[0], rtol=0, atol=1e-9 * theirs.standard_error[0])


def small(genotypes: list[int], cases: list[int], covariates: list[list[float]] | None = None) -> testing.Example:
    columns = [[1.0] * len(cases), *(covariates or [])]
    return testing.Example(np.array([genotypes], np.int8), np.array([cases], float).T, np.array(columns).T)


SEPARATED = {
    "complete": small([0, 0, 0, 1, 1, 2, 2, 1], [0, 0, 0, 1, 1, 1, 1, 1]),
    "quasi": small([0, 0, 0, 1, 1, 1, 2, 2], [0, 0, 0, 0, 1, 0, 1, 1]),
    "no case carries": small([0] * 20 + [1, 1], [0, 1] * 10 + [0, 0]),
    "with a covariate": small([0, 1, 0, 1, 2, 0, 2, 1], [0, 0, 1, 0, 1, 0, 1, 1], [[0, 1, 3, 2, 2, 0, 4, 5]]),
}


@pytest.mark.parametrize("what", SEPARATED)
def test_separation_is_told(what: str) -> None:
    example = SEPARATED[what]
    predictors = np.column_stack([example.covariates, example.genotypes[0]])
    assert naive_logistic.separated(predictors, example.traits[:, 0])
    for method in ("wald", "lrt"):
        out, _ = run(TESTS[method], example)
        assert out["status"].tolist() == [[Status.SEPARATED]]
        assert np.isnan(out["beta"]).all()
    out, _ = run(LOGISTIC_FIRTH, example)
    assert out["status"].tolist() == [[Status.OK]]
    fitted = naive_logistic.regression(
        example.covariates,
        example.genotypes[0][:, None].astype(float),
        example.traits[:, 0],
        np.zeros(len(example.traits)),
        "firth",
    )
    assert_close(out, 0, 0, fitted, "firth")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(8, 40), st.integers(0, 2), st.floats(0.1, 0.9))
def test_separated_if_and_only_if_linear_programming_says_so(seed: int, n: int, covariates: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    columns = [rng.integers(0, 3, n).astype(float) for _ in range(covariates)]
    example = small(
        rng.binomial(2, rng.uniform(0.05, 0.5), n).tolist(), (rng.random(n) < rate).astype(int).tolist(), columns
    )
    out, _ = run(LOGISTIC_WALD, example)
    status = out["status"][0, 0]
    if status in (Status.OK, Status.SEPARATED):
        predictors = np.column_stack([example.covariates, example.genotypes[0]])
        assert (status == Status.SEPARATED) == naive_logistic.separated(predictors, example.traits[:, 0])
    else:
        assert status in (Status.MONOMORPHIC, Status.TOO_FEW_CASES, Status.COLLINEAR, Status.TOO_FEW_SAMPLES)


def test_one_person_in_the_way_is_no_separation() -> None:
    """Ten thousand carriers, of whom one is a control, and as many others, of whom one is a case."""
    half = 10_000
    example = small([0] * half + [1] * half, [0] * (half - 1) + [1] * half + [0])
    for method in ("wald", "lrt"):
        out, _ = run(TESTS[method], example)
        assert out["status"].tolist() == [[Status.OK]]
        assert out["beta"][0, 0] == pytest.approx(2 * np.log(half - 1), rel=1e-9)


@ALL
def test_large_known_log_odds_are_no_separation(method: str) -> None:
    """An offset may make nearly everybody's outcome certain: the likelihood has a maximum all the same."""
    rng = np.random.default_rng(6)
    example = testing.make_example(22, binary=True, variants=8, samples=300, traits=2, missing=0.0)
    offset = np.where(example.traits == 1, 40.0, -40.0) * (rng.random(example.traits.shape) < 0.6)
    example = replace(example, offset=np.nan_to_num(offset))
    out, _ = run(TESTS[method], example)
    v = 7
    assert (out["status"][v] == Status.OK).all()
    for t in range(2):
        theirs = expected(example, example.genotypes.astype(float), v, t, method, ScanOptions(), np.ones(300))
        assert_close(out, v, t, theirs, method)


def test_covariates_that_separate_are_told_once() -> None:
    example = testing.make_example(23, binary=True, traits=2)
    covariates = np.column_stack([example.covariates, np.nan_to_num(example.traits[:, 0])])
    out, notes = run(LOGISTIC_WALD, replace(example, covariates=covariates))
    assert set(out["status"][:, 0]) == {Status.SEPARATED}
    assert Status.OK in out["status"][:, 1]
    assert [(note.trait, note.status) for note in notes] == [(0, Status.SEPARATED)]
    assert "covariates" in notes[0].message
    out, notes = run(LOGISTIC_FIRTH, replace(example, covariates=covariates))
    assert Status.OK in out["status"][:, 0]
    assert notes == ()


@ALL
def test_too_few_cases(method: str) -> None:
    example = testing.make_example(24, binary=True, traits=4, missing=0.0)
    traits = example.traits.copy()
    traits[:, 0] = 1.0
    traits[:, 1] = 0.0
    traits[:, 2] = np.arange(len(traits)) < 9
    example = replace(example, traits=traits)
    out, notes = run(TESTS[method], example, min_cases=10)
    assert set(out["status"][:, :3].ravel()) == {Status.TOO_FEW_CASES}
    assert [note.message.split(":")[0] for note in notes] == [
        "400 cases and 0 controls",
        "0 cases and 400 controls",
        "9 cases and 391 controls",
    ]
    assert np.isnan(out["neg_log10_p"][:, :3]).all()
    assert Status.OK in out["status"][:, 3]
    out, notes = run(TESTS[method], example, min_cases=9)
    assert len(notes) == 2
    assert Status.OK in out["status"][:, 2]


@ALL
def test_cases_are_counted_among_the_called(method: str) -> None:
    """Of ten cases two have no call: too few for a minimum of nine where these are left out."""
    rng = np.random.default_rng(7)
    genotypes = rng.binomial(2, 0.4, (2, 100)).astype(np.int8)
    genotypes[1, :2] = -1
    example = testing.Example(genotypes, (np.arange(100) < 10).astype(float)[:, None], np.ones((100, 1)))
    out, _ = run(TESTS[method], example, ScanOptions(missing=int(Missing.EXCLUDE)), min_cases=9)
    assert out["status"].ravel().tolist() == [Status.OK, Status.TOO_FEW_CASES]
    out, _ = run(TESTS[method], example, min_cases=9)
    assert out["status"].ravel().tolist() == [Status.OK, Status.OK]


@pytest.mark.parametrize("value", [0, -3, 2.5, "ten", True, None])
def test_a_minimum_that_is_no_number_of_people(value: object) -> None:
    check = LOGISTIC_WALD.check_options
    assert check is not None
    check({"min_cases": 1})
    with pytest.raises(ValueError, match="min_cases is"):
        check({"min_cases": value})


@ALL
def test_covariates_that_others_determine_change_nothing(method: str) -> None:
    example = testing.make_example(26, binary=True)
    plain, _ = run(TESTS[method], example)
    twice = np.column_stack([example.covariates, 3.0 * example.covariates[:, 1] - 7.0])
    out, notes = run(TESTS[method], replace(example, covariates=twice))
    testing._same(plain, out, "a covariate more", 1e-8)
    assert len(notes) == example.traits.shape[1]
    assert all("c3" in note.message and note.status == Status.OK for note in notes)


@ALL
def test_rank_lost_to_missing_calls(method: str) -> None:
    """Only people without a call have the covariate: it is left out with them."""
    example = testing.make_example(27, binary=True, traits=2, missing=0.0)
    genotypes = example.genotypes.copy()
    genotypes[10, :12] = -1
    lost = np.zeros(len(example.traits))
    lost[:12] = 1.0
    options = ScanOptions(missing=int(Missing.EXCLUDE))
    example = replace(example, genotypes=genotypes)
    plain, _ = run(TESTS[method], example, options)
    covariates = np.column_stack([example.covariates, lost])
    out, _ = run(TESTS[method], replace(example, covariates=covariates), options)
    testing._same(
        {k: x[[10]] for k, x in plain.items()}, {k: x[[10]] for k, x in out.items()}, "a lost covariate", 1e-7
    )


@ALL
def test_genotypes_that_covariates_determine(method: str) -> None:
    example = testing.make_example(28, binary=True, missing=0.0)
    covariates = np.column_stack([example.covariates, example.genotypes[12].astype(float)])
    out, _ = run(TESTS[method], replace(example, covariates=covariates))
    assert set(out["status"][12]) == {Status.COLLINEAR}
    # With calls of 0 and 1 alone the two predictors of the genotypic model are one.
    genotypes = np.minimum(example.genotypes, 1)
    out, _ = run(TESTS[method], replace(example, genotypes=genotypes), ScanOptions(int(Model.GENOTYPIC)))
    assert set(out["status"][12]) == {Status.PARTLY_COLLINEAR}


@ALL
def test_more_covariates_than_people(method: str) -> None:
    rng = np.random.default_rng(9)
    covariates = np.column_stack([np.ones(12), rng.normal(size=(12, 11))])
    example = testing.Example(rng.binomial(2, 0.5, (3, 12)).astype(np.int8), np.eye(12)[:, :1], covariates)
    out, notes = run(TESTS[method], example)
    assert set(out["status"].ravel()) == {Status.TOO_FEW_SAMPLES}
    assert "no degrees of freedom" in notes[0].message


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(TESTS)), st.sampled_from(list(Missing)))
def test_what_changes_nothing(seed: int, method: str, missing: Missing) -> None:
    """The other allele, cases and controls exchanged, people in another order, the covariates turned and scaled."""
    rng = np.random.default_rng(seed)
    example = testing.make_example(seed % 1000, binary=True, variants=8, samples=80, traits=2)
    example = replace(example, offset=rng.normal(size=example.traits.shape))
    options = ScanOptions(missing=int(missing))
    test = TESTS[method]
    plain, _ = run(test, example, options)
    turned = {name: -values if name == "beta" else values for name, values in plain.items()}
    genotypes = np.where(example.genotypes < 0, -1, 2 - example.genotypes).astype(np.int8)
    tolerance = 1e-6
    testing._same(turned, run(test, replace(example, genotypes=genotypes), options)[0], "the other allele", tolerance)
    exchanged = replace(example, traits=1 - example.traits, offset=-example.offset)
    testing._same(turned, run(test, exchanged, options)[0], "cases and controls exchanged", tolerance)
    order = rng.permutation(80)
    testing._same(plain, run(test, example.rows(order), options)[0], "another order", tolerance)
    covariates = example.covariates @ np.array([[2.0, 1.0, 0.0], [0.0, 0.1, 3.0], [0.0, 0.0, 1.0]])
    moved = replace(example, covariates=covariates)
    testing._same(plain, run(test, moved, options)[0], "other covariates of the same span", tolerance)


@pytest.mark.parametrize(
    ("method", "model"),
    [
        *product(TESTS, [Model.ADDITIVE]),
        ("wald", Model.RECESSIVE),
        ("lrt", Model.DOMINANT),
        ("firth", Model.GENOTYPIC),
    ],
)
def test_conforms(method: str, model: Model) -> None:
    testing.check_association_test(TESTS[method], (model,))


def test_wald_and_likelihood_ratio_agree_in_large_samples() -> None:
    rng = np.random.default_rng(11)
    n = 20_000
    genotypes = rng.binomial(2, 0.3, (1, n)).astype(np.int8)
    cases = testing.draw_cases(0.1 * genotypes[0] - 1.0, rng)[:, None]
    example = testing.Example(genotypes, cases, np.ones((n, 1)))
    found = [run(test, example)[0]["neg_log10_p"][0, 0] for test in TESTS.values()]
    assert found[0] > 1.0
    np.testing.assert_allclose(found, found[0], rtol=5e-3)
