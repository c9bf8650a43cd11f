"""The test of binary traits keeps the contract of every test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from allscan.kernels import testing
from allscan.kernels.binary import LOGISTIC


@pytest.mark.parametrize("correction", ["saddlepoint", "firth", "none"])
def test_logistic_conforms(correction: str) -> None:
    options = {**(LOGISTIC.options or {}), "correction": correction, "min_cases": 10}
    testing.check_association_test(replace(LOGISTIC, options=options), tuple(LOGISTIC.models))
