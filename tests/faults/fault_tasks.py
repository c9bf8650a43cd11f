"""Tasks that meet with an accident the first time they are run; workers import them by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any


def _first_time(folder: Path, task: Any) -> bool:
    try:
        (folder / f"{task}.begun").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def killed_once(folder: Path, task: int) -> int:
    """The worker of every fifth task is killed half way through."""
    if task % 5 == 0 and _first_time(folder, task):
        os.kill(os.getpid(), signal.SIGKILL)
    return task * task


def where(folder: Path, task: int) -> str:
    """Take a while, note who began the task, and tell on which node that was."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    with (folder / f"{task}.begun").open("a") as file:
        file.write(f"{node}\n")
    time.sleep(0.7)
    return str(node)


def no_memory_once(folder: Path, task: int) -> int:
    if _first_time(folder, task):
        raise MemoryError("cannot allocate")
    return task


def hoard(size: int, task: int) -> int:
    """Take memory step by step, as a task would whose plan was wrong."""
    held = []
    for _ in range(size >> 24):
        held.append(b"x" * (1 << 24))
        time.sleep(0.02)
    time.sleep(5)
    return task


def slow_unless_second(folder: Path, task: int) -> int:
    """One task hangs the first time, as on a disk that does not answer."""
    if task == 3 and _first_time(folder, task):
        time.sleep(600)
    return task
