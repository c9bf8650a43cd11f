"""Sums by ancestry over people, haplotypes and carriers: what tests of local ancestry are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.jit import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray


LANES = 16
"""Numbers that a vectorised loop adds at a time; what is left over it adds one by one."""


class LocalNull(NamedTuple):
    """Null models of a batch: groups of traits that share weights, covariates and people.

    Of least squares a group is a pattern of missing traits, and everybody in it weighs one. Of a score test of cases it
    is one trait, whose people weigh ``μ (1 − μ)``, whose basis is orthonormal under these weights (and multiplied by
    them in the panel), and whose residuals are ``y − μ``.
    """

    panel: NDArray[np.float64]  # (samples, columns) of each group the basis, then residuals of its traits
    tally: NDArray[np.float64]  # (samples, groups + sets): weights of each group, membership of each set; zero outside
    start: NDArray[np.int64]  # (groups + 1,) columns of the panel
    rank: NDArray[np.int64]  # (groups,)
    set_of_group: NDArray[np.int64]  # (groups,)
    size: NDArray[np.int64]  # (sets,) people
    group_of_trait: NDArray[np.int64]  # (traits,)
    column: NDArray[np.int64]  # (traits,) of the panel
    residual_ss: NDArray[np.float64]  # (traits,)
    variance_factor: NDArray[np.float64]  # (traits,) for relatives
    status: NDArray[np.uint8]  # (traits,)
    least_count: float  # copies of an allele among the haplotypes of an ancestry, below which it has no term
    is_score: bool  # a score test: the variance is one, and statistics are chi-squared


def padded(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns of a panel or a tally, and as many of zeros as fill whole steps of a vectorised loop."""
    step = LANES if columns.shape[1] > LANES // 2 else LANES // 4
    return np.ascontiguousarray(np.pad(columns, ((0, 0), (0, -columns.shape[1] % step))))


class Sums(NamedTuple):
    """Sums over people for one variant."""

    haplotypes: NDArray[np.float64]  # (ancestries, columns) panel rows, once for each haplotype
    listed: NDArray[np.float64]  # (ancestries, columns) the same of haplotypes with the listed allele
    missing: NDArray[np.float64]  # (ancestries, columns) the same of people without a call
    pairs: NDArray[np.float64]  # (ancestries², columns of the tally) by the ancestries of both haplotypes
    states: NDArray[np.float64]  # (4 ancestries², columns of the tally) of the people listed, by state


@jit
def make_sums(n_ancestries: int, columns: int, tallies: int) -> Sums:
    """Room for sums."""
    k = n_ancestries
    return Sums(
        np.empty((k, columns)),
        np.empty((k, columns)),
        np.empty((k, columns)),
        np.empty((k * k, tallies)),
        np.empty((4 * k * k, tallies)),
    )


@jit
def _add_row(out: NDArray[np.float64], to: int, data: NDArray[np.float64], row: int) -> None:
    """Add a row to a row: by their numbers, as a view of a row would count references, which takes longer."""
    for j in range(out.shape[1]):
        out[to, j] += data[row, j]


@jit
def _subtract_row(out: NDArray[np.float64], to: int, data: NDArray[np.float64], row: int) -> None:
    for j in range(out.shape[1]):
        out[to, j] -= data[row, j]


