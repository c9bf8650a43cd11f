"""Scans of binary traits, data that several comparisons share, and what other programs compute, by plain formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from peers import design, keys, read_bim, scan
from scipy import special, stats

from allscan.engine.offsets import StoredOffsets
from allscan.engine.regenie_predictions import RegeniePredictions
from allscan.engine.results import ResultsCube
from allscan.engine.store import GenotypeStore
from allscan.kernels.cumulants import N_CUMULANTS, Law
from tests import naive_logistic

Reference = Callable[[str], Path]
Floats = NDArray[np.float64]

TRAITS = ("BT1", "BT2", "BT3", "BT4")
"""Of the 489 Europeans: 244, 118, 49 and 24 cases; ten people lack BT2."""
LN10 = math.log(10)


def binary_scan(
    store: GenotypeStore,
    traits: pd.DataFrame,
    covariates: pd.DataFrame,
    output: Path,
    *,
    predictions: Path | None = None,
    **spec: Any,
) -> ResultsCube:
    """Scan traits of zeros and ones, with REGENIE's predictions if they are given."""
    aligned = replace(design(store, traits, covariates), binary=True)
    if predictions is not None:
        stored = RegeniePredictions(predictions)
        aligned = replace(aligned, offsets=StoredOffsets(stored, aligned, store.sample_ids[aligned.store_rows]))
    return scan(store, aligned, output, **spec)


def variant_keys(*filesets: Path) -> pd.Index:
    """``contig:position:ref:alt`` of the variants of filesets, one after the other."""
    bim = pd.concat([read_bim(prefix) for prefix in filesets])
    return keys(bim.chromosome, bim.position, bim.ref, bim.alt)


def numbers(table: pd.DataFrame, column: str) -> pd.Series[float]:
    """A printed column as numbers; NA is NaN."""
    return table[column].replace({"NA": "nan"}).astype(float)


# ---- what Hail asserts -----------------------------------------------------------------------------------


class Cohort(NamedTuple):
    """Genotypes in a VCF, a trait called ``case``, and covariates."""

    vcf: Path
    traits: pd.DataFrame
    covariates: pd.DataFrame


def ten_people(reference: Reference) -> Cohort:
    """Hail's ten people, ten variants; with missing calls."""
    folder = reference("hail_resources")
    people = {"index_col": 0, "sep": r"\s+"}
    status = pd.read_csv(folder / "regressionLogisticBoolean.pheno", **people).isCase
    traits = pd.DataFrame({"case": status.map({"true": 1.0, "false": 0.0})})
    return Cohort(folder / "regressionLogistic.vcf", traits, pd.read_csv(folder / "regressionLogistic.cov", **people))


def epacts(reference: Reference) -> Cohort:
    """2,535 people of 1000 Genomes, five variants, minor allele counts from 7 to 1,207."""
    folder = reference("hail_resources")
    fam = pd.read_csv(folder / "regressionLogisticEpacts.fam", sep="\t", header=None, dtype=str).set_index(1)
    traits = pd.DataFrame({"case": fam[5].astype(float) - 1.0})
    components = pd.read_csv(folder / "regressionLogisticEpacts.cov", sep="\t", index_col="IND_ID")
    covariates = pd.DataFrame({"female": (fam[4] == "2").astype(float)}).join(components)
    return Cohort(folder / "regressionLogisticEpacts.vcf", traits, covariates)


def asserted(reference: Reference, test: str) -> pd.DataFrame:
    """Numbers that Hail's tests assert."""
    table = pd.read_csv(reference("hail_resources") / "EXPECTED_asserted.tsv", sep="\t", dtype=str)
    return table[table.test == test]


def compare_asserted(ours: pd.DataFrame, rows: pd.DataFrame, absolute: float | None = None) -> int:
    """Compare the rows with numbers, to an absolute tolerance or the relative one of the row; returns how many."""
    compared = 0
    for row in rows.itertuples():
        place = int(row.locus_or_case.split(":")[-1]) if row.locus_or_case.count(",") == 0 else 0
        if row.statistic not in ("beta", "se", "z", "p", "chi2") or place == 0:
            continue
        mine = ours.loc[place]
        values = {
            "beta": mine.beta,
            "se": mine.standard_error,
            "z": mine.beta / mine.standard_error,
            "p": 10.0 ** -float(mine.neg_log10_p),
            "chi2": stats.chi2.isf(10.0 ** -float(mine.neg_log10_p), 1),
        }
        expected = float(row.expected)
        allowed = float(row.tolerance.split()[1]) * abs(expected) if absolute is None else absolute
        assert values[row.statistic] == pytest.approx(expected, abs=allowed, rel=0), row
        compared += 1
    return compared


# ---- one variant and one trait, by plain formulas --------------------------------------------------------


