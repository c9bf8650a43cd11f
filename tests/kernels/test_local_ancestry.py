"""Tests of local ancestry, against regressions with all predictors written out and what must not change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from allscan.kernels.association import AssociationTest, NullData, ScanOptions, Status
from allscan.kernels.block import encode_block
from allscan.kernels.counts import count_genotypes, sample_sets
from allscan.kernels.f_distribution import f_neg_log10_p
from allscan.kernels.haplotypes import HaplotypeBlock, most_listed
from allscan.kernels.linear import LINEAR
from allscan.kernels.local_ancestry import LOCAL_ANCESTRY_LINEAR
from allscan.kernels.local_ancestry_logistic import LOCAL_ANCESTRY_LOGISTIC
from allscan.kernels.logistic_full import LOGISTIC_LRT
from allscan.kernels.missingness import missingness_patterns
from allscan.kernels.relatedness import make_relatedness
from tests import naive_local_ancestry as naive

Floats = NDArray[np.float64]
Out = dict[str, NDArray[np.floating]]
COUNT = {"min_ancestry_allele_count": 5}


def null_data(traits: Floats, covariates: Floats, **more: object) -> NullData:
    member, set_of_trait = missingness_patterns(traits)
    names = tuple(f"c{j}" for j in range(covariates.shape[1]))
    data = NullData(traits, covariates, names, np.ones(len(traits)), member, set_of_trait)
    return data._replace(**more)


def run(test: AssociationTest, block: HaplotypeBlock, data: NullData, missing: int = 0, **own: float) -> Out:
    names = tuple(str(a) for a in range(block.n_ancestries))
    options = ScanOptions(missing=missing, ancestries=names)
    null, _ = test.fit_null(data, options, {**(test.options or {}), **COUNT, **own})
    shape = (block.n_variants, data.traits.shape[1])
    out = {column.name: np.full(shape, -1.0) for column in test.columns(options)}
    out["status"] = np.full(shape, 255, np.uint8)
    assert test.score_haplotypes is not None
    test.score_haplotypes(block, null, options, out)
    return out


def cohort(
    seed: int, n: int, v: int, k: int, *, binary: bool = False, missing: float = 0.03
) -> tuple[NDArray[np.int8], NDArray[np.uint8], Floats, Floats]:
    """Alleles, ancestries, traits with missing values, covariates."""
    rng = np.random.default_rng(seed)
    alleles, ancestry = naive.mosaics(rng, v, n, k, missing=missing)
    covariates = np.column_stack([np.ones(n), rng.normal(50, 9, n), rng.normal(size=n)])
    traits = rng.normal(size=(n, 3))
    traits[:, 2] += 0.6 * (ancestry[v // 2] == 0).sum(axis=1) + 0.5 * (alleles[v // 2, :, 0] > 0)
    traits = (traits > 0.4).astype(float) if binary else traits
    traits[rng.random(n) < 0.1, 1] = np.nan
    return alleles, ancestry, traits, covariates


def check_against_naive(
    test: AssociationTest, k: int, missing: int, *, binary: bool, least: float, close: float
) -> None:
    alleles, ancestry, traits, covariates = cohort(k, 500 if binary else 250, 16 if binary else 30, k, binary=binary)
    data = null_data(traits, covariates)
    own = {"min_ancestry_allele_count": least} | ({"refine_below": 1.0} if binary else {})
    out = run(test, naive.block_of(alleles, ancestry, k), data, missing, **own)
    checked = 0
    for v, t in np.ndindex(out["status"].shape):
        used = data.member[data.set_of_trait[t]].copy()
        called = (alleles[v] >= 0).all(axis=1)
        used &= called | (missing == 0)
        haplotypes, counts = naive.predictors(alleles[v][used], ancestry[v][used], k)
        here = called[used]
        n_alleles, n_haplotypes = counts[here].sum(axis=0), haplotypes[here].sum(axis=0)
        terms = [a for a in range(k) if min(n_alleles[a], n_haplotypes[a] - n_alleles[a]) >= max(least, 1)]
        for a in range(k):
            assert out[f"haplotypes_{a}"][v, t] == n_haplotypes[a]
            np.testing.assert_allclose(out[f"effect_allele_frequency_{a}"][v, t], n_alleles[a] / n_haplotypes[a])
            assert (out[f"status_{a}"][v, t] == Status.OK) == (a in terms)
        if not terms:
            assert out["status"][v, t] in (Status.MONOMORPHIC, Status.TOO_FEW_ALLELES)
            assert all(np.isnan(out[name][v, t]) for name in ("beta", "neg_log10_p", "beta_0"))
            continue
        if out["status"][v, t] == Status.FIRTH:
            continue
        assert out["status"][v, t] == Status.OK
        reference = naive.logistic if binary else naive.linear
        for name, value in reference(traits[used, t], covariates[used], haplotypes, counts[:, terms]).items():
            stem, _, place = name.rpartition("_")
            ours = out[f"{stem}_{terms[int(place)]}" if place.isdigit() else name][v, t]
            np.testing.assert_allclose(ours, value, rtol=close, atol=close, err_msg=f"{v} {t} {name}")
            checked += 1
    assert checked > 200


@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_linear_is_least_squares_with_all_predictors(k: int, missing: int) -> None:
    check_against_naive(LOCAL_ANCESTRY_LINEAR, k, missing, binary=False, least=5, close=1e-7)


@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_logistic_is_maximum_likelihood_with_all_predictors(k: int, missing: int) -> None:
    check_against_naive(LOCAL_ANCESTRY_LOGISTIC, k, missing, binary=True, least=30, close=1e-6)


def test_score_tests_agree_with_full_fits_where_nothing_is_associated() -> None:
    alleles, ancestry, traits, covariates = cohort(3, 3000, 12, 2, binary=True)
    data, block = null_data(traits[:, :1], covariates), naive.block_of(alleles, ancestry, 2)
    fast, full = (run(LOCAL_ANCESTRY_LOGISTIC, block, data, refine_below=p) for p in (0.0, 1.0))
    # Two statistics that differ by terms of the order of 1/n.
    for name in ("neg_log10_p", "neg_log10_p_shared", "neg_log10_p_heterogeneity", "neg_log10_p_ancestry"):
        np.testing.assert_allclose(fast[name], full[name], atol=0.02, rtol=0.02)
    error = full["standard_error_1"]
    np.testing.assert_allclose(fast["beta_1"], full["beta_1"], atol=0.1 * float(np.nanmax(error)))
    # What may be associated is fitted, what is not keeps its score test.
    some = run(LOCAL_ANCESTRY_LOGISTIC, block, data, refine_below=0.05)
    refined = some["beta"] != fast["beta"]
    np.testing.assert_array_equal(some["beta"][refined], full["beta"][refined])
    assert 0 < refined.sum() < refined.size


def test_one_ancestry_is_the_ordinary_test() -> None:
    alleles, ancestry, traits, covariates = cohort(9, 300, 40, 1)
    data = null_data(traits, covariates)
    block = encode_block(np.where((alleles >= 0).all(axis=2), alleles.sum(axis=2), -1).astype(np.int8))
    counts = count_genotypes(block, sample_sets(data.member))
    for test, ordinary, own in (
        (LOCAL_ANCESTRY_LINEAR, LINEAR, {}),
        (LOCAL_ANCESTRY_LOGISTIC, LOGISTIC_LRT, {"min_cases": 1}),
    ):
        if own:
            data = null_data(np.where(np.isnan(traits), np.nan, (traits > 0.3).astype(float)), covariates)
        null, _ = ordinary.fit_null(data, ScanOptions(), own)
        shape = (len(alleles), traits.shape[1])
        expected = {name: np.full(shape, np.nan) for name in ("beta", "standard_error", "neg_log10_p")}
        expected["status"] = np.zeros(shape, np.uint8)
        ordinary.score_block(block, counts, null, ScanOptions(), expected)
        more = {"refine_below": 1.0} if own else {}
        out = run(test, naive.block_of(alleles, ancestry, 1), data, min_ancestry_allele_count=0, **more)
        same = (out["status"] == Status.OK) & (expected["status"] == Status.OK)
        assert same.sum() > 60
        for name in ("beta", "standard_error", "neg_log10_p"):
            np.testing.assert_allclose(out[name][same], expected[name][same], rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(out[name][same], out[f"{name}_0"][same], rtol=1e-6 if own else 1e-9) if (
                name != "neg_log10_p"
            ) else None


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(40, 150),
    k=st.integers(2, 4),
    missing=st.integers(0, 1),
    binary=st.booleans(),
)
def test_names_and_orders_of_people_ancestries_and_alleles_change_nothing(
    seed: int, n: int, k: int, missing: int, binary: bool
) -> None:
    test = LOCAL_ANCESTRY_LOGISTIC if binary else LOCAL_ANCESTRY_LINEAR
    alleles, ancestry, traits, covariates = cohort(seed, n, 6, k, binary=binary)
    rng = np.random.default_rng(seed)
    own = {"refine_below": 0.3} if binary else {}
    first = run(test, naive.block_of(alleles, ancestry, k), null_data(traits, covariates), missing, **own)

    def same(other: Out, names: dict[str, str], sign: float = 1.0) -> None:
        ok = first["status"] == Status.OK
        np.testing.assert_array_equal(other["status"], first["status"])
        for name, values in first.items():
            factor = sign if name.startswith("beta") else 1.0
            theirs = other[names.get(name, name)]
            if "frequency" in name and sign < 0:
                theirs = 1.0 - theirs
            np.testing.assert_allclose(theirs[ok] * factor, values[ok], rtol=1e-5, atol=1e-6, err_msg=name)

    order = rng.permutation(n)
    data = null_data(traits[order], covariates[order])
    same(run(test, naive.block_of(alleles[:, order], ancestry[:, order], k), data, missing, **own), {})
    data = null_data(traits, covariates)
    turned = np.where(alleles >= 0, 1 - alleles, -1).astype(np.int8)
    same(run(test, naive.block_of(turned, ancestry, k), data, missing, **own), {}, sign=-1.0)
    swap = alleles[:, :, ::-1], ancestry[:, :, ::-1]
    same(run(test, naive.block_of(*swap, k), data, missing, **own), {})
    new = rng.permutation(k)
    names = {
        name: f"{name.rpartition('_')[0]}_{new[int(name.rpartition('_')[2])]}"
        for name in first
        if name.rpartition("_")[2].isdigit()
    }
    same(run(test, naive.block_of(alleles, new[ancestry].astype(np.uint8), k), data, missing, **own), names)
    # A person whom no trait has, and blocks of other variants.
    members = np.flatnonzero(~np.isnan(traits).all(axis=1))
    narrow = null_data(traits[members], covariates[members])
    same(run(test, naive.block_of(alleles, ancestry, k, people=members), narrow, missing, **own), {})
    parts = [
        run(test, naive.block_of(alleles[s], ancestry[s], k), data, missing, **own) for s in (slice(2), slice(2, 6))
    ]
    same({name: np.concatenate([part[name] for part in parts]) for name in first}, {})


def test_unphased_calls_of_mixed_ancestry_are_missing() -> None:
    alleles, ancestry, traits, covariates = cohort(4, 200, 12, 2, missing=0.0)
    unphased = np.random.default_rng(0).random(alleles.shape[:2]) < 0.1
    het, mixed = alleles.sum(axis=2) == 1, ancestry[:, :, 0] != ancestry[:, :, 1]
    without = alleles.copy()
    without[unphased & het & mixed] = -1
    data = null_data(traits, covariates)
    out = run(LOCAL_ANCESTRY_LINEAR, naive.block_of(alleles, ancestry, 2, unphased), data)
    expected = run(LOCAL_ANCESTRY_LINEAR, naive.block_of(without, ancestry, 2), data)
    for name, values in expected.items():
        np.testing.assert_allclose(out[name], values, rtol=1e-9, err_msg=name)


def test_rare_variants_list_their_carriers_only() -> None:
    rng = np.random.default_rng(2)
    alleles, ancestry = naive.mosaics(rng, 20, 400, 3)
    alleles[:] = rng.random(alleles.shape) < 0.01
    alleles[10:] = 1 - alleles[10:]
    called = alleles.sum(axis=2).astype(np.int8)
    assert most_listed(encode_block(called)).max() < 30
    block = naive.block_of(alleles, ancestry, 3)
    assert np.diff(block.offset).max() < 30
    data = null_data(rng.normal(size=(400, 1)), np.ones((400, 1)))
    out = run(LOCAL_ANCESTRY_LINEAR, block, data, min_ancestry_allele_count=1)
    for v in range(20):
        haplotypes, counts = naive.predictors(alleles[v], ancestry[v], 3)
        terms = [a for a in range(3) if min(counts[:, a].sum(), (haplotypes - counts)[:, a].sum()) >= 1]
        if terms:
            ours = naive.linear(data.traits[:, 0], data.covariates, haplotypes, counts[:, terms])
            np.testing.assert_allclose(out["neg_log10_p"][v, 0], ours["neg_log10_p"], rtol=1e-8)


def test_offsets_and_relatives_are_heeded() -> None:
    alleles, ancestry, traits, covariates = cohort(6, 200, 10, 2, missing=0.0)
    offset = np.random.default_rng(1).normal(size=traits.shape)
    block = naive.block_of(alleles, ancestry, 2)
    out = run(LOCAL_ANCESTRY_LINEAR, block, null_data(traits, covariates, offset=offset))
    less = run(LOCAL_ANCESTRY_LINEAR, block, null_data(traits - offset, covariates))
    np.testing.assert_allclose(out["neg_log10_p"], less["neg_log10_p"], rtol=1e-9)
    pairs = np.arange(0, 200, 2)
    relatedness = make_relatedness(pairs, pairs + 1, np.full(100, 0.5), 200)
    data = null_data(traits, covariates, relatedness=relatedness)
    out = run(LOCAL_ANCESTRY_LINEAR, block, data)
    plain = run(LOCAL_ANCESTRY_LINEAR, block, null_data(traits, covariates))
    tested = (plain["status"] == Status.OK).all(axis=1)
    factor = ((out["standard_error"] / plain["standard_error"]) ** 2)[tested]
    np.testing.assert_allclose(factor, np.broadcast_to(factor[0], factor.shape), rtol=1e-8)
    assert (np.abs(factor[0] - 1) > 1e-3).any()
    v = int(np.flatnonzero(tested)[0])
    haplotypes, counts = naive.predictors(alleles[v], ancestry[v], 2)
    expected = naive.linear(traits[:, 0], covariates, haplotypes, counts, float(factor[0, 0]))
    np.testing.assert_allclose(out["neg_log10_p"][v, 0], expected["neg_log10_p"], rtol=1e-8)


def test_separated_and_rare_cases_have_firths_likelihood() -> None:
    rng = np.random.default_rng(8)
    alleles, ancestry = naive.mosaics(rng, 3, 300, 2)
    carriers = rng.permutation(300)[:25]
    alleles[:] = 0
    alleles[1, carriers, 0] = 1
    trait = (rng.random(300) < 0.4).astype(float)
    trait[carriers] = 0.0  # no case carries it
    data = null_data(trait[:, None], np.column_stack([np.ones(300), rng.normal(size=300)]))
    out = run(LOCAL_ANCESTRY_LOGISTIC, naive.block_of(alleles, ancestry, 2), data, min_ancestry_allele_count=1)
    np.testing.assert_array_equal(out["status"][:, 0], [Status.MONOMORPHIC, Status.FIRTH, Status.MONOMORPHIC])
    assert np.isfinite(
        [out[name][1, 0] for name in ("beta", "standard_error", "neg_log10_p", "beta_0", "beta_1")]
    ).all()
    assert out["beta"][1, 0] < 0
    assert out["neg_log10_p"][1, 0] > 3


@pytest.mark.parametrize("above", range(1, 10))
def test_the_f_distribution_is_scipys(above: int) -> None:
    for below in (1.0, 3.0, 40.0, 5000.0, 500_000.0):
        for f in (0.0, 1e-6, 0.3, 1.0, 2.5, 30.0, 200.0):
            ours = f_neg_log10_p(f, above, below)
            expected = -stats.f.logsf(f, above, below) / np.log(10)
            if np.isfinite(expected) and expected < 250:
                np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-12)
    assert np.isnan(f_neg_log10_p(np.nan, above, 3.0))
    assert np.isnan(f_neg_log10_p(1.0, above, 0.0))
    assert f_neg_log10_p(np.inf, above, 3.0) == np.inf
    assert f_neg_log10_p(1e4, above, 1e6) > 300


@pytest.mark.parametrize(
    ("option", "value"),
    [("min_ancestry_allele_count", -1), ("refine_below", 2), ("min_cases", 0), ("refine_below", "often")],
)
def test_options_that_mean_nothing_are_refused(option: str, value: object) -> None:
    assert LOCAL_ANCESTRY_LOGISTIC.check_options is not None
    with pytest.raises(ValueError, match=option):
        LOCAL_ANCESTRY_LOGISTIC.check_options({**(LOCAL_ANCESTRY_LOGISTIC.options or {}), option: value})
