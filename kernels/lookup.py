"""Sums over packed calls by table lookup: faster than a matrix product of decoded genotypes.

Three samples have 64 possible calls together. For a chunk of panel columns, a table holds for each of the 64
the sum of the three samples' rows, times their genotypes; a variant then adds one row of the table, one vector
register, for three samples × 16 columns, where a matrix product would need 48 multiplications. It is the method of
the "four Russians" (Arlazarov et al. 1970; for genotypes, Liberty & Zucker 2009, 10.1016/j.ipl.2008.09.028), with
tables small enough for the first-level cache: four at a time (16 KB) serve the twelve samples of three packed bytes.

Sums run in the panel's type within a strip of 3,840 samples, and in float64 across strips.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.kernels.jit import intrinsic, jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

PASS_VARIANTS = 384  # their sums (24 KB) stay in the first-level cache beside four tables (16 KB)
STRIP_WORDS = 320
STRIP_ROWS = STRIP_WORDS * 12
TABLES = 4

fill_table = intrinsic("fill_table")
add_rows = intrinsic("add_rows")
load_word = intrinsic("load_word")
transpose_words = intrinsic("transpose_words")


@jit
def _transpose(
    packed: NDArray[np.uint8], first_row: int, n_rows: int, first_word: int, n_words: int, out: NDArray[np.uint32]
) -> None:
    """``out[word, variant]``: three packed bytes as a number; bytes past the end of a row are zero."""
    width = packed.shape[1]
    whole = min(n_words, max(0, (width - 1) // 3 - first_word))
    flat, codes = packed.reshape(-1), out.reshape(-1)
    # Squares of 16 words × 16 variants: what is read and what is written both stay in cache.
    for corner in range(0, n_rows, 16):
        last = min(corner + 16, n_rows)
        done = 0
        if last - corner == 16:
            # Of the last row 64 bytes can be read at once, though they are four words more.
            done = max(0, min(n_words, (width - 64) // 3 + 1 - first_word)) // 16 * 16
            for block in range(0, done, 16):
                start = (first_row + corner) * width + 3 * (first_word + block)
                transpose_words(flat, start, width, codes, block * out.shape[1] + corner, out.shape[1])
        for block in range(done, whole, 16):
            end = min(block + 16, whole)
            for v in range(corner, last):
                row = packed[first_row + v]
                for w in range(block, end):
                    out[w, v] = load_word(row, 3 * (first_word + w)) & np.uint32(0xFFFFFF)
    for w in range(whole, n_words):
        for v in range(n_rows):
            value = np.uint32(0)
            for k in range(3):
                at = 3 * (first_word + w) + k
                if at < width:
                    value |= np.uint32(packed[first_row + v, at]) << np.uint32(8 * k)
            out[w, v] = value


@jit
def _gather(
    words: NDArray[np.uint32], first_row: int, rows: NDArray[np.int32], n_variants: int, out: NDArray[np.uint32]
) -> None:
    """Words of up to twelve samples that are not neighbours; ``rows`` are their panel rows."""
    for v in range(n_variants):
        out[v] = 0
    for k in range(rows.shape[0]):
        place = rows[k] - first_row
        source = words[place // 12]
        down, up = 2 * (place % 12), 2 * k
        mask = np.uint32(3) << np.uint32(up)
        if up >= down:
            shift = np.uint32(up - down)
            for v in range(n_variants):
                out[v] |= (source[v] << shift) & mask
        else:
            shift = np.uint32(down - up)
            for v in range(n_variants):
                out[v] |= (source[v] >> shift) & mask


@jit
def _flush(sums: NDArray[np.floating[Any]], n_variants: int, out: NDArray[np.float64]) -> None:
    for v in range(n_variants):
        for c in range(sums.shape[1]):
            out[v, c] += sums[v, c]
            sums[v, c] = 0


@jit
def sum_calls(
    packed: NDArray[np.uint8],
    one: float,
    two: float,
    data: NDArray[np.floating[Any]],
    subset_start: NDArray[np.int64],
    subset_rows: NDArray[np.int32],
    scratch: NDArray[np.floating[Any]],
    out: NDArray[np.float64],
    subset_out: NDArray[np.float64],
) -> None:
    """Sums of panel rows over the samples, times their genotypes; missing calls add nothing.

    Parameters
    ----------
    packed : (variants, row_bytes) uint8
    one, two
        What a call of 1 and of 2 counts, in the panel's type; a call of 0 counts nothing.
    data : (chunks, rows, lanes)
        A panel's.
    subset_start, subset_rows
        Subsets of samples, over which the first chunks are summed apart: subset ``s`` has the panel rows
        ``subset_rows[subset_start[s] : subset_start[s + 1]]``, ascending.
    scratch : (2 + subsets × chunks of subsets, PASS_VARIANTS, lanes)
        Aligned to cache lines.
    out : (variants, chunks, lanes) float64, zeros
    subset_out : (subsets, variants, chunks of subsets, lanes) float64, zeros
    """
    n_variants = packed.shape[0]
    n_chunks, n_rows, lanes = data.shape
    n_words = n_rows // 12
    n_subsets = subset_start.shape[0] - 1
    subset_chunks = subset_out.shape[2]
    tables, sums, subset_sums = scratch[0], scratch[1], scratch[2:]
    words = np.empty((STRIP_WORDS, PASS_VARIANTS), np.uint32)
    gathered = np.empty(PASS_VARIANTS, np.uint32)
    rows = np.empty(12, np.int64)
    cursor = np.empty(n_subsets, np.int64)
    pending = np.empty(n_subsets, np.int64)
    flat = data.reshape(-1)
    chunk_size = n_rows * lanes
    zero_row = n_rows - 1
    for first in range(0, n_variants, PASS_VARIANTS):
        n = min(PASS_VARIANTS, n_variants - first)
        # Element by element: an assignment of slices takes seconds to compile.
        for s in range(n_subsets):
            cursor[s] = subset_start[s]
            pending[s] = 0
        for strip in range(0, n_words, STRIP_WORDS):
            n_here = min(STRIP_WORDS, n_words - strip)
            _transpose(packed, first, n, strip, n_here, words)
            for chunk in range(n_chunks):
                for w in range(n_here):
                    at = chunk * chunk_size + (strip + w) * 12 * lanes
                    for k in range(TABLES):
                        row = at + 3 * k * lanes
                        fill_table(flat, (row, row + lanes, row + 2 * lanes), one, two, tables, k)
                    codes = words[w]
                    for v in range(n):
                        add_rows(sums, v, tables, np.uint64(codes[v]))
                _flush(sums, n, out[first : first + n, chunk])
            end_row = (strip + n_here) * 12
            for s in range(n_subsets):
                stop = cursor[s]
                while stop < subset_start[s + 1] and subset_rows[stop] < end_row:
                    stop += 1
                for begin in range(cursor[s], stop, 12):
                    m = min(12, stop - begin)
                    _gather(words, strip * 12, subset_rows[begin : begin + m], n, gathered)
                    for k in range(12):
                        rows[k] = (subset_rows[begin + k] if k < m else zero_row) * lanes
                    for chunk in range(subset_chunks):
                        at = chunk * chunk_size
                        for k in range(-(-m // 3)):
                            triple = (at + rows[3 * k], at + rows[3 * k + 1], at + rows[3 * k + 2])
                            fill_table(flat, triple, one, two, tables, k)
                        target = subset_sums[s * subset_chunks + chunk]
                        for v in range(n):
                            add_rows(target, v, tables, np.uint64(gathered[v]))
                    pending[s] += 1
                cursor[s] = stop
                if pending[s] >= STRIP_WORDS or strip + STRIP_WORDS >= n_words:
                    for chunk in range(subset_chunks):
                        _flush(subset_sums[s * subset_chunks + chunk], n, subset_out[s, first : first + n, chunk])
                    pending[s] = 0
