"""The test `logistic` against REGENIE 4.1.2: score tests, saddlepoint approximation and approximate Firth.

Its numbers are ours where it computes the same. Where it sums over carriers only (saddlepoint and Firth of rarer
variants), or has people without the trait in a penalty, they follow from plain formulas that do the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from binary_studies import (
    LN10,
    TRAITS,
    NullFit,
    binary_scan,
    law_of_carriers,
    numbers,
    range_of_carriers,
    variant_keys,
)
from conftest import Reference, Study
from peers import RELATIVE, Printed, compare, design, read_people, read_regenie, results

from allscan.engine.offsets import StoredOffsets
from allscan.engine.regenie_predictions import RegeniePredictions
from allscan.engine.results import ResultsCube
from allscan.kernels.association import Model, Status
from allscan.kernels.saddlepoint import FOUND, saddlepoint
from allscan.kernels.summary import chi_square
from tests.kernels import score_laws

pytestmark = pytest.mark.reference

EVERY_PAIR = {"p_threshold": 1.0, "exact_carriers": 0, "min_cases": 20}
METHODS = {
    "score": {"correction": "none", "min_cases": 20},
    "spa": {"correction": "saddlepoint", **EVERY_PAIR},
    "firthapprox": {"correction": "firth", **EVERY_PAIR},
    "firthapprox_p05": {"correction": "firth", **EVERY_PAIR, "p_threshold": 0.05},
}
STOPPED = 2e-6
"""Standard errors: REGENIE ends the search for its null model where the score of a covariate is below 1e-6 or so."""
RARE = 50
"""Minor allele count below which REGENIE's approximate Firth sums over carriers only."""

Scans = Callable[..., ResultsCube]