class Effect(NamedTuple):
    """A penalised estimate."""

    beta: float
    standard_error: float  # of the information at the estimate
    neg_log10_p: float  # by the likelihood ratio

    def matched_error(self) -> float:
        """The standard error with which effect and p agree; below one standard error that of the information."""
        z = math.sqrt(stats.chi2.isf(10.0**-self.neg_log10_p, 1))
        return abs(self.beta) / z if z >= 1 else self.standard_error


@dataclass(frozen=True)
class NullFit:
    """A null model of the people who have the trait."""

    y: Floats  # (people,)
    x: Floats  # (people, covariates) with the intercept
    offset: Floats  # (people,)
    mu: Floats  # (people,) at maximum likelihood
    penalised: Floats  # (people,) log odds at the maximum of the penalised likelihood

    @classmethod
    def of(cls, trait: Floats, covariates: Floats, offset: Floats | None = None, *, absent: bool = False) -> NullFit:
        """Fit; ``absent``: with people without the trait in the information that penalises, each with the weight 1."""
        known = ~np.isnan(trait)
        standard = (covariates - covariates.mean(axis=0)) / covariates.std(axis=0)
        everybody = np.column_stack([np.ones(len(trait)), standard])
        added = np.zeros(len(trait)) if offset is None else np.nan_to_num(offset)
        x, y, o = everybody[known], trait[known], added[known]
        mu = special.expit(x @ naive_logistic.maximum_likelihood(x, y, o) + o)
        if absent:
            b = penalised_with_absent(everybody, trait, known, x.shape[1], added)[0]
        else:
            b = naive_logistic.maximum_penalised(x, y, o, x.shape[1])
        return cls(y, x, o, mu, x @ b + o)

    def adjusted(self, g: Floats) -> Floats:
        """The predictor less what the covariates explain of it."""
        w = self.mu * (1 - self.mu)
        wx = self.x * w[:, None]
        return np.asarray(g - self.x @ np.linalg.solve(wx.T @ self.x, wx.T @ g))

    def score(self, adjusted: Floats) -> float:
        return float(adjusted @ (self.y - self.mu))

    def firth(self, g: Floats, *, carriers_only: bool = False) -> Effect:
        """Approximate Firth; ``carriers_only`` as REGENIE has it: for everybody else the predictor counts as zero."""
        predictor = self.adjusted(g)
        some = g > 1e-4 if carriers_only else np.ones(len(g), bool)
        x, y, offset = predictor[some, None], self.y[some], self.penalised[some]
        b = naive_logistic.maximum_penalised(x, y, offset, 1)
        likelihood = [naive_logistic.log_likelihood(x, y, offset, at, penalised=True) for at in (b, 0 * b)]
        statistic = max(2 * (likelihood[0] - likelihood[1]), 0.0)
        error = 1 / math.sqrt(naive_logistic.information(x, offset, b)[0, 0])
        return Effect(float(b[0]), error, float(-stats.chi2.logsf(statistic, 1) / LN10))


def law_of_carriers(g: Floats, adjusted: Floats, mu: Floats) -> Law:
    """The fast form: everybody who does not carry the allele enters by the variance of the score alone."""
    carries = g != 0
    cumulants = np.zeros(N_CUMULANTS)
    if carries.mean() > 0.5:
        return Law(adjusted, mu, cumulants, math.inf)
    cumulants[0] = (mu * (1 - mu) * adjusted**2)[~carries].sum()
    return Law(adjusted[carries], mu[carries], cumulants, math.inf)


def range_of_carriers(g: Floats, adjusted: Floats, mu: Floats) -> tuple[float, float]:
    """Between what the carriers' part of the score lies."""
    some = g > 0
    mean = float((adjusted * mu)[some].sum())
    return float(adjusted[some & (adjusted < 0)].sum()) - mean, float(adjusted[some & (adjusted > 0)].sum()) - mean


def penalised_with_absent(
    x: Floats, y: Floats, known: NDArray[np.bool_], free: int, offset: Floats | float = 0.0
) -> tuple[Floats, float, float]:
    """Coefficients, standard error of the last, and penalised log likelihood, absent people with weight 1."""
    b = np.zeros(x.shape[1])
    for _ in range(2000):
        p = special.expit(x @ b + offset)
        w = np.where(known, p * (1 - p), 1.0)
        information = (x * w[:, None]).T @ x
        h = w * np.einsum("ij,jk,ik->i", x, np.linalg.inv(information), x)
        score = (x.T @ np.where(known, y - p + h * (0.5 - p), 0.0))[:free]
        if np.abs(score).max() < 1e-10:
            break
        b[:free] += 0.8 * np.clip(np.linalg.solve(information[:free, :free], score), -2, 2)
    eta = x @ b + offset
    value = np.where(known, np.nan_to_num(y) * eta - np.logaddexp(0, eta), 0).sum()
    value += 0.5 * np.linalg.slogdet(information)[1]
    return b, float(np.sqrt(np.linalg.inv(information)[-1, -1])), float(value)
