"""What the cases of many binary traits carry, at the cost of the cases or of the carriers, whichever are fewer.

Carriers are passed over once, and each adds to the traits that the person is a case of. Of packed calls and dosages the
cases are looked up, trait by trait; where cases are many, bits of packed calls are counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.block import MISSING8, MISSING16, GenotypeBlock
from allscan.kernels.counts import count_calls
from allscan.kernels.jit import jit
from allscan.kernels.packing import PLANE, pack_mask, row_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray


MANY = 1 / 200
"""Share of cases from which counting the bits of everybody is faster than looking up the cases."""


class CaseSets(NamedTuple):
    """The cases of each trait: as bits, by trait, and by person."""

    packed: NDArray[np.uint8]  # (traits, row_bytes) laid out like packed calls
    first_case: NDArray[np.int64]  # (traits + 1,) where the cases of each trait begin in ``case``
    case: NDArray[np.int32]  # (cases of all traits,) samples
    first_trait: NDArray[np.int64]  # (samples + 1,) where the traits of each person begin in ``trait``
    trait: NDArray[np.int32]  # (cases of all traits,)
    size: NDArray[np.int64]  # (traits,)


class CaseCounts(NamedTuple):
    """What the cases of each trait carry; every array has shape (variants, traits)."""

    n_missing: NDArray[np.int32]
    n_carriers: NDArray[np.int32]  # of ALT; a dosage counts as the nearest call
    dosage_sum: NDArray[np.float64]  # of copies of ALT, called cases; exact
    size: NDArray[np.int64]  # (traits,) cases


def case_sets(case: NDArray[np.bool_]) -> CaseSets:
    """Prepare the cases of each trait, ``case`` of shape (traits, samples)."""
    packed = np.empty((len(case), row_bytes(case.shape[1])), np.uint8)
    for t in range(len(case)):
        pack_mask(case[t], packed[t])
    size = case.sum(axis=1, dtype=np.int64)
    first_case = np.concatenate([[0], np.cumsum(size)])
    first_trait = np.concatenate([[0], np.cumsum(case.sum(axis=0, dtype=np.int64))])
    person, trait = np.empty((2, int(size.sum())), np.int32)
    _list_cases(case, first_trait[:-1].copy(), person, trait)
    return CaseSets(packed, first_case, person, first_trait, trait, size)


@jit
def _list_cases(
    case: NDArray[np.bool_], place: NDArray[np.int64], person: NDArray[np.int32], trait: NDArray[np.int32]
) -> None:
    """``person`` by trait, and ``trait`` by person from ``place`` on, which is moved."""
    n = 0
    for t in range(case.shape[0]):
        for i in range(case.shape[1]):
            if case[t, i]:
                person[n] = i
                n += 1
                trait[place[i]] = t
                place[i] += 1


def case_set_bytes(n_samples: int, traits: int, cases: int) -> int:
    """Bytes of the cases of some traits, ``cases`` in all."""
    return traits * row_bytes(n_samples) + 8 * (n_samples + traits + 2) + 8 * cases


@jit
def _add_carriers(
    samples: NDArray[np.int32],
    calls: NDArray[np.uint8],
    first: NDArray[np.int64],
    trait: NDArray[np.int32],
    found: NDArray[np.int64],
) -> None:
    """``found[trait, call]`` of the people who are listed."""
    for j in range(samples.shape[0]):
        call = calls[j]
        for k in range(first[samples[j]], first[samples[j] + 1]):
            found[trait[k], call] += 1


@jit
def _look_up_calls(row: NDArray[np.uint8], cases: NDArray[np.int32], found: NDArray[np.int64]) -> None:
    """``found[call]`` of some people, of a packed row."""
    for j in range(cases.shape[0]):
        group, within = cases[j] >> 8, cases[j] & 255
        byte = row[group * PLANE + (within & 63)]
        found[(byte >> np.uint8(2 * (within >> 6))) & np.uint8(3)] += 1


@jit
def _look_up_dosages(
    codes: NDArray[np.uint16] | NDArray[np.uint8],
    missing_code: int,
    steps: int,
    cases: NDArray[np.int32],
    found: NDArray[np.int64],
) -> None:
    """``found`` = (sum of codes, carriers, 0, missing) of some people."""
    total, carriers, missing = 0, 0, 0
    for j in range(cases.shape[0]):
        code = int(codes[cases[j]])
        is_missing = code == missing_code
        missing += is_missing
        carriers += (not is_missing) and 2 * code >= steps
        total += 0 if is_missing else code
    found[0], found[1], found[3] = total, carriers, missing


@jit
def _count_cases(
    encoding: NDArray[np.uint8],
    slot: NDArray[np.int32],
    steps: NDArray[np.uint16],
    calls: NDArray[np.uint8],
    words: NDArray[np.uint64],
    carrier_offset: NDArray[np.int64],
    carrier_sample: NDArray[np.int32],
    carrier_call: NDArray[np.uint8],
    carrier_flipped: NDArray[np.bool_],
    dosage8: NDArray[np.uint8],
    dosage16: NDArray[np.uint16],
    masks: NDArray[np.uint64],
    first_case: NDArray[np.int64],
    case: NDArray[np.int32],
    first_trait: NDArray[np.int64],
    trait: NDArray[np.int32],
    size: NDArray[np.int64],
    many: float,
    n_missing: NDArray[np.int32],
    n_carriers: NDArray[np.int32],
    dosage_sum: NDArray[np.float64],
) -> None:
    found = np.zeros((size.shape[0], 4), np.int64)
    for v in range(encoding.shape[0]):
        s = slot[v]
        flipped = False
        found[:] = 0
        if encoding[v] == 1:
            a, b = carrier_offset[s], carrier_offset[s + 1]
            _add_carriers(carrier_sample[a:b], carrier_call[a:b], first_trait, trait, found)
            flipped = carrier_flipped[s]
        for t in range(size.shape[0]):
            cases = case[first_case[t] : first_case[t + 1]]
            if encoding[v] == 0 and size[t] > many:
                count_calls(words[s], masks[t], found[t])
            elif encoding[v] == 0:
                _look_up_calls(calls[s], cases, found[t])
            elif encoding[v] == 2:
                _look_up_dosages(dosage8[s], MISSING8, int(steps[v]), cases, found[t])
            elif encoding[v] == 3:
                _look_up_dosages(dosage16[s], MISSING16, int(steps[v]), cases, found[t])
        for t in range(size.shape[0]):
            het, hom, missing = found[t, 1], found[t, 2], found[t, 3]
            n_missing[v, t] = missing
            if encoding[v] >= 2:
                n_carriers[v, t] = found[t, 1]
                dosage_sum[v, t] = found[t, 0] / steps[v]
                continue
            if flipped:
                hom = size[t] - het - hom - missing
            n_carriers[v, t] = het + hom
            dosage_sum[v, t] = het + 2.0 * hom


def count_cases(block: GenotypeBlock, sets: CaseSets) -> CaseCounts:
    """Count missing calls, carriers and allele copies among the cases of each trait."""
    shape = (block.n_variants, len(sets.size))
    n_missing, n_carriers = np.empty(shape, np.int32), np.empty(shape, np.int32)
    dosage_sum = np.empty(shape)
    _count_cases(
        block.encoding,
        block.slot,
        block.steps,
        block.calls,
        block.calls.view(np.uint64),
        block.carrier_offset,
        block.carrier_sample,
        block.carrier_call,
        block.carrier_flipped,
        block.dosage8,
        block.dosage16,
        sets.packed.view(np.uint64),
        sets.first_case,
        sets.case,
        sets.first_trait,
        sets.trait,
        sets.size,
        MANY * block.n_samples,
        n_missing,
        n_carriers,
        dosage_sum,
    )
    return CaseCounts(n_missing, n_carriers, dosage_sum, sets.size)
