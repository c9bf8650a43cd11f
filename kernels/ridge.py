"""Level 0 of the whole-genome model: ridge regression of all traits on a block of markers, to predict who was left out.

With ``X`` the genotypes of a block after the covariates, at unit variance, ``K`` folds of people and penalties ``λ``::

    W_k = X_k (X₋ₖᵀ X₋ₖ + λ)⁻¹ X₋ₖᵀ y₋ₖ                    (doi 10.1038/s41588-021-00870-7, equation 4)

The markers and their covariances are those of everybody whose covariates are known, whatever the traits; a trait's
people enter by ``y`` alone, which is zero for others. So a trait's predictions do not depend on the traits beside it,
and one factorisation for each fold and penalty serves them all. Level 1 looks at nobody but the trait's own people.

Genotypes are decoded strip by strip of people, in the order of the folds, into a tile of float32 that serves all its
products; sums across strips are in float64. The covariates are taken off the products, not off the tile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.jit import jit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from allscan.kernels.block import GenotypeBlock

STRIP = 4096
"""People of a tile: 16 MB of 1,000 markers."""

LEAST_VARIANCE = 1e-6
"""Of a marker after the covariates, relative to that of a common one: below it, nothing but rounding is left."""


class People(NamedTuple):
    """Who the block is fitted to, in the order of the folds."""

    rows: NDArray[np.int64]  # (people,) samples of the store
    fold_start: NDArray[np.int64]  # (folds + 1,) a single fold: everybody is left out alone
    basis: NDArray[np.float32]  # (people, covariates) orthonormal
    traits: NDArray[np.float32]  # (people, traits) after the covariates, at unit variance, 0 where missing

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return len(self.fold_start) - 1


class BlockFit(NamedTuple):
    """Coefficients of a block, for genotypes less their means as they are, and for the basis of the covariates."""

    weights: NDArray[np.float32]  # (folds, markers + covariates, traits × penalties), trait by trait
    kept: NDArray[np.bool_]  # (markers,) whether the marker varies enough to be used
    # For leaving out one at a time: the share of each person in what is predicted of them.
    leverage: NDArray[np.float32] | None = None  # (penalties, markers + covariates, markers) square roots


@jit
def _fill(
    encoding: NDArray[np.uint8],
    slot: NDArray[np.int32],
    steps: NDArray[np.uint16],
    calls: NDArray[np.uint8],
    carrier_offset: NDArray[np.int64],
    carrier_sample: NDArray[np.int32],
    carrier_call: NDArray[np.uint8],
    carrier_flipped: NDArray[np.bool_],
    dosage8: NDArray[np.uint8],
    dosage16: NDArray[np.uint16],
    mean: NDArray[np.float64],
    rows: NDArray[np.int64],
    place: NDArray[np.int32],
    start: int,
    tile: NDArray[np.float32],
) -> None:
    """See :func:`fill_tile`. Encodings are numbers here: 0 calls, 1 carriers, 2 and 3 dosages."""
    value = np.empty(4, np.float32)
    for v in range(tile.shape[0]):
        s = slot[v]
        out = tile[v]
        if encoding[v] == 0:
            for code in range(3):
                value[code] = np.float32(code - mean[v])
            value[3] = np.float32(0.0)
            row = calls[s]
            for k in range(rows.shape[0]):
                i = rows[k]
                byte = row[((i >> 8) << 6) | (i & 63)]
                out[k] = value[(byte >> (((i >> 6) & 3) << 1)) & 3]
        elif encoding[v] == 1:
            flipped = carrier_flipped[s]
            out[:] = np.float32((2.0 if flipped else 0.0) - mean[v])
            for j in range(carrier_offset[s], carrier_offset[s + 1]):
                k = place[carrier_sample[j]] - start
                if 0 <= k < out.shape[0]:
                    copies = np.int64(carrier_call[j])
                    if copies == 3:
                        out[k] = np.float32(0.0)
                    else:
                        out[k] = np.float32((2 - copies if flipped else copies) - mean[v])
        elif encoding[v] == 2:
            for k in range(rows.shape[0]):
                small = dosage8[s, rows[k]]
                out[k] = np.float32(0.0) if small == 255 else np.float32(small / steps[v] - mean[v])
        else:
            for k in range(rows.shape[0]):
                large = dosage16[s, rows[k]]
                out[k] = np.float32(0.0) if large == 65535 else np.float32(large / steps[v] - mean[v])


def fill_tile(
    block: GenotypeBlock,
    mean: NDArray[np.float64],
    rows: NDArray[np.int64],
    place: NDArray[np.int32],
    start: int,
    tile: NDArray[np.float32],
) -> None:
    """Decode genotypes less their means.

    Parameters
    ----------
    block
        Markers.
    mean : (markers,)
        What is taken off, and what a missing genotype is taken for.
    rows : (people,)
        Samples of the store, those from ``start`` on.
    place : (store samples,)
        Where each sample stands in the order of people, -1 for nobody.
    tile : (markers, people) float32
        Overwritten.
    """
    _fill(
        block.encoding,
        block.slot,
        block.steps,
        block.calls,
        block.carrier_offset,
        block.carrier_sample,
        block.carrier_call,
        block.carrier_flipped,
        block.dosage8,
        block.dosage16,
        mean,
        rows,
        place,
        start,
        tile,
    )


def _tiles(
    block: GenotypeBlock, mean: NDArray[np.float64], people: People
) -> Iterator[tuple[int, slice, NDArray[np.float32]]]:
    """Fold, people, and their genotypes (markers, people), strip by strip."""
    place = np.full(block.n_samples, -1, np.int32)
    place[people.rows] = np.arange(len(people.rows), dtype=np.int32)
    room = np.empty(block.n_variants * STRIP, np.float32)
    for fold in range(people.n_folds):
        stop = int(people.fold_start[fold + 1])
        for start in range(int(people.fold_start[fold]), stop, STRIP):
            some = slice(start, min(start + STRIP, stop))
            count = some.stop - some.start
            tile = room[: block.n_variants * count].reshape(block.n_variants, count)
            fill_tile(block, mean, people.rows[some], place, start, tile)
            yield fold, some, tile


def fit_block(
    block: GenotypeBlock, mean: NDArray[np.float64], people: People, penalties: NDArray[np.float64]
) -> BlockFit:
    """Ridge regression of every trait on a block of markers, without each fold in turn (one fold: to everybody).

    Parameters
    ----------
    block
        Markers, at most some thousand.
    mean : (markers,)
        Mean dosage of each, for missing genotypes.
    people
        Who, in which folds, with which traits.
    penalties : (penalties,)
        Added to the diagonal of the sums of squares of markers at unit variance.
    """
    m, c, n = block.n_variants, people.basis.shape[1], len(people.rows)
    folds = people.n_folds
    columns = np.concatenate([people.basis, people.traits], axis=1)
    gram = np.zeros((folds, m, m))
    cross = np.zeros((folds, m, columns.shape[1]))
    of_columns = np.zeros((folds, c, columns.shape[1]))
    for fold, some, tile in _tiles(block, mean, people):
        gram[fold] += tile @ tile.T  # which NumPy takes for the symmetric product that it is
        part = columns[some]
        cross[fold] += tile @ part
        of_columns[fold] += part[:, :c].T.astype(np.float64) @ part.astype(np.float64)
    # X = G − Q C: what the covariates explain is taken off the products.
    explained = cross[:, :, :c].sum(axis=0)
    variance = np.maximum(np.einsum("kii->i", gram) - (explained**2).sum(axis=1), 0.0) / max(n - c, 1)
    kept = variance > LEAST_VARIANCE * max(float(np.median(variance)), 1e-300)
    scale = np.where(kept, 1.0 / np.sqrt(np.where(kept, variance, 1.0)), 0.0)
    target = np.empty((folds, m, people.traits.shape[1]))
    for fold in range(folds):
        mixed = cross[fold, :, :c] @ explained.T
        gram[fold] += explained @ of_columns[fold, :, :c] @ explained.T - mixed - mixed.T
        gram[fold] *= scale[:, None] * scale
        target[fold] = (cross[fold, :, c:] - explained @ of_columns[fold, :, c:]) * scale[:, None]
    whole, whole_target = gram.sum(axis=0), target.sum(axis=0)
    if folds == 1:
        return _fit_alone(whole, whole_target, explained, scale, kept, penalties)
    n_traits = people.traits.shape[1]
    weights = np.zeros((folds, m + c, n_traits * len(penalties)), np.float32)
    used = np.flatnonzero(kept)
    for fold in range(folds):
        left, right = whole - gram[fold], whole_target - target[fold]
        if len(used) < m:
            left, right = left[np.ix_(used, used)], right[used]
        for p, penalty in enumerate(penalties):
            solution = np.zeros((m, n_traits))
            solution[used] = _solve(left, right, float(penalty)) * scale[used, None]
            weights[fold, :m, p :: len(penalties)] = solution
            weights[fold, m:, p :: len(penalties)] = -(explained.T @ solution)
    return BlockFit(weights, kept)


def _solve(gram: NDArray[np.float64], right: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
    if not len(gram):
        return right
    from scipy.linalg import lapack

    shifted = gram.copy()
    shifted.flat[:: len(gram) + 1] += penalty
    # Symmetric, so that its transpose, in the order that LAPACK asks for, is the same matrix.
    _, solution, info = lapack.dposv(shifted.T, right, overwrite_a=True)
    if info:  # rounding of nearly collinear markers beside a small penalty
        values, vectors = np.linalg.eigh(gram)
        solution = vectors @ ((vectors.T @ right) / (np.maximum(values, 0.0) + penalty)[:, None])
    return np.asarray(solution)


def _fit_alone(
    gram: NDArray[np.float64],
    target: NDArray[np.float64],
    explained: NDArray[np.float64],
    scale: NDArray[np.float64],
    kept: NDArray[np.bool_],
    penalties: NDArray[np.float64],
) -> BlockFit:
    """The fit to everybody, and what takes each person out of it."""
    values, vectors = np.linalg.eigh(gram)
    values = np.maximum(values, 0.0)
    n_traits, (m, c) = target.shape[1], explained.shape
    weights = np.zeros((1, m + c, n_traits * len(penalties)), np.float32)
    roots = np.zeros((len(penalties), m + c, m), np.float32)
    for p, penalty in enumerate(penalties):
        solution = vectors @ ((vectors.T @ target) / (values + penalty)[:, None]) * scale[:, None]
        root = scale[:, None] * vectors / np.sqrt(values + penalty)
        weights[0, :m, p :: len(penalties)], roots[p, :m] = solution, root
        weights[0, m:, p :: len(penalties)], roots[p, m:] = -(explained.T @ solution), -(explained.T @ root)
    return BlockFit(weights, kept, roots)


def predict_block(
    block: GenotypeBlock, mean: NDArray[np.float64], people: People, fit: BlockFit
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Predictions of people by the fits that did not see them, strip by strip.

    Yields
    ------
    People, and predictions (people, traits × penalties), those of a trait side by side.
    """
    m = block.n_variants
    for fold, some, tile in _tiles(block, mean, people):
        basis = people.basis[some]
        values = tile.T @ fit.weights[fold, :m] + basis @ fit.weights[fold, m:]
        if fit.leverage is not None:
            n_penalties = len(fit.leverage)
            for p, root in enumerate(fit.leverage):
                share = ((tile.T @ root[:m] + basis @ root[m:]) ** 2).sum(axis=1)
                share = np.minimum(share, np.float32(0.9999))[:, None]
                values[:, p::n_penalties] = (values[:, p::n_penalties] - share * people.traits[some]) / (1 - share)
        yield some, values


