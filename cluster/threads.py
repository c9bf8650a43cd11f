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
    # Not imported here: whoever runs many tasks has called a kernel. Another thread may be importing it just now.
    set_num_threads = getattr(sys.modules.get("numba"), "set_num_threads", None)
    if set_num_threads is not None:
        set_num_threads(1)


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
