"""Studies of one region, side by side: which rows are of one variant, and which of its alleles the effects are of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.engine.meta.reading import RegionRows, read_region
from allscan.kernels.alleles import (
    OTHER_STRAND,
    PALINDROME,
    PAYLOAD_BITS,
    REGION_BITS,
    SEQUENCE,
    SNV,
    SNV_ALLELES,
    SWAPPED,
    same_sequences,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

VALUES = ("beta", "standard_error", "neg_log10_p", "n", "frequency", "cases")
"""What is kept of each study."""

DUPLICATES = "several rows of one variant that differ"
SAME_ROWS = "further rows of one variant, all the same"
OTHER_SEQUENCE = "alleles that are not those of the other studies"
FLIPPED = "alleles of the other strand, turned"
TURNED = "effect of the other allele, its sign changed"

_SURE = 1 << 20
"""What the word of a study that knows the reference allele weighs beside those that do not."""


@dataclass(frozen=True)
class JoinedRegion:
    """Variants of a region, in the order of their positions and alleles; the effect allele of all is ALT."""

    position: NDArray[np.int32]
    rs: NDArray[np.int64]
    kind: NDArray[np.uint8]
    info: NDArray[np.float32]
    ref: Sequences
    alt: Sequences
    values: dict[str, NDArray[np.float32]]
    """(studies, variants) of each of VALUES."""
    left_out: list[dict[str, int]]
    """Rows by reason, for each study."""
    noted: list[dict[str, int]]
    shared_places: NDArray[np.int64]
    """(studies, studies): places of both, and of one on the diagonal."""
    shared_variants: NDArray[np.int64]
    strands: NDArray[np.int64]
    """(2, studies, studies): variants of both whose strand can be told, and of these on opposite ones."""


class Sequences(NamedTuple):
    """Alleles, one after another."""

    ends: NDArray[np.int32]  # (alleles + 1,) from 0
    letters: NDArray[np.uint8]


class _Sorted(NamedTuple):
    """Rows of a study, each variant once, by key."""

    rows: NDArray[Any]
    starts: NDArray[np.int64]  # of the alleles of SEQUENCE rows: where the other one begins
    letters: NDArray[np.uint8]


def join_region(folders: Sequence[Path], region: str) -> JoinedRegion:
    """Join the studies in one region.

    Parameters
    ----------
    folders
        Of each study's rows.
    region
        Contig and number of the region.
    """
    left_out: list[Counter[str]] = [Counter() for _ in folders]
    noted: list[Counter[str]] = [Counter() for _ in folders]
    studies = [_once(read_region(folder, region), lost) for folder, lost in zip(folders, left_out, strict=True)]
    keys = np.unique(np.concatenate([one.rows["key"] for one in studies]))
    n, kind = len(keys), np.zeros(len(keys), np.uint8)
    place = [np.searchsorted(keys, one.rows["key"]) for one in studies]
    for one, where in zip(studies, place, strict=True):
        kind[where] = one.rows["kind"]
    sequences = _sequence_variants(studies, place, left_out)
    votes = np.zeros((n, 4), np.int64)
    for one, where in zip(studies, place, strict=True):
        rows = one.rows
        # A study that knows the reference has the effect of ALT: its side once turned accordingly.
        side = rows["side"] ^ np.where(rows["ref"] < 0, SWAPPED, 0).astype(np.uint8)
        np.add.at(votes, (where, side), np.where(rows["ref"] != 0, _SURE, 1))
    chosen = _elected(votes)
    values = {name: np.full((len(folders), n), np.nan, np.float32) for name in VALUES}
    for s, (one, where) in enumerate(zip(studies, place, strict=True)):
        rows = one.rows
        against = rows["side"] ^ chosen[where]
        turned, flipped = (against & SWAPPED) > 0, (against & OTHER_STRAND) > 0
        for name in VALUES:
            values[name][s, where] = rows[name]
        values["beta"][s, where] = np.where(turned, -rows["beta"], rows["beta"])
        values["frequency"][s, where] = np.where(turned, np.float32(1.0) - rows["frequency"], rows["frequency"])
        for reason, which in ((TURNED, turned), (FLIPPED, flipped)):
            if which.any():
                noted[s][reason] += int(np.count_nonzero(which))
    places, variants = _shared([one.rows["key"] for one in studies])
    number = int(region.rsplit(".", 1)[1])
    ref, alt = _alleles(keys, kind, chosen, sequences)
    rs = np.zeros(n, np.int64)
    info = np.full((len(folders), n), np.nan, np.float32)
    for s, (one, where) in enumerate(zip(studies, place, strict=True)):
        # The smallest number: whatever the order of the studies.
        here = one.rows["rs"] > 0
        found, at = one.rows["rs"][here], where[here]
        rs[at] = np.where(rs[at] == 0, found, np.minimum(rs[at], found))
        info[s, where] = one.rows["info"]
    return JoinedRegion(
        position=((keys >> PAYLOAD_BITS) + (number << REGION_BITS)).astype(np.int32),
        rs=rs,
        kind=kind,
        info=_least(info),
        ref=ref,
        alt=alt,
        values=values,
        left_out=[dict(lost) for lost in left_out],
        noted=[dict(seen) for seen in noted],
        shared_places=places,
        shared_variants=variants,
        strands=_strands(studies, place, n),
    )


def _least(info: NDArray[np.float32]) -> NDArray[np.float32]:
    """Smallest value over studies that tell one, (variants,)."""
    least = np.where(np.isnan(info), np.inf, info).min(axis=0)
    return np.where(np.isinf(least), np.nan, least).astype(np.float32)


def _once(region: RegionRows, left_out: Counter[str]) -> _Sorted:
    """Rows by key, of each variant one; none of a variant whose rows differ."""
    rows, letters = region
    size = rows["other_size"].astype(np.int64) + rows["effect_size"]
    starts = np.cumsum(size) - size
    order = np.argsort(rows["key"], kind="stable")
    rows, starts = rows[order], starts[order]
    again = np.zeros(len(rows), np.bool_)
    again[1:] = rows["key"][1:] == rows["key"][:-1]
    if not again.any():
        return _Sorted(rows, starts, letters)
    first = np.flatnonzero(~again)
    group = np.cumsum(~again) - 1
    beta = np.where(rows["side"] & SWAPPED, -rows["beta"], rows["beta"])
    leader = first[group]
    differs = ~_equal(beta, beta[leader])
    for name in ("standard_error", "neg_log10_p"):
        differs |= ~_equal(rows[name], rows[name][leader])
    bad = np.zeros(len(first), np.bool_)
    bad[group[differs]] = True
    dropped = int(np.count_nonzero(bad[group]))
    if dropped:
        left_out[DUPLICATES] += dropped
    same = int(np.count_nonzero(again & ~bad[group]))
    if same:
        left_out[SAME_ROWS] += same
    kept = first[~bad]
    return _Sorted(rows[kept], starts[kept], letters)


def _equal(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray((one == other) | (np.isnan(one) & np.isnan(other)))


class _Held(NamedTuple):
    """Alleles of variants of kind SEQUENCE: where the shorter (or earlier) and the other stand."""

    start: NDArray[np.int64]  # (variants, 2)
    size: NDArray[np.int64]  # (variants, 2)
    letters: NDArray[np.uint8]


def _sequence_variants(studies: list[_Sorted], place: list[NDArray[np.int64]], left_out: list[Counter[str]]) -> _Held:
    """The sequences of each variant, from the first study that has it; rows of others that differ are left out.

    Rows meet by a hash of their sequences, so that they differ once in a thousand genomes: by chance.
    """
    n = 1 + max((int(where[-1]) for where in place if len(where)), default=-1)
    start, size = np.full((n, 2), -1, np.int64), np.zeros((n, 2), np.int64)
    letters = np.concatenate([np.empty(0, np.uint8), *(one.letters for one in studies)])
    offset = 0
    for s, one in enumerate(studies):
        rows = one.rows
        here = np.flatnonzero(rows["kind"] == SEQUENCE)
        other, effect = rows["other_size"][here].astype(np.int64), rows["effect_size"][here].astype(np.int64)
        begin = one.starts[here] + offset
        begins, sizes = np.stack([begin, begin + other], axis=1), np.stack([other, effect], axis=1)
        swapped = (rows["side"][here] & SWAPPED) > 0
        begins[swapped], sizes[swapped] = begins[swapped][:, ::-1], sizes[swapped][:, ::-1]
        at = place[s][here]
        new = start[at, 0] < 0
        start[at[new]], size[at[new]] = begins[new], sizes[new]
        old = np.flatnonzero(~new)
        if len(old):
            wrong = ~_same(letters, start[at[old]], size[at[old]], begins[old], sizes[old])
            if wrong.any():
                left_out[s][OTHER_SEQUENCE] += int(np.count_nonzero(wrong))
                kept = np.ones(len(rows), np.bool_)
                kept[here[old[wrong]]] = False
                studies[s] = _Sorted(rows[kept], one.starts[kept], one.letters)
                place[s] = place[s][kept]
        offset += len(one.letters)
    return _Held(start, size, letters)


def _same(
    letters: NDArray[np.uint8],
    start: NDArray[np.int64],
    size: NDArray[np.int64],
    other_start: NDArray[np.int64],
    other_size: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Whether pairs of sequences are the same, (rows,) of (rows, 2)."""
    out = np.zeros(start.size, np.bool_)
    same_sequences(letters, start.ravel(), size.ravel(), other_start.ravel(), other_size.ravel(), out)
    return np.asarray(out.reshape(start.shape).all(axis=1))


