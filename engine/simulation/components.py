"""Principal components of the cohort's genotypes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OVERSAMPLING = 10
_POWER_ITERATIONS = 4
_MOST_REFERENCE = 20_000  # people in whom the axes are found
_ROWS = 512  # variants that are standardised at a time


def principal_components(
    rng: np.random.Generator, calls: NDArray[np.int8], unrelated: NDArray[np.int64], number: int
) -> NDArray[np.float64]:
    """Scores of all samples on the leading axes of the unrelated ones.

    Relatives would otherwise make axes of their own: axes come from at most 20,000 unrelated people
    and everybody is projected on them. Randomised singular value decomposition (Halko et al. 2011,
    doi:10.1137/090771806, algorithm 4.4) of genotypes standardised by their frequency.

    Parameters
    ----------
    calls
        Copies of ALT, none missing, shape (variants, samples).
    unrelated
        Rows of the unrelated samples.
    number
        Components.

    Returns
    -------
    NDArray
        Scores, shape (samples, components), of variance 1 among the unrelated. A component that the
        variants do not support (fewer variants than components) is 0.
    """
    n_samples = calls.shape[1]
    if len(unrelated) > _MOST_REFERENCE:
        unrelated = np.sort(rng.choice(unrelated, _MOST_REFERENCE, replace=False))
    frequency = calls[:, unrelated].mean(axis=1, dtype=np.float64) / 2
    calls = calls[(frequency > 0) & (frequency < 1)]
    frequency = frequency[(frequency > 0) & (frequency < 1)]
    scores = np.zeros((n_samples, number))
    rank = min(number, len(calls), len(unrelated) - 1)
    if rank < 1:
        return scores
    reference = calls[:, unrelated]

    basis = rng.standard_normal((len(unrelated), min(rank + _OVERSAMPLING, len(calls), len(unrelated))))
    for _ in range(_POWER_ITERATIONS):
        left, _ = np.linalg.qr(_times(reference, frequency, basis))
        basis, _ = np.linalg.qr(_transposed_times(reference, frequency, left))
    image = _times(reference, frequency, basis)
    axes, _, _ = np.linalg.svd(image, full_matrices=False)
    axes = axes[:, :rank]
    # An axis has no sign of its own: the heaviest variant points upwards.
    heaviest = np.abs(axes).argmax(axis=0)
    axes *= np.sign(axes[heaviest, np.arange(rank)])
    projected = _transposed_times(calls, frequency, axes)
    scores[:, :rank] = projected / projected[unrelated].std(axis=0)
    return scores


def _standardised(calls: NDArray[np.int8], frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = calls - 2 * frequency[:, None]
    return centred / np.sqrt(2 * frequency * (1 - frequency))[:, None]


def _times(calls: NDArray[np.int8], frequency: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standardised genotypes (variants, samples) times (samples, k)."""
    out = np.empty((len(calls), right.shape[1]))
    for low in range(0, len(calls), _ROWS):
        rows = slice(low, low + _ROWS)
        out[rows] = _standardised(calls[rows], frequency[rows]) @ right
    return out


def _transposed_times(
    calls: NDArray[np.int8], frequency: NDArray[np.float64], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Transposed standardised genotypes (samples, variants) times (variants, k)."""
    out = np.zeros((calls.shape[1], right.shape[1]))
    for low in range(0, len(calls), _ROWS):
        rows = slice(low, low + _ROWS)
        out += _standardised(calls[rows], frequency[rows]).T @ right[rows]
    return out
