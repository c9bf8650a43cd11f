"""A run folder from somebody else cannot have the token of a cluster sent to an address of theirs."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from allscan.errors import ClusterError
from allscan.jobs.run_cluster import cluster_of
from allscan.jobs.run_folder import RunFolder
from allscan.jobs.run_log import told_entry

PLANTED = {"cluster": {"address": "http://192.0.2.1:8265", "submission_id": "allscan-x"}}
NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    folder.state_file.write_text(json.dumps(PLANTED))
    if os.getuid() == 0:
        os.chown(folder.state_file, NOBODY, NOBODY)
    return folder


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every address that somebody tried to reach; nobody answers."""
    addresses: list[object] = []

    def refuse(address: object, *_: object, **__: object) -> None:
        addresses.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return addresses


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to somebody else")
def test_a_planted_address_is_not_called(folder: RunFolder, called: list[object]) -> None:
    with pytest.raises(ClusterError, match="somebody else wrote the run folder"):
        cluster_of(folder, PLANTED)
    assert called == []


def test_an_address_that_the_environment_names_is(
    folder: RunFolder, called: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://192.0.2.1:8265")
    with pytest.raises(ClusterError, match=r"192\.0\.2\.1"):
        cluster_of(folder, PLANTED)
    assert called == [("192.0.2.1", 8265)]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_this_machine_may_be_called(folder: RunFolder, called: list[object], host: str) -> None:
    state = {"cluster": {"address": f"http://{host}:8265", "submission_id": "allscan-x"}}
    with pytest.raises(ClusterError):
        cluster_of(folder, state)
    assert called == [(host.strip("[]"), 8265)]


def test_a_log_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in told_entry({"event": "x", "message": "\x1b[2J\u202e", "time": "2026-01-01T00:00:00.000Z"})
