"""Tests of several studies, some of which lack some of them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Case = tuple[NDArray[np.float64], NDArray[np.float64]]


def random_case(seed: int, studies: int, tests: int, *, between: float = 1.0, missing: float = 0.2) -> Case:
    """Effects and standard errors over three orders of magnitude; test 0 no study has, test 1 only the first."""
    rng = np.random.default_rng(seed)
    error = np.exp(rng.uniform(-3.0, 3.0, (studies, tests)) * rng.uniform(0.0, 1.0, tests))
    spread = between * rng.choice([0.0, 0.3, 1.0, 5.0], tests)
    beta = rng.normal(0.0, 1.0, tests) + spread * rng.normal(size=error.shape) + error * rng.normal(size=error.shape)
    beta[rng.random(beta.shape) < missing] = np.nan
    error[rng.random(beta.shape) < missing / 4] = np.nan
    beta[:, 0] = np.nan
    beta[1:, 1] = np.nan
    beta[0, 1], error[0, 1] = -0.4, 0.1
    return beta, error


@st.composite
def cases(draw: st.DrawFn, smallest: int = 1) -> Case:
    """As hypothesis draws them."""
    studies = draw(st.integers(smallest, 7))
    return random_case(draw(st.integers(0, 2**32 - 1)), studies, 12, missing=draw(st.sampled_from([0.0, 0.3])))
