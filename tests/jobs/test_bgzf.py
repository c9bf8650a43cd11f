"""Compressed text and its index: htslib reads both, and finds what a plain search finds."""

from __future__ import annotations

import gzip
import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pysam
import pytest

from allscan.jobs import bgzf
from allscan.jobs.bgzf import BLOCK, END_OF_FILE, BgzfWriter, TabixIndex

rng = np.random.default_rng(3)


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
@pytest.mark.parametrize("part", [7_919, 10 * BLOCK])
def test_blocks_hold_what_was_written(size: int, part: int) -> None:
    content = rng.integers(0, 256, size, dtype=np.uint8).tobytes()  # noise, which does not compress
    file = io.BytesIO()
    writer = BgzfWriter(file.write)
    for start in range(0, size, part):
        writer.write(content[start : start + part])
    writer.close()
    assert gzip.decompress(file.getvalue()) == content
    assert file.getvalue().endswith(END_OF_FILE)
    assert writer.starts[-1] == file.tell() - len(END_OF_FILE)
    assert all(b - a <= 1 << 16 for a, b in pairwise(writer.starts))
    places = np.arange(0, size + 1, 1_000)
    for place, offset in zip(places.tolist(), writer.offsets(places).tolist(), strict=True):
        rest = gzip.decompress(file.getvalue()[offset >> 16 :])
        assert rest[offset & 0xFFFF :] == content[place:]


def write_indexed(path: Path, contigs: list[str], contig: np.ndarray, position: np.ndarray, part: int) -> list[str]:
    """A table of rows, and its index; returns the rows."""
    noise = rng.random(len(position))
    rows = [f"{contigs[c]}\t{p}\t{x}" for c, p, x in zip(contig, position, noise, strict=True)]
    with path.open("wb") as file:
        writer = BgzfWriter(file.write)
        writer.write(b"chrom\tpos\tx\n")
        index = TabixIndex(1, 12)
        for start in range(0, len(rows), part):
            lines = [f"{row}\n".encode() for row in rows[start : start + part]]
            writer.write(b"".join(lines))
            ends = np.cumsum([len(line) for line in lines])
            index.add(contigs, contig[start : start + part], position[start : start + part], ends)
        writer.close()
    with Path(f"{path}{index.suffix}").open("wb") as file:
        packed = BgzfWriter(file.write)
        packed.write(index.content(writer))
        packed.close()
    return rows


@pytest.mark.parametrize("far", [False, True], ids=["tbi", "csi"])
@pytest.mark.parametrize("least", [1 << 16, 1 << 9, 0], ids=["small", "bins", "all bins"])
def test_regions_hold_their_rows(far: bool, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bgzf, "LEAST_BIN_BYTES", least)
    contigs = ["none", "2", "1", "X"]
    contig = np.repeat([1, 2, 3], [6_000, 5_000, 1])
    # Crowded stretches, empty ones, the edges of windows, and the same position more than once.
    crowded = np.concatenate([rng.integers(1, 40_000, 3_000), rng.integers(1, 2**31 if far else 2**28, 3_000)])
    edges = np.concatenate([np.repeat([1, 16_384, 16_385, 131_072, 131_073], 400), rng.integers(1, 10**6, 3_000)])
    position = np.concatenate([np.sort(crowded), np.sort(edges), [77]])
    rows = write_indexed(tmp_path / "t.gz", contigs, contig, position, part=1_717)
    suffix = ".csi" if far else ".tbi"
    with pysam.TabixFile(str(tmp_path / "t.gz"), index=str(tmp_path / f"t.gz{suffix}")) as file:
        assert file.contigs == ["2", "1", "X"]
        for c in (1, 2, 3):
            assert list(file.fetch(contigs[c])) == [row for row, of in zip(rows, contig, strict=True) if of == c]
            for width in (1, 300, 20_000, 10**6, 10**8):
                for start in [0, 16_383, 16_384, 131_072, *rng.integers(0, 2**28, 6).tolist()]:
                    inside = (contig == c) & (position > start) & (position <= start + width)
                    found = list(file.fetch(contigs[c], start, start + width))
                    assert found == [rows[r] for r in np.flatnonzero(inside)]


def test_no_rows_have_an_index(tmp_path: Path) -> None:
    write_indexed(tmp_path / "t.gz", ["1"], np.empty(0, np.int64), np.empty(0, np.int64), part=1)
    with pysam.TabixFile(str(tmp_path / "t.gz")) as file:
        assert file.contigs == []
        assert list(file.fetch()) == []
