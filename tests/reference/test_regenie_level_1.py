"""Level 1 against REGENIE 4.1.2, on real genotypes: every loss it prints, and its LOCO predictions.

REGENIE does not keep its level 0. It is computed here from its definition, by the kernel matrix of each block in
float64: 84 blocks of 489 Europeans, 72,194 SNPs. What is compared is then level 1, of folds and of leaving one out, of
quantitative and binary traits. REGENIE prints six digits.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from peers import read_bed, read_people
from scipy import special
from threadpoolctl import threadpool_limits

from allscan.engine.stacking_learners import find_learner
from allscan.kernels.stacking import StackStatus
from tests.kernels.stacking_cases import GRID, InMemory

pytestmark = pytest.mark.reference

BLOCK, FOLDS = 1000, 5
QUANTITATIVE, BINARY = ("QT1", "QT4"), ("BT1", "BT3", "BT4")  # those that nobody lacks
# Learner, trait and the REGENIE run that it is compared with.
CASES = [
    *(("linear_folds", trait, "s1_qt") for trait in QUANTITATIVE),
    *(("linear_leave_one_out", trait, "s1_qt_loocv") for trait in QUANTITATIVE),
    *(("logistic_leave_one_out", trait, "s1_bt") for trait in BINARY),
]


@dataclass(frozen=True)
class Level0:
    """Columns of every trait, and what level 1 needs beside them."""

    by_folds: dict[str, np.ndarray]
    by_leaving_one_out: dict[str, np.ndarray]
    chromosome: np.ndarray  # (columns,)
    folds: np.ndarray  # (people,)
    residuals: dict[str, np.ndarray]  # at unit variance, as REGENIE's losses and predictions are
    values: pd.DataFrame
    basis: np.ndarray


def common_snps(folder: Path) -> list[np.ndarray]:
    """Calls of each chromosome's SNPs with a minor allele frequency of at least 1 %, shape (people, SNPs)."""
    found = []
    for chromosome in range(1, 23):
        calls = read_bed(folder / f"1000G.subset.{chromosome}").astype(float)
        assert (calls >= 0).all()
        frequency = calls.mean(axis=0) / 2
        found.append(calls[:, np.minimum(frequency, 1 - frequency) >= 0.01])
    return found


@pytest.fixture(scope="module")
def level_0(reference) -> Level0:
    peers = reference("peer_results") / "kg_eur489"
    chromosomes = common_snps(reference("kg_eur489_polypred"))
    n, m = len(chromosomes[0]), sum(calls.shape[1] for calls in chromosomes)
    assert (n, m) == (489, 72_194)
    values = pd.concat([read_people(peers / "pheno_qt.tsv"), read_people(peers / "pheno_bt.tsv")], axis=1)
    basis, _ = np.linalg.qr(np.column_stack([np.ones(n), read_people(peers / "covar.tsv").to_numpy()]))
    df = n - basis.shape[1]
    names = [*QUANTITATIVE, *BINARY]
    y = values[names].to_numpy(float)
    y = y - basis @ (basis.T @ y)
    y /= np.sqrt((y * y).sum(axis=0) / df)
    folds = np.minimum(np.arange(n) // (n // FOLDS), FOLDS - 1)
    by_folds, alone, of_column = [], [], []
    with threadpool_limits(1):
        for c, calls in enumerate(chromosomes):
            for start in range(0, calls.shape[1], BLOCK):
                x = calls[:, start : start + BLOCK]
                x = x - basis @ (basis.T @ x)
                x /= np.sqrt((x * x).sum(axis=0) / df)
                kernel = x @ x.T
                by_folds.append(predict_folds(kernel, y, folds, m))
                alone.append(predict_leaving_one_out(kernel, y, m))
                of_column += [c] * len(GRID)
    assert len(by_folds) == 84
    columns = [np.concatenate(parts, axis=2) for parts in (by_folds, alone)]
    return Level0(
        *({name: part[:, t] for t, name in enumerate(names)} for part in columns),
        np.array(of_column),
        folds,
        {name: y[:, t] for t, name in enumerate(names)},
        values,
        basis,
    )


def penalties(m: int) -> list[float]:
    return [m * (1 - h2) / h2 for h2 in GRID]


def predict_folds(kernel: np.ndarray, y: np.ndarray, folds: np.ndarray, m: int) -> np.ndarray:
    """Ridge regression of each fold by the others, shape (people, traits, penalties)."""
    out = np.empty((*y.shape, len(GRID)))
    for fold in range(FOLDS):
        here, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        values, vectors = np.linalg.eigh(kernel[np.ix_(others, others)])
        for g, penalty in enumerate(penalties(m)):
            dual = vectors @ ((vectors.T @ y[others]) / (values + penalty)[:, None])
            out[here, :, g] = kernel[np.ix_(here, others)] @ dual
    return out


def predict_leaving_one_out(kernel: np.ndarray, y: np.ndarray, m: int) -> np.ndarray:
    """Ridge regression of each person by the others, shape (people, traits, penalties)."""
    out = np.empty((*y.shape, len(GRID)))
    values, vectors = np.linalg.eigh(kernel)
    values = np.maximum(values, 0)
    for g, penalty in enumerate(penalties(m)):
        hat = (vectors * (values / (values + penalty))) @ vectors.T
        own = np.diag(hat)[:, None]
        out[:, :, g] = (hat @ y - own * y) / (1 - own)
    return out


def covariate_log_odds(basis: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Logistic regression on the covariates, by Newton's method."""
    effects = np.zeros(basis.shape[1])
    for _ in range(30):
        mu = special.expit(basis @ effects)
        effects += np.linalg.solve((basis.T * (mu * (1 - mu))) @ basis, basis.T @ (y - mu))
    return basis @ effects


def printed_losses(log: Path, trait: str) -> list[float]:
    """MSE or −log likelihood a person of each penalty, as the log has them."""
    text = gzip.decompress(log.read_bytes()).decode()
    part = text.split(f"({trait}) : ")[1].split("making predictions")[0]
    return [float(value) for value in re.findall(r"(?:MSE|-logLik/N) = ([\d.]+)(?:<-.*)?$", part, flags=re.MULTILINE)]


@pytest.mark.parametrize(("learner", "trait", "run"), CASES)
def test_losses_and_loco_predictions(level_0, reference, learner, trait, run):
    peers = reference("peer_results") / "kg_eur489"
    n = len(level_0.folds)
    columns = level_0.by_folds if learner.endswith("folds") else level_0.by_leaving_one_out
    binary = trait in BINARY
    y = level_0.values[trait].to_numpy(float) if binary else level_0.residuals[trait]
    offset = covariate_log_odds(level_0.basis, y) if binary else np.zeros(n)
    features = InMemory(columns[trait].reshape(n, -1))
    with threadpool_limits(1):
        stack = find_learner(learner).fit(features, y, level_0.chromosome, GRID, level_0.folds, offset)
    assert stack.status == StackStatus.OK
    assert stack.message == ""
    losses = printed_losses(peers / f"{run}.log.gz", trait)
    assert len(losses) == len(GRID)
    np.testing.assert_allclose(stack.scores, losses, rtol=4e-6)
    assert stack.chosen == np.argmin(losses)
    theirs = pd.read_csv(peers / f"{run}_{trait[2]}.loco.gz", sep=" ", index_col=0).dropna(axis=1, how="all")
    np.testing.assert_allclose(stack.loco, theirs.loc[1:22], rtol=5e-6, atol=2e-5 * stack.loco.std())
