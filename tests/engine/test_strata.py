"""Several strata in one pass: each gets, bit for bit, what a scan of its people alone gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.association_tests import find_test
from allscan.engine.design import Design, Strata, Stratum, check_strata, pooled
from allscan.engine.plan import ScanSpec, VariantFilter, plan_scan
from allscan.engine.results import ResultsCube
from allscan.engine.scan import NOBODY, ScanSummary, run_scan
from allscan.engine.store import GenotypeStore
from allscan.kernels.association import Missing, Model, Status, has_result
from allscan.kernels.relatedness import make_relatedness
from tests import naive
from tests.engine.cohorts import Cohort, Computed, make_design, some_of, split, watch_tasks, write_calls, write_cohort
from tests.engine.null_models import DrawnOffsets
from tests.engine.test_scan import Backwards, Dying, tree

GIB = 1 << 30
CONTIGS = {"1": 160, "chrX": 50, "chrY": 30, "chrMT": 20}
ROUNDING = ("beta", "standard_error", "neg_log10_p")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return write_cohort(tmp_path_factory.mktemp("strata") / "cohort.zarr", samples=420, contigs=CONTIGS)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[Computed]:
    return watch_tasks(monkeypatch)


def make_strata(cohort: Cohort, *, binary: bool = False, seed: int = 4) -> Strata:
    """Everybody, three groups of unequal size, and men: traits and covariates are made in each of them anew."""
    rng = np.random.default_rng(seed)
    whole = make_design(cohort, traits=5, leave_out=0)
    group = rng.choice(3, whole.n_samples, p=[0.6, 0.3, 0.1])
    who = {"all": np.ones(whole.n_samples, bool), "sex=male": whole.sex == 1}
    who |= {f"ancestry={name}": group == k for k, name in enumerate(("eur", "afr", "eas"))}
    strata = []
    for name in ("all", "ancestry=eur", "ancestry=afr", "ancestry=eas", "sex=male"):
        design = some_of(whole, who[name])
        n = design.n_samples
        effect = 0.5 * np.maximum(cohort.calls[2, design.store_rows], 0)
        values = rng.normal(size=(n, 5)) + effect[:, None]
        if binary:
            values = (values > 0.6).astype(float)
        values[rng.random(n) < 0.1, 1] = np.nan
        values[rng.random(n) < 0.2, 2:4] = np.nan
        covariates = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
        design = replace(
            design, traits=values, covariates=covariates, covariate_names=("intercept", "pc1", "pc2"), binary=binary
        )
        strata.append(Stratum(name, design))
    return tuple(strata)


def with_relatives(design: Design, seed: int = 9) -> Design:
    """The same with pairs of relatives."""
    rng = np.random.default_rng(seed)
    people = rng.permutation(design.n_samples)[: design.n_samples // 3 * 2].reshape(-1, 2)
    value = rng.choice([0.25, 0.5], len(people))
    return replace(design, relatedness=make_relatedness(people[:, 0], people[:, 1], value, design.n_samples))


def scan(store: GenotypeStore, strata: Strata, out: Path, spec: ScanSpec, **how: Any) -> ScanSummary:
    executor = how.pop("executor", None) or EmbeddedExecutor(how.pop("workers", 1))
    plan = plan_scan(store, strata, spec, workers=1, memory_bytes=4 * GIB)
    return run_scan(plan, store, strata, spec, executor, out, **how)


def assert_each_is_as_alone(cohort: Cohort, strata: Strata, folder: Path, spec: ScanSpec) -> ResultsCube:
    """Scan the strata together and one by one."""
    scan(cohort.store, strata, folder / "together", spec)
    together = ResultsCube(folder / "together")
    assert together.strata == tuple(name for name, _ in strata)
    tested = 0
    for k, (name, design) in enumerate(strata):
        scan(cohort.store, pooled(design), folder / str(k), spec)
        alone = ResultsCube(folder / str(k))
        for trait in together.traits:
            found, expected = together.trait_columns(trait, name), alone.trait_columns(trait)
            tested += int(has_result(found["status"]).sum())
            for column, values in expected.items():
                np.testing.assert_array_equal(found[column], values, err_msg=f"{column} of {trait} in {name}")
    assert tested > 0
    return together


@pytest.mark.parametrize(
    ("test", "model", "missing", "prepared"),
    [
        ("linear", Model.ADDITIVE, Missing.IMPUTE_MEAN, "plain"),
        ("linear", Model.ADDITIVE, Missing.EXCLUDE, "offsets"),
        ("linear", Model.GENOTYPIC, Missing.IMPUTE_MEAN, "plain"),
        ("linear", Model.DOMINANT, Missing.IMPUTE_MEAN, "relatives"),
        ("mixed", Model.ADDITIVE, Missing.IMPUTE_MEAN, "relatives"),
        ("logistic", Model.ADDITIVE, Missing.IMPUTE_MEAN, "offsets"),
        ("logistic", Model.RECESSIVE, Missing.EXCLUDE, "plain"),
        ("firth", Model.ADDITIVE, Missing.IMPUTE_MEAN, "plain"),
        ("logistic_wald", Model.ADDITIVE, Missing.EXCLUDE, "plain"),
    ],
)
def test_every_stratum_gets_the_bits_of_a_scan_of_its_people_alone(
    cohort: Cohort, tmp_path: Path, test: str, model: Model, missing: Missing, prepared: str
) -> None:
    """On autosomes, X, Y and MT, of traits that miss people, calls and carriers, with offsets and with relatives."""
    strata = make_strata(cohort, binary="binary" in find_test(test).trait_kinds)
    if prepared == "offsets":
        strata = tuple(
            Stratum(name, replace(design, offsets=DrawnOffsets(design, ("1", "X"), seed)))
            for seed, (name, design) in enumerate(strata)
        )
    elif prepared == "relatives":
        strata = tuple(Stratum(name, with_relatives(design)) for name, design in strata)
    if test in ("mixed", "firth", "logistic_wald"):
        strata = strata[:3]
    options = dict(find_test(test).options or {})
    options |= {name: 3 for name in ("min_cases",) if name in options}
    assert_each_is_as_alone(
        cohort, strata, tmp_path, ScanSpec(test=test, test_options=options, model=model, missing=missing)
    )


def test_dosages_are_narrowed_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    steps = rng.choice([100, 1000], 90)
    codes = rng.integers(0, 2 * steps[:, None] + 1, (90, 300))
    dosage = (codes / steps[:, None]).astype(np.float32)
    dosage[rng.random(dosage.shape) < 0.02] = np.nan
    calls = np.where(np.isnan(dosage), -1, np.rint(np.nan_to_num(dosage))).astype(np.int8)
    place = (np.zeros(90, np.int16), np.arange(90, dtype=np.int32) + 1000, ("1",))
    sex = rng.integers(1, 3, 300).astype(np.int8)
    cohort = write_calls(tmp_path / "dosages.zarr", calls, *place, dosage=dosage, sex=sex)
    strata = make_strata(cohort)
    cube = assert_each_is_as_alone(cohort, strata, tmp_path, ScanSpec())
    for name, design in strata:
        table = cube.trait_columns("trait1", name)
        for v in range(0, 90, 7):
            fit = naive.linear(dosage[v, design.store_rows].astype(float), design.traits[:, 1], design.covariates)
            assert fit is not None
            assert table["neg_log10_p"][v] == pytest.approx(fit.neg_log10_p, rel=1e-6, abs=1e-7)


def test_a_stratum_is_what_a_store_of_its_people_gives(tmp_path: Path) -> None:
    """Where rare variants of all are common in a group, which has the other allele as the rarer one, or only one."""
    rng = np.random.default_rng(3)
    n, v = 600, 130
    here = np.arange(n) % 12 == 0  # one in twelve: a variant that they alone carry is a list of carriers
    inside, outside = rng.choice([0.0, 0.05, 0.5, 0.97, 1.0], (2, v))
    outside = np.where(rng.random(v) < 0.6, rng.choice([0.0, 1.0], v), outside)
    calls = rng.binomial(2, np.where(here, inside[:, None], outside[:, None])).astype(np.int8)
    calls[rng.random(calls.shape) < 0.01] = -1
    place = (np.zeros(v, np.int16), np.arange(v, dtype=np.int32) + 1000, ("1",))
    sex = rng.integers(1, 3, n).astype(np.int8)
    whole = write_calls(tmp_path / "whole.zarr", calls, *place, sex=sex)
    part = write_calls(tmp_path / "part.zarr", np.ascontiguousarray(calls[:, here]), *place, sex=sex[here])
    design = some_of(make_design(whole, leave_out=0), here)
    own = replace(design, store_rows=np.arange(int(here.sum())))
    for missing in Missing:
        spec = ScanSpec(missing=missing)
        out = tmp_path / missing.name
        scan(whole.store, (Stratum("here", design),), out / "stratum", spec)
        scan(part.store, pooled(own), out / "own", spec)
        for trait in design.trait_names:
            found = ResultsCube(out / "stratum").trait_columns(trait, "here")
            expected = ResultsCube(out / "own").trait_columns(trait)
            assert {Status.OK, Status.MONOMORPHIC} <= set(expected["status"])
            for column, numbers in expected.items():
                if column in ROUNDING:
                    np.testing.assert_allclose(found[column], numbers, rtol=1e-6, atol=1e-7)
                else:
                    np.testing.assert_array_equal(found[column], numbers)


def without(design: Design, traits: list[int]) -> Design:
    """A design nobody of which has some of the traits."""
    values = design.traits.copy()
    values[:, traits] = np.nan
    return replace(design, traits=values)


@pytest.mark.parametrize("test", ["linear", "logistic"])
def test_what_nobody_of_a_stratum_has_costs_nothing_and_has_a_status(
    cohort: Cohort, tmp_path: Path, scored: list[Computed], test: str
) -> None:
    strata = make_strata(cohort, binary=test == "logistic")[:3]
    some = (
        strata[0],
        Stratum(strata[1].name, without(strata[1].design, [0, 3])),
        Stratum(strata[2].name, without(strata[2].design, [0, 1, 2, 3, 4])),
    )
    options = {**(find_test(test).options or {}), **({"min_cases": 3} if test == "logistic" else {})}
    spec = ScanSpec(test=test, test_options=options)
    scan(cohort.store, strata, tmp_path / "whole", spec)
    scored.clear()
    summary = scan(cohort.store, some, tmp_path / "some", spec)
    everything = tuple(f"trait{t}" for t in range(5))
    assert {traits for traits, _ in scored} == {(everything, ("trait1", "trait2", "trait4"), ())}
    told = [(trait, stratum) for trait, stratum, message in summary.trait_notes if message == NOBODY]
    assert told == [(f"trait{t}", strata[1].name) for t in (0, 3)] + [(name, strata[2].name) for name in everything]
    assert sum(summary.status_counts.values()) == summary.n_tests == 3 * 5 * 260
    found, expected = ResultsCube(tmp_path / "some"), ResultsCube(tmp_path / "whole")
    status = Status.TOO_FEW_CASES if test == "logistic" else Status.TOO_FEW_SAMPLES
    for name, design in some:
        for trait, there in zip(found.traits, design.has_anybody, strict=True):
            columns = found.trait_columns(trait, name)
            if there:
                for column, values in expected.trait_columns(trait, name).items():
                    # The other traits share a basis with this one: rounding.
                    np.testing.assert_allclose(columns[column], values, rtol=2e-5, atol=1e-6)
                continue
            assert set(columns["status"]) == {status}
            assert not columns["n"].any()
            assert not columns["effect_allele_count"].any()
            for column in (*ROUNDING, "effect_allele_frequency", "missing_rate"):
                assert np.isnan(columns[column]).all()


def test_counts_and_filters_are_of_the_stratum(cohort: Cohort, tmp_path: Path) -> None:
    strata = make_strata(cohort)
    scan(cohort.store, strata, tmp_path / "run", ScanSpec(filter=VariantFilter(min_mac=5)))
    cube = ResultsCube(tmp_path / "run")
    statuses = []
    for name, design in strata:
        calls = np.where(cohort.calls < 0, np.nan, cohort.calls)[:160, design.store_rows]
        called = calls[:, ~np.isnan(design.traits[:, 0])]
        copies, alleles = np.nansum(called, axis=1), 2 * (~np.isnan(called)).sum(axis=1)
        found = cube.trait_columns("trait0", name, 0, 160)
        np.testing.assert_array_equal(found["effect_allele_count"], copies)
        few = np.minimum(copies, alleles - copies) < 5
        np.testing.assert_array_equal(found["status"] == Status.FILTERED, few)
        statuses.append(few.sum())
    assert len(set(statuses)) > 1


def test_impossible_calls_of_men_are_counted_once(cohort: Cohort, tmp_path: Path) -> None:
    strata = make_strata(cohort)
    men = strata[0].design.store_rows[strata[0].design.sex == 1]
    on_x_and_y = cohort.calls[160:240][:, men]
    for people, expected in ((strata, men), (strata[1:3], None)):
        if expected is None:
            rows = np.concatenate([design.store_rows[design.sex == 1] for _, design in people])
            on_x_and_y = cohort.calls[160:240][:, rows]
        summary = scan(cohort.store, people, tmp_path / str(len(people)), ScanSpec())
        counted = [n for reason, n in summary.variant_accounting.items() if reason.startswith("heterozygous")]
        assert counted == [int((on_x_and_y == 1).sum())]
    # Where all results are taken from an earlier scan, of more people, too.
    again = scan(cohort.store, strata[1:3], tmp_path / str(len(strata)), ScanSpec(), update=True)
    assert (again.results_kept, again.variant_accounting) == (2 * 5 * 260, summary.variant_accounting)


def test_workers_order_and_resumption_change_no_byte(cohort: Cohort, tmp_path: Path) -> None:
    strata, spec = make_strata(cohort), ScanSpec(hits_neg_log10_p=1.5)
    whole = scan(cohort.store, strata, tmp_path / "one", spec)
    assert whole.n_hits > 0
    expected = tree(tmp_path / "one")
    scan(cohort.store, strata, tmp_path / "two", spec, workers=2)
    scan(cohort.store, strata, tmp_path / "backwards", spec, executor=Backwards())
    with pytest.raises(KeyboardInterrupt):
        scan(cohort.store, strata, tmp_path / "killed", spec, executor=Dying(2))
    resumed = scan(cohort.store, strata, tmp_path / "killed", spec)
    assert resumed.tasks_resumed == 2
    assert resumed.trait_notes == whole.trait_notes
    for name in ("two", "backwards", "killed"):
        assert tree(tmp_path / name) == expected


def assert_bits(found: Path, expected: Path) -> None:
    one, other = ResultsCube(found), ResultsCube(expected)
    assert (one.strata, one.traits) == (other.strata, other.traits)
    for name in one.strata:
        for trait in one.traits:
            columns = one.trait_columns(trait, name)
            for column, values in other.trait_columns(trait, name).items():
                np.testing.assert_array_equal(columns[column], values)


def test_a_stratum_that_is_added_is_the_only_one_computed(
    cohort: Cohort, tmp_path: Path, scored: list[Computed]
) -> None:
    strata, spec = make_strata(cohort), ScanSpec()
    traits = strata[0].design.trait_names
    scan(cohort.store, strata[:3], tmp_path / "run", spec)
    scan(cohort.store, strata[:4], tmp_path / "fresh", spec)
    scored.clear()
    with pytest.raises(KeyboardInterrupt):
        scan(cohort.store, strata[:4], tmp_path / "run", spec, update=True, executor=Dying(2))
    summary = scan(cohort.store, strata[:4], tmp_path / "run", spec, update=True)
    assert {of for of, _ in scored} == {((), (), (), traits)}
    assert summary.results_kept == 3 * 5 * 260
    assert_bits(tmp_path / "run", tmp_path / "fresh")
    # One of them goes, and they change places: nothing is computed.
    scored.clear()
    scan(cohort.store, (strata[3], strata[0]), tmp_path / "run", spec, update=True)
    assert scored == []
    scan(cohort.store, (strata[3], strata[0]), tmp_path / "again", spec)
    assert_bits(tmp_path / "run", tmp_path / "again")


def test_a_changed_covariate_of_a_group_costs_that_group(
    cohort: Cohort, tmp_path: Path, scored: list[Computed]
) -> None:
    strata, spec = make_strata(cohort), ScanSpec()
    traits = strata[0].design.trait_names
    scan(cohort.store, strata, tmp_path / "run", spec)
    scored.clear()
    name, design = strata[2]
    values = strata[1].design.traits.copy()
    values[3, 4] += 1.0
    changed = (
        strata[0],
        Stratum(strata[1].name, replace(strata[1].design, traits=values)),
        Stratum(name, replace(design, covariates=design.covariates * [1.0, 2.0, 1.0])),
        *strata[3:],
    )
    scan(cohort.store, changed, tmp_path / "run", spec, update=True)
    assert {of for of, _ in scored} == {((), ("trait4",), traits, (), ())}


def test_strata_that_do_not_fit_together_are_refused(cohort: Cohort) -> None:
    design = make_design(cohort)
    other = replace(design, trait_names=("a", "b", "c", "d"))
    for strata in ((), (Stratum("x", design), Stratum("x", design)), (Stratum("x", design), Stratum("y", other))):
        with pytest.raises(ValueError, match="strat"):
            check_strata(strata)
    with pytest.raises(ValueError, match="not those of 'x'"):
        plan_scan(
            cohort.store,
            (Stratum("x", design), Stratum("y", replace(design, binary=True, traits=np.sign(design.traits) * 0))),
            ScanSpec(),
            workers=1,
            memory_bytes=4 * GIB,
        )


def test_hits_name_their_stratum(cohort: Cohort, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    strata = make_strata(cohort)
    scan(cohort.store, strata, tmp_path / "run", ScanSpec(hits_neg_log10_p=1.5))
    cube = ResultsCube(tmp_path / "run")
    expected: list[tuple[str, str, NDArray[Any]]] = []
    names = np.array(cube.variant_names().variant_id.to_pylist())
    for stratum in cube.strata:
        for trait in cube.traits:
            found = cube.trait_columns(trait, stratum)["neg_log10_p"]
            expected += [(stratum, trait, name) for name in names[found >= 1.5]]
    table = pq.read_table(tmp_path / "run" / "hits.parquet").to_pydict()
    assert list(zip(table["stratum"], table["trait"], table["variant_id"], strict=True)) == expected


def test_groups_of_one_design_divide_it(cohort: Cohort) -> None:
    whole = make_design(cohort)
    parts = split(whole, ("a", "b", "c"))
    assert sum(design.n_samples for _, design in parts) == whole.n_samples
    plan = plan_scan(cohort.store, (*pooled(whole), *parts), ScanSpec(), workers=1, memory_bytes=4 * GIB)
    assert (plan.n_samples, plan.strata) == (whole.n_samples, ("all", "a", "b", "c"))
    assert plan.n_tasks == plan.n_runs
