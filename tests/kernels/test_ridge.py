"""Level 0 against a twin that drops people and markers one by one, in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allscan.kernels import ridge
from allscan.kernels.basis import orthonormal_basis
from allscan.kernels.block import concatenate, encode_block, take
from allscan.kernels.ridge import People, fit_block, marginal_block, predict_block

PENALTIES = np.array([0.5, 20.0, 400.0])
# Products in float32 over a few thousand people; measured 2e-6 of the largest prediction.
TOLERANCE = 2e-5


def simulate(seed, n=400, m=24, traits=3, covariates=3, folds=4, missing=0.02):
    """Calls with every encoding, covariates with an intercept, traits at unit variance with some missing."""
    rng = np.random.default_rng(seed)
    frequency = np.where(np.arange(m) % 3 == 0, rng.uniform(0.005, 0.03, m), rng.uniform(0.2, 0.8, m))
    calls = rng.binomial(2, frequency[:, None], (m, n)).astype(np.int8)
    calls[rng.random((m, n)) < missing] = -1
    dosage = np.where(calls >= 0, np.clip(calls + rng.choice([-0.25, 0, 0.25], (m, n)), 0, 2), np.nan)
    block = encode_block(calls, dosage.astype(np.float32), np.arange(m) % 5 == 4)
    genotypes = np.where(calls >= 0, calls, np.nan).astype(float)
    genotypes[4::5] = dosage[4::5]
    covariates_ = np.column_stack([np.ones(n), rng.normal(size=(n, covariates - 1))])
    values = rng.normal(size=(n, traits)) + np.nan_to_num(genotypes[: 3 * traits : 3].T[:, :traits])
    member = rng.random((n, traits)) > 0.1
    fold = rng.integers(0, folds, n)
    return block, genotypes, covariates_, values, member, fold


def people_of(covariates, values, member, fold, keep):
    """People in the order of the folds, and that order."""
    rows = np.flatnonzero(keep)
    order = rows[np.argsort(fold[rows], kind="stable")]
    basis, _ = orthonormal_basis(covariates[order])
    traits = np.zeros((len(order), values.shape[1]))
    for t in range(values.shape[1]):
        own = member[order, t]
        q, _ = orthonormal_basis(covariates[order][own])
        left = values[order, t][own]
        left = left - q @ (q.T @ left)
        traits[own, t] = left / left.std()
    start = np.searchsorted(fold[order], np.arange(fold.max() + 2))
    return People(order, start, basis.astype(np.float32), traits.astype(np.float32)), basis, traits, order


def twin(genotypes, mean, basis, traits, order, groups):
    """Out-of-fold predictions (people, traits, penalties): each group is predicted by a fit to the others."""
    x = np.where(np.isnan(genotypes), mean[:, None], genotypes).T[order]
    x = x - basis @ (basis.T @ x)
    sd = np.sqrt((x**2).sum(axis=0) / (len(x) - basis.shape[1]))
    x = np.where(sd > 1e-9, x / np.where(sd > 1e-9, sd, 1), 0)
    out = np.zeros((*traits.shape, len(PENALTIES)))
    for group in groups:
        rest = np.setdiff1d(np.arange(len(x)), group)
        for p, penalty in enumerate(PENALTIES):
            gram = x[rest].T @ x[rest] + penalty * np.eye(x.shape[1])
            out[group, :, p] = x[group] @ np.linalg.solve(gram, x[rest].T @ traits[rest])
    return out


def predictions(block, mean, people):
    fit = fit_block(block, mean, people, PENALTIES)
    out = np.empty((len(people.rows), people.traits.shape[1] * len(PENALTIES)), np.float32)
    for some, values in predict_block(block, mean, people, fit):
        out[some] = values
    return out.reshape(len(people.rows), -1, len(PENALTIES)), fit


@pytest.mark.parametrize("seed", range(3))
def test_predictions_without_each_fold(seed):
    block, genotypes, covariates, values, member, fold = simulate(seed)
    keep = np.random.default_rng(seed).random(len(values)) > 0.2
    mean = np.nanmean(genotypes, axis=1)
    people, basis, traits, order = people_of(covariates, values, member, fold, keep)
    groups = [np.arange(a, b) for a, b in zip(people.fold_start[:-1], people.fold_start[1:], strict=True)]
    found, fit = predictions(block, mean, people)
    expected = twin(genotypes, mean, basis, traits, order, groups)
    assert fit.kept.all()
    np.testing.assert_allclose(found, expected, atol=TOLERANCE * np.abs(expected).max())


def test_predictions_without_each_person():
    block, genotypes, covariates, values, member, _ = simulate(7, n=150)
    mean = np.nanmean(genotypes, axis=1)
    people, basis, traits, order = people_of(covariates, values, member, np.zeros(150, int), np.ones(150, bool))
    found, _ = predictions(block, mean, people)
    expected = twin(genotypes, mean, basis, traits, order, [np.array([i]) for i in range(150)])
    np.testing.assert_allclose(found, expected, atol=TOLERANCE * np.abs(expected).max())


def test_strips_change_rounding_only(monkeypatch):
    block, genotypes, covariates, values, member, fold = simulate(1)
    people, *_ = people_of(covariates, values, member, fold, np.ones(len(values), bool))
    mean = np.nanmean(genotypes, axis=1)
    whole, _ = predictions(block, mean, people)
    monkeypatch.setattr(ridge, "STRIP", 17)
    small, _ = predictions(block, mean, people)
    np.testing.assert_allclose(small, whole, atol=TOLERANCE * np.abs(whole).max())


def test_a_trait_is_the_same_alone_and_in_a_batch():
    block, genotypes, covariates, values, member, fold = simulate(2, traits=4)
    mean = np.nanmean(genotypes, axis=1)
    everybody = np.ones(len(values), bool)
    people, *_ = people_of(covariates, values, member, fold, everybody)
    whole, _ = predictions(block, mean, people)
    for t in range(4):
        alone, *_ = people_of(covariates, values[:, [t]], member[:, [t]], fold, everybody)
        found, _ = predictions(block, mean, alone)
        np.testing.assert_allclose(found[:, 0], whole[:, t], atol=TOLERANCE * np.abs(whole[:, t]).max())


def test_alleles_may_be_swapped_and_covariates_scaled():
    block, genotypes, covariates, values, member, fold = simulate(3, missing=0.0)
    everybody = np.ones(len(values), bool)
    people, *_ = people_of(covariates, values, member, fold, everybody)
    mean = genotypes.mean(axis=1)
    first, _ = predictions(block, mean, people)
    swapped = encode_block(
        (2 - np.rint(genotypes)).astype(np.int8), (2 - genotypes).astype(np.float32), np.arange(24) % 5 == 4
    )
    other, *_ = people_of(covariates * [1, 1000, 0.001], values, member, fold, everybody)
    second, _ = predictions(swapped, 2 - mean, other)
    np.testing.assert_allclose(second, first, atol=TOLERANCE * np.abs(first).max())


def test_markers_that_do_not_vary_or_come_twice_do_no_harm():
    block, genotypes, covariates, values, member, fold = simulate(4)
    mean = np.nanmean(genotypes, axis=1)
    constant = encode_block(np.full((2, len(values)), 2, np.int8))
    twice = concatenate([block, constant, take(block, np.array([1, 1, 1]))])
    means = np.concatenate([mean, [2, 2], mean[[1, 1, 1]]])
    people, basis, traits, order = people_of(covariates, values, member, fold, np.ones(len(values), bool))
    found, fit = predictions(twice, means, people)
    assert fit.kept.tolist() == [True] * 24 + [False] * 2 + [True] * 3
    more = np.concatenate([genotypes, genotypes[[1, 1, 1]]])
    groups = [np.arange(a, b) for a, b in zip(people.fold_start[:-1], people.fold_start[1:], strict=True)]
    expected = twin(more, np.concatenate([mean, mean[[1, 1, 1]]]), basis, traits, order, groups)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE * np.abs(expected).max())


def test_no_marker_varies():
    block = encode_block(np.zeros((3, 60), np.int8))
    rng = np.random.default_rng(0)
    people, *_ = people_of(
        np.ones((60, 1)), rng.normal(size=(60, 2)), np.ones((60, 2), bool), rng.integers(0, 3, 60), np.ones(60, bool)
    )
    found, fit = predictions(block, np.zeros(3), people)
    assert not fit.kept.any()
    assert (found == 0).all()


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_marginal_statistics(seed):
    block, genotypes, covariates, values, _, fold = simulate(seed, n=120, m=10)
    everybody = np.ones((120, 3), bool)
    people, basis, traits, order = people_of(covariates, values, everybody, fold, everybody[:, 0])
    mean = np.nan_to_num(np.nanmean(genotypes, axis=1))
    found = marginal_block(block, mean, people)
    x = np.where(np.isnan(genotypes), mean[:, None], genotypes).T[order]
    x = x - basis @ (basis.T @ x)
    size = (x**2).sum(axis=0)
    for v in np.flatnonzero(size > 1e-3):
        expected = (x[:, v] @ traits) ** 2 / (size[v] * (traits**2).mean(axis=0))
        np.testing.assert_allclose(found[v], expected, rtol=1e-4, atol=1e-4)
