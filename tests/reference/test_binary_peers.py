"""The test `logistic` against SAIGE, R, SPAtest and Hail, and on REGENIE's own examples."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from binary_studies import (
    NullFit,
    asserted,
    binary_scan,
    compare_asserted,
    epacts,
    law_of_carriers,
    numbers,
    ten_people,
    variant_keys,
)
from conftest import Reference, Study
from peers import (
    FLOAT32,
    Printed,
    compare,
    keys,
    make_store,
    read_bim,
    read_people,
    read_regenie,
    results,
    write_bed,
)
from scipy import stats

from allscan.engine.chromosomes import Region
from allscan.engine.plan import VariantFilter
from allscan.kernels.association import Status
from allscan.kernels.saddlepoint import FOUND, saddlepoint

pytestmark = pytest.mark.reference

NONE = {"correction": "none", "min_cases": 1}
EVERY_PAIR = {"p_threshold": 1.0, "exact_carriers": 0, "min_cases": 20}


# ---- REGENIE's examples ----------------------------------------------------------------------------------


def regenie_example(
    reference: Reference, tmp_path: Path, fileset: str, trait: str, options: dict[str, object]
) -> pd.DataFrame:
    """494 of 500 people, three covariates; 120 cases of Y1, 114 of Y2."""
    source = reference("regenie_example")
    store = make_store([source / f"{fileset}.bed"], tmp_path / "store.zarr")
    removed = {line.split()[1] for line in (source / "fid_iid_to_remove.txt").read_text().splitlines()}
    traits = read_people(source / "phenotype_bin.txt")
    covariates = read_people(source / "covariates.txt")
    kept = traits[~traits.index.isin(removed)][[trait]]
    spec = {"test": "logistic", "test_options": {"correction": "firth", "exact_carriers": 0, **options}}
    return results(binary_scan(store, kept, covariates, tmp_path / "run", **spec), trait)


def test_regenie_documented_example(reference: Reference, tmp_path: Path) -> None:
    """Approximate Firth below p = 0.01, 1,000 variants. One chromosome: the predictions are zero.

    REGENIE's standard errors are of the information, those of ours below the threshold have the p that is given.
    """
    ours = regenie_example(reference, tmp_path, "example", "Y1", {"p_threshold": 0.01})
    regenie = read_regenie(reference("regenie_example") / "test_bin_out_firth_Y1.regenie")
    assert list(ours.index) == list(regenie.index)
    assert len(ours) == 1000
    corrected = ours.status == Status.FIRTH
    assert corrected.sum() == 20
    assert (ours.status[~corrected] == Status.OK).all()
    error = numbers(regenie, "SE")
    error[corrected] = numbers(regenie, "BETA").abs() / np.sqrt(numbers(regenie, "CHISQ"))
    assert ((ours.beta - numbers(regenie, "BETA")) / error).abs().max() < 1e-4
    assert (ours.standard_error / error - 1).abs().max() < 2e-5
    assert (ours.neg_log10_p - numbers(regenie, "LOG10P")).abs().max() < 1e-5
    compare("A1FREQ", ours.effect_allele_frequency, Printed.parse(regenie.A1FREQ), relative=1e-7)


@pytest.mark.parametrize("trait", ["Y1", "Y2"])
def test_regenie_gene_example(reference: Reference, tmp_path: Path, trait: str) -> None:
    """500 variants of three chromosomes, each by approximate Firth; ten have fewer than 50 copies: carriers only."""
    ours = regenie_example(reference, tmp_path, "example_3chr", trait, {"p_threshold": 1.0})
    regenie = read_regenie(reference("peer_results") / "genes" / f"b_single_firth_{trait}.regenie.gz")
    assert len(regenie) == len(ours) == 500
    ours = ours.loc[regenie.index]
    assert (ours.status == Status.FIRTH).all()
    distance = ((ours.beta - numbers(regenie, "BETA")) / numbers(regenie, "SE")).abs()
    of_p = (ours.neg_log10_p - numbers(regenie, "LOG10P")).abs()
    frequency = numbers(regenie, "A1FREQ")
    rare = 2 * numbers(regenie, "N") * np.minimum(frequency, 1 - frequency) < 49.5
    assert rare.sum() == 10
    assert distance[~rare].max() < 1e-4
    assert of_p[~rare].max() < 1e-5
    assert distance[rare].max() < 0.05
    assert of_p[rare].max() < 0.05


# ---- SAIGE -----------------------------------------------------------------------------------------------


def read_saige(reference: Reference, name: str) -> pd.DataFrame:
    table = pd.read_csv(reference("peer_results") / "saige" / f"{name}.txt.gz", sep="\t", dtype={"CHR": str})
    return table.set_index(keys(table.CHR, table.POS, table.Allele1, table.Allele2))


def best_guess(families: Study, folder: Path) -> tuple[np.ndarray, pd.Index, Path]:
    """Chromosome 1 with missing calls as SAIGE fills them in: the mean, rounded."""
    bim = read_bim(families.prefix)
    first = (bim.chromosome == "1").to_numpy()
    calls = families.calls[:, first].astype(float)
    calls[calls < 0] = np.nan
    filled = np.where(np.isnan(calls), np.round(np.nanmean(calls, axis=0)), calls).astype(np.int8)
    people = pd.DataFrame({"sex": families.covariates.sex}, index=families.covariates.index)
    write_bed(folder / "filled", filled, bim[first], people)
    return filled.astype(float), variant_keys(folder / "filled"), folder / "filled.bed"


def test_saige(families: Study, reference: Reference, tmp_path: Path) -> None:
    """B50, 39 cases of 2,000: its variance component is zero, so that its null model is ours. 1,196 variants.

    Beyond |z| = 2 it has the saddlepoint with non-carriers by their variance, and where the minor allele count is at
    most 4, efficient resampling.
    """
    calls, columns, bed = best_guess(families, tmp_path)
    trait = read_people(families.trait_file)[["B50"]]
    store = make_store([bed], tmp_path / "store.zarr")
    scans = {
        name: results(
            binary_scan(store, trait, families.covariates, tmp_path / name, test="logistic", test_options=options),
            "B50",
        )
        for name, options in (("score", NONE), ("spa", EVERY_PAIR), ("default", {"min_cases": 20}))
    }
    saige = read_saige(reference, "step2_B50_noadjCovFALSE")
    assert len(saige) == 1196
    score, spa, default = (scans[name].loc[saige.index] for name in ("score", "spa", "default"))
    for mine, theirs in (("cases", saige.N_case), ("n", saige.N_case + saige.N_ctrl)):
        assert (score[mine] == theirs).all()
    assert (score.carriers_cases == saige.N_case_hom + saige.N_case_het).all()
    assert (score.carriers_controls == saige.N_ctrl_hom + saige.N_ctrl_het).all()
    for group in ("case", "ctrl"):
        mine = score[f"effect_allele_frequency_{'cases' if group == 'case' else 'controls'}"]
        np.testing.assert_allclose(mine, saige[f"AF_{group}"], rtol=1e-5)
    # Its null model stops at a relative change of its coefficients of some 1e-5.
    variance = 1 / score.standard_error.astype(float) ** 2
    np.testing.assert_allclose(variance, saige["var"], rtol=2e-5)
    np.testing.assert_allclose(score.beta * variance, saige.Tstat, rtol=1e-5, atol=1e-4)
    theirs = -np.log10(saige["p.value"])
    near = (saige.Tstat / np.sqrt(saige["var"])).abs() <= 2
    assert near.sum() == 1123
    np.testing.assert_allclose(score.neg_log10_p[near], theirs[near], atol=2e-5)
    few = ~near & (np.minimum(saige.AC_Allele2, 4000 - saige.AC_Allele2) <= 4)
    assert few.sum() == 2
    null = NullFit.of(trait.B50.to_numpy(float), families.covariates.to_numpy(float))
    for key in saige.index[~near & ~few]:
        g = calls[:, columns.get_loc(key)]
        g = 2 - g if g.mean() > 1 else g
        adjusted = null.adjusted(g)
        fast = saddlepoint(null.score(adjusted), law_of_carriers(g, adjusted, null.mu))
        assert fast.state == FOUND
        assert theirs[key] == pytest.approx(fast.neg_log10_p, abs=1e-2 if (g > 0).mean() > 0.5 else 2e-4)
    distance = (spa.neg_log10_p - theirs)[~near & ~few].abs()
    assert distance.median() < 0.01
    assert (distance / theirs[~near & ~few]).max() < 0.02
    for key in saige.index[few]:
        g = calls[:, columns.get_loc(key)]
        ordinary, middle = resampled(g, trait.B50.to_numpy(float), null.mu)
        assert saige["p.value"][key] == pytest.approx(middle, rel=5e-6)
        assert default.status[key] == Status.EXACT
        # Ours has each carrier's own probability, and counts the outcome itself whole.
        p = 10 ** -default.neg_log10_p[key]
        assert p == pytest.approx(exact_p(g, trait.B50.to_numpy(float), null.mu), rel=1e-6)
        assert p == pytest.approx(ordinary, rel=0.2)


def resampled(g: np.ndarray, y: np.ndarray, mu: np.ndarray) -> tuple[float, float]:
    """p and mid-p of efficient resampling: carriers at the mean of their probabilities, the number of cases fixed."""
    carries = g > 0
    odds = [m / (1 - m) for m in (mu[carries].mean(), mu[~carries].mean())]
    count = stats.nchypergeom_fisher(len(y), int(carries.sum()), int(y.sum()), odds[0] / odds[1])
    observed = int(y[carries].sum())
    return float(count.sf(observed - 1)), float(count.sf(observed) + count.pmf(observed) / 2)


def exact_p(g: np.ndarray, y: np.ndarray, mu: np.ndarray) -> float:
    """Outcomes at least as far from the mean as the observed one, over all of them."""
    copies, chances = g[g > 0], mu[g > 0]
    distance = abs(float(copies @ (y[g > 0] - chances)))
    total = 0.0
    for outcome in product((0.0, 1.0), repeat=len(copies)):
        cases = np.array(outcome)
        if abs(float(copies @ (cases - chances))) >= distance - 1e-9:
            total += float(np.prod(np.where(cases == 1, chances, 1 - chances)))
    return total


# ---- R and Hail ------------------------------------------------------------------------------------------


def test_r_score(kg489: Study, reference: Reference, tmp_path: Path) -> None:
    """Score and variance from R's ``glm``, printed to twelve digits."""
    traits = read_people(reference("peer_results") / "kg_eur489" / "pheno_bt.tsv")
    spec = {"test": "logistic", "test_options": NONE, "filter": VariantFilter(regions=(Region("22"),))}
    cube = binary_scan(kg489.store, traits, kg489.covariates, tmp_path / "run", **spec)
    table = pd.read_csv(reference("peer_results") / "rtests" / "glm_binomial_kg.tsv", sep="\t")
    for trait in traits:
        ours = results(cube, str(trait)).set_index("variant_id")
        rows = table[(table.trait == trait) & table.id.isin(ours.index)].set_index("id")
        ours = ours.loc[rows.index]
        assert len(rows) == 53
        np.testing.assert_allclose(ours.beta, rows.score_U / rows.score_V, rtol=FLOAT32, atol=1e-8)
        np.testing.assert_allclose(ours.standard_error, rows.score_V**-0.5, rtol=FLOAT32)
        np.testing.assert_allclose(ours.neg_log10_p, -np.log10(rows.p_score), rtol=2e-7, atol=1e-9)
        assert (ours.cases == rows.ncase).all()
        assert (ours.n == rows.n).all()


