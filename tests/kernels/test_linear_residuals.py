"""Traits after their covariates, against least squares in each trait's own people."""

from __future__ import annotations

import numpy as np
import pytest

from allscan.kernels.linear_residuals import STRIP, residuals, write_rows
from allscan.kernels.panel import zero_panel

# Rounding of sums over the people, twice taken off.
TOLERANCE = 1e-12


@pytest.mark.parametrize("covariates", [0, 1, 2, 5])
@pytest.mark.parametrize("samples", [50, STRIP + 300])
def test_residuals_are_those_of_least_squares(samples: int, covariates: int) -> None:
    rng = np.random.default_rng(samples + covariates)
    basis = rng.normal(size=(samples, covariates))
    basis = np.linalg.qr(basis - basis.mean(axis=0))[0]
    member = np.vstack([np.ones(samples, bool), rng.random(samples) < 0.8])
    roots = np.empty((2, covariates, covariates))
    for s, here in enumerate(member):
        centred = basis[here] - basis[here].mean(axis=0)
        values, vectors = np.linalg.eigh(centred.T @ centred)
        roots[s] = vectors / np.sqrt(values)
    set_of_trait = np.array([0, 1, 1])
    traits = rng.normal(5, 2, (samples, 4)) + 100 * basis.sum(axis=1, keepdims=True)
    chosen = np.array([3, 0, 1])
    for k, s in enumerate(set_of_trait):
        traits[~member[s], chosen[k]] = np.nan
    rows = np.ascontiguousarray(basis.T)
    found, left, spread = residuals(traits, chosen, member, set_of_trait, rows, roots)
    for k, s in enumerate(set_of_trait):
        here = member[s]
        y = traits[here, chosen[k]]
        x = np.column_stack([np.ones(here.sum()), basis[here]])
        rest = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
        assert left[k] == pytest.approx(rest @ rest, rel=TOLERANCE)
        assert spread[k] == pytest.approx(((y - y.mean()) ** 2).sum(), rel=TOLERANCE)
        np.testing.assert_allclose(found[k, here], rest / np.linalg.norm(rest), atol=TOLERANCE)
        assert not found[k, ~here].any()


def test_a_trait_that_its_covariates_explain_is_left_as_it_is() -> None:
    traits = np.full((40, 1), 3.0)
    member = np.ones((1, 40), bool)
    nothing = np.empty((0, 40)), np.empty((1, 0, 0))
    found, left, spread = residuals(traits, np.array([0]), member, np.array([0]), *nothing)
    assert not found.any()
    assert left[0] == spread[0] == 0.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_become_columns_of_a_panel(dtype: type) -> None:
    rng = np.random.default_rng(3)
    panel = zero_panel(700, 25, dtype)
    before, after = rng.normal(size=(3, 700)), rng.normal(size=(22, 700))
    write_rows(panel.data, 0, before)
    write_rows(panel.data, 3, after)
    np.testing.assert_array_equal(panel.matrix(0, 700), np.vstack([before, after]).T.astype(dtype))
