"""How a file is compressed, by its first bytes."""

from __future__ import annotations

GZIP, ZSTD, BZIP2 = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh"
_NAMES = {GZIP: "gzip", ZSTD: "zstd", BZIP2: "bz2"}

MAGIC_BYTES = max(map(len, _NAMES))
"""First bytes that tell."""


def compression_of(start: bytes) -> str | None:
    """Arrow's name of the compression of a file that begins with these bytes; None of one that is not compressed."""
    return next((name for magic, name in _NAMES.items() if start.startswith(magic)), None)
