"""Genotypes by the ancestry of the haplotypes that carry them: what tests of local ancestry are given.

A person has two haplotypes, each with an allele and an ancestry at every variant. The ancestries along a haplotype come
in long runs, so a block holds those at its first variant and where they change; of the alleles it holds the people who
carry the rarer one, with the state of both their haplotypes, so that a rare variant costs what its carriers cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.jit import jit
from allscan.kernels.packing import unpack_calls

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.kernels.block import GenotypeBlock

MOST_ANCESTRIES = 8
"""A state of both haplotypes is a byte."""


class HaplotypeBlock(NamedTuple):
    """``v`` variants of one chromosome × ``n`` people of ``k`` ancestries.

    The state of a person is ``4 (k · first + second) + 2 · listed first + listed second``: the ancestries of both
    haplotypes, and whether each has the listed allele. A listed person with neither has no call (or one of unknown
    phase, where the ancestries differ).
    """

    n_people: int
    n_ancestries: int
    offset: NDArray[np.int64]  # (variants + 1,) of the people listed
    person: NDArray[np.int32]  # (listed,) increasing within a variant
    state: NDArray[np.uint8]  # (listed,)
    flipped: NDArray[np.bool_]  # (variants,) the listed allele is REF, not ALT
    usable: NDArray[np.bool_]  # (variants,) both phase and ancestry are known
    ancestry: NDArray[np.uint8]  # (2 × people,) of the haplotypes before the changes of the first variant
    change_offset: NDArray[np.int64]  # (variants + 1,)
    change_haplotype: NDArray[np.int32]  # (changes,) 2 × person + 0 or 1
    change_ancestry: NDArray[np.uint8]  # (changes,) from this variant on

    @property
    def n_variants(self) -> int:
        """Number of variants."""
        return len(self.flipped)


class Phase(NamedTuple):
    """On which haplotype heterozygous people carry ALT, variant by variant, in the order of the people."""

    bits: NDArray[np.uint8]  # eight a byte, lowest first; 1: on the first haplotype
    start: NDArray[np.int64]  # (variants,) number of the first bit; -1: the variant has no phase
    unphased: NDArray[np.int64]  # increasing numbers of bits that say nothing


class Changes(NamedTuple):
    """Ancestries of the haplotypes of everybody who has any, at the first variant and where they change."""

    ancestry: NDArray[np.uint8]  # (2 × people with local ancestry,) overwritten as variants go by
    offset: NDArray[np.int64]  # (variants + 1,)
    haplotype: NDArray[np.int32]
    value: NDArray[np.uint8]


def haplotype_block(
    block: GenotypeBlock,
    start: int,
    stop: int,
    phase: Phase,
    changes: Changes,
    usable: NDArray[np.bool_],
    local_of_sample: NDArray[np.int32],
    person_of_local: NDArray[np.int32],
    n_people: int,
    n_ancestries: int,
) -> HaplotypeBlock:
    """Genotypes of variants ``start:stop`` by ancestry.

    Parameters
    ----------
    block
        Genotypes of all samples of the store.
    start, stop
        Variants of it; ``phase``, ``changes`` and ``usable`` are of all its variants. ``changes.ancestry`` must be that
        of variant ``start`` or the changes up to it, and is left as it is at ``stop``.
    usable : (variants,)
        Whether phase and ancestry of a variant are known; of others nothing is listed.
    local_of_sample : (samples,)
        Number of a sample among those with local ancestry; -1: it has none.
    person_of_local : (people with local ancestry,)
        Number of a person among those who are wanted; -1: is not.
    n_people, n_ancestries
        Of the block that is made.
    """
    counts = np.zeros((stop - start, 2), np.int64)
    _count(block.n_samples, block.encoding, block.slot, block.calls, block.carrier_offset, block.carrier_flipped, start,
           counts)  # fmt: skip
    listed = np.where(usable[start:stop], counts[:, 0], 0)
    person, state = np.empty(int(listed.sum()), np.int32), np.empty(int(listed.sum()), np.uint8)
    offset = np.zeros(stop - start + 1, np.int64)
    wanted = np.flatnonzero(person_of_local >= 0)
    before = np.empty(2 * n_people, np.uint8)
    before[2 * person_of_local[wanted]] = changes.ancestry[2 * wanted]
    before[2 * person_of_local[wanted] + 1] = changes.ancestry[2 * wanted + 1]
    some = slice(int(changes.offset[start]), int(changes.offset[stop]))
    haplotype, value = changes.haplotype[some], changes.value[some]
    of_person = person_of_local[haplotype >> 1]
    kept = of_person >= 0
    kept_before = np.concatenate([[0], np.cumsum(kept)])
    flipped = counts[:, 1] > 0
    _list(
        block.encoding,
        block.slot,
        block.calls,
        block.carrier_offset,
        block.carrier_sample,
        block.carrier_call,
        start,
        phase.bits,
        phase.start,
        phase.unphased,
        changes.ancestry,
        changes.offset,
        changes.haplotype,
        changes.value,
        usable,
        flipped,
        local_of_sample,
        person_of_local,
        n_ancestries,
        np.empty(block.n_samples, np.int8),
        np.empty(block.n_samples, np.int32),
        offset,
        person,
        state,
    )
    return HaplotypeBlock(
        n_people,
        n_ancestries,
        offset,
        person[: offset[-1]],
        state[: offset[-1]],
        flipped,
        np.ascontiguousarray(usable[start:stop]),
        before,
        kept_before[changes.offset[start : stop + 1] - some.start],
        (2 * of_person[kept] + (haplotype[kept] & 1)).astype(np.int32),
        np.ascontiguousarray(value[kept]),
    )


def most_listed(block: GenotypeBlock) -> NDArray[np.int64]:
    """How many people a variant lists at most, shape (variants,)."""
    counts = np.zeros((block.n_variants, 2), np.int64)
    _count(block.n_samples, block.encoding, block.slot, block.calls, block.carrier_offset, block.carrier_flipped, 0,
           counts)  # fmt: skip
    return np.ascontiguousarray(counts[:, 0])


@jit
def _count(
    n_samples: int,
    encoding: NDArray[np.uint8],
    slot: NDArray[np.int32],
    calls: NDArray[np.uint8],
    carrier_offset: NDArray[np.int64],
    carrier_flipped: NDArray[np.bool_],
    start: int,
    out: NDArray[np.int64],
) -> None:
    """People that each variant lists, at most, and whether the rarer allele is REF; dosages list nobody."""
    of_byte = np.zeros((256, 3), np.int64)
    for byte in range(256):
        for k in range(4):
            code = byte >> (2 * k) & 3
            of_byte[byte, 0] += code == 1 or code == 2
            of_byte[byte, 1] += code == 2
            of_byte[byte, 2] += code == 3
    for r in range(out.shape[0]):
        s = slot[start + r]
        if encoding[start + r] == 1:
            out[r, 0] = carrier_offset[s + 1] - carrier_offset[s]
            out[r, 1] = carrier_flipped[s]
        elif encoding[start + r] == 0:
            carriers = twice = missing = 0
            for b in calls[s]:
                carriers += of_byte[b, 0]
                twice += of_byte[b, 1]
                missing += of_byte[b, 2]
            if carriers + twice > n_samples - missing:
                out[r, 0] = n_samples - twice
                out[r, 1] = 1
            else:
                out[r, 0] = carriers + missing


@jit
def _list(
    encoding: NDArray[np.uint8],
    slot: NDArray[np.int32],
    calls: NDArray[np.uint8],
    carrier_offset: NDArray[np.int64],
    carrier_sample: NDArray[np.int32],
    carrier_call: NDArray[np.uint8],
    start: int,
    bits: NDArray[np.uint8],
    bit_start: NDArray[np.int64],
    unphased: NDArray[np.int64],
    ancestry: NDArray[np.uint8],
    change_offset: NDArray[np.int64],
    change_haplotype: NDArray[np.int32],
    change_value: NDArray[np.uint8],
    usable: NDArray[np.bool_],
    flipped: NDArray[np.bool_],
    local_of_sample: NDArray[np.int32],
    person_of_local: NDArray[np.int32],
    n_ancestries: int,
    codes: NDArray[np.int8],
    others: NDArray[np.int32],
    offset: NDArray[np.int64],
    person: NDArray[np.int32],
    state: NDArray[np.uint8],
) -> None:
    """Write the lists of :func:`haplotype_block`."""
    n_samples = codes.shape[0]
    at = 0
    for r in range(flipped.shape[0]):
        v = start + r
        offset[r] = at
        for j in range(change_offset[v], change_offset[v + 1]):
            ancestry[change_haplotype[j]] = change_value[j]
        if not usable[v]:
            continue
        s = slot[v]
        bit = bit_start[v]
        silent = np.searchsorted(unphased, bit)
        turn = flipped[r]
        if encoding[v] == 1:
            for j in range(carrier_offset[s], carrier_offset[s + 1]):
                local = local_of_sample[carrier_sample[j]]
                if local >= 0:
                    at, bit, silent = _add(
                        int(carrier_call[j]), turn, local, bits, bit, unphased, silent, ancestry,
                        person_of_local[local], n_ancestries, at, person, state,
                    )  # fmt: skip
            continue
        unpack_calls(calls[s], codes)
        common = 2 if turn else 0
        n_others = 0
        for i in range(n_samples):  # without a branch that nobody can predict
            others[n_others] = i
            n_others += codes[i] != common
        for j in range(n_others):
            local = local_of_sample[others[j]]
            if local >= 0:
                call = int(codes[others[j]])
                if call < 0:
                    call = 3
                elif turn:
                    call = 2 - call
                at, bit, silent = _add(
                    call, turn, local, bits, bit, unphased, silent, ancestry,
                    person_of_local[local], n_ancestries, at, person, state,
                )  # fmt: skip
    offset[flipped.shape[0]] = at


@jit
def _add(
    call: int,
    turn: bool,
    local: int,
    bits: NDArray[np.uint8],
    bit: int,
    unphased: NDArray[np.int64],
    silent: int,
    ancestry: NDArray[np.uint8],
    number: int,
    n_ancestries: int,
    at: int,
    person: NDArray[np.int32],
    state: NDArray[np.uint8],
) -> tuple[int, int, int]:
    """List a person with 1 or 2 copies of the listed allele, or without a call (3)."""
    first, second = ancestry[2 * local], ancestry[2 * local + 1]
    alleles = 0
    if call == 2:
        alleles = 3
    elif call == 1:
        if silent < unphased.shape[0] and unphased[silent] == bit:
            silent += 1
            if first == second:
                alleles = 1
        else:
            on_first = (bits[bit >> 3] >> (bit & 7)) & 1
            alleles = 2 if on_first != turn else 1
        bit += 1
    if number >= 0:
        person[at] = number
        state[at] = 4 * (n_ancestries * first + second) + alleles
        at += 1
    return at, bit, silent
