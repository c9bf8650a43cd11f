"""A block of genotypes narrowed to some of its samples, at the cost of moving bits.

Packed calls lie in planes (:mod:`allscan.kernels.packing`). Straightened, 32 neighbours of a variant are one word; the
two bits of those that stay are brought together in five steps, as in Hacker's Delight (Warren 2013, 7-4), and put
behind those that came before. Which bits move is the same for every variant, so that the same word of many variants is
moved at once, in the vector registers of any CPU. Rows are straightened once for all sets of samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.jit import jit
from allscan.kernels.packing import row_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from allscan.kernels.block import GenotypeBlock

WORD = 32
"""Samples of a straight word."""
STEPS = 5
TILE = 32
"""Variants whose words lie side by side."""
LINE = 8
"""Of them those that are laid there together: a cache line is written once."""
ABSENT = -1


class People(NamedTuple):
    """Samples to narrow blocks to."""

    sample: NDArray[np.int64]  # (people,) ascending
    number: NDArray[np.int32]  # (samples,) among the people, or ABSENT
    keep: NDArray[np.uint64]  # (words,) both bits of those who stay
    move: NDArray[np.uint64]  # (words, STEPS) bits that go down by 2, 4, 8, 16 and 32 places
    before: NDArray[np.int64]  # (words,) people in the words before


def choose_people(sample: NDArray[np.int64], n_samples: int) -> People | None:
    """Prepare to narrow blocks of ``n_samples`` to some samples, ascending; None if these are all."""
    if len(sample) == n_samples:
        return None
    number = np.full(n_samples, ABSENT, np.int32)
    number[sample] = np.arange(len(sample))
    inside = np.zeros(row_bytes(n_samples) * 4, np.uint64)
    inside[sample] = 3
    words = inside.reshape(-1, WORD)
    keep = np.bitwise_or.reduce(words << np.arange(0, 2 * WORD, 2, dtype=np.uint64), axis=1)
    chosen = words != 0
    before = np.concatenate([[0], np.cumsum(chosen.sum(axis=1))])[:-1]
    return People(sample, number, keep, _moves(chosen), before)


def _moves(chosen: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Bits that move in each step, of words (words, WORD) of samples that stay or go."""
    # Everybody goes down by the number of those below who are left out, one binary digit of it after the other.
    down = np.cumsum(~chosen, axis=1)
    place = np.broadcast_to(np.arange(WORD), chosen.shape).copy()
    move = np.zeros((len(chosen), STEPS), np.uint64)
    for step in range(STEPS):
        moves = chosen & ((down >> step) & 1 == 1)
        bits = np.where(moves, np.uint64(3) << (2 * place).astype(np.uint64), np.uint64(0))
        move[:, step] = np.bitwise_or.reduce(bits, axis=1)
        place[moves] -= 1 << step
    return move


@jit
def _gather_plane(words: NDArray[np.uint64], down: int, out: NDArray[np.uint16]) -> None:
    """The two bits from ``down`` of the eight bytes of every word, together."""
    for w in range(words.shape[0]):
        x = (words[w] >> np.uint64(down)) & np.uint64(0x0303030303030303)
        x = (x | (x >> np.uint64(6))) & np.uint64(0x000F000F000F000F)
        x = (x | (x >> np.uint64(12))) & np.uint64(0x000000FF000000FF)
        out[w] = np.uint16((x | (x >> np.uint64(24))) & np.uint64(0xFFFF))


@jit
def _scatter_plane(pieces: NDArray[np.uint16], up: int, out: NDArray[np.uint64]) -> None:
    """Add to every word the bits that :func:`_gather_plane` takes out of it."""
    for w in range(out.shape[0]):
        x = np.uint64(pieces[w])
        x = (x | (x << np.uint64(24))) & np.uint64(0x000000FF000000FF)
        x = (x | (x << np.uint64(12))) & np.uint64(0x000F000F000F000F)
        x = (x | (x << np.uint64(6))) & np.uint64(0x0303030303030303)
        out[w] |= x << np.uint64(up)


