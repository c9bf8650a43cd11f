"""No small count is told, and none follows from what is told: shown by trying to work them out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from allscan.disclosure import (
    FEW,
    HIDDEN,
    SMALL,
    ToldCounts,
    is_small,
    merged_levels,
    merged_neighbours,
    suppressed_rows,
    told_count,
    told_parts,
)

# Small counts, counts at the border, none, and many.
COUNT = st.one_of(st.integers(0, 25), st.integers(0, 400), st.just(0))


def small(counts: np.ndarray) -> np.ndarray:
    return (counts >= 1) & (counts <= SMALL)


def bounds(target: np.ndarray, equations: list[np.ndarray], values: list[int]) -> tuple[float, float]:
    """Least and most of a linear form of numbers that are not negative, from what is known of them."""
    found = []
    for sign in (1, -1):
        solved = linprog(sign * target, A_eq=np.array(equations), b_eq=values, bounds=(0, None), method="highs")
        assert solved.status in (0, 3), solved.message
        found.append(np.inf if solved.status == 3 else sign * solved.fun)
    return found[0], found[1]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (1, FEW), (20, FEW), (21, "21"), (1234, "1,234"), (20_000_000, "20,000,000")]
)
def test_a_count_that_stands_alone(count: int, text: str) -> None:
    assert told_count(count) == text


# ---- tables ------------------------------------------------------------------------------------------------


@st.composite
def tables(draw: st.DrawFn) -> np.ndarray:
    rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    cells = draw(st.lists(COUNT, min_size=rows * columns, max_size=rows * columns))
    return np.array(cells).reshape(rows, columns)


@settings(max_examples=150)
@given(cells=tables())
@example(cells=np.array([[5, 1000], [16, 1000], [300, 900]]))  # 21 in the hidden rows: enough
@example(cells=np.array([[5, 1000], [15, 1000], [300, 900]]))  # 20: one is 1 to 19, and their sum is small
@example(cells=np.array([[5, 95], [0, 100], [400, 0]]))
@example(cells=np.array([[4995, 5], [0, 95000]]))  # totals alone: the second row has no more people
def test_a_small_cell_can_be_anything_from_1_to_20(cells: np.ndarray) -> None:
    hidden = suppressed_rows(cells)
    if hidden is None:
        return
    assert not small(cells[~hidden]).any()
    rows, columns = cells.shape
    equations, values = [], []
    for row in range(rows):
        known = np.zeros(cells.shape)
        known[row] = 1
        equations.append(known.ravel())
        values.append(int(cells[row].sum()))
        for column in range(columns):
            if not hidden[row]:
                known = np.zeros(cells.shape)
                known[row, column] = 1
                equations.append(known.ravel())
                values.append(int(cells[row, column]))
    for column in range(columns):
        known = np.zeros(cells.shape)
        known[:, column] = 1
        equations.append(known.ravel())
        values.append(int(cells[:, column].sum()))
        total = known * hidden[:, None]
        assert not is_small(int((cells * total).sum())), "the hidden rows together are a small count"
    for row, column in zip(*np.nonzero(small(cells)), strict=True):
        target = np.zeros(cells.shape)
        target[row, column] = 1
        least, most = bounds(target.ravel(), equations, values)
        assert least <= 1 + 1e-6
        assert most >= SMALL - 1e-6


def test_nothing_is_hidden_where_nothing_is_small() -> None:
    assert not suppressed_rows(np.array([[0, 40], [21, 30]])).any()


def test_a_second_row_is_hidden_so_that_the_first_does_not_follow() -> None:
    hidden = suppressed_rows(np.array([[3, 900], [50, 800], [60, 700]]))
    assert hidden.tolist() == [True, False, True]  # the smallest that is enough


def test_no_more_rows_are_hidden_than_it_takes() -> None:
    # The rows without a case are smaller, and would not protect the 3.
    hidden = suppressed_rows(np.array([[3, 900], [0, 30], [0, 40], [0, 50], [70, 700]]))
    assert hidden.tolist() == [True, False, False, False, True]


@pytest.mark.parametrize(
    "cells",
    [
        np.array([[3, 900]]),  # its only row is its total
        np.array([[3, 10], [100, 200]]),  # a small row
        np.array([[3, 900], [4, 800]]),  # a small column
        np.array([[4995, 5], [0, 95000]]),  # who is not in the second column: all in the first row, but five
    ],
)
def test_a_table_whose_totals_say_too_much_is_not_told(cells: np.ndarray) -> None:
    assert suppressed_rows(cells) is None


# ---- classes and bins --------------------------------------------------------------------------------------


@given(counts=st.lists(COUNT, min_size=1, max_size=15).map(np.array))
def test_merged_bins_are_a_partition_without_small_counts(counts: np.ndarray) -> None:
    merged = merged_neighbours(counts)
    assert [place for stretch in merged for place in range(stretch.start, stretch.stop)] == list(range(len(counts)))
    sums = np.array([counts[stretch].sum() for stretch in merged])
    assert not small(sums).any() or (len(merged) == 1 and is_small(int(counts.sum())))


@given(counts=st.lists(COUNT, min_size=1, max_size=9).map(np.array))
def test_merged_levels_are_a_partition_without_small_counts(counts: np.ndarray) -> None:
    merged = merged_levels(counts)
    assert sorted(level for group in merged for level in group) == np.flatnonzero(counts).tolist()
    sums = np.array([counts[list(group)].sum() for group in merged], dtype=int)
    assert not small(sums).any() or (len(merged) == 1 and is_small(int(counts.sum())))


def test_neighbours_are_merged_only_where_they_are_small() -> None:
    stretches = merged_neighbours(np.array([0, 30, 5, 30, 0, 0, 40, 3]))
    assert [(s.start, s.stop) for s in stretches] == [(0, 1), (1, 2), (2, 4), (4, 5), (5, 6), (6, 8)]
    assert merged_levels(np.array([500, 5, 40, 300])) == [(0,), (1, 2), (3,)]


# ---- steps -------------------------------------------------------------------------------------------------


@given(people=st.integers(100, 1000), fractions=st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_no_difference_of_steps_is_small(people: int, fractions: list[float]) -> None:
    counts, told, left = ToldCounts([people]), [people], people
    for fraction in fractions:
        left = round(left * fraction**0.2)
        text = counts.tell(left)
        if text == FEW:
            assert is_small(left)
        elif text != HIDDEN:
            assert text == f"{left:,}"
            told.append(left)
    differences = np.abs(np.subtract.outer(told, told))
    assert not small(differences).any()


def test_a_rest_is_not_small() -> None:
    counts = ToldCounts([1000, 400], wholes=[1000])
    assert counts.tell(590) == HIDDEN  # 1000 − 400 − 590 = 10
    assert counts.tell(600) == "600"
    assert counts.tell(600) == "600"
    assert counts.tell(0) == "0"


def test_steps_beside_groups_that_are_known() -> None:
    counts = ToldCounts([1000], beside=[480])
    assert counts.tell(470) == HIDDEN
    assert counts.tell(480) == "480"
    assert ToldCounts([1000], closed=True).tell(500) == HIDDEN
    assert ToldCounts([1000], closed=True).tell(1000) == "1,000"


def test_numbers_of_people_in_sentences() -> None:
    counts = ToldCounts([1000])
    assert counts.tell_text("3 people, 1 person and 995 participants") == "≤20 people, ≤20 person and – participants"
    assert counts.tell_text("1,500 people were asked 12 times") == "1,500 people were asked 12 times"
    assert counts.tell_text("codes on 2 days, version 1.20 people") == "codes on 2 days, version 1.20 people"


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ([500, 300, 0], ["500", "300", "0"]),
        ([500, 300, 7], ["500", "–", "≤20"]),
        ([500, 30, 300, 7], ["500", "30", "–", "≤20"]),  # beside 30, of 37, the small one could be 16 at most
        ([3, 5], ["≤20", "≤20"]),
    ],
)
def test_parts_of_a_whole_are_told_without_the_small_ones(counts: list[int], told: list[str]) -> None:
    assert told_parts(counts) == told


def test_a_small_part_can_be_anything_from_what_is_told_of_the_others() -> None:
    rng = np.random.default_rng(4)
    for _ in range(300):
        counts = rng.choice([1, 7, 20, 21, 25, 60, 400], size=int(rng.integers(3, 7))).tolist()
        told = told_parts(counts)
        known = sum(count for count, text in zip(counts, told, strict=True) if text == f"{count:,}")
        hidden = [text for text in told if text in ("≤20", "–")]
        if "≤20" not in hidden or "–" not in hidden:
            continue
        # What the reader knows: the whole, so the sum of the hidden, and that each small one is 1 to 20, others above.
        left = sum(counts) - known
        if hidden.count("–") == sum(count > 20 for count in counts):
            continue  # all is hidden that can be
        small, large = hidden.count("≤20") - 1, hidden.count("–")
        possible = [value for value in range(1, 21) if left - value >= small + 21 * large]
        assert possible == list(range(1, 21)), counts
