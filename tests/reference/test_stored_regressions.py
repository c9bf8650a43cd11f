"""Full regressions that PLINK 2 and R stored in ``peer_results``."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from peers import FLOAT32, Printed, compare, compare_glm, design, read_glm, results, scan
from scipy import stats

from allscan.kernels.association import Missing

pytestmark = pytest.mark.reference


@pytest.fixture(scope="module")
def cube(kg489, tmp_path_factory):
    aligned = design(kg489.store, kg489.traits, kg489.covariates)
    return scan(kg489.store, aligned, tmp_path_factory.mktemp("kg489") / "run", missing=Missing.EXCLUDE)


def compare_stored(ours: pd.DataFrame, glm: pd.DataFrame) -> None:
    """These tables print p itself, six digits of it, and no counts."""
    glm = glm.loc[ours.index]
    compare("P", 10.0 ** -ours.neg_log10_p.to_numpy(float), Printed.parse(glm.P), relative=1e-5)
    compare_glm(ours, glm, counts=False, log10_p=False)


@pytest.mark.parametrize("trait", ["QT1", "QT2", "QT3", "QT4"])
def test_plink2_europeans(cube, reference, trait):
    """Covariates were standardised there, which changes no effect of a genotype."""
    glm = read_glm(reference("peer_results") / "plink2" / f"kg.{trait}.glm.linear.gz")
    ours = results(cube, trait)
    assert len(ours) == len(glm) == 10161
    compare_stored(ours, glm)


def test_plink2_families(families, reference, tmp_path):
    """Missing genotypes are excluded there."""
    aligned = design(families.store, families.traits, families.covariates)
    ours = results(scan(families.store, aligned, tmp_path / "run", missing=Missing.EXCLUDE), "QT")
    glm = read_glm(reference("peer_results") / "plink2" / "fam.QT.glm.linear.gz")
    assert len(glm) == 1196
    compare_stored(ours.loc[glm.index], glm)


def test_r_lm_to_twelve_digits(cube, reference):
    """R prints 12 digits: what differs is our rounding to float32."""
    table = pd.read_csv(reference("peer_results") / "rtests" / "lm_kg.tsv", sep="\t")
    assert len(table) == 276
    for trait, rows in table.groupby("trait"):
        ours = results(cube, str(trait)).set_index("variant_id").loc[rows.id]
        assert (ours.alt.to_numpy() == rows.effect_allele.to_numpy()).all()
        assert (ours.n.to_numpy() == rows.n.to_numpy()).all()
        df = rows.n - 8
        np.testing.assert_allclose(ours.beta, rows.beta, rtol=FLOAT32)
        np.testing.assert_allclose(ours.standard_error, rows.se, rtol=FLOAT32)
        np.testing.assert_allclose(ours.neg_log10_p, -np.log10(rows.p), rtol=2 * FLOAT32, atol=1e-12)
        from_t = -(stats.t.logsf(np.abs(rows.t), df) + np.log(2)) / np.log(10)
        np.testing.assert_allclose(ours.neg_log10_p, from_t, rtol=2 * FLOAT32)
