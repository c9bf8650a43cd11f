"""The nodes of a Ray cluster, looked at every other second from a thread of its own."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from allscan.cluster.ray_cluster import import_ray

if TYPE_CHECKING:
    from collections.abc import Mapping

    from allscan.cluster.ray_threads import RayThreads

LOOK_SECONDS = 2.0


class NodeWatch:
    """What nodes there are. The thread may hang where the head does not answer; whoever asks does not."""

    def __init__(self) -> None:
        self._nodes: list[dict[str, Any]] = []
        self._heard = time.monotonic()
        self._seen: dict[str, str] = {}  # node → kind of machine
        self._hosts: dict[str, str] = {}
        self._came: dict[str, float] = {}

    def start(self, threads: RayThreads) -> None:
        """Look once, and go on looking until the threads shall end."""
        self._look()
        threads.start("allscan-ray-nodes", lambda: self._watch(threads))

    def silent_seconds(self) -> float:
        """How long the head has not told anything."""
        return time.monotonic() - self._heard

    @property
    def is_silent(self) -> bool:
        """Whether the head has missed several looks: calls of Ray may hang."""
        return self.silent_seconds() > 5 * LOOK_SECONDS

    def came(self) -> dict[str, float]:
        """Ids of the nodes that are there, and when they were first seen."""
        return {node["NodeID"]: self._came[node["NodeID"]] for node in self._nodes}

    def host(self, node: str | None) -> str:
        """Name of a node's machine."""
        return self._hosts.get(node or "", "")

    def kinds(self) -> Mapping[str, int]:
        """Kinds of machines, and how many of each have been seen."""
        return dict(Counter(self._seen.values()))

    def slots(self, memory_bytes: int) -> int:
        """How many tasks of one CPU and so much memory the nodes have room for."""
        return sum(self.slots_of_nodes(memory_bytes).values())

    def slots_of_nodes(self, memory_bytes: int) -> dict[str, int]:
        """The same of each node by its id."""
        return {node["NodeID"]: _slots(node["Resources"], memory_bytes) for node in self._nodes}

    def largest_memory(self) -> int:
        """Bytes of the node with most memory."""
        return max((int(node["Resources"].get("memory", 0)) for node in self._nodes), default=0)

    def _watch(self, threads: RayThreads) -> None:
        while not threads.is_over(wait=LOOK_SECONDS):
            with suppress(Exception):  # whatever Ray raises where its head is lost: the silence tells
                self._look()

    def _look(self) -> None:
        nodes = [node for node in import_ray().nodes() if node["Alive"]]
        for node in nodes:
            self._hosts[node["NodeID"]] = node["NodeManagerHostname"]
            self._seen.setdefault(node["NodeID"], _kind(node))
            self._came.setdefault(node["NodeID"], time.monotonic())
        self._nodes, self._heard = nodes, time.monotonic()


def _slots(resources: Mapping[str, float], memory_bytes: int) -> int:
    return int(min(resources.get("CPU", 0.0), resources.get("memory", 0.0) // memory_bytes))


def _kind(node: Mapping[str, Any]) -> str:
    """What kind of machine a node is, as far as Ray knows: its type at the provider, or its size."""
    labels = node.get("Labels") or {}
    named = labels.get("ray.io/node-group") or labels.get("ray.io/instance-type")
    cpus, memory = node["Resources"].get("CPU", 0), node["Resources"].get("memory", 0)
    size = f"{cpus:g} CPUs, {memory / 2**30:.0f} GiB"
    return f"{named} ({size})" if named else size
