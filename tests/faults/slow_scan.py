"""A scan whose tasks take longer than they need, in the processes that run them."""

from __future__ import annotations

import errno
import functools
import shutil
import time
from pathlib import Path
from typing import Any

from allscan.engine import scan

whole = scan.run_timed_task
FILLER = "filler"


def slow_task(shared: Any, task: Any, *, seconds: float) -> Any:
    """Wait, then do it."""
    time.sleep(seconds)
    filler = Path(str(shared.output)).parent / FILLER
    if filler.exists() and shutil.disk_usage(filler).free > 0:
        # A test that could not mount a small disk.
        error = OSError(errno.ENOSPC, "No space left on device")
        raise scan.output_error(error, shared.output)
    return whole(shared, task)


def install(seconds: float) -> None:
    """Have scans of this process give out slow tasks."""
    scan.run_timed_task = functools.partial(slow_task, seconds=seconds)
