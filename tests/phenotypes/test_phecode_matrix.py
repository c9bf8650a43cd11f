"""Distinct dates, exclusions and sexes: by hand, and against the naive way whatever the events and their order."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from allscan.phenotypes.phecodes.maps import CodeTable
from allscan.phenotypes.phecodes.matrix import (
    CASE,
    CONTROL,
    KEY_BYTES,
    MISSING,
    MOST_DATES,
    Events,
    PhecodeDates,
    case_control,
    count_dates,
)
from tests import naive_phecodes

Rows = list[tuple[int, int, int]]
PLENTY = 1 << 30


def table(phecodes_of: list[list[int]]) -> CodeTable:
    ends = np.cumsum([0, *map(len, phecodes_of)])
    return CodeTable(ends.astype(np.int64), np.array([p for of_one in phecodes_of for p in of_one], np.int32))


def source(rows: Rows, sizes: list[int] | None = None) -> Callable[[int, int], Iterator[Events]]:
    """Rows in batches of the sizes, over and over; those of a range of people when asked for."""
    columns = np.array(rows, np.int32).reshape(-1, 3)

    def batches(first: int, last: int) -> Iterator[Events]:
        start, turn = 0, 0
        while start < len(columns):
            size = sizes[turn % len(sizes)] if sizes else len(columns)
            part = columns[start : start + size]
            part = part[(part[:, 0] >= first) & (part[:, 0] < last)]
            yield part[:, 0].copy(), part[:, 1].copy(), part[:, 2].copy()
            start, turn = start + size, turn + 1

    return batches


def counted(
    rows: Rows, phecodes_of: list[list[int]], people: int, *, memory: int = PLENTY, sizes: list[int] | None = None
) -> PhecodeDates:
    phecodes = 1 + max((p for of_one in phecodes_of for p in of_one), default=0)
    return count_dates(source(rows, sizes), table(phecodes_of), people=people, phecodes=phecodes, memory=memory)


# Codes 0 and 1 are of phecode 0, code 2 of phecodes 0 and 1, code 3 of phecode 2, code 4 of none.
CODES = [[0], [0], [0, 1], [2], []]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(0, 0, 10)], MISSING),
        ([(0, 0, 10), (0, 0, 10)], MISSING),
        ([(0, 0, 10), (0, 1, 10)], MISSING),
        ([(0, 0, 10), (0, 2, 10)], MISSING),
        ([(0, 0, 10), (0, 0, 11)], CASE),
        ([(0, 0, 10), (0, 1, 11)], CASE),
        ([(0, 1, 11), (0, 2, 10)], CASE),
        ([(0, 0, -5), (0, 0, 4000)], CASE),
        ([(0, 3, 10), (0, 3, 11)], CONTROL),
        ([(0, 4, 10), (0, 4, 11)], CONTROL),
        ([(1, 0, 10), (1, 0, 11)], CONTROL),
    ],
    ids=[
        "once",
        "twice the same row",
        "two codes on one day",
        "two codes on one day, one of two phecodes",
        "two days",
        "two codes on two days",
        "a code of two phecodes",
        "days before 1970",
        "another phecode",
        "a code of none",
        "somebody else",
    ],
)
def test_distinct_dates_make_a_case(rows: Rows, expected: int) -> None:
    assert case_control(counted(rows, CODES, 2), 0, min_dates=2).values[0] == expected


@pytest.mark.parametrize(("min_dates", "expected"), [(1, CASE), (2, CASE), (3, CASE), (4, MISSING)])
def test_the_number_of_dates_is_the_users(min_dates: int, expected: int) -> None:
    found = counted([(0, 0, 1), (0, 0, 2), (0, 1, 3), (0, 1, 3)], CODES, 1)
    assert case_control(found, 0, min_dates=min_dates).values[0] == expected


def test_dates_are_counted_up_to_a_byte() -> None:
    found = counted([(0, 0, day) for day in range(1000)], CODES, 1)
    assert found.of(0)[1].tolist() == [MOST_DATES]
    assert case_control(found, 0, min_dates=MOST_DATES).cases == 1


def test_exclusions_bar_from_being_a_control_and_go_one_way() -> None:
    # Person 0 has phecode 2 once; person 1 is a case of 0 and has 2; person 2 has nothing; person 3 has 0 once and 2.
    rows = [(0, 3, 10), (1, 0, 10), (1, 0, 11), (1, 3, 12), (3, 0, 1), (3, 3, 1)]
    found = counted(rows, CODES, 4)
    of_0 = case_control(found, 0, min_dates=2, excluded=(2,))
    assert of_0.values.tolist() == [MISSING, CASE, CONTROL, MISSING]
    assert (of_0.cases, of_0.controls, of_0.too_few_dates, of_0.excluded, of_0.other_sex) == (1, 1, 1, 1, 0)
    # Phecode 2 does not exclude 0.
    assert case_control(found, 2, min_dates=1).values.tolist() == [CASE, CASE, CONTROL, CASE]


def test_phecodes_of_one_sex_are_missing_in_the_other_and_where_it_is_unknown() -> None:
    rows = [(0, 0, 1), (0, 0, 2), (1, 0, 1), (1, 0, 2), (2, 0, 1), (2, 0, 2), (4, 0, 1), (5, 3, 1)]
    sex = np.array([1, 2, 0, 1, 1, 2], np.int8)
    found = case_control(counted(rows, CODES, 6), 0, min_dates=2, excluded=(2,), sex=sex, only_sex=1)
    assert found.values.tolist() == [CASE, MISSING, MISSING, CONTROL, MISSING, MISSING]
    # The person of another sex whom an exclusion bars, too, is counted once.
    assert (found.other_sex, found.too_few_dates, found.excluded) == (3, 1, 0)


def test_nobody_and_nothing() -> None:
    empty = counted([], CODES, 3)
    assert case_control(empty, 1, min_dates=2).values.tolist() == [CONTROL] * 3
    assert counted([(1, 4, 5)], CODES, 3).ends.tolist() == [0, 0, 0, 0]


PEOPLE, N_CODES, N_PHECODES = 7, 6, 5
events = st.lists(st.tuples(st.integers(0, PEOPLE - 1), st.integers(0, N_CODES - 1), st.integers(-3, 3)), max_size=60)
phecode_lists = st.lists(
    st.lists(st.integers(0, N_PHECODES - 1), max_size=3, unique=True), min_size=N_CODES, max_size=N_CODES
)


@given(
    rows=events,
    phecodes_of=phecode_lists,
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    memory=st.integers(1, 20).map(lambda keys: keys * KEY_BYTES),
    order=st.randoms(use_true_random=False),
    min_dates=st.integers(1, 3),
    sexes=st.lists(st.integers(0, 2), min_size=PEOPLE, max_size=PEOPLE),
    only_sex=st.integers(0, 2),
    excluded=st.lists(st.integers(0, N_PHECODES - 1), max_size=3, unique=True),
)
def test_the_fast_way_is_the_naive_one(
    rows: Rows,
    phecodes_of: list[list[int]],
    sizes: list[int],
    memory: int,
    order: object,
    min_dates: int,
    sexes: list[int],
    only_sex: int,
    excluded: list[int],
) -> None:
    naive = naive_phecodes.dates(rows, dict(enumerate(phecodes_of)))
    doubled = [*rows, *rows[::2]]
    order.shuffle(doubled)  # type: ignore[attr-defined]
    whole = count_dates(source(rows), table(phecodes_of), people=PEOPLE, phecodes=N_PHECODES, memory=PLENTY)
    parts = count_dates(source(doubled, sizes), table(phecodes_of), people=PEOPLE, phecodes=N_PHECODES, memory=memory)
    for one, other in zip(
        (whole.ends, whole.person, whole.dates), (parts.ends, parts.person, parts.dates), strict=True
    ):
        assert np.array_equal(one, other)
    for phecode in range(N_PHECODES):
        without = [other for other in excluded if other != phecode]
        found = case_control(
            whole,
            phecode,
            min_dates=min_dates,
            excluded=without,
            sex=np.array(sexes, np.int8),
            only_sex=only_sex,
        )
        expected = [
            naive_phecodes.status(
                naive.get(person, {}),
                phecode,
                min_dates=min_dates,
                excluded=without,
                sex=sexes[person],
                only_sex=only_sex,
            )
            for person in range(PEOPLE)
        ]
        assert found.values.tolist() == expected
        assert found.cases + found.controls + found.too_few_dates + found.excluded + found.other_sex == PEOPLE


def test_people_are_taken_in_ranges_that_keep_to_the_memory() -> None:
    rng = np.random.default_rng(3)
    n, people = 400_000, 5_000
    person, code, day = (rng.integers(0, top, n, dtype=np.int32) for top in (people, 50, 3_000))
    codes = table([[p % 40, (p * 7) % 40] if p % 40 != (p * 7) % 40 else [p % 40] for p in range(50)])
    # As a database gives them: nothing of a batch is left when the next one comes.
    by_person = np.argsort(person, kind="stable")

    def events_of(first: int, last: int) -> Iterator[Events]:
        low, high = np.searchsorted(person[by_person], [first, last])
        for start in range(low, high, 1 << 12):
            here = by_person[start : min(start + (1 << 12), high)]
            yield person[here], code[here], day[here]

    def peak(memory: int) -> tuple[PhecodeDates, int]:
        tracemalloc.start()
        found = count_dates(events_of, codes, people=people, phecodes=40, memory=memory)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found, used

    whole, much = peak(PLENTY)
    parts, little = peak(4 << 20)
    result = whole.person.nbytes + whole.dates.nbytes + whole.ends.nbytes
    assert np.array_equal(whole.person, parts.person)
    assert np.array_equal(whole.dates, parts.dates)
    # The blocks and what is joined of them stand beside each other for a while.
    assert little < 2 * result + (6 << 20)
    assert little < much / 2
