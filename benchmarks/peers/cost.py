"""What a command costs: CPU seconds of it and its children, wall time, and its own peak memory.

Linux counts into a process's peak what the process that started it held at that moment. So a command is started by a
small interpreter (this file, run as a script, imports next to nothing) whose own 10 MB is all that can leak in.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    """``cost.py REPORT LOG COMMAND …``: run the command, write what it cost as JSON."""
    report, log, *command = sys.argv[1:]
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    start = time.perf_counter()
    actions = [(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, out, 2)]
    child = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
    _, status, usage = os.wait4(child, 0)
    Path(report).write_text(
        json.dumps(
            {
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
                "wall_seconds": time.perf_counter() - start,
                "peak_mb": usage.ru_maxrss / 1024,
                "status": os.waitstatus_to_exitcode(status),
            }
        )
    )


if __name__ == "__main__":
    main()
