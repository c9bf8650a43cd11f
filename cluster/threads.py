"""One thread for each task: parallelism is between tasks, not within them."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def limit_numba_threads() -> None:
    """Give the calling thread one numba thread."""
    # Not imported here: whoever runs many tasks has called a kernel.
    numba = sys.modules.get("numba")
    if numba is not None:
        numba.set_num_threads(1)


def limit_libraries_to_come() -> None:
    """Have libraries that this process has not loaded yet start with one thread."""
    for name in ("OMP", "OPENBLAS", "MKL") + (() if "numba" in sys.modules else ("NUMBA",)):
        os.environ[f"{name}_NUM_THREADS"] = "1"


@contextmanager
def one_thread() -> Iterator[None]:
    """One BLAS and one numba thread, in a process that runs one task at a time."""
    from threadpoolctl import threadpool_limits

    limit_numba_threads()
    with threadpool_limits(limits=1):
        yield
