"""Two machines, each with a network of its own, and the cable between them is pulled."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from allscan.cluster.ray_cluster import LOOPBACK, write_token
from tests.cluster.ray_nodes import MEMORY, STORE_BYTES, Node, environment
from tests.faults.test_runs import DRIVER, commits, embedded, results, wait_for
from tests.jobs.conftest import Cohort, _cohort_template, cohort

pytestmark = pytest.mark.timeout(300)

__all__ = ["_cohort_template", "cohort"]

PORT = 6379


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Network:
    """Two network namespaces joined by a pair of virtual Ethernet devices; a Ray node in each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spaces = [f"allscan-{os.getpid()}-{name}" for name in ("head", "other")]
        self.hosts = ["10.213.77.1", "10.213.77.2"]
        self.nodes: list[Node] = []
        # Between machines, not on loopback.
        self.env = {**environment(write_token(folder / "token")), LOOPBACK: "1"}

    def lay(self) -> None:
        for space in self.spaces:
            ip("netns", "add", space)
        first, second = self.spaces
        ip("link", "add", "cable", "netns", first, "type", "veth", "peer", "name", "cable", "netns", second)
        for space, host in zip(self.spaces, self.hosts, strict=True):
            ip("-n", space, "address", "add", f"{host}/24", "dev", "cable")
            for device in ("lo", "cable"):
                ip("-n", space, "link", "set", device, "up")

    def inside(self, number: int) -> list[str]:
        return ["ip", "netns", "exec", self.spaces[number]]

    def start(self) -> None:
        for number, where in enumerate([["--head", f"--port={PORT}", "--include-dashboard=false"], [self.flag]]):
            command = [
                *("-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", "--num-cpus=1"),
                *where,
                *([f"--temp-dir={self.folder}/s"] if number == 0 else []),
                f"--node-ip-address={self.hosts[number]}",
                f"--memory={MEMORY}",
                f"--object-store-memory={STORE_BYTES}",
            ]
            node = Node(command, self.env, self.folder / f"node{number}.log", inside=self.inside(number))
            self.nodes.append(node)
            node.wait()

    @property
    def flag(self) -> str:
        return f"--address={self.hosts[0]}:{PORT}"

    def cable(self, state: str) -> None:
        ip("-n", self.spaces[1], "link", "set", "cable", state)

    def close(self) -> None:
        for node in self.nodes:
            node.kill()
        for space in self.spaces:
            subprocess.run(["ip", "netns", "delete", space], check=False, capture_output=True)


@pytest.fixture
def network() -> Iterator[Network]:
    folder = Path(tempfile.mkdtemp(prefix="allscan-test-", dir="/tmp"))  # sockets need short paths
    network = Network(folder)
    try:
        try:
            network.lay()
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"network namespaces cannot be made: {getattr(error, 'stderr', error)}")
        network.start()
        yield network
    finally:
        network.close()
        shutil.rmtree(folder, ignore_errors=True)


# One that does not heal is noticed when the tasks there have been silent for a minute.
@pytest.mark.parametrize("seconds", [4.0, pytest.param(None, marks=pytest.mark.slow)])
def test_a_partition_costs_time_and_nothing_else(network: Network, cohort: Cohort, seconds: float | None) -> None:
    """One that heals, and one that does not."""
    job = cohort.job(runtime={"workers": 2, "memory": "2GB"})
    command = [sys.executable, "-c", DRIVER, "2.0", "run", str(job), "--address", f"{network.hosts[0]}:{PORT}"]
    run = cohort.folder / "run"
    with subprocess.Popen(
        [*network.inside(0), *command], env=network.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        wait_for(lambda: commits(run) >= 3 or program.poll() is not None)
        network.cable("down")
        if seconds is not None:
            time.sleep(seconds)
            network.cable("up")
        told, errors = program.communicate(timeout=200)
    assert program.returncode == 0, told + errors
    executor = json.loads((run / "provenance.json").read_text())["run"]["executor"]
    assert sum(executor["nodes"].values()) == 2
    if seconds is None:
        assert executor["retried"] + executor["duplicated"] >= 1
    assert results(run) == embedded(cohort)