@pytest.fixture(scope="module")
def scanned(kg489: Study, reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Scans:
    """The 489 Europeans by each method, with REGENIE's predictions or without; each scan done once."""
    folder = reference("peer_results") / "kg_eur489"
    traits = read_people(folder / "pheno_bt.tsv")

    @cache
    def scans(method: str, *, loco: bool, model: Model = Model.ADDITIVE, only: str | None = None) -> ResultsCube:
        return binary_scan(
            kg489.store,
            traits if only is None else traits[[only]],
            kg489.covariates,
            tmp_path_factory.mktemp(method) / "run",
            predictions=folder / "s1_bt_pred.list" if loco else None,
            test="logistic",
            test_options=METHODS[method],
            model=model,
        )

    return scans


class People:
    """The 489 Europeans for plain formulas: genotypes by key, and null models."""

    def __init__(self, study: Study, folder: Path) -> None:
        filesets = [study.prefix.with_name(f"chr{c}") for c in (1, 2, 22)]
        self._columns = variant_keys(*filesets)
        self._calls = study.calls.astype(float)
        self._aligned = replace(
            design(study.store, read_people(folder / "pheno_bt.tsv"), study.covariates), binary=True
        )
        ids = study.store.sample_ids[self._aligned.store_rows]
        self._offsets = StoredOffsets(RegeniePredictions(folder / "s1_bt_pred.list"), self._aligned, ids)
        self.null = cache(self._null)

    def _null(self, trait: str, chromosome: str, *, loco: bool, absent: bool = False) -> NullFit:
        t = TRAITS.index(trait)
        offset = self._offsets.of(chromosome, np.array([t]))[:, 0] if loco else None
        return NullFit.of(self._aligned.traits[:, t], self._aligned.covariates[:, 1:], offset, absent=absent)

    def genotype(self, key: str, trait: str) -> tuple[np.ndarray, int]:
        """Copies of the minor allele of who has the trait, and the sign of an effect of ALT."""
        known = ~np.isnan(self._aligned.traits[:, TRAITS.index(trait)])
        g = self._calls[known, self._columns.get_loc(key)]
        assert g.min() >= 0
        return (2 - g, -1) if g.mean() > 1 else (g, 1)


@pytest.fixture(scope="module")
def people(kg489: Study, reference: Reference) -> People:
    return People(kg489, reference("peer_results") / "kg_eur489")


def both(cube: ResultsCube, reference: Reference, name: str, trait: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """REGENIE's rows, and ours of the same variants."""
    regenie = read_regenie(reference("peer_results") / "kg_eur489" / f"{name}_{trait}.regenie.gz")
    ours = results(cube, trait).loc[regenie.index]
    assert (ours.n.to_numpy() == regenie.N.astype(int).to_numpy()).all()
    compare("A1FREQ", ours.effect_allele_frequency, Printed.parse(regenie.A1FREQ), relative=1e-7)
    return regenie, ours


def minor_count(regenie: pd.DataFrame) -> pd.Series[float]:
    frequency = numbers(regenie, "A1FREQ")
    return (2 * numbers(regenie, "N") * np.minimum(frequency, 1 - frequency)).round()


def compare_score(ours: pd.DataFrame, regenie: pd.DataFrame) -> None:
    """Score tests, to the last digit that is printed and STOPPED."""
    assert (ours.status == Status.OK).all()
    z = (ours.beta / ours.standard_error).abs().to_numpy(float)
    error = ours.standard_error.to_numpy(float)
    for column, values, slack in (
        ("BETA", ours.beta, error),
        ("SE", ours.standard_error, 0.0),
        ("CHISQ", z**2, 2 * z),
        ("LOG10P", ours.neg_log10_p, (z + 1) / LN10),
    ):
        compare(column, values, Printed.parse(regenie[column]), relative=RELATIVE, absolute=STOPPED * slack)


def matched_error(ours: pd.DataFrame, regenie: pd.DataFrame) -> pd.Series[float]:
    """REGENIE's standard errors as ours are: those with which effect and p agree, where p is beyond one of them.

    With ``--firth-se`` it gives these; without, those of the information.
    """
    z = np.sqrt(numbers(regenie, "CHISQ"))
    beyond = chi_square(ours.neg_log10_p.to_numpy(float)) >= 1
    return numbers(regenie, "SE").where(~beyond, numbers(regenie, "BETA").abs() / z)


def distances(ours: pd.DataFrame, regenie: pd.DataFrame) -> pd.DataFrame:
    """Differences of effects in standard errors, of standard errors as ratios, of −log10 p."""
    return pd.DataFrame(
        {
            "beta": (ours.beta - numbers(regenie, "BETA")) / numbers(regenie, "SE"),
            "error": ours.standard_error / matched_error(ours, regenie) - 1,
            "log10_p": ours.neg_log10_p - numbers(regenie, "LOG10P"),
        }
    ).abs()


# ---- score ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loco", [False, True])
@pytest.mark.parametrize("trait", TRAITS)
def test_score(scanned: Scans, reference: Reference, trait: str, loco: bool) -> None:
    name = "s2_bt_score" if loco else "s2_bt_nopred_score"
    regenie, ours = both(scanned("score", loco=loco), reference, name, trait)
    assert len(regenie) == (10133 if trait == "BT2" else 10161)
    compare_score(ours, regenie)


# ---- saddlepoint ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loco", [False, True])
@pytest.mark.parametrize("trait", TRAITS)
def test_saddlepoint(scanned: Scans, people: People, reference: Reference, trait: str, loco: bool) -> None:
    """REGENIE takes non-carriers by their variance; ours takes everybody. Both are what plain formulas give."""
    name = "s2_bt_spa" if loco else "s2_bt_nopred_spa"
    regenie, ours = both(scanned("spa", loco=loco), reference, name, trait)
    assert (ours.status == Status.SADDLEPOINT).all()
    statistic = chi_square(ours.neg_log10_p.to_numpy(float))
    of_effect = ((ours.beta.astype(float) / ours.standard_error) ** 2).to_numpy()
    np.testing.assert_allclose(of_effect[statistic > 1], statistic[statistic > 1], rtol=1e-5)
    failed = (regenie.LOG10P == "NA").to_numpy()
    # Its two tails add to more than one there; ours are cut off at one.
    assert failed.sum() == ({"BT3": 7, "BT4": 125} if loco else {"BT3": 1, "BT4": 5}).get(trait, 0)
    assert (10 ** -ours.neg_log10_p[failed] > 0.98).all()
    regenie, ours = regenie[~failed], ours[~failed]
    theirs = numbers(regenie, "LOG10P")
    distance = (ours.neg_log10_p - theirs).abs()
    frequency = numbers(regenie, "A1FREQ")
    carried = 1 - np.maximum(frequency, 1 - frequency) ** 2
    assert distance[carried > 0.55].max() < 2.5e-3  # its search ends early; everybody is in it
    beyond = distance > np.maximum(0.01, 0.01 * theirs)
    assert beyond.sum() == ({"BT3": 9, "BT4": 44} if loco else {"BT3": 21, "BT4": 20}).get(trait, 0)
    assert (distance / np.maximum(theirs, 1)).max() < 0.04
    chosen = regenie.index[beyond].union(regenie.index[::200])
    for key in chosen:
        null = people.null(trait, regenie.CHROM[key], loco=loco)
        g, _ = people.genotype(key, trait)
        adjusted = null.adjusted(g)
        score = null.score(adjusted)
        everybody = max(score_laws.naive_saddlepoint(score, adjusted, null.mu), 0.0)
        assert ours.neg_log10_p[key] == pytest.approx(everybody, abs=1e-6, rel=1e-6)
        fast = saddlepoint(score, law_of_carriers(g, adjusted, null.mu))
        assert fast.state == FOUND
        assert theirs[key] == pytest.approx(fast.neg_log10_p, abs=2e-3)


@pytest.mark.parametrize("loco", [False, True])
def test_saddlepoint_of_everybody_is_nearer_to_the_distribution(
    scanned: Scans, people: People, reference: Reference, loco: bool
) -> None:
    """BT3, 49 cases: small p, where both differ most, against numerical inversion of the score's distribution."""
    name = "s2_bt_spa" if loco else "s2_bt_nopred_spa"
    regenie, ours = both(scanned("spa", loco=loco), reference, name, "BT3")
    theirs = numbers(regenie, "LOG10P")
    furthest = (ours.neg_log10_p - theirs).abs().nlargest(9).index
    for key in furthest:
        null = people.null("BT3", regenie.CHROM[key], loco=loco)
        adjusted = null.adjusted(people.genotype(key, "BT3")[0])
        score = abs(null.score(adjusted))
        tails = [score_laws.log_inverted_tail(s, adjusted, null.mu) for s in (score, -score)]
        exact = -np.logaddexp(*tails) / LN10
        assert theirs[key] > 3.9
        assert abs(ours.neg_log10_p[key] - exact) < 0.02
        assert abs(ours.neg_log10_p[key] - exact) < abs(theirs[key] - exact)


@pytest.mark.parametrize("trait", ["B1", "B9", "B50"])
def test_saddlepoint_of_rare_variants(families: Study, reference: Reference, tmp_path: Path, trait: str) -> None:
    """1,196 variants of 2,000 people, 195 of them carried by few; where REGENIE has no p, which are strong ones too."""
    peers = reference("peer_results")
    table = read_people(peers / "saige" / "pheno.txt")
    options = METHODS["spa"]
    cube = binary_scan(
        families.store, table[[trait]], families.covariates, tmp_path / "run", test="logistic", test_options=options
    )
    regenie = read_regenie(peers / "genes" / f"fam_single_b_spa_{trait}.regenie.gz")
    ours = results(cube, trait).loc[regenie.index]
    theirs = numbers(regenie, "LOG10P")
    failed = theirs.isna()
    assert len(regenie) == 1196
    assert failed.sum() == {"B1": 2, "B9": 32, "B50": 91}[trait]
    assert (ours.status == Status.SADDLEPOINT).all()
    distance = (ours.neg_log10_p - theirs).abs()
    assert (distance < np.maximum(0.01, 0.01 * theirs))[~failed].all()
    if trait == "B50":
        assert ours.neg_log10_p[failed].max() > 3.5
    # It has no p where the other tail lies beyond what the carriers can make.
    null = NullFit.of(table[trait].to_numpy(float), families.covariates.to_numpy(float))
    columns = variant_keys(families.prefix)
    for key in regenie.index[failed]:
        g = families.calls[:, columns.get_loc(key)].astype(float)
        g = np.where(g < 0, g[g >= 0].mean(), g)
        adjusted = null.adjusted(g)
        score = abs(null.score(adjusted))
        low, high = range_of_carriers(g, adjusted, null.mu)
        assert not failed[key] or -score < low or score > high


# ---- approximate Firth ----------------------------------------------------------------------------------


@pytest.mark.parametrize("loco", [False, True])
@pytest.mark.parametrize("trait", ["BT1", "BT3", "BT4"])
def test_firth_of_common_variants(scanned: Scans, people: People, reference: Reference, trait: str, loco: bool) -> None:
    name = "s2_bt_firthapprox" if loco else "s2_bt_nopred_firthapprox"
    regenie, ours = both(scanned("firthapprox", loco=loco), reference, name, trait)
    assert (ours.status == Status.FIRTH).all()
    common = minor_count(regenie) >= RARE
    assert common.sum() > (6500 if loco else 1600)
    apart = distances(ours, regenie)[common]
    # Two fits of REGENIE ended where they began, at zero.
    ended = apart.index[apart.beta > 5e-4]
    assert len(ended) == (loco and trait in ("BT1", "BT3"))
    for key in ended:
        assert float(regenie.CHISQ[key]) < 1e-8
        check_plain(people, ours, key, trait, regenie.CHROM[key], loco=loco)
    furthest = apart.drop(ended).max()
    assert furthest.beta < 5e-4
    assert furthest.error < 5e-4
    assert furthest.log10_p < 2e-5


def check_plain(
    people: People, ours: pd.DataFrame, key: str, trait: str, chromosome: str, *, loco: bool
) -> tuple[NullFit, np.ndarray, int]:
    """Our result of one variant is that of plain formulas."""
    null = people.null(trait, chromosome, loco=loco)
    g, sign = people.genotype(key, trait)
    plain = null.firth(g)
    assert ours.beta[key] == pytest.approx(sign * plain.beta, abs=1e-5 * plain.standard_error, rel=1e-6)
    assert ours.standard_error[key] == pytest.approx(plain.matched_error(), rel=1e-5)
    assert ours.neg_log10_p[key] == pytest.approx(plain.neg_log10_p, abs=5e-6)
    return null, g, sign


@pytest.mark.parametrize("loco", [False, True])
@pytest.mark.parametrize("trait", ["BT1", "BT3", "BT4"])
def test_firth_of_rare_variants(scanned: Scans, people: People, reference: Reference, trait: str, loco: bool) -> None:
    """REGENIE sums over carriers only, ours over everybody: nearer to the exact Firth regression."""
    name = "s2_bt_firthapprox" if loco else "s2_bt_nopred_firthapprox"
    regenie, ours = both(scanned("firthapprox", loco=loco), reference, name, trait)
    rare = minor_count(regenie) < RARE
    regenie, ours = regenie[rare], ours[rare]
    for key in regenie.index[::60]:
        null, g, sign = check_plain(people, ours, key, trait, regenie.CHROM[key], loco=loco)
        theirs, row = null.firth(g, carriers_only=True), regenie.loc[key]
        assert float(row.BETA) == pytest.approx(sign * theirs.beta, abs=5e-4 * theirs.standard_error)
        assert float(row.SE) == pytest.approx(theirs.standard_error, rel=5e-4)
        assert float(row.LOG10P) == pytest.approx(theirs.neg_log10_p, abs=2e-5)
    exact, _ = both(scanned("firthapprox", loco=loco), reference, name.replace("approx", "exact"), trait)
    exact = exact[exact.index.isin(regenie.index)]
    regenie, ours = regenie.loc[exact.index], ours.loc[exact.index]
    assert len(exact) == 949
    for column, of_ours, scale in (
        ("BETA", ours.beta, numbers(exact, "SE")),
        ("LOG10P", ours.neg_log10_p, 1.0),
    ):
        from_ours = ((of_ours - numbers(exact, column)) / scale).abs()
        from_theirs = ((numbers(regenie, column) - numbers(exact, column)) / scale).abs()
        assert from_ours.median() < (0.02 if column == "BETA" else 0.007)
        for share in (0.5, 0.9):
            assert from_ours.quantile(share) < 0.75 * from_theirs.quantile(share)
        if column == "LOG10P":
            assert from_ours.max() < 0.1 < 0.2 < from_theirs.max()


@pytest.mark.parametrize("trait", ["BT1", "BT3", "BT4"])
def test_firth_below_a_threshold(scanned: Scans, reference: Reference, trait: str) -> None:
    """With ``--firth-se`` REGENIE's standard errors are ours; rows above the threshold are the score test's."""
    cube = scanned("firthapprox_p05", loco=True)
    regenie, ours = both(cube, reference, "s2_bt_firthapprox_p05", trait)
    plain = read_regenie(reference("peer_results") / "kg_eur489" / f"s2_bt_score_{trait}.regenie.gz")
    corrected = numbers(plain, "LOG10P") > -math.log10(0.05) + 5e-6
    np.testing.assert_array_equal(ours.status == np.where(corrected, Status.FIRTH, Status.OK), True)
    assert corrected.sum() > 400
    compare_score(ours[~corrected], regenie[~corrected])
    common = corrected & (minor_count(regenie) >= RARE)
    error = numbers(regenie, "SE")[common]
    assert ((ours.beta[common] - numbers(regenie, "BETA")[common]) / error).abs().max() < 5e-4
    assert (ours.standard_error[common] / error - 1).abs().max() < 5e-4
    assert (ours.neg_log10_p[common] - numbers(regenie, "LOG10P")[common]).abs().max() < 2e-5


def test_firth_of_a_trait_that_ten_people_lack(scanned: Scans, people: People, reference: Reference) -> None:
    """Beside other traits, REGENIE has the ten with the weight 1 in the penalty of BT2's null model; ours has not."""
    regenie, ours = both(scanned("firthapprox", loco=True), reference, "s2_bt_firthapprox", "BT2")
    apart = distances(ours, regenie)[minor_count(regenie) >= RARE]
    ended = apart.index[apart.beta > 0.01]
    assert [float(regenie.CHISQ[key]) < 1e-8 for key in ended] == [True]
    common = apart.index.drop(ended)
    furthest = apart.loc[common].max()
    assert 2e-3 < furthest.beta < 6e-3
    assert furthest.log10_p < 4e-3
    for key in common[::200]:
        _, g, sign = check_plain(people, ours, key, "BT2", regenie.CHROM[key], loco=True)
        theirs = people.null("BT2", regenie.CHROM[key], loco=True, absent=True).firth(g)
        row = regenie.loc[key]
        assert float(row.BETA) == pytest.approx(sign * theirs.beta, abs=5e-4 * theirs.standard_error)
        assert float(row.LOG10P) == pytest.approx(theirs.neg_log10_p, abs=2e-5)


@pytest.mark.parametrize(("name", "model"), [("dom", Model.DOMINANT), ("rec", Model.RECESSIVE)])
def test_models(scanned: Scans, people: People, reference: Reference, name: str, model: Model) -> None:
    """BT2 alone, which is then not missing for anybody: no weights of absent people."""
    cube = scanned("firthapprox", loco=True, model=model, only="BT2")
    regenie, ours = both(cube, reference, f"s2_bt2_{name}", "BT2")
    assert (ours.status == Status.FIRTH).all()
    # Of 42 variants, with two or three recessive carriers, REGENIE's fit did not end.
    failed = regenie.LOG10P == "NA"
    assert failed.sum() == (42 if name == "rec" else 0)
    common = (minor_count(regenie) >= RARE) & ~failed
    assert common.sum() > 6000
    furthest = distances(ours[common], regenie[common]).max()
    assert furthest.beta < 5e-4
    assert furthest.error < 5e-4
    assert furthest.log10_p < 2e-5
    for key in regenie.index[failed]:
        null = people.null("BT2", regenie.CHROM[key], loco=True)
        minor, sign = people.genotype(key, "BT2")
        alt = minor if sign == 1 else 2 - minor
        plain = null.firth((alt == 2).astype(float))
        assert ours.beta[key] == pytest.approx(plain.beta, abs=1e-5 * plain.standard_error, rel=1e-6)
        assert ours.neg_log10_p[key] == pytest.approx(plain.neg_log10_p, abs=1e-6, rel=1e-6)
