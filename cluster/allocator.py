"""Memory that one task frees, kept for the next one.

glibc gives arrays of more than some hundred kilobytes back to the kernel, and takes them again page by page: in a
scan of one trait a tenth of the time. Tasks come one after the other and need the same arrays.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

# Parameters of mallopt (malloc.h).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8

KEPT_BYTES = 256 << 20
"""Freed memory that the process keeps, at most, beside that between arrays in use."""
LARGEST_KEPT = 64 << 20
"""Larger arrays, those of null models, are always given back: they are few, and holes that they leave would be many."""


@cache
def keep_freed_memory() -> None:
    """Have the C library keep what is freed, in one pool for all threads. Does nothing where it has no such settings.

    Who has set them in the environment knows better. To be called before the first thread starts: a thread that has
    a pool of its own keeps it, leaves it to the next one, and such pools give back whatever is freed.
    """
    if "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ):
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, LARGEST_KEPT)
        set_option(_TRIM_THRESHOLD, KEPT_BYTES)
        set_option(_ARENA_MAX, 1)
