"""What the test of the nights promises: noise is not a regression, a slowdown of 30 % is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import runner
from benchmarks.records import Run
from benchmarks.runner import Measured, Settings, judge
from benchmarks.verdicts import LEAST_SPREAD, common_spread, is_slower, measured_change

sys.path.append(str(Path(__file__).parent))

from nights import Machine, make_run, verdicts

SETTINGS = Settings(size="quick", patience=0.0)


class Rerun:
    """Stands for the pytest process of a rerun: draws the asked cases again."""

    def __init__(self, machine: Machine, slower: dict[str, float]) -> None:
        self.machine, self.slower = machine, slower
        self.calls: list[list[str]] = []

    def __call__(self, _settings: Settings, nodes: Sequence[str] = ()) -> Measured:
        cases = [node.rpartition("::test_")[2] for node in nodes]
        self.calls.append(cases)
        mood = self.machine.mood()
        results = [self.machine.result(case, self.slower.get(case, 1.0), mood) for case in cases]
        return Measured(results, [], [], {}, {})


def judged_night(
    machine: Machine,
    history: Sequence[Run],
    slower: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings = SETTINGS,
) -> tuple[Run, Rerun]:
    rerun = Rerun(machine, slower)
    monkeypatch.setattr(runner, "measure", rerun)
    monkeypatch.setattr(runner, "wait_for_quiet", lambda _patience: True)
    return judge(machine.run(len(history), slower), history, settings), rerun


@pytest.mark.parametrize("spread", [0.02, 0.04, 0.08])
def test_noise_is_no_regression(spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heavy tails, interrupted rounds and slow hours, 60 cases a night; 250 nights gave at most one alarm."""
    machine = Machine(seed=int(1000 * spread), spread=spread)
    history = [machine.run(night) for night in range(7)]
    nights = 60
    alarms = []
    for _ in range(nights):
        run, _rerun = judged_night(machine, history, {}, monkeypatch)
        alarms += run.regressed()
        history = [*history[-6:], run]
        history = [replace(past, date=f"2026-01-{day + 1:02d}") for day, past in enumerate(history)]
    assert alarms == []