@jit
def _ancestries_of(k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ancestries of both haplotypes by the number of the pair: a division takes longer than to look it up."""
    first, second = np.empty(k * k, np.int64), np.empty(k * k, np.int64)
    for pair in range(k * k):
        first[pair] = pair // k
        second[pair] = pair % k
    return first, second


@jit
def begin_sums(ancestry: NDArray[np.uint8], null: LocalNull, k: int, sums: Sums) -> None:
    """Sums over the haplotypes of everybody."""
    of_haplotypes, pairs, panel, tally = sums.haplotypes, sums.pairs, null.panel, null.tally
    of_haplotypes[:] = 0.0
    pairs[:] = 0.0
    for i in range(null.panel.shape[0]):
        first, second = ancestry[2 * i], ancestry[2 * i + 1]
        _add_row(of_haplotypes, first, panel, i)
        _add_row(of_haplotypes, second, panel, i)
        _add_row(pairs, k * first + second, tally, i)


@jit
def change_sums(
    haplotypes: NDArray[np.int32],
    values: NDArray[np.uint8],
    ancestry: NDArray[np.uint8],
    null: LocalNull,
    k: int,
    sums: Sums,
) -> None:
    """Follow haplotypes whose ancestry changes; ``ancestry`` is changed too."""
    of_haplotypes, pairs, panel, tally = sums.haplotypes, sums.pairs, null.panel, null.tally
    for j in range(haplotypes.shape[0]):
        h = haplotypes[j]
        i = h >> 1
        _subtract_row(of_haplotypes, ancestry[h], panel, i)
        _subtract_row(pairs, k * ancestry[2 * i] + ancestry[2 * i + 1], tally, i)
        ancestry[h] = values[j]
        _add_row(of_haplotypes, ancestry[h], panel, i)
        _add_row(pairs, k * ancestry[2 * i] + ancestry[2 * i + 1], tally, i)


@jit
def list_sums(person: NDArray[np.int32], state: NDArray[np.uint8], null: LocalNull, k: int, sums: Sums) -> int:
    """Sums over the people that a variant lists; returns how many have no call."""
    listed, missing, states, panel, tally = sums.listed, sums.missing, sums.states, null.panel, null.tally
    listed[:] = 0.0
    missing[:] = 0.0
    states[:] = 0.0
    of_first, of_second = _ancestries_of(k)
    n_missing = 0
    for e in range(person.shape[0]):
        i = person[e]
        code = state[e]
        alleles, pair = code & 3, code >> 2
        _add_row(states, code, tally, i)
        if alleles & 2:
            _add_row(listed, of_first[pair], panel, i)
        if alleles & 1:
            _add_row(listed, of_second[pair], panel, i)
        if alleles == 0:
            n_missing += 1
            _add_row(missing, of_first[pair], panel, i)
            _add_row(missing, of_second[pair], panel, i)
    return n_missing


@jit
def count_alleles(
    sums: Sums, column: int, k: int, haplotypes: NDArray[np.float64], listed: NDArray[np.float64]
) -> tuple[float, float]:
    """Called haplotypes of each ancestry, and those with the listed allele; returns people with and without a call."""
    haplotypes[:] = 0.0
    listed[:] = 0.0
    people = missing = 0.0
    for a in range(k):
        for b in range(k):
            pair = a * k + b
            n = sums.pairs[pair, column] - sums.states[4 * pair, column]
            haplotypes[a] += n
            haplotypes[b] += n
            people += n
            missing += sums.states[4 * pair, column]
            listed[a] += sums.states[4 * pair + 2, column] + sums.states[4 * pair + 3, column]
            listed[b] += sums.states[4 * pair + 1, column] + sums.states[4 * pair + 3, column]
    return people, missing


@jit
def _add_products(gram: NDArray[np.float64], k: int, a: int, b: int, x: float, y: float, weight: float) -> None:
    """Products of the predictors of people with ancestries ``a``, ``b`` whose haplotypes have ``x``, ``y`` alleles."""
    for one, mine in ((a, x), (b, y)):
        for other, its in ((a, x), (b, y)):
            gram[k + one, other] += weight * mine
            gram[k + one, k + other] += weight * mine * its


@jit
def gram_matrix(
    sums: Sums, column: int, k: int, rate: NDArray[np.float64], exclude: bool, gram: NDArray[np.float64]
) -> None:
    """Products of the predictors, lower triangle of (2 ancestries, 2 ancestries): haplotypes, then alleles.

    A person without a call has of each haplotype the ancestry's ``rate`` of alleles, or is left out.
    """
    gram[:] = 0.0
    for a in range(k):
        for b in range(k):
            pair = a * k + b
            missing = sums.states[4 * pair, column]
            n = sums.pairs[pair, column] - (missing if exclude else 0.0)
            gram[a, a] += n
            gram[a, b] += n
            gram[b, a] += n
            gram[b, b] += n
            for alleles in range(1, 4):
                n = sums.states[4 * pair + alleles, column]
                if n != 0.0:
                    _add_products(gram, k, a, b, float(alleles >> 1), float(alleles & 1), n)
            if missing != 0.0 and not exclude:
                _add_products(gram, k, a, b, rate[a], rate[b], missing)
