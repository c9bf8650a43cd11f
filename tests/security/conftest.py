"""The attacks run against the small cohort of the jobs' tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from allscan.errors import AllscanError
from tests.jobs.conftest import _cohort_template, allscan_cli, cohort  # noqa: F401 - fixtures

Refusal = Callable[[Callable[[], object]], AllscanError]

SOON = 30.0
"""Seconds: ten times what the slowest refusal takes here, and a fraction of what the attack would."""


@contextmanager
def soon() -> Iterator[None]:
    start = time.process_time()
    yield
    assert time.process_time() - start < SOON


@pytest.fixture
def refusal() -> Refusal:
    """Call something that must be refused, in bounded time and words; gives the error."""

    def refused(call: Callable[[], object]) -> AllscanError:
        with soon(), pytest.raises(AllscanError) as caught:
            call()
        assert caught.value.exit_code == 2
        assert len(str(caught.value)) < 50_000
        return caught.value

    return refused