def _elected(votes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The side of each variant that becomes REF and ALT: first its strand, then the order, by the most votes.

    Ties go to the first of the alphabet, whatever the order of the studies.
    """
    other = votes[:, OTHER_STRAND:].sum(axis=1) > votes[:, :OTHER_STRAND].sum(axis=1)
    strand = np.where(other, OTHER_STRAND, 0)
    row = np.arange(len(votes))
    swapped = votes[row, strand | SWAPPED] > votes[row, strand]
    return (strand | np.where(swapped, SWAPPED, 0)).astype(np.uint8)


def _shared(keys: list[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places, and variants, that pairs of studies both have; (studies, studies)."""
    places = [np.unique(one >> PAYLOAD_BITS) for one in keys]
    out = []
    for held in (places, keys):
        counts = np.zeros((len(keys), len(keys)), np.int64)
        for a, one in enumerate(held):
            for b in range(a, len(held)):
                both = len(one) if a == b else len(np.intersect1d(one, held[b], assume_unique=True))
                counts[a, b] = counts[b, a] = both
        out.append(counts)
    return out[0], out[1]


def _strands(studies: list[_Sorted], place: list[NDArray[np.int64]], n: int) -> NDArray[np.int64]:
    """How often the strands of two studies can be compared, and how often they are opposite."""
    strand = np.full((len(studies), n), -1, np.int8)
    for s, (one, where) in enumerate(zip(studies, place, strict=True)):
        here = one.rows["kind"] == SNV
        strand[s, where[here]] = (one.rows["side"][here] & OTHER_STRAND) > 0
    out = np.zeros((2, len(studies), len(studies)), np.int64)
    for a in range(len(studies)):
        for b in range(a):
            told = (strand[a] >= 0) & (strand[b] >= 0)
            counts = np.count_nonzero(told), np.count_nonzero(told & (strand[a] != strand[b]))
            out[:, a, b] = out[:, b, a] = counts
    return out


def _alleles(
    keys: NDArray[np.int64], kind: NDArray[np.uint8], chosen: NDArray[np.uint8], held: _Held
) -> tuple[Sequences, Sequences]:
    """REF and ALT of each variant."""
    n = len(keys)
    start, size = np.zeros((n, 2), np.int64), np.ones((n, 2), np.int64)
    single = (kind == SNV) | (kind == PALINDROME)
    index = SNV_ALLELES[np.where(single, keys & 3, 0)]
    # Of the other strand: A for T, C for G.
    index = np.where(((chosen & OTHER_STRAND) > 0)[:, None], 3 - index, index)
    bases = np.frombuffer(b"ACGT", np.uint8)
    letters = np.concatenate([bases, held.letters])
    start[:] = index
    longer = np.flatnonzero(kind == SEQUENCE)
    start[longer], size[longer] = held.start[longer] + len(bases), held.size[longer]
    swapped = (chosen & SWAPPED) > 0
    start[swapped], size[swapped] = start[swapped][:, ::-1], size[swapped][:, ::-1]
    return tuple(_gathered(letters, start[:, k], size[:, k]) for k in range(2))  # type: ignore[return-value]


def _gathered(letters: NDArray[np.uint8], start: NDArray[np.int64], size: NDArray[np.int64]) -> Sequences:
    ends = np.zeros(len(size) + 1, np.int64)
    np.cumsum(size, out=ends[1:])
    index = np.arange(int(ends[-1])) + np.repeat(start - ends[:-1], size)
    return Sequences(ends.astype(np.int32), letters[index])
