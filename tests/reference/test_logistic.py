"""Logistic regression in full against R, PLINK 2, REGENIE, EPACTS and Hail: Wald, likelihood ratio, Firth.

Where their numbers are not ours it is said what they are, and shown by computing them: see the README here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from binary_studies import (
    TRAITS,
    asserted,
    binary_scan,
    compare_asserted,
    epacts,
    penalised_with_absent,
    ten_people,
)
from conftest import Reference, Study
from numpy.typing import NDArray
from peers import (
    FLOAT32,
    GLM,
    OPEN_CHECKS,
    Printed,
    compare,
    design,
    keys,
    make_store,
    plink2,
    read_glm,
    read_people,
    read_regenie,
    results,
    scan,
    write_people,
)
from scipy import stats

from allscan.engine.chromosomes import Region
from allscan.engine.plan import VariantFilter
from allscan.engine.results import ResultsCube
from allscan.kernels import testing
from allscan.kernels.association import AssociationTest, Missing, Status
from allscan.kernels.block import encode_block
from allscan.kernels.logistic_full import LOGISTIC_FIRTH, LOGISTIC_LRT, LOGISTIC_WALD
from tests import naive_logistic

pytestmark = pytest.mark.reference

Floats = NDArray[np.float64]

TESTS = {"wald": "logistic_wald", "lrt": "logistic_lrt", "firth": "firth"}
CHROMOSOME = VariantFilter(regions=(Region("22"),))


Scans = Callable[..., ResultsCube]


@pytest.fixture(scope="module")
def scanned(kg489: Study, reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Scans:
    """Chromosome 22 of the 489 Europeans by each test, with and without REGENIE's predictions; each done once."""
    folder = reference("peer_results") / "kg_eur489"
    traits = read_people(folder / "pheno_bt.tsv")
    done: dict[tuple[str, bool], ResultsCube] = {}

    def scans(method: str, *, loco: bool = False) -> ResultsCube:
        if (method, loco) not in done:
            predictions = folder / "s1_bt_pred.list" if loco else None
            out = tmp_path_factory.mktemp(method) / "run"
            spec = {"test": TESTS[method], "missing": Missing.EXCLUDE, "filter": CHROMOSOME}
            done[method, loco] = binary_scan(
                kg489.store, traits, kg489.covariates, out, predictions=predictions, **spec
            )
        return done[method, loco]

    return scans


