"""The comparison of carriers with two bits runs, and finds equal results."""

from __future__ import annotations

import pytest

from benchmarks.rare import main


def test_both_are_timed_and_their_results_equal(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--people", "12000", "--variants", "200", "--traits", "2", "--repeats", "1"])
    heads, row = capsys.readouterr().out.splitlines()
    assert heads.split()[:2] == ["people", "traits"]
    people, traits, dense, carriers, ratio = row.split()
    assert (people, traits) == ("12,000", "2")
    assert float(ratio) == pytest.approx(float(dense) / float(carriers), rel=0.05)
