"""Ray nodes as real processes of this machine, each of which can be killed or frozen as a whole."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from allscan.cluster.ray_cluster import private_environment, write_token

ROOT = Path(__file__).resolve().parents[2]
STORE_BYTES = 100 << 20


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def environment(token: Path) -> dict[str, str]:
    """Environment of Ray processes, and of programs that join them."""
    # Workers import allscan and the functions of the tests from here.
    paths = [str(ROOT / "src"), str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, **private_environment(token), "PYTHONPATH": os.pathsep.join(filter(None, paths))}


class Node:
    """One `ray start --block`, with all that it starts."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path) -> None:
        with log.open("wb") as output:
            self.process = psutil.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *command],
                env=env,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.log = log

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


class Machines:
    """A Ray cluster of several nodes on this machine, on loopback, with a token."""

    def __init__(self, *, cpus: int = 2, env: dict[str, str] | None = None) -> None:
        # Sockets need short paths.
        self.folder = Path(tempfile.mkdtemp(prefix="allscan-test-", dir="/tmp"))
        self.token = write_token(self.folder / "token")
        self.env = {**environment(self.token), **(env or {})}
        self.nodes: list[Node] = []
        self.cpus = cpus
        self.start_head()

    def start_head(self) -> None:
        self.port, client = free_port(), free_port()
        self.client_address = f"ray://127.0.0.1:{client}"
        self.address = f"127.0.0.1:{self.port}"
        self.head = self._start(
            "--head",
            f"--port={self.port}",
            f"--ray-client-server-port={client}",
            "--include-dashboard=false",
            f"--temp-dir={self.folder}/s{len(self.nodes)}",
            cpus=self.cpus,
        )
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            # Written when everything of the node is up.
            if b"runtime started" in self.head.log.read_bytes():
                return
            assert self.head.process.is_running()
            time.sleep(0.1)
        raise TimeoutError(self.head.log.read_text())

    def add(self, *, cpus: int = 1) -> Node:
        return self._start(f"--address={self.address}", cpus=cpus)

    def _start(self, *words: str, cpus: int) -> Node:
        command = [
            *words,
            "--node-ip-address=127.0.0.1",
            f"--num-cpus={cpus}",
            f"--memory={8 << 30}",  # an accounting: tests may run where less is free
            f"--object-store-memory={STORE_BYTES}",
            f"--dashboard-agent-listen-port={free_port()}",
            "--disable-usage-stats",
        ]
        node = Node(command, self.env, self.folder / f"node{len(self.nodes)}.log")
        self.nodes.append(node)
        return node

    def kill_head(self) -> None:
        self.head.kill()

    def close(self) -> None:
        for node in self.nodes:
            node.signal(signal.SIGCONT)
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