def r_rows(reference: Reference, name: str, ours: pd.DataFrame, trait: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """R's rows of a trait on chromosome 22, and ours of the same variants."""
    table = pd.read_csv(reference("peer_results") / "rtests" / f"{name}.tsv", sep="\t")
    ours = ours.set_index("variant_id")
    rows = table[(table.trait == trait) & table.id.isin(ours.index)]
    ours = ours.loc[rows.id]
    assert len(rows) == 53
    assert (ours.alt.to_numpy() == rows.effect_allele.to_numpy()).all()
    return rows.set_index("id"), ours


@pytest.mark.parametrize("trait", TRAITS)
@pytest.mark.parametrize(("method", "p"), [("wald", "p_wald"), ("lrt", "p_lrt")])
def test_r_glm(scanned: Scans, reference: Reference, method: str, p: str, trait: str) -> None:
    """R's ``glm`` says that it converged where it ran away to log odds of 28: those are separated."""
    rows, ours = r_rows(reference, "glm_binomial_kg", results(scanned(method), trait), trait)
    ran_away = rows.beta.abs() > 20
    assert rows.converged.all()
    np.testing.assert_array_equal(ours.status == Status.SEPARATED, ran_away)
    assert ran_away.sum() == {"BT1": 0, "BT2": 0, "BT3": 4, "BT4": 7}[trait]
    rows, ours = rows[~ran_away], ours[~ran_away.to_numpy()]
    assert (ours.status == Status.OK).all()
    np.testing.assert_allclose(ours.beta, rows.beta, rtol=FLOAT32, atol=1e-8)
    # R's standard errors are those of the step before its last.
    np.testing.assert_allclose(ours.standard_error, rows.se, rtol=1e-6)
    np.testing.assert_allclose(ours.neg_log10_p, -np.log10(rows[p]), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("trait", ["BT1", "BT4"])
def test_r_logistf(scanned: Scans, reference: Reference, trait: str) -> None:
    rows, ours = r_rows(reference, "logistf_kg", results(scanned("firth"), trait), trait)
    assert (ours.status == Status.OK).all()
    assert np.abs((ours.beta - rows.beta) / rows.se).max() < 2e-7
    np.testing.assert_allclose(ours.neg_log10_p, -np.log10(rows.p_profile), rtol=2e-7, atol=1e-8)
    # Its standard errors are from weights w (1 + h), and so a little smaller: see the test on sex2 for the digits.
    assert (ours.standard_error > rows.se).all()
    assert (ours.standard_error < 1.1 * rows.se).all()


@pytest.mark.parametrize("trait", TRAITS)
def test_plink2_stored(scanned: Scans, reference: Reference, trait: str) -> None:
    """PLINK 2 computes logistic regression in float32. It has no result where ours says SEPARATED, and only there."""
    folder = reference("peer_results") / "plink2"
    for method, name, of_beta, of_error in (("wald", "wald", 1e-4, 1e-4), ("firth", "firth", 3e-3, 1e-3)):
        suffix = "firth" if method == "firth" else "logistic"
        glm = pd.read_csv(folder / f"kg_bt_{name}.{trait}.glm.{suffix}.gz", sep="\t", dtype={"#CHROM": str})
        glm.index = keys(glm["#CHROM"], glm.POS, glm.REF, glm.ALT)
        ours = results(scanned(method), trait).loc[glm.index]
        assert len(glm) == 2608
        refused = (glm.ERRCODE != ".").to_numpy()
        np.testing.assert_array_equal(ours.status == np.where(refused, Status.SEPARATED, Status.OK), True)
        assert refused.sum() == ({"BT1": 5, "BT2": 54, "BT3": 253, "BT4": 352}[trait] if method == "wald" else 0)
        glm, ours = glm[~refused], ours[~refused]
        theirs = np.where(glm.A1 == glm.ALT, 1, -1) * np.log(glm.OR)
        assert np.abs((ours.beta - theirs) / ours.standard_error).max() < of_beta
        np.testing.assert_allclose(ours.standard_error, glm["LOG(OR)_SE"], rtol=of_error)
        if method == "wald":
            np.testing.assert_allclose(ours.neg_log10_p, -np.log10(glm.P), rtol=0, atol=1e-4)
        else:  # its p is Wald's
            wald = -(stats.norm.logsf(np.abs(ours.beta / ours.standard_error)) + np.log(2)) / np.log(10)
            np.testing.assert_allclose(wald, -np.log10(glm.P), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("loco", [False, True])
@pytest.mark.parametrize("trait", ["BT1", "BT3", "BT4"])
def test_regenie_exact_firth(scanned: Scans, reference: Reference, trait: str, loco: bool) -> None:
    """REGENIE stops where the modified score is below 1e-4: within 1e-3 standard errors of the maximum."""
    name = f"s2_bt{'' if loco else '_nopred'}_firthexact_{trait}.regenie.gz"
    regenie = read_regenie(reference("peer_results") / "kg_eur489" / name)
    regenie = regenie[regenie.CHROM == "22"]
    ours = results(scanned("firth", loco=loco), trait).loc[regenie.index]
    assert len(regenie) == 2608
    assert (ours.status == Status.OK).all()
    near = 1e-3 * ours.standard_error.to_numpy(float)
    compare("BETA", ours.beta, Printed.parse(regenie.BETA), relative=0, absolute=near)
    compare("SE", ours.standard_error, Printed.parse(regenie.SE), relative=3e-4)
    compare("LOG10P", ours.neg_log10_p, Printed.parse(regenie.LOG10P), relative=1e-6, absolute=1e-5)


def test_regenie_counts_people_without_the_trait_in_the_penalty(
    scanned: Scans, kg489: Study, reference: Reference
) -> None:
    """Ten of 489 people lack BT2. REGENIE leaves them out of the score, and gives them the weight 1 in the information.

    With that its numbers follow from plain formulas; ours, of the same formulas with the weight 0, are elsewhere.
    """
    regenie = read_regenie(reference("peer_results") / "kg_eur489" / "s2_bt_nopred_firthexact_BT2.regenie.gz")
    table = results(scanned("firth"), "BT2")
    distance = np.abs(table.beta.loc[regenie.index] - regenie.BETA.astype(float)) / regenie.SE.astype(float)
    assert 0.2 < distance.max() < 0.4
    assert distance.median() < 0.004
    order = pd.Index(kg489.store.sample_ids)
    trait = read_people(reference("peer_results") / "kg_eur489" / "pheno_bt.tsv").BT2.reindex(order).to_numpy(float)
    known = ~np.isnan(trait)
    assert known.sum() == 479
    covariates = kg489.covariates.reindex(order).to_numpy(float)
    standard = np.column_stack([np.ones(489), (covariates - covariates.mean(axis=0)) / covariates.std(axis=0)])
    first = kg489.calls.shape[1] - len(table)  # chromosome 22 is the last
    for key in regenie.index[::200]:
        x = np.column_stack([standard, kg489.calls[:, first + table.index.get_loc(key)]])
        full, null = (penalised_with_absent(x, trait, known, free) for free in (8, 7))
        theirs = regenie.loc[key]
        assert full[0][-1] == pytest.approx(float(theirs.BETA), abs=1e-3 * float(theirs.SE))
        assert full[1] == pytest.approx(float(theirs.SE), rel=3e-4)
        log10_p = -stats.chi2.logsf(2 * (full[2] - null[2]), 1) / np.log(10)
        assert log10_p == pytest.approx(float(theirs.LOG10P), rel=1e-5, abs=1e-5)


# ---- PLINK 2, live ---------------------------------------------------------------------------------------

LIVE = VariantFilter(regions=(Region("22", 1, 20_000_000),))


@pytest.fixture(scope="module")
def statuses(chr22: Study) -> pd.DataFrame:
    """Two simulated traits: a third of the people cases, and one in twenty; with people missing."""
    rng = np.random.default_rng(20260606)
    n = len(chr22.traits)
    causal = np.maximum(chr22.calls[:, rng.choice(chr22.calls.shape[1], 10, replace=False)], 0)
    liability = causal @ rng.normal(0, 0.4, 10) + 0.02 * (chr22.covariates.age.to_numpy() - 50) + rng.logistic(size=n)
    cases = pd.DataFrame(index=chr22.traits.index)
    for name, rate, absent in (("common", 1 / 3, 0.05), ("rare", 1 / 20, 0.0)):
        cases[name] = (liability > np.quantile(liability, 1 - rate)).astype(float)
        cases.loc[rng.random(n) < absent, name] = np.nan
    return cases


@pytest.mark.parametrize("method", ["wald", "firth"])
def test_plink2_live(chr22: Study, statuses: pd.DataFrame, tmp_path: Path, method: str) -> None:
    """1,092 people of 14 populations, calls missing at random, five covariates: every variant, both ways."""
    spec = {"test": TESTS[method], "missing": Missing.EXCLUDE, "filter": LIVE}
    cube = binary_scan(chr22.store, statuses, chr22.covariates, tmp_path / "run", **spec)
    traits = write_people(tmp_path / "traits.tsv", statuses)
    region = ("--chr", 22, "--to-bp", LIVE.regions[0].end)
    inputs = ("--bfile", chr22.prefix, "--1", "--pheno", traits, "--covar", chr22.covariate_file, *region)
    kind = "firth" if method == "firth" else "no-firth"
    plink2(*inputs, "--covar-variance-standardize", "--glm", kind, *GLM, *OPEN_CHECKS, out=tmp_path / "glm")
    suffix = "firth" if method == "firth" else "logistic"
    for trait in statuses:
        glm = read_glm(tmp_path / f"glm.{trait}.glm.{suffix}")
        ours = results(cube, str(trait))
        assert set(ours.index) == set(glm.index)
        assert len(ours) > 1500
        glm = glm.loc[ours.index]
        status = ours.status.to_numpy()
        # PLINK 2 calls UNFINISHED what it gave up, once or twice.
        unfinished = (glm.ERRCODE == "UNFINISHED").to_numpy()
        assert unfinished.sum() <= 2
        assert (status[unfinished] == Status.OK).all()
        for code, reasons in (
            (Status.OK, (".", "UNFINISHED")),
            (Status.MONOMORPHIC, ("CONST_OMITTED_ALLELE",)),
            (Status.SEPARATED, ("SEPARATION,ALT1", "SEPARATION,REF")),
        ):
            np.testing.assert_array_equal(status == code, glm.ERRCODE.isin(reasons))
        both = glm.ERRCODE == "."
        of_beta = np.abs(ours.beta - pd.to_numeric(glm.BETA, errors="coerce")) / ours.standard_error
        of_error = np.abs(ours.standard_error / pd.to_numeric(glm.SE, errors="coerce") - 1)
        close = (of_beta < 1e-3) & (of_error < 1e-4)
        assert close[both].mean() > 0.8
        assert of_beta[both].median() < 1e-5
        assert of_error[both].median() < 1e-5
        if method == "wald":
            assert of_beta[both].max() < 5e-5
        arbitrate(
            chr22, statuses[trait], ours[both & ~close].sample(8 if method == "wald" else 4, random_state=0), method
        )


def arbitrate(study: Study, trait: pd.Series, ours: pd.DataFrame, method: str) -> None:
    """Where PLINK 2 has another standard error or effect, plain formulas in float64 have ours."""
    position = pd.read_csv(study.prefix.with_suffix(".bim"), sep=r"\s+", header=None)[3].to_numpy()
    columns = study.covariates.to_numpy(float)
    standard = np.column_stack([np.ones(len(columns)), (columns - columns.mean(axis=0)) / columns.std(axis=0)])
    y = trait.to_numpy(float)
    for row in ours.itertuples():
        at = np.flatnonzero(position == row.position)
        assert len(at) == 1
        g = study.calls[:, at[0]].astype(float)
        used = (g >= 0) & ~np.isnan(y)
        exact = naive_logistic.regression(standard[used], g[used, None], y[used], np.zeros(used.sum()), method)
        assert row.standard_error == pytest.approx(exact.standard_error[0], rel=2e-7)
        assert row.beta == pytest.approx(exact.beta[0], abs=1e-7 * exact.standard_error[0], rel=2e-7)


# ---- small sets ------------------------------------------------------------------------------------------


class Estimate(NamedTuple):
    beta: float
    standard_error: float
    neg_log10_p: float
    status: int


def estimate(
    test: AssociationTest, predictor: Floats, covariates: Floats, y: Floats, offset: Floats | None = None
) -> Estimate:
    """One fit, of a predictor between 0 and 2."""
    example = testing.Example(
        np.zeros((1, len(y)), np.int8), y[:, None], covariates, None if offset is None else offset[:, None]
    )
    block = encode_block(example.genotypes, predictor[None].astype(np.float32), np.ones(1, bool))
    out = testing.run_test(test, example, block=block)
    return Estimate(*(float(out[name][0, 0]) for name in Estimate._fields[:3]), int(out["status"][0, 0]))


SEX2 = ("age", "oc", "vic", "vicl", "vis", "dia")


def test_firth_on_the_data_of_heinze_and_schemper(reference: Reference) -> None:
    """Coefficients, profile p and the ends of profile confidence intervals as logistf has them, each of six terms."""
    folder = reference("logistf_sex2")
    data = pd.read_csv(folder / "sex2.tsv", sep="\t")
    expected = pd.read_csv(folder / "EXPECTED.tsv", sep="\t", index_col=False).set_index("term", drop=False)
    listed = expected.set_index("model")
    p_values = np.array(listed.loc["profile p", "coef"].split(";"), float)
    errors = np.array(listed.loc["se (age..dia, intercept)", "coef"].split(";"), float)
    y = data.case.to_numpy(float)
    for k, term in enumerate(SEX2):
        x = data[term].to_numpy(float)
        others = np.column_stack([np.ones(len(y)), data[[name for name in SEX2 if name != term]].to_numpy(float)])
        found = estimate(LOGISTIC_FIRTH, x, others, y)
        row = expected.loc[term]
        assert found.beta == pytest.approx(float(row.coef), rel=1e-5)
        assert 10**-found.neg_log10_p == pytest.approx(p_values[k], rel=1e-6)
        for end in (row.profile_lower95, row.profile_upper95):
            # That the effect is this one is what is tested when that much of it is known: p is 0.05.
            tested = estimate(LOGISTIC_FIRTH, x, others, y, float(end) * x)
            assert 10**-tested.neg_log10_p == pytest.approx(0.05, rel=2e-5)
        # Since version 1.24 logistf takes standard errors from weights w (1 + h).
        whole = np.column_stack([others, x])
        b = naive_logistic.maximum_penalised(whole, y, np.zeros(len(y)), whole.shape[1])
        p = 1 / (1 + np.exp(-whole @ b))
        w = p * (1 - p)
        information = (whole * w[:, None]).T @ whole
        h = w * np.einsum("ij,jk,ik->i", whole, np.linalg.inv(information), whole)
        assert found.standard_error == pytest.approx(np.sqrt(np.linalg.inv(information)[-1, -1]), rel=1e-8)
        newer = np.linalg.inv((whole * (w * (1 + h))[:, None]).T @ whole)
        assert np.sqrt(newer[-1, -1]) == pytest.approx(errors[k], rel=1e-5)


@pytest.mark.parametrize("intercept", [True, False])
def test_firth_with_an_offset(reference: Reference, intercept: bool) -> None:
    folder = reference("logistf_sex2")
    data = pd.read_csv(folder / "sex2withoffset.txt", sep=r"\s+")
    expected = pd.read_csv(folder / "EXPECTED.tsv", sep="\t", index_col=False).set_index("model")
    label = "sex2withoffset.txt + offset" + ("" if intercept else ", no intercept")
    coefficients = np.array(expected.loc[label, "coef"].split(";"), float)
    y, offset = data.case.to_numpy(float), data.offset.to_numpy(float)
    for k, term in enumerate(SEX2):
        others = data[[name for name in SEX2 if name != term]].to_numpy(float)
        if intercept:
            others = np.column_stack([np.ones(len(y)), others])
        found = estimate(LOGISTIC_FIRTH, data[term].to_numpy(float), others, y, offset)
        assert found.beta == pytest.approx(coefficients[k], abs=1e-5)  # logistf's criterion


def test_firth_of_three_people(reference: Reference) -> None:
    """Hail's case, x = 1, 3, 10; here a fifth of it, which makes the coefficient five times as large."""
    found = estimate(LOGISTIC_FIRTH, np.array([0.2, 0.6, 2.0]), np.ones((3, 1)), np.array([0.0, 1.0, 1.0]))
    expected = asserted(reference, "firth_tiny").set_index("statistic").expected.astype(float)
    # Hail stops at 1e-6, and the maximum is 2e-7 from there.
    x = np.column_stack([np.ones(3), [1.0, 3.0, 10.0]])
    exact = naive_logistic.maximum_penalised(x, np.array([0.0, 1.0, 1.0]), np.zeros(3), 2)
    assert found.beta / 5 == pytest.approx(exact[1], rel=1e-9)
    assert found.beta / 5 == pytest.approx(expected.beta, rel=2e-6)
    assert 10**-found.neg_log10_p == pytest.approx(expected.p, rel=2e-6)


def test_hail_ten_people(reference: Reference, tmp_path: Path) -> None:
    """R's numbers as Hail asserts them, to its 1e-6; one variant separates, five do not vary. Missing: the mean."""
    vcf, traits, covariates = ten_people(reference)
    for field, suffix, within in ((None, "", 1e-6), ("PL", "_PL_dosage", 2e-5)):
        options = {} if field is None else {"reader_options": {"field": field}}
        store = make_store([vcf], tmp_path / f"store{suffix}.zarr", **options)
        aligned = replace(design(store, traits, covariates), binary=True)
        assert aligned.n_samples == 10
        for method in ("wald", "lrt"):
            rows = asserted(reference, f"logreg_{method}{suffix}")
            table = results(scan(store, aligned, tmp_path / f"{method}{suffix}", test=TESTS[method]), "case")
            compared = compare_asserted(table.set_index("position"), rows, within)
            assert compared == (0 if method == "lrt" and field else 8 if method == "wald" and not field else 4)
            if field is None:
                assert set(table.status[table.position == 3]) == {Status.SEPARATED}
                assert (table.status[table.position >= 6] == Status.MONOMORPHIC).all()
                assert table.beta[table.position >= 6].isna().all()


@pytest.mark.parametrize(("method", "number"), [("wald", 16), ("lrt", 5), ("firth", 10)])
def test_epacts_2535_people(reference: Reference, tmp_path: Path, method: str, number: int) -> None:
    """Five variants of 1000 Genomes, minor allele counts from 7 to 1,207; to the digits that EPACTS prints."""
    vcf, traits, covariates = epacts(reference)
    store = make_store([vcf], tmp_path / "store.zarr")
    aligned = replace(design(store, traits, covariates), binary=True)
    assert aligned.n_samples == 2535
    ours = results(scan(store, aligned, tmp_path / "run", test=TESTS[method]), "case").set_index("position")
    assert compare_asserted(ours, asserted(reference, f"epacts_{method}")) == number


def test_the_tests_are_those_of_the_registry() -> None:
    assert [test.name for test in (LOGISTIC_WALD, LOGISTIC_LRT, LOGISTIC_FIRTH)] == list(TESTS.values())
