"""What is tried again and when, without a cluster and without a clock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from allscan.cluster.ledger import LEAST_MEMORY, Attempt, Ledger, Patience
from allscan.cluster.ray_board import SILENCE_SECONDS, Board, fair_shares
from allscan.errors import WorkerDiedError

PATIENCE = Patience(lease_seconds=60, lease_factor=5, straggler_seconds=5, straggler_factor=2)


def ledger(tasks: Iterable[Any], memory: int = 0) -> Ledger:
    return Ledger(tasks, memory, PATIENCE)


def give(book: Ledger) -> Attempt:
    entry = book.next_entry()
    assert entry is not None
    return book.give_out(entry, 0.0)


def test_tasks_are_given_out_in_order_and_once() -> None:
    book = ledger("abc")
    given = [give(book) for _ in range(3)]
    assert [attempt.entry.task for attempt in given] == ["a", "b", "c"]
    assert book.next_entry() is None
    assert book.in_flight == 3
    for attempt in given:
        assert not book.is_complete
        assert book.finish(attempt, 1.0, "node", 0.0)
    assert book.is_complete
    assert (book.finished, book.retried, book.duplicated) == (3, 0, 0)


def test_a_lost_node_costs_no_task_however_often() -> None:
    book = ledger("a")
    for _ in range(50):
        book.lose_node(give(book))
    assert book.finish(give(book), 1.0, "node", 0.0)
    assert book.next_entry() is None
    assert book.is_complete
    assert book.retried == 50


def test_a_worker_that_dies_four_times_with_a_task_is_an_error_that_names_it() -> None:
    book = ledger("a")
    for _ in range(3):
        book.lose_worker(give(book))
    with pytest.raises(WorkerDiedError, match="task 'a' died 4 times"):
        book.lose_worker(give(book))


def test_memory_is_doubled_up_to_the_largest_node() -> None:
    gib = 1 << 30
    book = ledger("a", 3 * gib)
    declared = []
    for _ in range(2):
        attempt = give(book)
        declared.append(attempt.memory)
        book.lose_memory(attempt, 10 * gib, "it was ended")
    assert declared == [3 * gib, 6 * gib]
    last = give(book)
    assert last.memory == 10 * gib
    with pytest.raises(WorkerDiedError, match=r"10\.0 GiB are set aside"):
        book.lose_memory(last, 10 * gib, "it was ended")


def test_a_task_that_declared_nothing_asks_for_something() -> None:
    book = ledger("a")
    book.lose_memory(give(book), 100 << 30, "it was ended")
    assert give(book).memory == LEAST_MEMORY


def test_a_task_that_takes_long_is_given_out_again_and_the_first_answer_counts() -> None:
    book = ledger("abcdef")
    slow, *others = [give(book) for _ in range(5)]
    book.begin(slow.number, "node", 0.0)
    for attempt in others:
        book.finish(attempt, 20.0, "node", 0.0)
    assert list(book.take_late(99.0, 0)) == []  # five times the median
    assert list(book.take_late(101.0, 0)) == [slow.entry]
    assert book.in_flight == 0  # nobody counts on it
    copy = book.give_out(slow.entry, 101.0, "other")
    assert list(book.take_late(102.0, 0)) == []
    assert book.finish(slow, 200.0, "node", 0.0)
    assert not book.finish(copy, 1.0, "node", 0.0)
    assert book.finish(give(book), 1.0, "node", 0.0)
    assert book.next_entry() is None
    assert book.is_complete
    assert book.duplicated == 1


def test_each_copy_may_take_twice_as_long() -> None:
    book = ledger("a")
    attempt, now, waits = give(book), 0.0, []
    for _ in range(3):
        book.begin(attempt.number, "node", now)
        late = now
        while not list(book.take_late(late, 0)):
            late += 1
        waits.append(late - now)
        now, attempt = late, book.give_out(attempt.entry, late)
    assert waits == [61, 121, 241]


def test_a_task_that_was_overtaken_has_begun_somewhere_that_nobody_hears_of() -> None:
    book = ledger("ab")
    first, second = give(book), give(book)
    book.note_overtaken(0.0)
    assert first.begun is None  # it may wait for a node
    book.begin(second.number, "node", 1.0)
    book.note_overtaken(2.0)
    assert first.begun == 2.0
    assert list(book.take_late(61.5, 0)) == [second.entry]
    book.give_out(second.entry, 0.0)
    assert list(book.take_late(62.5, 0)) == [first.entry]


def test_idle_slots_run_the_longest_running_again_at_the_end_only() -> None:
    book = ledger("abcd")
    given = [give(book) for _ in range(3)]
    for start, attempt in zip((3.0, 1.0, 2.0), given, strict=True):
        book.begin(attempt.number, "node", start)
    assert list(book.take_late(20.0, 2)) == []  # a task waits
    book.finish(give(book), 1.0, "node", 0.0)
    assert book.next_entry() is None
    assert list(book.take_late(5.5, 2)) == []  # they have not taken long
    assert [entry.task for entry in book.take_late(20.0, 2)] == ["b", "c"]
    for attempt in given[1:]:
        book.give_out(attempt.entry, 0.0)
    assert list(book.take_late(21.0, 1)) == [given[0].entry]


def test_a_copy_that_runs_makes_a_lost_attempt_harmless() -> None:
    book = ledger("a")
    attempt = give(book)
    copy = book.give_out(attempt.entry, 0.0)
    book.lose_worker(attempt)
    assert book.next_entry() is None
    assert book.finish(copy, 1.0, "node", 0.0)
    assert book.is_complete


@pytest.mark.parametrize(
    ("demands", "shares"),
    [
        ({"a": 1.0}, {"a": 1.0}),
        ({"a": 0.2}, {"a": 0.2}),
        ({"a": 1.0, "b": 1.0}, {"a": 0.5, "b": 0.5}),
        ({"a": 1.0, "b": 0.1, "c": 1.0}, {"a": 0.45, "b": 0.1, "c": 0.45}),
        ({"a": 0.0, "b": 0.4, "c": 0.5}, {"a": 0.0, "b": 0.4, "c": 0.5}),
    ],
)
def test_shares_are_even_and_what_is_wanted_is_not_left(demands: dict[str, float], shares: dict[str, float]) -> None:
    assert fair_shares(demands) == pytest.approx(shares)


def test_the_board_forgets_drivers_that_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("allscan.cluster.ray_board.time.monotonic", lambda: now)
    board = Board()
    assert board.beat("a", 1.0).share == 1.0
    assert board.beat("b", 1.0).share == 0.5
    board.begun("b", "run", 7, "node")
    now += SILENCE_SECONDS - 1
    beat = board.beat("b", 1.0)
    assert (beat.share, beat.drivers) == (0.5, 2)
    assert [tuple(begun) for begun in beat.begun] == [("run", 7, "node", SILENCE_SECONDS - 1)]
    assert board.beat("b", 1.0).begun == []
    now += 2
    assert board.beat("b", 1.0).share == 1.0
    assert board.leave("b") == 0
    board.begun("nobody", "run", 1, "node")  # of a driver that is gone


def test_a_copy_goes_to_the_node_that_answered_last() -> None:
    book = ledger("abcd")
    a, b, c, d = (give(book) for _ in range(4))
    for attempt, node in ((a, "frozen"), (b, "x"), (c, "y")):
        book.begin(attempt.number, node, 0.0)
    book.finish(b, 1.0, "x", 5.0)
    book.finish(c, 1.0, "y", 4.0)
    assert book.node_for_copy(a.entry, {"frozen", "x", "y", "z"}) == "x"
    copy = book.give_out(a.entry, 10.0, "x")
    assert book.node_for_copy(a.entry, {"frozen", "x", "y", "z"}) == "y"
    assert book.node_for_copy(a.entry, {"frozen"}) is None
    assert not list(book.take_late(60.5, 0))[1:]
    # The copy was not begun either: another one.
    assert copy.begun is None
    assert a.entry in list(book.take_late(200.0, 0))
    assert d.entry.attempts == [d]


def test_what_waits_behind_a_silent_node_is_given_to_others_in_order() -> None:
    book = ledger("abcd")
    a, b, c, d = (give(book) for _ in range(4))
    book.begin(a.number, "silent", 0.0)
    book.begin(b.number, "lively", 0.0)
    came = {"silent": -1.0, "lively": -1.0, "new": 50.0}
    assert book.suspects(came) == frozenset()
    book.finish(b, 1.0, "lively", 30.0)
    assert list(book.take_late(61.0, 0)) == [a.entry]
    assert book.suspects(came) == {"silent"}
    assert book.suspects({"lively": -1.0}) == frozenset()  # it is known to be dead
    lane = book.lane
    assert book.withdraw() == [c, d]
    assert not book.is_wanted(c)
    again = [give(book), give(book)]
    assert [attempt.entry for attempt in again] == [c.entry, d.entry]
    assert all(attempt.lane == lane + 1 for attempt in again)
    assert not any(attempt.is_copy for attempt in again)
    assert book.retried == 0
    # The old attempt was on its way all the same.
    assert book.finish(c, 1.0, "lively", 62.0)
    assert not book.finish(again[0], 1.0, "lively", 63.0)
    # The task was slow, not its node.
    book.finish(a, 80.0, "silent", 80.0)
    assert book.suspects(came) == frozenset()


def test_a_late_task_of_which_nobody_knows_where_it_is_makes_all_suspect_that_did_not_answer() -> None:
    book = ledger("abc")
    a, b, _ = (give(book) for _ in range(3))
    book.begin(b.number, "lively", 1.0)
    book.note_overtaken(1.0)
    book.finish(b, 1.0, "lively", 2.0)
    assert list(book.take_late(62.0, 0)) == [a.entry]
    assert book.suspects({"silent": 0.0, "lively": 0.0, "new": 30.0}) == {"silent"}


def test_where_nothing_happens_the_first_that_waits_is_given_to_a_node() -> None:
    book = ledger("ab")
    a, _ = give(book), give(book)
    assert list(book.take_late(59.0, 0)) == []
    assert list(book.take_late(61.0, 0)) == [a.entry]
