"""Who works in a run folder that is in object storage: an object that its holder renews for as long as it works.

A lease is made by a conditional request, so that one of many gets it. Its age is told by the clock of the store. One
that has not been renewed for :data:`LEASE_SECONDS`, or whose process is known to be gone from this machine, may be
taken over: by a request that fails if it was renewed meanwhile. Who loses the lease stops.
"""

from __future__ import annotations

import _thread
import json
import os
import socket
import threading
import uuid
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allscan.errors import AllscanError, OutputError
from allscan.storage import objects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allscan.storage import ObjectPlace

LEASE_SECONDS = 60.0
"""A lease that was not renewed for so long is free."""
RENEW_SECONDS = 10.0

_lost: set[ObjectPlace] = set()
"""Leases that this process held until another took them over."""


@dataclass(frozen=True)
class Holder:
    """A process, known also to others on its machine."""

    token: str
    machine: str  # name, boot and namespace of process numbers
    host: str
    process: int
    started: str  # by the machine's clock: numbers of processes come again

    @classmethod
    def this(cls) -> Holder:
        """This process."""
        return cls(uuid.uuid4().hex, _machine(), socket.gethostname(), os.getpid(), _started(os.getpid()) or "")

    @classmethod
    def of(cls, content: bytes) -> Holder | None:
        """What a lease says; None if it cannot be read."""
        try:
            return cls(**json.loads(content))
        except (ValueError, TypeError):
            return None

    @property
    def is_gone(self) -> bool:
        """Whether it is known that the process has ended."""
        return self.machine == _machine() and _started(self.process) != self.started

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        # Of a machine that cannot be told from others, no process is known to be gone.
        return uuid.uuid4().hex


def _started(process: int) -> str | None:
    """When a process of this machine started, in ticks since the boot; None if there is none."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # The name of the program, in parentheses, may hold anything.
    fields = status.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


@contextmanager
def held(place: ObjectPlace) -> Iterator[None]:
    """Hold a lease, and renew it while the block works.

    Parameters
    ----------
    place
        The object that is the lease.

    Raises
    ------
    OutputError
        Another holds it, or object storage cannot be written.
    """
    holder = Holder.this()
    tag = _acquire(place, holder)
    _lost.discard(place)
    over = threading.Event()
    renewal = threading.Thread(target=_renew, args=(place, holder, tag, over), name="allscan-lease", daemon=True)
    renewal.start()
    try:
        yield
    finally:
        over.set()
        renewal.join()
        if place not in _lost:
            _release(place, holder)


def _content(holder: Holder) -> bytes:
    return json.dumps(asdict(holder)).encode()


def _acquire(place: ObjectPlace, holder: Holder) -> dict[str, Any]:
    for _ in range(3):
        try:
            objects.create(place, _content(holder))
            return objects.get_tagged(place)[1]
        except FileExistsError:
            pass
        try:
            content, tag = objects.get_tagged(place)
            found = Holder.of(content)
            if found is not None and found.token == holder.token:
                return tag  # created by a first attempt whose answer was lost
            if not _is_free(place, found, _now_there(place)):
                raise OutputError(
                    f"another run is working in this folder ({found or 'another process'})",
                    where=str(place.parent),
                    fix="wait for it, or stop it; `allscan status` shows how far it is",
                )
            objects.replace_if_same(place, _content(holder), tag)
            return objects.get_tagged(place)[1]
        except (FileNotFoundError, objects.ObjectChangedError):
            continue  # given back, or renewed or taken by another: look again
    raise OutputError(
        "another run has just begun to work in this folder",
        where=str(place.parent),
        fix="wait for it, or stop it; `allscan status` shows how far it is",
    )


def _is_free(place: ObjectPlace, holder: Holder | None, at: datetime) -> bool:
    if holder is not None and holder.is_gone:
        return True
    found = objects.find(place)
    return found is None or (at - found["last_modified"]).total_seconds() > LEASE_SECONDS


def _now_there(place: ObjectPlace) -> datetime:
    """The time by the store's clock, which is the one that leases are dated by."""
    probe = place.with_name(f".clock-{uuid.uuid4().hex}")
    objects.put(probe, b"")
    try:
        found = objects.find(probe)
        return found["last_modified"] if found is not None else datetime.now(UTC)
    finally:
        objects.delete([probe])


def _renew(place: ObjectPlace, holder: Holder, tag: dict[str, Any], over: threading.Event) -> None:
    while not over.wait(RENEW_SECONDS):
        try:
            objects.replace_if_same(place, _content(holder), tag)
            tag = objects.get_tagged(place)[1]
        except (objects.ObjectChangedError, FileNotFoundError):
            try:
                content, tag = objects.get_tagged(place)
                found = Holder.of(content)
            except FileNotFoundError:
                found = None
            except AllscanError:
                continue
            if found is None or found.token != holder.token:
                _lost.add(place)
                # The work stops as at Ctrl-C; what it would write of its state is refused.
                _thread.interrupt_main()
                return
        except AllscanError:
            continue  # what cannot be reached now is tried again


def _release(place: ObjectPlace, holder: Holder) -> None:
    try:
        content, _ = objects.get_tagged(place)
        found = Holder.of(content)
        if found is not None and found.token == holder.token:
            objects.delete([place])
    except (AllscanError, FileNotFoundError):
        # It is free by itself in a minute.
        return


def is_held(place: ObjectPlace) -> bool:
    """Whether somebody holds a lease."""
    try:
        content, _ = objects.get_tagged(place)
    except FileNotFoundError:
        return False
    return not _is_free(place, Holder.of(content), datetime.now(UTC))


def refuse_if_lost(place: ObjectPlace) -> None:
    """Let nobody write in a folder that another process has taken over.

    Raises
    ------
    OutputError
        This process held the lease, and another has taken it over.
    """
    if place in _lost:
        raise OutputError(
            "another run has taken over this folder: this one could not show for a minute that it was at work",
            where=str(place.parent),
            fix="leave the other at work; `allscan status` shows how far it is",
        )