@pytest.mark.parametrize("trait", ["B1", "B9", "B50"])
def test_spatest(families: Study, reference: Reference, tmp_path: Path, trait: str) -> None:
    """200 variants of 2,000 people, missing calls at the mean. What differs where |z| < 1: test_spatest.py."""
    table = pd.read_csv(reference("peer_results") / "rtests" / "spatest_fam2000.tsv", sep="\t")
    people = read_people(families.trait_file)[[trait]]
    plain, corrected = (
        results(
            binary_scan(
                families.store, people, families.covariates, tmp_path / name, test="logistic", test_options=options
            ),
            trait,
        ).set_index("variant_id")
        for name, options in (("score", NONE), ("spa", EVERY_PAIR))
    )
    for method, within in (("SPA", 5e-4), ("fastSPA", 5e-3)):
        rows = table[(table.trait == trait) & (table.method == method)].set_index("id")
        assert len(rows) == 200
        np.testing.assert_allclose(plain.neg_log10_p[rows.index], -np.log10(rows.p_noadj), rtol=2e-7, atol=1e-8)
        beyond = rows.p_noadj < 2 * stats.norm.sf(1)
        assert beyond.sum() > 50
        theirs = -np.log10(rows.p_spa[beyond])
        np.testing.assert_allclose(corrected.neg_log10_p[theirs.index], theirs, rtol=0, atol=within)


def test_hail_score(reference: Reference, tmp_path: Path) -> None:
    """Ten people, to the 1e-6 that Hail asserts; the third variant separates, and its score test is as any other."""
    cohort = ten_people(reference)
    store = make_store([cohort.vcf], tmp_path / "store.zarr")
    cube = binary_scan(store, cohort.traits, cohort.covariates, tmp_path / "run", test="logistic", test_options=NONE)
    ours = results(cube, "case").set_index("position")
    assert compare_asserted(ours, asserted(reference, "logreg_score"), 1e-6) == 6
    assert (ours.status[ours.index >= 6] == Status.MONOMORPHIC).all()


def test_epacts_score(reference: Reference, tmp_path: Path) -> None:
    cohort = epacts(reference)
    store = make_store([cohort.vcf], tmp_path / "store.zarr")
    cube = binary_scan(store, cohort.traits, cohort.covariates, tmp_path / "run", test="logistic", test_options=NONE)
    ours = results(cube, "case").set_index("position")
    assert compare_asserted(ours, asserted(reference, "epacts_score")) == 5