@jit
def _straighten(calls: NDArray[np.uint64], planes: NDArray[np.uint16], out: NDArray[np.uint64]) -> None:
    """``out[tile, word, variant]``: the two bits of 32 neighbours; ``planes`` is scratch, (LINE, 4, words)."""
    straight = planes.view(np.uint64)
    for first in range(0, calls.shape[0], LINE):
        n = min(LINE, calls.shape[0] - first)
        for k in range(n):
            for plane in range(4):
                _gather_plane(calls[first + k], 2 * plane, planes[k, plane])
        tile, lane = first // TILE, first % TILE
        for group in range(calls.shape[1] // 8):
            for plane in range(4):
                for half in range(2):
                    target = out[tile, 8 * group + 2 * plane + half]
                    for k in range(n):
                        target[lane + k] = straight[k, plane, 2 * group + half]


@jit
def _bring_together(
    straight: NDArray[np.uint64],
    keep: NDArray[np.uint64],
    move: NDArray[np.uint64],
    before: NDArray[np.int64],
    out: NDArray[np.uint64],
) -> None:
    """``out[word, variant]``, zeros before: the bits of those who stay, of one tile (words, variants)."""
    for w in range(keep.shape[0]):
        kept = keep[w]
        if kept == np.uint64(0):
            continue
        first, second, third, fourth, fifth = move[w, 0], move[w, 1], move[w, 2], move[w, 3], move[w, 4]
        place, up = before[w] // WORD, np.uint64(2 * (before[w] % WORD))
        source, low, high = straight[w], out[place], out[place + 1]
        for v in range(TILE):
            x = source[v] & kept
            moved = x & first
            x = (x ^ moved) | (moved >> np.uint64(2))
            moved = x & second
            x = (x ^ moved) | (moved >> np.uint64(4))
            moved = x & third
            x = (x ^ moved) | (moved >> np.uint64(8))
            moved = x & fourth
            x = (x ^ moved) | (moved >> np.uint64(16))
            moved = x & fifth
            x = (x ^ moved) | (moved >> np.uint64(32))
            low[v] |= x << up
            # In two steps: a shift by 64 is not defined.
            high[v] |= (x >> np.uint64(1)) >> (np.uint64(63) - up)


@jit
def _lay_in_planes(
    together: NDArray[np.uint64], first: int, planes: NDArray[np.uint16], out: NDArray[np.uint64]
) -> None:
    """Packed rows of the variants ``first`` and on, of one tile; ``planes`` is scratch, (LINE, 4, words)."""
    straight = planes.view(np.uint64)
    for lane in range(0, min(TILE, out.shape[0] - first), LINE):
        n = min(LINE, out.shape[0] - first - lane)
        for group in range(out.shape[1] // 8):
            for plane in range(4):
                for half in range(2):
                    source = together[8 * group + 2 * plane + half]
                    for k in range(n):
                        straight[k, plane, 2 * group + half] = source[lane + k]
        for k in range(n):
            row = out[first + lane + k]
            row[:] = 0
            for plane in range(4):
                _scatter_plane(planes[k, plane], 2 * plane, row)


@jit
def _narrow_calls(
    straight: NDArray[np.uint64],
    keep: NDArray[np.uint64],
    move: NDArray[np.uint64],
    before: NDArray[np.int64],
    together: NDArray[np.uint64],
    planes: NDArray[np.uint16],
    out: NDArray[np.uint64],
) -> None:
    for tile in range(straight.shape[0]):
        together[:] = 0
        _bring_together(straight[tile], keep, move, before, together)
        _lay_in_planes(together, tile * TILE, planes, out)


@jit
def _narrow_carriers(
    offset: NDArray[np.int64],
    sample: NDArray[np.int32],
    call: NDArray[np.uint8],
    number: NDArray[np.int32],
    new_offset: NDArray[np.int64],
    new_sample: NDArray[np.int32],
    new_call: NDArray[np.uint8],
) -> None:
    at = 0
    for v in range(offset.shape[0] - 1):
        new_offset[v] = at
        for j in range(offset[v], offset[v + 1]):
            # Written in any case, counted if the person stays: no branch to guess wrong.
            person = number[sample[j]]
            new_sample[at] = person
            new_call[at] = call[j]
            at += person >= 0
    new_offset[offset.shape[0] - 1] = at


@jit
def _narrow_dosages(
    codes: NDArray[np.uint16] | NDArray[np.uint8],
    sample: NDArray[np.int64],
    out: NDArray[np.uint16] | NDArray[np.uint8],
) -> None:
    for v in range(codes.shape[0]):
        for i in range(sample.shape[0]):
            out[v, i] = codes[v, sample[i]]


def narrowed(block: GenotypeBlock, sets: Iterable[People | None]) -> Iterator[GenotypeBlock]:
    """The block with the samples of each set alone, one after the other; None stands for all samples.

    Samples keep their order, variants their encoding: one that few of all carry is still a list of carriers, of the
    same homozygote's allele, where many of a set carry it.

    Parameters
    ----------
    block
        ``v`` variants × ``n`` samples.
    sets
        From :func:`choose_people`, with the same ``n``.
    """
    straight = None
    for people in sets:
        if people is None:
            yield block
            continue
        if straight is None:
            straight = _straight(block.calls)
        yield _narrow(block, people, straight)


def narrow(block: GenotypeBlock, people: People | None) -> GenotypeBlock:
    """The block with some of its samples alone, as :func:`narrowed`."""
    return next(narrowed(block, (people,)))


def _straight(calls: NDArray[np.uint8]) -> NDArray[np.uint64]:
    n_tiles, words = -(-len(calls) // TILE), calls.shape[1] // 8
    # Lanes of variants that there are not: they are moved along, and read by nobody.
    out = np.zeros((n_tiles, words, TILE), np.uint64)
    _straighten(calls.view(np.uint64), np.empty((LINE, 4, words), np.uint16), out)
    return out


def _narrow(block: GenotypeBlock, people: People, straight: NDArray[np.uint64]) -> GenotypeBlock:
    n = len(people.sample)
    calls = np.empty((len(block.calls), row_bytes(n)), np.uint8)
    words = calls.shape[1] // 8
    together = np.empty((words + 2, TILE), np.uint64)
    planes = np.empty((LINE, 4, words), np.uint16)
    _narrow_calls(straight, people.keep, people.move, people.before, together, planes, calls.view(np.uint64))
    # One more than there can be: what is not counted is written, too.
    sample = np.empty(len(block.carrier_sample) + 1, np.int32)
    call = np.empty(len(sample), np.uint8)
    offset = np.empty_like(block.carrier_offset)
    _narrow_carriers(
        block.carrier_offset, block.carrier_sample, block.carrier_call, people.number, offset, sample, call
    )
    dosage8 = np.empty((len(block.dosage8), n), np.uint8)
    dosage16 = np.empty((len(block.dosage16), n), np.uint16)
    _narrow_dosages(block.dosage8, people.sample, dosage8)
    _narrow_dosages(block.dosage16, people.sample, dosage16)
    found = int(offset[-1])
    return block._replace(
        n_samples=n,
        calls=calls,
        carrier_offset=offset,
        carrier_sample=sample[:found].copy(),
        carrier_call=call[:found].copy(),
        dosage8=dosage8,
        dosage16=dosage16,
    )


def people_bytes(n_samples: int) -> int:
    """Bytes of :class:`People` who are some of so many samples."""
    return n_samples * (8 + 4) + row_bytes(n_samples) // 8 * (8 * STEPS + 16)
