"""Sixteen variants beside each other have the results that each would have alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from allscan.kernels.association import Status
from allscan.kernels.linear_common import finish_one
from allscan.kernels.linear_lanes import LANES, finish_trait, make_lanes, take_set, write_trait

# Both are float64; the sums are the same, in another order of divisions.
TOLERANCE = 1e-12
STRONG = 0.05


def finish(
    x: NDArray[np.float64],
    df: NDArray[np.float64],
    product: NDArray[np.float64],
    left: NDArray[np.float64],
    status: NDArray[np.uint8],
    factor: float,
    unit: float,
    places: NDArray[np.int64],
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.bool_]]:
    lanes = make_lanes(1, 1)
    for target, values in ((lanes.x, x), (lanes.df, df), (lanes.product, product), (lanes.left, left)):
        target[0] = values
    lanes.status[0] = status
    take_set(lanes, 0)
    finish_trait(lanes, 0, factor, unit, STRONG)
    out = {name: np.full(LANES, -1.0) for name in ("beta", "standard_error", "neg_log10_p")}
    of_status = np.full(LANES, 255, np.uint8)
    write_trait(lanes, 0, places, out["beta"], out["standard_error"], out["neg_log10_p"], of_status)
    return {**out, "status": of_status.astype(float)}, lanes.strong


@given(st.integers(0, 2**32 - 1), st.sampled_from([3.0, 60.0, 1000.0, 49_988.0]), st.sampled_from([1.0, 1.7]))
def test_lanes_are_the_single_tests(seed: int, df: float, factor: float) -> None:
    rng = np.random.default_rng(seed)
    x, left = rng.uniform(1, 1e4, LANES), rng.uniform(0.5, 1.0, LANES)
    # From nothing to nearly all of the trait, and all of it.
    share = np.concatenate([[0.0, 1.0, 0.96, 0.1], rng.uniform(0, 1, 4) ** 2, rng.uniform(0, 1e-3, LANES - 8)])
    product = np.sqrt(share * x * left) * rng.choice([-1, 1], LANES)
    status = np.where(rng.random(LANES) < 0.2, Status.MONOMORPHIC, Status.OK).astype(np.uint8)
    places = rng.permutation(LANES)
    found, strong = finish(x, np.full(LANES, df), product, left, status, factor, 2.5, places)
    cells = np.empty(3)
    for i, to in enumerate(places):
        code = status[i] or finish_one(x[i], product[i], left[i], df, factor, cells)
        assert found["status"][to] == code
        expected = cells * [2.5, 2.5, 1.0] if code == Status.OK else np.full(3, np.nan)
        actual = [found[name][to] for name in ("beta", "standard_error", "neg_log10_p")]
        # Of a trait of which next to nothing is left, what is left is the difference of two equal numbers.
        rest = max(1.0 - share[i], 1e-15)
        np.testing.assert_allclose(actual, expected, rtol=max(TOLERANCE, 1e-15 / rest))
        if status[i] == Status.OK and abs(1.0 - share[i] - STRONG) > 1e-9:
            assert strong[i] == (1.0 - share[i] <= STRONG)


def test_only_the_places_that_are_given_are_written() -> None:
    ones = np.ones(LANES)
    found, _ = finish(ones, 5000.0 * ones, 0.1 * ones, ones, np.zeros(LANES, np.uint8), 1.0, 1.0, np.array([4, 2]))
    assert (found["status"] == 255).sum() == LANES - 2
    assert found["beta"][[4, 2]] == pytest.approx([0.1, 0.1])
