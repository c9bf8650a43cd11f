"""The linear test is honest: false positives at their level, true effects found as often as theory says."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from allscan.kernels.association import Missing


@pytest.fixture(scope="module")
def calibration(repository):
    path = repository / "benchmarks" / "calibration.py"
    spec = importlib.util.spec_from_file_location("allscan_calibration", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("missing", list(Missing))
def test_false_positives(calibration, tmp_path, missing):
    rates, tests = calibration.null_calibration(1000, 1500, 40, missing, 3, tmp_path)
    assert len(rates) == 9
    for rate in rates:
        assert rate.is_right, rate
    for test in tests:
        assert test.n > 15_000
        assert test.p > 1e-4, test


@pytest.mark.parametrize("missing", list(Missing))
def test_power(calibration, tmp_path, missing):
    rates = calibration.power(1000, 200, missing, 5, tmp_path)
    assert len(rates) == 6
    for rate in rates:
        assert rate.is_right, rate
        assert 80 < rate.observed < 160
