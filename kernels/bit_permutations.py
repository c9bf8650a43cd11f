"""Bits of a number spread to where a mask has bits, and gathered from there, without instructions for it.

Processors of Intel since 2013 and of AMD since 2020 do either in one instruction, which
:mod:`allscan.kernels.intrinsics` takes where it is there. These are for the others: six steps that move bits by 1, 2,
4, … 32 places (Warren, Hacker's Delight, 2nd edition, 7-4 and 7-5).
"""

from __future__ import annotations

import numpy as np

from allscan.kernels.jit import jit, jit_inline


@jit_inline
def _step(mask: np.uint64, gaps: np.uint64, step: int) -> tuple[np.uint64, np.uint64, np.uint64]:
    """Which bits a step moves, and mask and gaps after it."""
    # Of each place, whether the number of gaps up to it is odd.
    odd = gaps
    for k in range(6):
        odd ^= odd << np.uint64(1 << k)
    move = odd & mask
    return move, (mask ^ move) | (move >> np.uint64(1 << step)), gaps & ~odd


@jit
def extract(word: np.uint64, mask: np.uint64) -> np.uint64:
    """The bits of a uint64 where ``mask`` has bits, moved together to the lowest places."""
    taken, left, gaps = word & mask, mask, ~mask << np.uint64(1)
    for step in range(6):
        move, left, gaps = _step(left, gaps, step)
        moved = taken & move
        taken = (taken ^ moved) | (moved >> np.uint64(1 << step))
    return taken


@jit
def deposit(bits: np.uint64, mask: np.uint64) -> np.uint64:
    """The lowest bits of a uint64 put where ``mask`` has bits, in order; the others are zero."""
    move0, left, gaps = _step(mask, ~mask << np.uint64(1), 0)
    move1, left, gaps = _step(left, gaps, 1)
    move2, left, gaps = _step(left, gaps, 2)
    move3, left, gaps = _step(left, gaps, 3)
    move4, left, gaps = _step(left, gaps, 4)
    move5, left, gaps = _step(left, gaps, 5)
    spread = bits
    # The same moves back, the longest first.
    spread = (spread & ~move5) | ((spread << np.uint64(32)) & move5)
    spread = (spread & ~move4) | ((spread << np.uint64(16)) & move4)
    spread = (spread & ~move3) | ((spread << np.uint64(8)) & move3)
    spread = (spread & ~move2) | ((spread << np.uint64(4)) & move2)
    spread = (spread & ~move1) | ((spread << np.uint64(2)) & move1)
    spread = (spread & ~move0) | ((spread << np.uint64(1)) & move0)
    return spread & mask
