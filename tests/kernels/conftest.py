"""Fixtures of the kernels' tests."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Generator[None]:
    """Products on one thread, as tasks compute them: small ones on several take many times as long."""
    with threadpool_limits(limits=1):
        yield
