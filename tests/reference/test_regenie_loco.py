"""REGENIE 4.1.2's step 2 with its own predictions, against our scan with the same files.

REGENIE subtracts the prediction from the residual trait, scaled to unit variance, and does not project again. Ours
takes the prediction off the trait and projects off the covariates: the same effect and score, but REGENIE's variance of
the trait is larger by what the covariates explain of the prediction. That is a number for each trait and chromosome,
computed here from the inputs (``explained``).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Reference, Study
from peers import compare_regenie, design, read_regenie, results, scan
from scipy import stats

from allscan.engine.design import Design
from allscan.engine.offsets import StoredOffsets, residual_sd
from allscan.engine.regenie_predictions import RegeniePredictions
from allscan.kernels.association import Model

pytestmark = pytest.mark.reference

CHROMOSOMES = ("1", "2", "22")
COVARIATES = 7  # with the intercept


def with_predictions(study: Study, predictions: Path, traits: pd.DataFrame) -> Design:
    plain = design(study.store, traits, study.covariates)
    stored = RegeniePredictions(predictions)
    offsets = StoredOffsets(stored, plain, study.store.sample_ids[plain.store_rows])
    assert stored.matched == "IID"
    return replace(plain, offsets=offsets)


def read_loco(path: Path) -> pd.DataFrame:
    """Predictions (people, chromosomes), read here by other code than the one that is tested."""
    loco = pd.read_csv(path, sep=r"\s+", index_col="FID_IID").T
    loco.index = pd.Index([label[: len(label) // 2] for label in loco.index])  # FID and IID are the same
    return loco


def explained(aligned: Design, people: list[str], loco: pd.DataFrame, chromosome: str) -> float:
    """Share of the variance that REGENIE divides by which our projection leaves."""
    member = ~np.isnan(aligned.traits[:, 0])
    trait, covariates = aligned.traits[member, 0], aligned.covariates[member]
    basis, _ = np.linalg.qr(covariates)
    residual = trait - basis @ (basis.T @ trait)
    scale = np.sqrt(residual @ residual / (len(trait) - COVARIATES))
    assert residual_sd(trait, covariates) == pytest.approx(scale, rel=1e-12)
    less = residual - scale * loco.loc[np.array(people)[member], int(chromosome)].to_numpy()
    left = less - basis @ (basis.T @ less)
    return float((left @ left) / (less @ less))


def rank_normal(values: pd.Series) -> pd.Series:
    """REGENIE's --apply-rint: (rank − 3/8) / (n + 1/4)."""
    return pd.Series(stats.norm.ppf((values.rank() - 0.375) / (len(values) + 0.25)), values.index)


@pytest.mark.parametrize(
    ("trait", "step1", "step2", "model"),
    [
        ("QT1", "s1_qt", "s2_qt_loco", Model.ADDITIVE),
        ("QT4", "s1_qt", "s2_qt_loco", Model.ADDITIVE),
        ("QT2", "s1_qt2alone", "s2_qt2alone_loco", Model.ADDITIVE),
        ("QT4", "s1_qt_rint", "s2_qt_rint_loco", Model.ADDITIVE),
        ("QT1", "s1_qt", "s2_qt1_dom", Model.DOMINANT),
        ("QT1", "s1_qt", "s2_qt1_rec", Model.RECESSIVE),
    ],
)
def test_a_trait_in_its_own_samples_gives_the_digits_that_regenie_prints(
    reference: Reference, kg489: Study, tmp_path: Path, trait: str, step1: str, step2: str, model: Model
) -> None:
    folder = reference("peer_results") / "kg_eur489"
    traits = kg489.traits[[trait]].dropna()
    if "rint" in step1:
        traits = traits.apply(rank_normal)
    aligned = with_predictions(kg489, folder / f"{step1}_pred.list", traits)
    ours = results(scan(kg489.store, aligned, tmp_path / "run", model=model), trait)
    regenie = read_regenie(folder / f"{step2}_{trait}.regenie.gz")
    people = list(kg489.store.sample_ids[aligned.store_rows])
    number = [line.split()[1] for line in (folder / f"{step1}_pred.list").read_text().splitlines() if trait in line]
    loco = read_loco(folder / f"{Path(number[0]).name}.gz")
    for chromosome in CHROMOSOMES:
        share = explained(aligned, people, loco, chromosome)
        assert share > 0.99
        there = regenie[chromosome == regenie.CHROM]
        assert len(there) > 1000
        compare_regenie(ours, there, COVARIATES, share)


@pytest.mark.parametrize(("trait", "largest", "median"), [("QT2", 0.16, 0.01), ("QT3", 0.67, 0.04)])
def test_where_regenie_imputes_traits_the_effects_differ_by_so_much(
    reference: Reference, kg489: Study, tmp_path: Path, trait: str, largest: float, median: float
) -> None:
    """QT2 misses 5 % of its values, QT3 20 %. REGENIE residualises traits imputed by their mean, in all people.

    Ours is the trait in its own samples, so nothing here says that either is wrong; the distance is bounded in
    standard errors. QT2 alone, which REGENIE does not impute, gives REGENIE's digits: see above.
    """
    folder = reference("peer_results") / "kg_eur489"
    aligned = with_predictions(kg489, folder / "s1_qt_pred.list", kg489.traits)
    regenie = read_regenie(folder / f"s2_qt_loco_{trait}.regenie.gz")
    tested = regenie[regenie.LOG10P != "NA"]
    ours = results(scan(kg489.store, aligned, tmp_path / "run"), trait).loc[tested.index]
    distance = np.abs(ours.beta - tested.BETA.astype(float)) / tested.SE.astype(float)
    assert distance.max() < largest
    assert distance.median() < median
