"""Ports for the servers that tests start."""

from __future__ import annotations

import random
import socket

# Above the ports that Linux gives to outgoing connections, and that Ray gives to its workers: nobody takes one of
# these between the moment when it is found free and the moment when a server listens on it.
_LEFT = list(range(61000, 65536))
random.SystemRandom().shuffle(_LEFT)


def free_port() -> int:
    """A port that is free, and that no other call of this process has got or gets."""
    while _LEFT:
        port = _LEFT.pop()
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
