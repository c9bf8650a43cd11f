from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import pytest

from allscan.storage.places import ObjectPlace, StorageOptions
from tests.jobs.conftest import _cohort_template, allscan_cli, cohort  # noqa: F401 - fixtures
from tests.storage.servers import ENVIRONMENT, make_bucket, s3_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Address of an S3-compatible server."""
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Credentials of nobody, and no settings of this machine's user."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.getbasetemp() / "nobody"))
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> ObjectPlace:
    """A bucket of this test alone, which the environment leads to."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    make_bucket(s3, name)
    return ObjectPlace("s3", name, "", StorageOptions(endpoint=s3, retry_seconds=5))