def relatedness_products(block: GenotypeBlock, mean: NDArray[np.float64], people: People) -> NDArray[np.float32]:
    """What a block adds to K z, the relationship matrix times vectors: ``X Xᵀ z`` of its markers at unit variance.

    The vectors are ``people.traits``. Summed over blocks and divided by the number of markers, this is ``K z``; the
    mean of its squares estimates tr K² (doi 10.1038/s41467-020-17576-9). Shape (people, vectors).
    """
    c, n = people.basis.shape[1], len(people.rows)
    columns = np.concatenate([people.basis, people.traits], axis=1)
    cross, squares = np.zeros((block.n_variants, columns.shape[1])), np.zeros(block.n_variants)
    for _, some, tile in _tiles(block, mean, people):
        cross += tile @ columns[some]
        squares += np.einsum("vk,vk->v", tile, tile)
    explained = cross[:, :c]
    variance = np.maximum(squares - (explained**2).sum(axis=1), 0.0) / max(n - c, 1)
    varies = variance > LEAST_VARIANCE
    inverse = np.where(varies, 1.0 / np.where(varies, variance, 1.0), 0.0)
    score = cross[:, c:] - explained @ (people.basis.astype(np.float64).T @ people.traits)
    weights = (score * inverse[:, None]).astype(np.float32)
    of_basis = (explained.T @ weights).astype(np.float32)
    out = np.empty(people.traits.shape, np.float32)
    for _, some, tile in _tiles(block, mean, people):
        out[some] = tile.T @ weights - people.basis[some] @ of_basis
    return out


def marginal_block(block: GenotypeBlock, mean: NDArray[np.float64], people: People) -> NDArray[np.float64]:
    """Association of every marker alone with every trait: χ² on one degree of freedom, of which λ is made.

    ``people.traits`` need not be the traits of the fit. Returns shape (markers, traits), NaN for a marker that does not
    vary.
    """
    c = people.basis.shape[1]
    columns = np.concatenate([people.basis, people.traits], axis=1)
    cross, squares = np.zeros((block.n_variants, columns.shape[1])), np.zeros(block.n_variants)
    for _, some, tile in _tiles(block, mean, people):
        cross += tile @ columns[some]
        squares += np.einsum("vk,vk->v", tile, tile)
    explained = cross[:, :c]
    squares -= (explained**2).sum(axis=1)
    basis, traits = people.basis.astype(np.float64), people.traits.astype(np.float64)
    score = cross[:, c:] - explained @ (basis.T @ traits)
    spread = (traits**2).sum(axis=0) / np.maximum((traits != 0).sum(axis=0), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        varies = squares > LEAST_VARIANCE * len(people.rows)
        share = (traits != 0).sum(axis=0) / len(people.rows)
        return np.where(varies[:, None], score**2 / (squares[:, None] * share * spread), np.nan)
