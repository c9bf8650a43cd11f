"""The page: complete in itself, nothing of a file gets into it unescaped, and the tables say what was measured."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks.page import Point, render, sparkline, write_page
from benchmarks.records import CaseVerdict, Run
from benchmarks.runner import Settings
from benchmarks.tables import change_text, peer_table, result_table, seconds_text, verdict_lines

sys.path.append(str(Path(__file__).parent))

from nights import Machine, make_run, peer_result

SETTINGS = Settings(size="quick")
EVIL = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def history() -> list[Run]:
    """Ten nights; in the last one a case became slower."""
    machine = Machine(cases=4, spread=0.01)
    runs = [machine.run(night, peers=[peer_result()]) for night in range(9)]
    last = machine.run(9, {"kernel[2]": 1.4}, warnings=["noisy times"], software={"numpy": "2.5.0", "allscan": "0.1.0"})
    verdicts = [CaseVerdict(f"kernel[{k}]", "same", 7, 1.01, 0.95, 1.07) for k in (0, 1, 3)]
    verdicts.append(CaseVerdict("kernel[2]", "slower", 7, 1.4, 1.3, 1.5, reruns=2))
    return [*runs, replace(last, verdicts=verdicts)]


class Tags(HTMLParser):
    """Tags that are opened, and whether all are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_tells_what_became_slower(history: list[Run]) -> None:
    page = render(history, SETTINGS)
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    # Cases, limits (clock on one thread, three on one and two), and the comparison with a peer.
    assert tags.seen.count("svg") == 4 + 7 + 1
    assert "Benchmarks: 1 slower" in page
    assert "kernel[2] +40.0 % (+30.0 % to +50.0 %) against 7 runs, measured 3 times" in page
    assert "noisy times" in page
    assert "numpy 2.4.0 → 2.5.0" in page
    assert page.count('class="slower"') >= 2  # the row, and the marker of the night


def test_page_loads_nothing(history: list[Run]) -> None:
    page = render(history, SETTINGS)
    assert not re.findall(r'(?:src|href)="(?!data:,)[^"]*"|url\(|@import|<script', page)


def test_names_are_escaped(history: list[Run]) -> None:
    last = history[-1]
    results = [replace(result, case=f"{EVIL}[{k}]") for k, result in enumerate(last.results)]
    evil = replace(last, results=results, commit=EVIL, warnings=[EVIL], failed=[EVIL], verdicts=[])
    evil = replace(evil, peers=[peer_result(version=EVIL)], machine={**last.machine, "cpu": EVIL})
    page = render([*history[:-1], evil], SETTINGS)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_page_of_the_first_night(tmp_path: Path) -> None:
    machine = Machine(cases=2)
    write_page(tmp_path / "new" / "page.html", [machine.run(0)], SETTINGS)
    assert "the first runs" in (tmp_path / "new" / "page.html").read_text()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]
    only_peers = make_run(1, [], limits=[], peers=[peer_result()])
    assert "PLINK v2" in render([only_peers], SETTINGS)


def test_other_machines_are_counted_and_not_drawn(history: list[Run]) -> None:
    others = [replace(run, fingerprint="another") for run in history[:3]]
    page = render([*others, *history[3:]], SETTINGS)
    assert "3 runs of other machines or sizes" in page
    assert page.count("circle class") < render(history, SETTINGS).count("circle class")


def test_sparkline_keeps_noise_small() -> None:
    """A line of ±1 % does not fill the height; one of ±50 % does."""

    def height(values: list[float]) -> float:
        line = sparkline([Point(value, "") for value in values], title="")
        found = re.search(r'points="([^"]*)"', line)
        assert found is not None
        ys = [float(pair.split(",")[1]) for pair in found[1].split()]
        return max(ys) - min(ys)

    assert height([1.0, 1.01, 0.99]) < 5
    assert height([1.0, 1.5, 0.5]) > 30
    assert sparkline([], title="") == ""
    assert 'class="base"' in sparkline([Point(1.0, "")], title="", base=1.0)


def test_table_of_the_documentation(history: list[Run]) -> None:
    table = result_table(history[-1])
    assert "| Matrix product, float64 | 80 GFLOP/s | 160 GFLOP/s |" in table
    (row,) = [line for line in table.splitlines() if "`kernel[0]`" in line]
    assert re.fullmatch(r"\| `kernel\[0\]` \| [\d.]+ (ms|µs) \| [\d.]+ \| – \| \d+% \| [\d.]+ \|", row)


def test_table_of_peers() -> None:
    run = make_run(0, [], peers=[peer_result()])
    lines = peer_table(run).splitlines()
    case = "50,000 × 20,000 × 16 traits, 0.2% of calls missing"
    assert lines[2] == f"| {case} | plink2 (PLINK v2) | 8.00 | 4.20 | 137 |  |"
    assert lines[3] == "|  | allscan exclude | 2.00 | 1.50 | 400 | 4.00 |"
    assert peer_table(make_run(0, [])) == ""


def test_worst_comes_first() -> None:
    verdicts = [
        CaseVerdict("a", "faster", 7, 0.8, 0.7, 0.85),
        CaseVerdict("b", "slower", 7, 1.2, 1.15, 1.3),
        CaseVerdict("c", "slower", 7, 1.9, 1.8, 2.0),
        CaseVerdict("d", "new", 0),
    ]
    lines = verdict_lines(verdicts, 1.1)
    assert [line.split()[:2] for line in lines[:3]] == [["SLOWER:", "c"], ["SLOWER:", "b"], ["faster:", "a"]]
    assert lines[3] == "0 cases not certainly 10% slower or faster, 1 without enough earlier runs"


@pytest.mark.parametrize(("seconds", "text"), [(2.0, "2 s"), (0.01234, "12.3 ms"), (1.5e-5, "15 µs"), (3e-9, "3 ns")])
def test_seconds(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_changes_have_a_sign() -> None:
    assert (change_text(1.3), change_text(0.9), change_text(1.0)) == ("+30.0 %", "−10.0 %", "+0.0 %")
