"""Fixtures that every room's tests share, and the rule that a run with ``CI=true`` leaves nothing out."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path

import hypothesis
import pytest

# The first call of a kernel compiles it; and a failure must come back when the run is repeated.
hypothesis.settings.register_profile("allscan", deadline=None, derandomize=True)
hypothesis.settings.load_profile("allscan")

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every program that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT.parent / "shared" / "reference"
CI = os.environ.get("CI") == "true"

Reference = Callable[[str], Path]


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def reference() -> Reference:
    """Path below `../shared/reference`, data and results that other programs made.

    The data stand beside the repository and not in it. Where they are missing, a developer's run skips
    the test; a run with `CI=true` fails, so that a comparison is never left out unseen.
    """

    def locate(name: str) -> Path:
        path = REFERENCE / name
        if not path.exists():
            reason = f"reference data {name} not found: expected at ../shared/reference/{name}"
            if CI:
                pytest.fail(reason)
            pytest.skip(reason)
        return path

    return locate


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"a test must not be skipped where CI=true: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make a skipped test a failed one where CI=true."""
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Make a skipped module a failed one where CI=true."""
    report = yield
    _fail_if_skipped(report)
    return report


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name cases of bytes by their length: a gzip header holds the time, and every worker must see the same names."""
    return f"{len(val)}bytes" if isinstance(val, bytes) else None
