"""Saddlepoint p of R's SPAtest 3.1.2: the same formula, of everybody (SPA) and with a normal remainder (fastSPA)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from binary_studies import law_of_carriers
from peers import read_bed, read_bim, read_people
from scipy import special, stats

from allscan.kernels.cumulants import N_CUMULANTS, Law, derivatives
from allscan.kernels.logistic import fit_logistic
from allscan.kernels.normal import normal_neg_log10_p
from allscan.kernels.saddlepoint import FOUND, saddlepoint

pytestmark = pytest.mark.reference

NOT_CORRECTED = 0.1
"""|z| below which SPAtest was told to leave the normal p."""
STEP = np.finfo(float).eps ** 0.25
"""Where a step of SPAtest's search for the saddlepoint is below this, the value before that step is taken."""


def spatest_root(s: float, law: Law) -> float:
    t, slope, jump = 0.0, -s, math.inf
    while True:
        new = t - slope / derivatives(t, law).k2
        if abs(new - t) < STEP:
            return t
        new_slope = derivatives(new, law).k1 - s
        if slope * new_slope < 0:
            if abs(new - t) > jump - STEP:
                new = t + math.copysign(jump / 2, new_slope - slope)
                new_slope = derivatives(new, law).k1 - s
                jump /= 2
            else:
                jump = abs(new - t)
        t, slope = new, new_slope


def spatest_p(s: float, law: Law) -> tuple[float, bool]:
    """p as SPAtest has it, and whether a tail above one half was taken for the rest, which is below."""
    total = 0.0
    exchanged = False
    for x in (s, -s):
        t = spatest_root(x, law)
        at = derivatives(t, law)
        r = math.copysign(math.sqrt(2 * (t * x - at.k)), t)
        z = r + math.log(t * math.sqrt(at.k2) / r) / r
        total += float(stats.norm.sf(abs(z)))
        exchanged |= z * t < 0
    return total, exchanged


@pytest.fixture(scope="module")
def people(reference):
    source = reference("peer_results") / "saige"
    table = read_people(source / "pheno.txt")
    calls = read_bed(source / "fam2000").astype(float)
    calls[calls < 0] = np.nan
    calls = np.where(np.isnan(calls), np.nanmean(calls, axis=0), calls)
    columns = pd.Index(read_bim(source / "fam2000").id)
    covariates = np.column_stack([np.ones(len(table)), table[["x1", "sex"]].to_numpy(float)])
    return table, calls, columns, covariates


def law_of(method, genotype, adjusted, mu):
    if method == "fastSPA":
        return law_of_carriers(genotype, adjusted, mu)
    return Law(adjusted, mu, np.zeros(N_CUMULANTS), math.inf)


@pytest.mark.parametrize("method", ["SPA", "fastSPA"])
@pytest.mark.parametrize("trait", ["B1", "B9", "B50"])
def test_saddlepoint_p(people, reference, trait, method):
    table, calls, columns, covariates = people
    rows = pd.read_csv(reference("peer_results") / "rtests" / "spatest_fam2000.tsv", sep="\t")
    rows = rows[(rows.trait == trait) & (rows.method == method)]
    assert len(rows) == 200
    y = table[trait].to_numpy(float)
    mu = special.expit(fit_logistic(y, covariates).linear)
    w = mu * (1 - mu)
    project = np.linalg.solve((covariates * w[:, None]).T @ covariates, covariates.T)
    compared = 0
    for row in rows.itertuples():
        g = calls[:, columns.get_loc(row.id)]
        assert g.sum() == pytest.approx(row.ac, rel=1e-9)
        g = 2 - g if g.mean() > 1 else g
        adjusted = g - covariates @ (project @ (w * g))
        score = float(adjusted @ (y - mu))
        z = score / math.sqrt(w @ adjusted**2)
        assert 10 ** -normal_neg_log10_p(z) == pytest.approx(row.p_noadj, rel=1e-8)
        if abs(z) < NOT_CORRECTED:
            assert row.p_spa == row.p_noadj
            continue
        law = law_of(method, g, adjusted, mu)
        p, exchanged = spatest_p(score, law)
        assert row.p_spa == pytest.approx(p, rel=1e-8)
        found = saddlepoint(score, law)
        assert found.state == FOUND
        if exchanged:
            assert z**2 < 1
            continue
        compared += 1
        # Its search ends early where the saddlepoint is near: that moves large p a little.
        close = 5e-4 if row.p_spa < 0.5 else 2e-3
        assert found.neg_log10_p == pytest.approx(-math.log10(row.p_spa), abs=close)
    assert compared >= {"B1": 170, "B9": 170, "B50": 120}[trait]
