"""The experiments run: small, so that they cannot rot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from allscan.engine.store import GenotypeStore
from benchmarks.science import binary, kinship, local_ancestry, phenome, phewas, strata, structure
from benchmarks.science.whole_genome import Size, experiment
from benchmarks.stores import write_store


@pytest.mark.parametrize("prevalence", [None, 0.3])
def test_whole_genome(tmp_path: Path, prevalence: float | None) -> None:
    told = experiment(
        Size(families=30, singles=60, markers=40, traits=3, causal=30), 1, tmp_path, prevalence=prevalence
    )
    assert len(told) == (8 if prevalence is None else 5)
    for numbers in told.values():
        assert 0.3 < numbers["lambda"] < 4
        assert 0 <= numbers["error at 0.05"] < 0.3


def test_binary_calibration() -> None:
    size = binary.Size(variants=120, common_variants=20, full_variants=4, traits=12)
    cells = binary.calibrate(1_000, (1, 20), size, 1)
    methods = [*binary.BY_PRODUCTS, *binary.IN_FULL]
    assert {(cell.controls_per_case, cell.copies, cell.method) for cell in cells} == {
        (ratio, copies, method) for ratio in (1, 20) for copies in binary.CLASSES for method in methods
    }
    rates = {(cell.controls_per_case, cell.copies, cell.method): cell.rates[1] for cell in cells}
    # One case among five carriers is enough for the score test.
    assert rates[20, "5-20", "score"] > 0.003 > rates[20, "5-20", "saddlepoint"]


def test_error_of_rates_heeds_that_pairs_share_variants_and_traits() -> None:
    rng = np.random.default_rng(1)
    alone = (rng.random((400, 50)) < 0.01).astype(float)
    shared = np.repeat(rng.random((400, 1)) < 0.01, 50, axis=1).astype(float)
    assert binary.rate_and_error(alone, 0.01)[1] == pytest.approx(np.sqrt(0.01 * 0.99 / 20_000), rel=0.2)
    assert binary.rate_and_error(shared, 0.01)[1] == pytest.approx(np.sqrt(0.01 * 0.99 / 400), rel=0.6)


def test_binary_power() -> None:
    told = binary.measure_power(1_000, 3, 1, planted=((1, 0.3, 20.0), (1, 0.3, 1.0)))
    found = {(row.odds_ratio, row.method): row.found for row in told}
    for method in (*binary.BY_PRODUCTS, *binary.IN_FULL):
        assert (found[20.0, method], found[1.0, method]) == (1.0, 0.0)


def test_phenome(tmp_path: Path) -> None:
    recovered, measured, background = phenome.experiment(tmp_path, samples=1_500, variants=300, workers=1)
    assert len(recovered) >= 4
    for disease in recovered:
        assert disease.found > 0.4
        assert disease.right > 0.6
    slopes = np.array([one.slope for one in recovered])
    precision = np.array([one.slope_error for one in recovered]) ** -2.0
    assert abs((slopes * precision).sum() / precision.sum() - 1) < 4 / np.sqrt(precision.sum()) + 0.1
    assert abs(measured[0].slope - 1) < 4 * measured[0].slope_error
    rates, _ = phenome.rates_and_errors(background)
    assert 0.03 < rates[0] < 0.08


def test_regressions_on_columns() -> None:
    null = phewas.experiment(1_500, 12, 1)
    assert {(cell.cases, cell.predictor, cell.method) for cell in null} == {
        (cases, predictor, method)
        for cases in phewas.CASES
        for predictor in phewas.PREDICTORS
        for method in phewas.METHODS
    }
    assert np.mean([cell.rates[0] for cell in null]) < 0.15
    planted = phewas.experiment(1_500, 5, 2, dict.fromkeys(phewas.PREDICTORS, 2.5))
    power = {(cell.cases, cell.predictor): cell.rates[-1] for cell in planted if cell.method == "a job's"}
    assert power[400, "score"] == 1.0


def test_kinship(tmp_path: Path) -> None:
    families = kinship.draw_families(kinship.Setting(families=8, singles=60, markers=4000))
    write_store(tmp_path / "store.zarr", families.blocks(700), 4000, families.n_people)
    outcome = kinship.go(families, GenotypeStore(tmp_path / "store.zarr"), tmp_path / "work", 1)
    assert [row.method for row in outcome.found] == ["KING-robust", "adjusted for components", "PC-Relate"]
    for row in outcome.found:
        assert row.recall[:3] == (1.0, 1.0, 1.0)
        assert row.told_apart > 0.9
    assert outcome.optimal
    assert 60 < outcome.n_unrelated < families.n_people - 30


def test_structure(tmp_path: Path) -> None:
    size = structure.Size(people=200, markers=600, components=3)
    found, costs = structure.build(size, tmp_path, 1)
    assert found.provenance["people"]["related"] == 4
    assert {"components", "quality of variants and people"} <= {cost.stage for cost in costs}


def test_local_ancestry() -> None:
    """Errors are those of their levels, and an effect in one ancestry is found by the tests that look there."""
    size = local_ancestry.Size(people=600, variants=300, traits=8, causal=25)
    for name, rates in local_ancestry.calibration(size, 1).items():
        assert 0.7 < rates[0.05] < 1.3, name
    found = local_ancestry.causal(size, 1, (0.0, 0.6))
    typical = {name: float(np.nanmedian(values)) for name, values in found.items()}
    assert typical["neg_log10_p_B"] > max(typical["plain"], typical["neg_log10_p_shared"], typical["neg_log10_p_A"])
    assert typical["neg_log10_p"] > typical["plain"]
    # Ancestry that has an effect is not taken for the allele's.
    found = local_ancestry.causal(size, 1, (0.0, 0.0), of_ancestry=0.4)
    assert np.nanmedian(found["neg_log10_p_ancestry"]) > 4
    assert np.nanmedian(found["neg_log10_p"]) < 1


def test_strata(tmp_path: Path) -> None:
    size = strata.Size(
        samples=1_100, variants=600, tests=200, few_markers=20, chromosomes=4, traits=12, planted=3, components=3
    )
    cohort = strata.simulate(tmp_path / "cohort", size, 1)
    cells = {
        (cell.kind, cell.components, cell.variants, cell.method): cell for cell in strata.calibrate(cohort, size, 1)
    }
    methods = ("pooled", *strata.GROUPS, *strata.COMBINED, strata.WITH_COPIES)
    assert {("quantitative", of, "common", method) for of in strata.COMPONENTS for method in methods} <= cells.keys()
    inflation = {key[1:]: cell.inflation for key, cell in cells.items() if key[0] == "quantitative"}
    well, poorly, plain, true = (inflation[of, "common", "pooled"] for of in strata.COMPONENTS)
    assert true < well < poorly < plain, (
        "components explain what the groups differ by, those of many markers more of it"
    )
    assert inflation[strata.WELL, "common", "fixed effects"] < well
    told = {(one.kind, one.scenario, one.method): one.found for one in strata.measure_power(cohort, size, 1)}
    assert {scenario for _, scenario, _ in told} == set(strata.SCENARIOS)
    assert all(0.0 <= found <= 1.0 for found in told.values())
    opposite = "opposite in Europeans and Africans"
    assert told["quantitative", opposite, "RE2"] >= told["quantitative", opposite, "fixed effects"]
