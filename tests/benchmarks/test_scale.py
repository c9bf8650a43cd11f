"""The model of scale: its sums are those of a scan that ran, and its arithmetic is that of its parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from allscan.engine.columns import cube_columns
from allscan.engine.plan import RESULT_BYTES, ScanSpec
from allscan.engine.results import CUBE_TRAITS
from benchmarks.scale import Measured, make_store, measure_plan, measure_scan
from benchmarks.scale_model import Case, Mix, Rates, Settings, markdown, table, task_variants

RATES = Rates(
    genotype=1e-9,
    genotype_column=2e-11,
    carrier=2e-8,
    carrier_column=2e-10,
    table=1e-10,
    result=2e-7,
    fitting=1e-6,
    naming=1e-6,
    report=1e-7,
    result_bytes=10.0,
    rare_result_bytes=9.0,
    name_bytes=4.0,
    commit_bytes=150.0,
    dense_bits=1.3,
    carrier_bytes=0.8,
    variant_bytes=8.0,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """A scan of whole genomes of 2,000 people."""
    folder = tmp_path_factory.mktemp("scale")
    store, mix = make_store(folder / "store.zarr", 2_000, 9_000, "wgs")
    return measure_scan(store, mix, 40, folder / "run", absent=0.05, repeats=1)


def test_the_layout_of_a_scan_is_as_the_model_counts_it(run: Measured) -> None:
    groups = -(-run.case.traits // CUBE_TRAITS)
    assert run.files == run.tasks * len(cube_columns(ScanSpec())) * groups


def test_a_row_of_results_takes_at_most_what_plans_count_with(run: Measured) -> None:
    of_row = run.result_bytes / (run.case.variants * run.case.traits)
    assert 5 < of_row <= RESULT_BYTES


def test_the_mix_of_genomes_is_that_of_a_store(run: Measured) -> None:
    expected = Mix.of_genomes(2_000, 0.0)
    assert run.case.mix.dense == pytest.approx(expected.dense, rel=0.1)
    assert run.case.mix.carriers == pytest.approx(expected.carriers, rel=0.1)


def test_cost_grows_with_every_part() -> None:
    case = Case()
    base = RATES.seconds(case)
    for name in ("genotype", "genotype_column", "carrier", "carrier_column", "table", "result"):
        assert RATES.seconds(case) < replace(RATES, **{name: 2 * getattr(RATES, name)}).seconds(case) < 2 * base
    assert RATES.seconds(replace(case, variants=2 * case.variants)) == pytest.approx(2 * base)
    assert replace(case, traits=case.batch_traits).batches == 1


def test_only_results_cost_where_nobody_carries_anything() -> None:
    case = Case(samples=1_000, variants=10_000, traits=256, mix=Mix(0.0, 0.0))
    assert RATES.seconds(case) == pytest.approx(10_000 * 256 * RATES.result)


def test_tasks_take_about_as_long_as_plans_want() -> None:
    case = Case()
    size = task_variants(case, RATES)
    seconds = RATES.seconds(case) / case.variants / case.batches * size
    assert 0.5 <= seconds <= 2.0


def test_every_line_of_the_table_says_how() -> None:
    lines = table(Case(), RATES, Settings())
    values = {line.what: line.value for line in lines}
    assert values["Results"].startswith("3.")  # 350 billion rows of 9.1 bytes, and names
    assert values["Reads of objects"] == f"{-(-100_000_000 // 128) * 14:,}"
    page = markdown(lines)
    assert page.count("\n") == len(lines) + 1
    assert all(line.how for line in lines if not line.what.startswith("of it"))


def test_a_plan_needs_no_genotypes_to_be_measured() -> None:
    case = Case(samples=50_000, variants=300_000, traits=300)
    _, _, tasks = measure_plan(case, RATES)
    assert tasks >= case.batches * case.variants // 16_384


def test_a_store_of_rare_variants_is_all_lists(tmp_path: Path) -> None:
    _, mix = make_store(tmp_path / "rare.zarr", 640, 100, "rare")
    assert mix == Mix(0.0, 20.0)
