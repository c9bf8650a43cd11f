"""Is a case slower than it was? A test that a noisy machine does not deceive.

A measurement is the median, over the rounds of one process, of ``log(time / time at the limit)``: one slow round
does not move it, and a machine that has become slower as a whole moves both times. What is left differs from process
to process (where memory lies, what else runs) more than from round to round, so the spread is that of earlier
*runs*. From few runs it is badly known: it is shrunk towards that of all cases together, as if ``PRIOR_RUNS`` more
runs had shown it, and Student's t bounds the change.

A case whose measured change exceeds the threshold is only suspected. It is run again, alone, in two more processes,
and is slower if the lower bound of the median of the three changes exceeds the threshold and all three lean that way.
``tests/benchmarks`` measures what this does to noise with heavy tails, slow hours and interrupted rounds: see
``docs/benchmarks.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

THRESHOLD = 1.10
CONFIDENCE = 0.98
RERUNS = 2
LEAST_SPREAD = 0.03  # of log times between processes: what a machine shows that is left alone
PRIOR_RUNS = 4
LEAST_RUNS = 2  # below, a case is new

_MAD_TO_SD = 1.4826
_MEDIAN_TO_MEAN = math.sqrt(math.pi / 2)  # standard error of a median over that of a mean, normal noise
_MEDIAN_OF_3 = 0.449  # variance of the median of three normal values


class Change(NamedTuple):
    """How much slower (> 1) or faster, with one-sided bounds."""

    factor: float
    low: float
    high: float
    least: float  # of the measurements, were there several
    most: float


def common_spread(cases: Iterable[Sequence[NDArray[np.float64]]]) -> float:
    """Spread between runs of all cases together, of log ratios, at least ``LEAST_SPREAD``.

    ``cases`` holds, for each case, the ratios of its earlier runs. A machine that is noisy is noisy for most of them.
    """
    deviations = [np.empty(0)]
    for earlier in cases:
        centres = _centres(earlier)
        if len(centres) >= LEAST_RUNS:
            # Around a centre fitted to them, deviations are too small by this.
            deviations.append((centres - np.median(centres)) * math.sqrt(len(centres) / (len(centres) - 1)))
    together = np.abs(np.concatenate(deviations))
    return max(LEAST_SPREAD, _MAD_TO_SD * float(np.median(together)) if len(together) else 0.0)


def measured_change(
    earlier: Sequence[NDArray[np.float64]], now: Sequence[NDArray[np.float64]], spread: float = LEAST_SPREAD
) -> Change:
    """Compare one or three runs of a case with earlier ones.

    Parameters
    ----------
    earlier
        Ratios of each earlier run, at least one, each of shape (rounds,).
    now
        Ratios of this run, and of its reruns.
    spread
        See :func:`common_spread`.
    """
    centres, here = _centres(earlier), _centres(now)
    centre = float(np.median(centres))
    change = float(np.median(here)) - centre
    h = len(centres)
    # Of deviations from a centre that was fitted to them: h − 1 are free.
    observed = _MAD_TO_SD * float(np.median(np.abs(centres - centre)))
    freedom = PRIOR_RUNS + h - 1
    between = (PRIOR_RUNS * spread**2 + (h - 1) * observed**2) / freedom
    of_now = between if len(here) < 3 else _MEDIAN_OF_3 * between
    of_earlier = between if h == 1 else between * _MEDIAN_TO_MEAN**2 / h
    within = float(np.median([_median_error(ratios) for ratios in now])) / math.sqrt(len(now))
    error = math.sqrt(of_now + of_earlier + within**2)
    reach = float(special.stdtrit(freedom, CONFIDENCE)) * error
    least, most = (math.exp(float(end) - centre) for end in (here.min(), here.max()))
    return Change(math.exp(change), math.exp(change - reach), math.exp(change + reach), least, most)


def _centres(runs: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.array([np.median(np.log(ratios)) for ratios in runs])


def _median_error(ratios: NDArray[np.float64]) -> float:
    """Standard error of the median of log ratios, from their own spread."""
    logs = np.log(ratios)
    spread = _MAD_TO_SD * float(np.median(np.abs(logs - np.median(logs))))
    return _MEDIAN_TO_MEAN * spread / math.sqrt(len(logs))


def suspected(change: Change, threshold: float = THRESHOLD) -> bool:
    """Whether a case is worth two more runs: slower or faster than the threshold by its estimate."""
    return abs(math.log(change.factor)) > math.log(threshold)


def is_slower(change: Change, threshold: float = THRESHOLD) -> bool:
    """Whether a slowdown beyond the threshold is beyond doubt."""
    return change.low > threshold and change.least > math.sqrt(threshold)


def is_faster(change: Change, threshold: float = THRESHOLD) -> bool:
    """Whether it became faster by more than the threshold, beyond doubt."""
    return change.high < 1 / threshold and change.most < 1 / math.sqrt(threshold)
