"""Ray nodes as real processes of this machine, each of which can be killed or frozen as a whole."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from allscan.cluster.ray_cluster import private_environment, write_token
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
STORE_BYTES = 100 << 20
MEMORY = 8 << 30  # an accounting: tests may run where less is free


def environment(token: Path) -> dict[str, str]:
    """Environment of Ray processes, and of programs that join them."""
    # Workers import allscan and the functions of the tests from here.
    paths = [str(ROOT / "src"), str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, **private_environment(token), "PYTHONPATH": os.pathsep.join(filter(None, paths))}


# `ray start` refuses to add nodes to a cluster on loopback; the classes beneath it do not.
ADD_NODE = """
import sys, time
from ray._private.node import Node
from ray._private.parameter import RayParams
address, cpus, memory, store, agent_port = sys.argv[1], *map(int, sys.argv[2:])
Node(
    RayParams(
        gcs_address=address, node_ip_address="127.0.0.1", num_cpus=cpus, memory=memory, object_store_memory=store,
        dashboard_agent_listen_port=agent_port, min_worker_port=0, max_worker_port=0,
    ),
    head=False,
    shutdown_at_exit=False,
    spawn_reaper=False,
)
print("Ray runtime started", flush=True)
time.sleep(3600)
"""


class Node:
    """A node: a process, and all that it starts."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path, *, inside: Sequence[str] = ()) -> None:
        with log.open("wb") as output:
            self.process = psutil.Popen(
                [*inside, sys.executable, *command],
                env=env,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.log = log

    def wait(self) -> None:
        """Wait until everything of the node is up."""
        deadline = time.monotonic() + 90
        while b"runtime started" not in self.log.read_bytes():
            if time.monotonic() > deadline or not self.process.is_running():
                raise TimeoutError(self.log.read_text())
            time.sleep(0.1)

    def processes(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return [self.process, *self.process.children(recursive=True)]
        return []

    def pid_of(self, name: str) -> int:
        return next(p.pid for p in self.processes() if p.name() == name)

    def signal(self, number: int) -> None:
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self) -> None:
        processes = self.processes()
        self.signal(signal.SIGKILL)
        psutil.wait_procs(processes, timeout=20)
        self.process.wait(20)  # one that ended before is waited for too


class Machines:
    """A Ray cluster of several nodes on this machine, on loopback, with a token."""

    def __init__(self, *, cpus: int = 2, env: dict[str, str] | None = None) -> None:
        # Sockets need short paths.
        self.folder = Path(tempfile.mkdtemp(prefix="allscan-test-", dir="/tmp"))
        self.token = write_token(self.folder / "token")
        self.env = {**environment(self.token), **(env or {})}
        self.nodes: list[Node] = []
        self.cpus = cpus
        try:
            self.start_head()
        except BaseException:
            self.close()  # nobody else can
            raise

    def start_head(self) -> None:
        self.port, client = free_port(), free_port()
        self.client_address = f"ray://127.0.0.1:{client}"
        self.address = f"127.0.0.1:{self.port}"
        self.head = self._start(
            "-m",
            "ray.scripts.scripts",
            "start",
            "--head",
            "--block",
            f"--port={self.port}",
            f"--ray-client-server-port={client}",
            "--include-dashboard=false",
            f"--temp-dir={self.folder}/s{len(self.nodes)}",
            "--node-ip-address=127.0.0.1",
            f"--num-cpus={self.cpus}",
            f"--memory={MEMORY}",
            f"--object-store-memory={STORE_BYTES}",
            f"--dashboard-agent-listen-port={free_port()}",
            "--disable-usage-stats",
        )

    def add(self, *, cpus: int = 1) -> Node:
        return self._start("-c", ADD_NODE, self.address, *map(str, (cpus, MEMORY, STORE_BYTES, free_port())))

    def _start(self, *command: str) -> Node:
        node = Node(list(command), self.env, self.folder / f"node{len(self.nodes)}.log")
        self.nodes.append(node)
        node.wait()
        return node

    def kill_head(self) -> None:
        self.head.kill()

    def close(self) -> None:
        for node in self.nodes:
            node.signal(signal.SIGCONT)
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
