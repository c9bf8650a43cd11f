"""Hashes of contents: what has the same hash is the same."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DIGITS = 32  # hexadecimal ones of a hash


def content_hash(*parts: str | bytes | NDArray[Any]) -> str:
    """Hash of texts, bytes and arrays, in this order."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            content = np.ascontiguousarray(part).tobytes()
        else:
            content = part.encode() if isinstance(part, str) else part
        # With its length: parts that meet at another place are other parts.
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()[:_DIGITS]
