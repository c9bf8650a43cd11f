"""Functions for worker processes, which must be able to import them by name."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from allscan.errors import InputError


def add(shared, task):
    return shared + task


def fail_at(shared, task):
    if task == shared:
        raise InputError(f"task {task} is bad", where="here", fix="do not")
    return task


def die_at(shared, task):
    if task == shared:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def sleep_then_touch(shared, task):
    time.sleep(task)
    (shared / f"{task}").touch()
    return task


def thread_counts(shared, task):
    import numba
    import numpy as np  # noqa: F401
    from threadpoolctl import threadpool_info

    blas = [entry["num_threads"] for entry in threadpool_info() if entry["user_api"] == "blas"]
    return blas, numba.get_num_threads()


class CountsPickles:
    """Counts on disk how often it was sent to another process."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        number = len(list(self.folder.iterdir()))
        (self.folder / str(number)).touch()
        return (CountsPickles, (self.folder,))


def identity_with_folder(shared, task):
    return task


def process_id(shared, task):
    time.sleep(0.05)
    return os.getpid()


class HeldError(Exception):
    """An error that cannot be pickled."""

    def __init__(self, message):
        super().__init__(message)
        self.lock = threading.Lock()


def fail_with_a_lock(shared, task):
    raise HeldError("a lock")


def span(shared, task):
    """When the task began and ended."""
    started = time.time()
    time.sleep(shared)
    return started, time.time()


def describe_arrays(shared, task):
    """How arrays look in a worker, and whether they lie in memory that processes share."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    places = [line.split()[0].split("-") for line in maps if "shm" in line or "plasma" in line]
    ranges = [(int(start, 16), int(stop, 16)) for start, stop in places]
    return {
        "pid": os.getpid(),
        "identity": id(shared),
        "flags": {
            name: (a.flags.writeable, a.flags.c_contiguous, a.flags.f_contiguous, a.flags.aligned)
            for name, a in shared.items()
        },
        "mapped": {name: any(x <= a.ctypes.data < y for x, y in ranges) for name, a in shared.items()},
    }
