"""Progress: one line that is redrawn on a terminal, plain lines otherwise."""

from __future__ import annotations

import io

import pytest

from allscan.jobs.progress import Progress, RecentRate, Stages, format_bytes, format_count, format_seconds


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_come_every_ten_seconds() -> None:
    clock, out = Clock(), io.StringIO()
    with Progress("scan", "variants", stream=out, clock=clock) as progress:
        for step in range(31):
            clock.time = 100.0 + step
            progress.update(100 * step, 4000, "task 1")
    lines = out.getvalue().splitlines()
    assert lines[0] == "scan:  25%  1,000 of 4,000 variants  100/s  30 s left  task 1"
    assert len(lines) == 4
    assert lines[-1] == "scan: 3,000 variants in 30 s (100/s); task 1"
    assert "\r" not in out.getvalue()


def test_a_terminal_shows_one_line_that_is_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    clock, out = Clock(), Terminal()
    with Progress("scan", "variants", stream=out, clock=clock) as progress:
        progress.update(0, 1000)
        clock.time += 0.01
        progress.update(5, 1000)  # too soon after the first
        clock.time += 10
        progress.update(500, 1000)
    text = out.getvalue()
    assert text.count("\n") == 1
    drawn = text.split("\r")
    assert drawn[1].startswith("scan: ░")
    assert "50%  500 of 1,000 variants  50.0/s  10 s left" in drawn[2]
    assert drawn[-1].strip() == "scan: 500 variants in 10 s (50.0/s)"


def test_work_of_an_earlier_session_does_not_count_towards_the_rate() -> None:
    clock, out = Clock(), io.StringIO()
    with Progress("scan", "variants", stream=out, clock=clock) as progress:
        progress.update(1_000_000, 2_000_000)
        clock.time += 20
        progress.update(1_002_000, 2_000_000)
    assert "100/s" in out.getvalue()
    assert "2 h 46 min left" in out.getvalue()


def test_a_failure_leaves_a_clean_terminal_and_no_claim_of_an_end() -> None:
    out = Terminal()

    def fail() -> None:
        with Progress("scan", "variants", stream=out) as progress:
            progress.update(1, 2)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert out.getvalue().endswith("\r")
    assert "\n" not in out.getvalue()


def test_nothing_done_is_not_reported() -> None:
    out = io.StringIO()
    with Progress("scan", "variants", stream=out):
        pass
    assert out.getvalue() == ""


def test_stages_end_with_a_line_each() -> None:
    out = io.StringIO()
    with Stages("tasks", stream=out) as stages:
        stages.update("read", 1, 1)
        stages.say("a file has changed")
        stages.update("write", 3, 3)
    lines = out.getvalue().splitlines()
    assert [line.split(" tasks")[0] for line in lines] == ["a file has changed", "read: 1", "write: 3"]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.25, "0.2"),
        (7.0, "7.0"),
        (50, "50.0"),
        (999, "999"),
        (1234, "1.2k"),
        (123_456, "123k"),
        (4.5e6, "4.5M"),
        (2e10, "20.0G"),
    ],
)
def test_counts(number: float, text: str) -> None:
    assert format_count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.9, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(12, "12 B"), (2048, "2.0 KiB"), (150 * 1024, "150 KiB"), (3 * 2**30, "3.0 GiB"), (2**41, "2.0 TiB")],
)
def test_sizes(size: float, text: str) -> None:
    assert format_bytes(size) == text


def test_the_rate_is_that_of_the_last_minutes() -> None:
    clock = Clock()
    rate = RecentRate(clock, window=60.0)
    assert rate.per_second is None
    for _ in range(100):  # 100 s at 1/s, of which the first 1,000,000 are of before
        rate.update(1_000_000 + int(clock.time) - 100)
        clock.time += 1
    for step in range(1000):  # 100 s at 100/s, in small steps
        rate.update(1_000_100 + 10 * step)
        clock.time += 0.1
    assert rate.per_second == pytest.approx(100, rel=0.02)
    assert rate.seconds_left(1_010_090 + 1000) == pytest.approx(10, rel=0.02)
    clock.time += 60  # nothing comes: it sinks
    assert rate.per_second == pytest.approx(50, rel=0.02)
    clock.time += 3600
    assert (rate.per_second or 0) < 2
