"""Progress of long work: one line that is redrawn on a terminal, a plain line now and then otherwise."""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

REDRAW_SECONDS = 0.1
PLAIN_SECONDS = 10.0
BAR_CELLS = 24
RECENT_SECONDS = 300.0
"""Rates and the time left come from the last minutes: a cluster grows and shrinks."""


class RecentRate:
    """Rate of work over the last minutes, however unevenly it comes.

    Parameters
    ----------
    clock
        Seconds that only grow.
    window
        How many of them count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, window: float = RECENT_SECONDS) -> None:
        self._clock = clock
        self._window = window
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, done: int) -> None:
        """Say how much is done; what the first call says was done before."""
        now = self._clock()
        if len(self._seen) > 2 and now - self._seen[-2][0] < self._window / 300:
            self._seen.pop()  # a few hundred moments tell the rate of any number of tasks
        self._seen.append((now, done))
        # The newest of those that are older than the window is where it begins.
        while len(self._seen) > 2 and self._seen[1][0] <= now - self._window:
            self._seen.popleft()

    @property
    def per_second(self) -> float | None:
        """Units per second; None until something has been done."""
        if len(self._seen) < 2:
            return None
        began, first = self._seen[0]
        seconds = self._clock() - began
        fresh = self._seen[-1][1] - first
        return fresh / seconds if fresh > 0 and seconds > 0 else None

    def seconds_left(self, total: int) -> float | None:
        """How long the rest will take; None where that cannot be told."""
        rate = self.per_second
        return (total - self._seen[-1][1]) / rate if rate is not None else None


class Progress:
    """Shows how far work is, at what rate, and how long it will still take.

    Parameters
    ----------
    title
        What is being done, e.g. ``"scan"``.
    unit
        What is counted, e.g. ``"variants"``.
    stream
        Where to write; standard error unless said otherwise.
    clock
        Seconds that only grow; for tests.
    """

    def __init__(
        self,
        title: str,
        unit: str,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title = title
        self._unit = unit
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = self._stream.isatty()
        self._clock = clock
        self._began = clock()
        self._rate = RecentRate(clock)
        self._first_done: int | None = None
        self._shown_at = -float("inf") if self._terminal else self._began
        self._width = 0
        self._last = (0, 0, "")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        else:
            self.clear()

    def update(self, done: int, total: int, note: str = "") -> None:
        """Say how far the work is.

        Parameters
        ----------
        done, total
            Units done and units in all. What was done before this process began is given in the first call,
            and does not count towards the rate.
        note
            A few words that follow the numbers.
        """
        if self._first_done is None:
            self._first_done = done
            self._began = self._clock()
        self._last = (done, total, note)
        self._rate.update(done)
        now = self._clock()
        if now - self._shown_at < (REDRAW_SECONDS if self._terminal else PLAIN_SECONDS):
            return
        self._shown_at = now
        self._show(self._line(done, total, note))

    def _line(self, done: int, total: int, note: str) -> str:
        fraction = done / total if total else 1.0
        parts = [f"{fraction:4.0%}", f"{done:,} of {total:,} {self._unit}"]
        rate, left = self._rate.per_second, self._rate.seconds_left(total)
        if rate is not None and left is not None:
            parts.append(f"{format_count(rate)}/s")
            if done < total:
                parts.append(f"{format_seconds(left)} left")
        if note:
            parts.append(note)
        if self._terminal:
            filled = round(fraction * BAR_CELLS)
            parts.insert(0, "█" * filled + "░" * (BAR_CELLS - filled))
        return f"{self._title}: {'  '.join(parts)}"

    def _show(self, line: str) -> None:
        if not self._terminal:
            self._stream.write(line + "\n")
        else:
            line = line[: shutil.get_terminal_size().columns - 1]
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        self._stream.flush()

    def clear(self) -> None:
        """Take the line off the terminal, for something else to be written; the next update draws it again."""
        if self._terminal and self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()

    def _finish(self) -> None:
        self.clear()
        if self._first_done is None:
            return
        done, _, note = self._last
        seconds = self._clock() - self._began
        fresh = done - self._first_done
        rate = f" ({format_count(fresh / seconds)}/s)" if fresh and seconds > 0 else ""
        end = f"; {note}" if note else ""
        self._stream.write(f"{self._title}: {done:,} {self._unit} in {format_seconds(seconds)}{rate}{end}\n")
        self._stream.flush()


class Stages:
    """Progress of work in several stages, one line for each.

    Parameters
    ----------
    unit
        What is counted.
    stream
        Where to write; standard error unless said otherwise.
    """

    def __init__(self, unit: str, *, stream: TextIO | None = None) -> None:
        self._unit = unit
        self._stream = stream if stream is not None else sys.stderr
        self._stage = ""
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.__exit__(kind, error, trace)

    def update(self, stage: str, done: int, total: int, note: str = "", *, unit: str | None = None) -> None:
        """Say how far a stage is; a new stage ends the one before. See :meth:`Progress.update`.

        ``unit`` is what this stage counts, where it counts something else than the others.
        """
        if self._progress is None or stage != self._stage:
            if self._progress is not None:
                self._progress.__exit__(None, None, None)
            self._progress = Progress(stage, unit or self._unit, stream=self._stream)
            self._stage = stage
        self._progress.update(done, total, note)

    def say(self, message: str) -> None:
        """Write a line between the lines of progress."""
        if self._progress is not None:
            self._progress.clear()
        self._stream.write(message + "\n")
        self._stream.flush()


def format_count(number: float) -> str:
    """``9.5``, ``950``, ``12.3k``, ``4.5M``, ``1.2G``."""
    scale, suffix = next(
        (scale, suffix)
        for scale, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
        if number >= scale or not suffix
    )
    scaled = number / scale
    return f"{scaled:.0f}{suffix}" if scaled >= 100 else f"{scaled:.1f}{suffix}"


def format_bytes(number: float) -> str:
    """``512 B``, ``1.5 KiB``, ``3.2 GiB``."""
    for suffix in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {suffix}" if suffix == "B" or number >= 100 else f"{number:.1f} {suffix}"
        number /= 1024
    return f"{number:.1f} TiB"


def format_seconds(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_cpu_time(seconds: float) -> str:
    """``12 s``, ``3 min 05 s``, ``2.4 CPU hours``, ``12,300 CPU hours``."""
    hours = seconds / 3600
    return (
        format_seconds(seconds)
        if hours < 1
        else f"{hours:,.1f} CPU hours"
        if hours < 100
        else f"{hours:,.0f} CPU hours"
    )
