"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT.parent / "shared" / "reference"

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
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        return path

    return locate
