"""GCTA 1.94.1's stored ``--fastGWA-lr`` results, which are not those of a full regression.

GCTA takes the covariates out of the trait, not out of the genotype: it regresses the residual trait on the centred
genotype (missing ones at the mean), with ``n − 2`` degrees of freedom, and takes p from the normal distribution.
With ``x = gᵀg`` after the covariates and ``c = gᵀg`` after the mean only, both of the analysed people::

    BETA = beta · x / c        SE² = (yᵀy / c − BETA²) / (n − 2)

Ours gives ``x``: from ``SE² = s² / x`` and ``s² (n − k − 1) = yᵀy − beta² x``.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from peers import Printed, compare, design, keys, read_table, results, scan
from scipy import stats

from allscan.kernels.association import Status

pytestmark = pytest.mark.reference

RELATIVE = 1e-6


def read_fastgwa(path):
    table = read_table(path)
    return table.set_index(keys(table.CHR, table.POS, table.A2, table.A1))


def fastgwa(ours: pd.DataFrame, calls, trait, covariates) -> pd.DataFrame:
    """BETA, SE and P of the approximation that belong to our results."""
    analysed = np.isfinite(trait)
    n, k = int(analysed.sum()), covariates.shape[1] + 1
    basis, _ = np.linalg.qr(np.column_stack([np.ones(n), covariates[analysed]]))
    y = trait[analysed] - basis @ (basis.T @ trait[analysed])
    g = calls[analysed].astype(float)
    g[g < 0] = np.nan
    centred = np.nan_to_num(g - np.nanmean(g, axis=0))
    c = (centred**2).sum(axis=0)
    beta, se = ours.beta.to_numpy(float), ours.standard_error.to_numpy(float)
    x = (y @ y) / (beta**2 + se**2 * (n - k - 1))
    theirs = beta * x / c
    error = np.sqrt((y @ y / c - theirs**2) / (n - 2))
    p = 2 * stats.norm.sf(np.abs(theirs / error))
    return pd.DataFrame({"BETA": theirs, "SE": error, "P": p}, index=ours.index)


def compare_fastgwa(ours: pd.DataFrame, expected: pd.DataFrame, table: pd.DataFrame) -> None:
    rows = table.index
    assert (ours.status.loc[rows] == Status.OK).all()
    for column, tolerance in (("BETA", RELATIVE), ("SE", RELATIVE), ("P", 1e-5)):
        compare(column, expected[column].loc[rows], Printed.parse(table[column]), relative=tolerance)
    compare("AF1", ours.effect_allele_frequency.loc[rows], Printed.parse(table.AF1), relative=1e-6)


@pytest.mark.parametrize(("trait", "variants"), [("QT1", 10161), ("QT3", 10033)])
def test_europeans(reference, kg489, tmp_path, trait, variants):
    """QT3 is missing in a fifth of the people; GCTA drops variants below a frequency of 0.005 among the others."""
    cube = scan(kg489.store, design(kg489.store, kg489.traits[[trait]], kg489.covariates), tmp_path / "run")
    ours = results(cube, trait)
    table = read_fastgwa(reference("peer_results") / "gcta" / f"kg_{trait}_lr.fastGWA.gz")
    assert len(table) == variants
    expected = fastgwa(ours, kg489.calls, kg489.traits[trait].to_numpy(), kg489.covariates.to_numpy())
    compare_fastgwa(ours, expected, table)
    assert (ours.n.loc[table.index].to_numpy() == table.N.astype(int).to_numpy()).all()


def test_families_with_missing_genotypes(families, reference, tmp_path):
    """2,000 people, 0.2 % of the calls missing: GCTA puts them at the mean, but prints the number of calls as N."""
    cube = scan(families.store, design(families.store, families.traits, families.covariates), tmp_path / "run")
    ours = results(cube, "QT")
    table = read_fastgwa(reference("peer_results") / "gcta" / "fam_lr.fastGWA.gz")
    assert len(table) == len(ours) == 4392
    expected = fastgwa(ours, families.calls, families.traits.QT.to_numpy(), families.covariates.to_numpy())
    compare_fastgwa(ours, expected, table)
    called = np.rint(2000 * (1 - ours.missing_rate.loc[table.index])).astype(int)
    assert (called.to_numpy() == table.N.astype(int).to_numpy()).all()
