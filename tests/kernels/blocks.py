"""Genotypes in every encoding, with the values that they stand for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from allscan.kernels.association import Coding
from allscan.kernels.block import Encoding, GenotypeBlock, encode_block
from allscan.kernels.products import Term
from tests import naive

MODELS = {Coding.ADDITIVE: "additive", Coding.DOMINANT: "dominant", Coding.RECESSIVE: "recessive"}


def mixed_block(seed: int, samples: int = 700) -> tuple[GenotypeBlock, NDArray[np.float64]]:
    """A block with all four encodings (flipped carriers too), and its dosages in float64, NaN missing."""
    rng = np.random.default_rng(seed)
    frequency = np.array([0.3, 0.5, 0.7, 0.002, 0.005, 0.995, 0.999, 0.0, 1.0, 0.2, 0.3, 0.4, 0.1])
    calls = rng.binomial(2, frequency[:, None], (len(frequency), samples)).astype(np.int8)
    calls[rng.random(calls.shape) < 0.004] = -1
    calls[2] = -1
    exact = np.where(calls < 0, np.nan, calls).astype(np.float64)
    is_dosage = np.zeros(len(calls), np.bool_)
    for row, steps in ((9, 100), (10, 127), (11, 1000), (12, 16384)):
        codes = rng.integers(0, 2 * steps + 1, samples)
        exact[row] = np.where(rng.random(samples) < 0.01, np.nan, codes / steps)
        is_dosage[row] = True
    block = encode_block(calls, exact.astype(np.float32), is_dosage)
    assert set(block.encoding.tolist()) == set(Encoding)
    # A stored dosage is code / steps, not its float32 image.
    return block, exact


class Calls(NamedTuple):
    """Calls and carriers only."""

    block: GenotypeBlock
    exact: NDArray[np.float64]  # (variants, samples), NaN missing


def call_block(seed: int, variants: int, samples: int, missing: float = 0.01) -> Calls:
    """Variants of every frequency, each fourth rare."""
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(0.02, 0.98, variants)
    frequency[::4] = rng.choice([0.003, 0.997], len(frequency[::4]))
    calls = rng.binomial(2, frequency[:, None], (variants, samples)).astype(np.int8)
    calls[rng.random(calls.shape) < missing] = -1
    return Calls(encode_block(calls), np.where(calls < 0, np.nan, calls).astype(np.float64))


def coded(exact: NDArray[np.float64], coding: Coding, term: Term = Term.VALUE) -> NDArray[np.float64]:
    """Predictors of dosages, one by one; NaN stays."""

    def code(dosage: float) -> float:
        value = min(dosage, 2.0 - dosage) if coding == Coding.HETEROZYGOUS else naive.code(dosage, MODELS[coding])[0]
        return {Term.VALUE: value, Term.SQUARE: value**2, Term.CROSS: value * dosage}[term]

    distinct, index = np.unique(exact, return_inverse=True)
    return np.array([code(float(dosage)) for dosage in distinct])[index].reshape(exact.shape)
