"""The experiments run: small, so that they cannot rot."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.science.whole_genome import Size, experiment


@pytest.mark.parametrize("prevalence", [None, 0.3])
def test_whole_genome(tmp_path: Path, prevalence: float | None) -> None:
    told = experiment(
        Size(families=30, singles=60, markers=40, traits=3, causal=30), 1, tmp_path, prevalence=prevalence
    )
    assert len(told) == (8 if prevalence is None else 1)
    for numbers in told.values():
        assert 0.3 < numbers["lambda"] < 4
        assert 0 <= numbers["error at 0.05"] < 0.3
