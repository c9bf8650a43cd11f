"""Frames whose end is left as it is: every reader of Zstandard reads them."""

from __future__ import annotations

import numcodecs
import numpy as np
import pyarrow as pa
import pytest

from allscan.engine.zstd import compress_with_tail, content_size, decompress

HEADS = {
    "empty": b"",
    "one byte": b"a",
    "one byte, often": b"a" * 3_000_000,
    "text": b"".join(b"variant %d, " % k for k in range(40_000)),
    "noise": np.random.default_rng(1).bytes(300_000),
}


@pytest.mark.parametrize("tail", [1, 100, 128 * 1024 - 1, 128 * 1024, 128 * 1024 + 1, 1_000_000])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("level", [1, 3])
def test_other_readers_read_frames_with_a_tail(head: bytes, tail: int, level: int) -> None:
    end = np.random.default_rng(tail).bytes(tail)
    frame = compress_with_tail(head, end, level)
    assert content_size(frame) == len(head) + len(end)
    assert bytes(decompress(frame, len(head) + len(end))) == head + end
    assert bytes(numcodecs.Zstd().decode(frame)) == head + end
    assert pa.Codec("zstd").decompress(frame, decompressed_size=len(head) + len(end)).to_pybytes() == head + end
    assert end[:100] in frame
    alone = len(numcodecs.Zstd(level=level).encode(head))
    assert len(frame) <= alone + len(end) + 3 * (len(end) // (128 * 1024) + 1) + 8


def test_a_frame_with_a_tail_that_lost_its_end_is_refused() -> None:
    frame = compress_with_tail(HEADS["text"], bytes(range(256)), 1)
    for cut in (3, 10, len(frame) - 300, len(frame) - 1):
        with pytest.raises((ValueError, RuntimeError)):
            decompress(frame[:cut], 10_000_000)
