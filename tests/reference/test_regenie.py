"""REGENIE 4.1.2's stored results: the linear test without and with LOCO predictions, dominant and recessive.

REGENIE's linear test is a score test: with ``r`` the partial correlation of genotype and trait and ``k`` columns
of covariates (the intercept among them) it gives ``CHISQ = (n − k) r²`` on one degree of freedom. From the t test,
``r² = t² / (t² + n − k − 1)``. So CHISQ, BETA, SE and LOG10P follow from ours without any other input.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from peers import Printed, compare, design, keys, make_store, read_people, read_table, results, scan
from scipy import stats

from allscan.kernels.association import Model, Status

pytestmark = pytest.mark.reference

# Six digits are printed; what is left is our float32, twice in CHISQ, a ratio of squares.
RELATIVE = 5e-7


def read_regenie(path):
    table = read_table(path)
    return table.set_index(keys(table.CHROM, table.GENPOS, table.ALLELE0, table.ALLELE1))


def score_test(ours: pd.DataFrame, n_covariates: int, explained: float) -> pd.DataFrame:
    """CHISQ, SE and LOG10P of the score test that belong to our t tests."""
    t = ours.beta.to_numpy(float) / ours.standard_error.to_numpy(float)
    n = ours.n.to_numpy(float)
    chisq = explained * (n - n_covariates) * t**2 / (t**2 + n - n_covariates - 1)
    return pd.DataFrame(
        {
            "CHISQ": chisq,
            "SE": np.abs(ours.beta.to_numpy(float)) / np.sqrt(chisq),
            "LOG10P": -stats.chi2.logsf(chisq, 1) / np.log(10),
        },
        index=ours.index,
    )


def compare_regenie(
    ours: pd.DataFrame, regenie: pd.DataFrame, n_covariates: int, explained: float = 1.0
) -> dict[str, float]:
    tested = regenie[regenie.LOG10P != "NA"]
    ours = ours.loc[tested.index]
    assert (ours.status == Status.OK).all()
    score = score_test(ours, n_covariates, explained)
    largest = {
        name: compare(name, values, Printed.parse(tested[name]), relative=RELATIVE)
        for name, values in (
            ("BETA", ours.beta),
            ("SE", score.SE),
            ("CHISQ", score.CHISQ),
            ("LOG10P", score.LOG10P),
        )
    }
    assert (ours.n.to_numpy() == tested.N.astype(int).to_numpy()).all()
    compare("A1FREQ", ours.effect_allele_frequency, Printed.parse(tested.A1FREQ), relative=1e-7)
    return largest


@pytest.mark.parametrize("trait", ["QT1", "QT4"])
def test_linear_without_predictions(reference, kg489, tmp_path, trait):
    """Traits without missing values: REGENIE fills in others (``kg_QT2``, ``kg_QT3``) before it tests."""
    cube = scan(kg489.store, design(kg489.store, kg489.traits[[trait]], kg489.covariates), tmp_path / "run")
    regenie = read_regenie(reference("peer_results") / "kg_eur489" / f"s2_qt_nopred_{trait}.regenie.gz")
    ours = results(cube, trait)
    assert len(regenie) == len(ours) == 10161
    compare_regenie(ours, regenie, n_covariates=7)


@pytest.mark.parametrize(
    ("model", "name"), [(Model.ADDITIVE, "loco"), (Model.DOMINANT, "dom"), (Model.RECESSIVE, "rec")]
)
def test_with_leave_one_chromosome_out_predictions(reference, kg489, tmp_path, model, name):
    """REGENIE subtracts the prediction from the residual trait, scaled to unit variance, and does not project again.

    So the trait of each chromosome is that residual, given to our scan with the same covariates. Ours projects it
    once more: REGENIE's variance of the trait is larger by what the covariates explain of the prediction.
    """
    folder = reference("peer_results") / "kg_eur489"
    file = "s2_qt_loco_QT1" if name == "loco" else f"s2_qt1_{name}_QT1"
    regenie = read_regenie(folder / f"{file}.regenie.gz")
    loco = pd.read_csv(folder / "s1_qt_1.loco.gz", sep=r"\s+", index_col="FID_IID").T
    loco.index = [label[: len(label) // 2] for label in loco.index]
    people = kg489.traits.index
    x = np.column_stack([np.ones(len(people)), kg489.covariates.loc[people].to_numpy()])
    basis, _ = np.linalg.qr(x)
    residual = kg489.traits.QT1 - basis @ (basis.T @ kg489.traits.QT1)
    scale = np.sqrt(residual @ residual / (len(people) - x.shape[1]))
    traits = pd.DataFrame({f"chr{c}": residual - scale * loco.loc[people, c] for c in (1, 2, 22)}, index=people)
    cube = scan(kg489.store, design(kg489.store, traits, kg489.covariates), tmp_path / "run", model=model)
    left = traits - basis @ (basis.T @ traits.to_numpy())
    explained = (left**2).sum() / (traits**2).sum()
    assert (explained > 0.99).all()
    for c in (1, 2, 22):
        ours = results(cube, f"chr{c}")
        there = regenie[str(c) == regenie.CHROM]
        compare_regenie(ours, there, n_covariates=7, explained=explained[f"chr{c}"])


@pytest.mark.parametrize("trait", ["Y1", "Y2"])
def test_single_variants_of_the_gene_example(reference, tmp_path, trait):
    """Three chromosomes of rare variants; six people removed; common alleles counted as ALT."""
    source = reference("regenie_example")
    store = make_store([source / "example_3chr.bed"], tmp_path / "store.zarr")
    removed = {line.split()[1] for line in (source / "fid_iid_to_remove.txt").read_text().splitlines()}
    traits = read_people(source / "phenotype.txt")[[trait]]
    covariates = read_people(source / "covariates.txt")
    aligned = design(store, traits[~traits.index.isin(removed)], covariates)
    assert aligned.n_samples == 494
    ours = results(scan(store, aligned, tmp_path / "run"), trait)
    regenie = read_regenie(reference("peer_results") / "genes" / f"q_single_{trait}.regenie.gz")
    assert len(regenie) == len(ours) == 500
    compare_regenie(ours, regenie, n_covariates=4)
