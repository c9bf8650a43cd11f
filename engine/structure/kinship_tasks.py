"""The tasks of a search for relatives: calls become bits of people, and blocks of people are compared by them.

Bits of a part of the markers are a file for each block of people, that of a stage of the screen after that of another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.engine.chunk_files import ChecksumError, read_file, with_checksum
from allscan.engine.committed import damaged
from allscan.engine.structure.pca import read_packed
from allscan.kernels.king import PairCounts, count_heterozygous, count_pairs, fill_planes, words_of
from allscan.kernels.kinship_screen import Stage, Standing, likely_pairs
from allscan.kernels.pc_relate import add_people
from allscan.kernels.standardised import marker_products, person_products, tile_markers
from allscan.storage import write_files

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.store import GenotypeStore
    from allscan.storage import Place


class Shared(NamedTuple):
    """What tasks share."""

    store: GenotypeStore
    rows: NDArray[np.int64]
    people: NDArray[np.int64]
    parts: tuple[tuple[NDArray[np.int64], ...], ...]  # places among ``rows`` of the markers of each stage
    block: int  # people of a block
    folder: Place
    basis: NDArray[np.float64]  # (people, components) orthonormal among those who define them
    defining: NDArray[np.bool_]


class PersonSums(NamedTuple):
    """Sums for each person over the markers of each stage and those before it, shape (stages, people)."""

    het: NDArray[np.int64]  # heterozygous calls
    called: NDArray[np.float64]  # the rest only where components are known
    squares: NDArray[np.float64]  # Σ (g − m)²
    variance: NDArray[np.float64]  # Σ 2μ(1 − μ)
    fourth: NDArray[np.float64]  # Σ r⁴
    onto: NDArray[np.float64]  # (stages, people, components) Σ (g − m) β


class Comparing(NamedTuple):
    """What tasks that compare blocks share."""

    of: Shared
    sums: PersonSums
    products: NDArray[np.float64]  # (stages, components, components) Σ β βᵀ
    spread: tuple[float, ...]  # of stages
    min_kinship: float | None
    usual: float  # expected_opposite / expected_het², of everybody as one population


def extract(shared: Shared, task: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    """Write the bits of a part's markers for each block of people; sums over its markers."""
    part = shared.parts[task[0]]
    n, k = shared.basis.shape
    at = np.sort(np.concatenate(part))
    packed, called, copies = read_packed(shared.store, shared.rows[at], shared.people)
    mean = copies / np.maximum(called, 1)
    among = np.where(shared.defining[:, None], shared.basis, 0.0).astype(np.float32)
    coefficients = marker_products(packed, mean, np.ones(len(at)), among) if k else np.empty((len(at), 0))
    planes = [np.empty((n, 2, words_of(len(some))), np.uint64) for some in part]
    het = np.empty((len(part), n), np.int64)
    others, onto = np.zeros((4, len(part), n)), np.zeros((len(part), n, k))
    for number, (some, out) in enumerate(zip(part, planes, strict=True)):
        here = np.searchsorted(at, some)
        of_stage = np.ascontiguousarray(packed[here])
        fill_planes(of_stage, out)
        count_heterozygous(out, het[number])
        if k:
            _sum_people(shared, of_stage, mean[here], coefficients[here], others[:, number], onto[number])
    write_files(
        (
            _planes_file(shared.folder, task[0], b // shared.block),
            with_checksum(b"".join(out[b : b + shared.block].tobytes() for out in planes)),
        )
        for b in range(0, n, shared.block)
    )
    frequency = mean / 2
    variance = 2 * frequency * (1 - frequency)
    stages = [coefficients[np.searchsorted(at, some)] for some in part]
    return {
        "het": het,
        **dict(zip(("called", "squares", "variance", "fourth"), others, strict=True)),
        "onto": onto,
        "products": np.array([of_stage.T @ of_stage for of_stage in stages]),
        "expected_het": variance.sum(),
        "expected_opposite": (variance**2).sum() / 2,
    }


def _sum_people(
    shared: Shared,
    packed: NDArray[np.uint8],
    mean: NDArray[np.float64],
    coefficients: NDArray[np.float64],
    out: NDArray[np.float64],
    onto: NDArray[np.float64],
) -> None:
    """Sums of some markers for each person: see :class:`PersonSums`."""
    n = len(shared.people)
    onto[:], out[1] = person_products(packed, mean, np.ones(len(mean)), coefficients, n)
    sums = np.zeros((3, n))
    basis = shared.basis.astype(np.float32)
    for start in range(0, len(packed), tile_markers(n)):
        some = slice(start, start + tile_markers(n))
        add_people(packed[some], mean[some], coefficients[some].astype(np.float32) @ basis.T, sums)
    out[0], out[2], out[3] = sums


def _planes_file(folder: Place, part: int, block: int) -> Place:
    return folder / f"planes-{part:06d}-{block:06d}"


def _read_planes(shared: Shared, block: int) -> list[NDArray[np.uint64]]:
    """Bits of a block of people: of the markers of each stage."""
    n = min(shared.block, len(shared.people) - block * shared.block)
    words = np.array([[words_of(len(some)) for some in part] for part in shared.parts])
    planes = [np.empty((n, 2, total), np.uint64) for total in words.sum(axis=0)]
    at = np.zeros(len(planes), np.int64)
    for number, of_part in enumerate(words):
        file = _planes_file(shared.folder, number, block)
        try:
            content = np.frombuffer(read_file(file), np.uint64)
        except (OSError, ChecksumError) as error:
            raise damaged(file) from error
        cuts = np.split(content, np.cumsum(2 * n * of_part)[:-1])
        for out, begin, width, values in zip(planes, at, of_part, cuts, strict=True):
            out[:, :, begin : begin + width] = values.reshape(n, 2, width)
        at += of_part
    return planes


def _standing(comparing: Comparing, stage: int, people: slice) -> Standing:
    """Where a block of people stands after a stage."""
    sums, basis = comparing.sums, comparing.of.basis[people]
    if not basis.shape[1]:
        nothing = np.empty((len(basis), 0))
        one = np.ones(len(basis))
        return Standing(sums.het[stage, people].astype(np.float64), one, one, nothing, nothing)
    share = sums.called[stage, people] / sum(len(some) for part in comparing.of.parts for some in part[: stage + 1])
    onto, seen = sums.onto[stage, people], basis * share[:, None]
    least = comparing.min_kinship or 0.0
    return Standing(
        sums.squares[stage, people] - 2.0 * least * sums.variance[stage, people],
        share,
        sums.fourth[stage, people],
        # Σ (gᵢ − gⱼ)² less Σ (rᵢ − rⱼ)², as far as it is not a matter of each of the two alone.
        np.column_stack([2.0 * seen @ comparing.products[stage] - 2.0 * onto, -2.0 * seen]),
        np.column_stack([seen, onto]),
    )


def _adjusted(
    comparing: Comparing,
    people: tuple[slice, slice],
    i: NDArray[np.int64],
    j: NDArray[np.int64],
    difference: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Kinship of PC-Relate by all markers; NaN without components."""
    last = len(comparing.spread) - 1
    one, other = (_standing(comparing._replace(min_kinship=None), last, some) for some in people)
    if not one.left.shape[1]:
        return np.full(len(i), np.nan)
    variance, other_variance = (comparing.sums.variance[-1, some] for some in people)
    twice = one.own[i] * other.share[j] + other.own[j] * one.share[i] - difference
    twice += (one.left[i] * other.right[j]).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = twice / (2.0 * (variance[i] * other.share[j] + other_variance[j] * one.share[i]))
        return np.asarray(found)


def compare(comparing: Comparing, task: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    """Relatives between two blocks of people."""
    shared, (a, b) = comparing.of, task
    first = _read_planes(shared, a)
    second = first if a == b else _read_planes(shared, b)
    one, other = (slice(number * shared.block, (number + 1) * shared.block) for number in task)
    first_divergent = np.zeros(len(first[0]), np.int64)
    second_divergent = first_divergent if a == b else np.zeros(len(second[0]), np.int64)
    if comparing.min_kinship is None:
        i, j = np.nonzero(np.triu(np.ones((len(first[0]), len(second[0])), np.bool_), 1 if a == b else -len(first[0])))
    else:
        stages = [
            Stage(
                first[stage],
                second[stage],
                _standing(comparing, stage, one),
                _standing(comparing, stage, other),
                comparing.spread[stage],
            )
            for stage in range(len(comparing.spread))
        ]
        het = comparing.sums.het[0]
        i, j = likely_pairs(
            stages, (het[one], het[other]), comparing.min_kinship, (first_divergent, second_divergent), same=a == b
        )
    counts = count_pairs(list(zip(first, second, strict=True)), i, j)
    adjusted = _adjusted(comparing, (one, other), i, j, counts.difference)
    n_counted = len(i)
    if comparing.min_kinship is not None:
        kept = np.flatnonzero((adjusted if shared.basis.shape[1] else counts.kinship) >= comparing.min_kinship)
        i, j, adjusted, counts = i[kept], j[kept], adjusted[kept], PairCounts(*(column[kept] for column in counts))
    both = counts.het_het + (counts.het_hom + counts.hom_het) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "first": shared.people[one][i],
            "second": shared.people[other][j],
            "kinship": counts.kinship,
            "adjusted": adjusted,
            "ibs0": counts.opposite / counts.called,
            "het_het": counts.het_het / counts.called,
            "unshared": counts.opposite * counts.called / (comparing.usual * both**2),
            "n_markers": counts.called,
            "n_counted": np.array(n_counted),
            "first_divergent": first_divergent,
            "second_divergent": second_divergent,
        }