@pytest.mark.parametrize(("spread", "runs"), [(0.02, 2), (0.03, 3), (0.03, 7), (0.04, 7)])
def test_a_slowdown_of_30_percent_is_found(spread: float, runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(seed=runs, spread=spread)
    found = injected = 0
    for _ in range(20):
        history = [machine.run(night) for night in range(runs)]
        slower = dict.fromkeys(machine.names[::3], 1.3)
        run, _ = judged_night(machine, history, slower, monkeypatch)
        assert set(run.regressed()) <= set(slower)
        found += len(run.regressed())
        injected += len(slower)
    assert injected == 400
    assert found > 0.95 * injected


def test_without_reruns_and_bounds_noise_would_alarm() -> None:
    """The experiment has teeth: a plain comparison of medians calls noise a regression."""
    machine = Machine(seed=3, spread=0.05)
    plain = robust = 0
    for _ in range(10):
        history = [machine.run(night) for night in range(7)]
        now = machine.run(7)
        for result in now.results:
            earlier = [found for past in history if (found := past.result(result.case)) is not None]
            before = np.median([np.median(past.seconds) for past in earlier])
            plain += np.median(result.seconds) > 1.15 * before
            robust += is_slower(measured_change([past.ratios for past in earlier], [result.ratios]))
    assert plain > 25
    assert robust < plain / 10


def test_a_slow_machine_is_no_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(seed=4, cases=20, slow_hours=0)
    history = [machine.run(night) for night in range(7)]
    monkeypatch.setattr(Machine, "mood", lambda _self: 2.0)
    run, _ = judged_night(machine, history, {}, monkeypatch)
    assert np.median(run.results[3].seconds) > 1.8 * np.median(history[0].results[3].seconds)
    assert run.regressed() == []


def test_a_suspected_case_is_measured_again_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(seed=5, cases=10, spread=0.01, slow_hours=0)
    history = [machine.run(night) for night in range(5)]
    run, rerun = judged_night(machine, history, {"kernel[4]": 1.4}, monkeypatch)
    assert rerun.calls == [["kernel[4]"]] * 2
    verdict = verdicts(run)["kernel[4]"]
    assert (verdict.verdict, verdict.reruns, verdict.runs) == ("slower", 2, 5)
    assert 1.3 < verdict.change < 1.5
    assert verdict.low < verdict.change < verdict.high


def test_one_bad_measurement_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow in the first process only: the median of the three counts."""
    machine = Machine(seed=6, cases=10, spread=0.01, slow_hours=0)
    history = [machine.run(night) for night in range(5)]
    rerun = Rerun(machine, {})
    monkeypatch.setattr(runner, "measure", rerun)
    monkeypatch.setattr(runner, "wait_for_quiet", lambda _patience: True)
    run = judge(machine.run(5, {"kernel[4]": 1.6}), history, SETTINGS)
    assert len(rerun.calls) == 2
    assert verdicts(run)["kernel[4]"].verdict == "same"


def test_improvements_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(seed=7, cases=10, spread=0.01)
    history = [machine.run(night) for night in range(5)]
    run, _ = judged_night(machine, history, {"kernel[2]": 0.7}, monkeypatch)
    assert verdicts(run)["kernel[2]"].verdict == "faster"
    assert run.regressed() == []


def test_a_regression_does_not_become_its_own_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(seed=8, cases=5, spread=0.01)
    history = [machine.run(night) for night in range(3)]
    slower = {"kernel[1]": 1.4}
    for _ in range(12):
        run, _ = judged_night(machine, history, slower, monkeypatch)
        assert run.regressed() == ["kernel[1]"]
        history.append(run)


def test_an_accepted_slowdown_is_the_new_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(seed=9, cases=5, spread=0.01)
    history = [machine.run(night) for night in range(3)]
    slower = {"kernel[1]": 1.4}
    settings = replace(SETTINGS, accepted=("kernel[1]",))
    run, _ = judged_night(machine, history, slower, monkeypatch, settings)
    run = replace(run, accepted=["kernel[1]"])
    run = judge(run, history, settings)
    assert verdicts(run)["kernel[1]"].verdict == "accepted"
    history.append(run)
    kinds = []
    for _ in range(3):
        run, _ = judged_night(machine, history, slower, monkeypatch)
        kinds.append(verdicts(run)["kernel[1]"].verdict)
        history.append(run)
    assert kinds == ["new", "same", "same"]


def test_another_machine_or_size_is_no_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(seed=10, cases=3)
    history = [
        *(replace(machine.run(night), fingerprint="another") for night in range(3)),
        *(replace(machine.run(night), size="full") for night in range(3, 6)),
    ]
    run, rerun = judged_night(machine, history, dict.fromkeys(machine.names, 3.0), monkeypatch)
    assert {verdict.verdict for verdict in run.verdicts} == {"new"}
    assert rerun.calls == []


def test_a_case_that_is_gone_is_told() -> None:
    machine = Machine(seed=11, cases=3)
    history = [machine.run(0)]
    now = make_run(1, [result for result in machine.run(1).results if result.case != "kernel[1]"])
    assert runner.missing_cases(now, history, SETTINGS) == ["kernel[1]"]
    assert runner.missing_cases(now, history, replace(SETTINGS, only="kernel")) == []


def test_small_steps_add_up() -> None:
    machine = Machine(seed=12, cases=2, spread=0.005)
    history = [machine.run(night, {"kernel[0]": 1.02**night}) for night in range(21)]
    grown = runner.creep(history[-1], history, "kernel[0]", 7)
    assert grown == pytest.approx(1.02**17, rel=0.05)
    assert runner.creep(history[0], [], "kernel[0]", 7) is None


def test_the_spread_of_a_noisy_machine_is_seen() -> None:
    quiet, noisy = Machine(seed=13, spread=0.005), Machine(seed=13, spread=0.1)

    def spread(machine: Machine) -> float:
        runs = [machine.run(night) for night in range(7)]
        return common_spread([[run.results[k].ratios for run in runs] for k in range(machine.cases)])

    assert spread(quiet) == LEAST_SPREAD
    assert 0.05 < spread(noisy) < 0.15
