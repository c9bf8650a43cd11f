"""The pass over genotypes: every number against loops, the same bits however it is run, and going on where it was."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.quality import counting
from allscan.engine.quality.counting import QualityCounts, count_quality
from allscan.engine.quality.people import People, people_of
from allscan.engine.quality.samples import SexCheck, sample_metrics
from allscan.engine.quality.variants import VariantRules
from allscan.errors import InputError
from tests import naive_quality
from tests.engine.cohorts import Cohort, write_calls

PEOPLE = 420
GROUPS = ("afr", "eas", "tiny")
RULES = VariantRules(min_call_rate=0.9, min_hwe_p=1e-6, difference_p=1e-4, max_haploid_het=0.1)
CONTIGS = ("1", "2", "X", "Y", "MT")
SIZES = (260, 90, 110, 30, 10)
CHANGES = [("A", "G"), ("C", "T"), ("A", "C"), ("g", "t"), ("A", "AT"), ("AT", "A"), ("ACG", "A"), ("A", "<DEL>")]


@pytest.fixture(autouse=True, scope="module")
def _small_tasks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "TASK_VARIANTS", 100)
        yield


def true_sex() -> NDArray[np.int8]:
    return np.random.default_rng(3).choice([1, 2], PEOPLE).astype(np.int8)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Two ancestries that drifted apart; each rule has variants that break it."""
    rng = np.random.default_rng(11)
    v = sum(SIZES)
    contig = np.repeat(np.arange(5, dtype=np.int16), SIZES)
    position = np.concatenate([np.arange(n) * 1000 + 3_000_000 for n in SIZES]).astype(np.int32)
    position[contig == 2] = np.linspace(2_500_000, 9_000_000, SIZES[2])  # a few are pseudoautosomal
    label = ancestry()
    base = np.where(rng.random(v) < 0.4, rng.uniform(0.001, 0.02, v), rng.uniform(0.05, 0.95, v))
    drifted = np.clip(base[:, None] + rng.normal(0, 0.15, (v, 2)), 0.001, 0.999)
    frequency = np.where(rng.random(v)[:, None] < 0.3, base[:, None], drifted[:, np.where(label == 1, 1, 0)])
    calls = rng.binomial(2, frequency).astype(np.int8)
    sex = true_sex()
    males = sex == 1
    for k, haploid in ((2, males), (3, np.ones(PEOPLE, bool)), (4, np.ones(PEOPLE, bool))):
        here = np.flatnonzero(contig == k)
        here = here[position[here] > 2_781_479] if k == 2 else here
        calls[np.ix_(here, np.flatnonzero(haploid))] = (
            2 * rng.binomial(1, frequency[np.ix_(here, np.flatnonzero(haploid))])
        ).astype(np.int8)
    calls[np.ix_(contig == 3, sex == 2)] = -1
    calls[rng.random(calls.shape) < 0.01] = -1
    calls[3, rng.random(PEOPLE) < 0.2] = -1  # call rate
    calls[4] = 0  # monomorphic
    calls[5] = np.where(rng.random(PEOPLE) < 0.9, 1, 0)  # heterozygotes
    calls[6, label == 1] = np.where(rng.random((label == 1).sum()) < 0.15, -1, 0)  # differential
    calls[7] = np.where(rng.random(PEOPLE) < 0.5, 0, 2)  # no heterozygotes
    calls[8], calls[10] = 0, 2
    calls[8, 17] = calls[10, 17] = 1  # singletons, of either allele
    late_x = np.flatnonzero(contig == 2)[-2]
    calls[late_x, males] = np.where(rng.random(males.sum()) < 0.3, 1, 0)
    dosage = np.where(calls < 0, np.nan, calls).astype(np.float32)
    blurred = np.arange(v) % 9 == 0
    dosage[blurred] = np.clip(dosage[blurred] + rng.integers(-40, 41, (blurred.sum(), PEOPLE)) / 100, 0, 2)
    info = np.where(blurred, rng.choice([0.2, 0.9], v), np.nan)
    alleles = [CHANGES[k] for k in rng.integers(0, len(CHANGES), v)]
    return write_calls(
        tmp_path_factory.mktemp("quality") / "store.zarr",
        calls,
        contig,
        position,
        CONTIGS,
        sex=np.where(rng.random(PEOPLE) < 0.1, 0, sex).astype(np.int8),
        alleles=alleles,
        info=info,
        dosage=dosage,
        block=32,
    )


def ancestry() -> NDArray[np.int64]:
    """Two groups that are large enough, one that is not, and people of none."""
    return np.random.default_rng(7).choice([0, 1, 2, -1], PEOPLE, p=[0.45, 0.4, 0.1, 0.05])


def some_people(cohort: Cohort, *, groups: bool = True) -> People:
    """All but a few."""
    rows = np.setdiff1d(np.arange(PEOPLE), [5, 50, 51])
    if not groups:
        return people_of(cohort.store, rows)
    return people_of(cohort.store, rows, groups=GROUPS, group=ancestry()[rows])


def count(cohort: Cohort, work: Path, people: People | None = None, executor: Any = None, **options: Any) -> Any:
    people = some_people(cohort) if people is None else people
    return count_quality(cohort.store, people, RULES, executor or EmbeddedExecutor(1), work, **options)


@pytest.fixture(scope="module")
def counted(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> QualityCounts:
    return count(cohort, tmp_path_factory.mktemp("counted"))


def kind_of(cohort: Cohort, v: int) -> str:
    kind = ("autosome", "autosome", "x", "y", "mt")[cohort.contig[v]]
    return "par" if kind == "x" and cohort.position[v] <= 2_781_479 else kind


def rounded(cohort: Cohort) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    exact = cohort.store.dosages(0, cohort.store.n_variants)
    return np.where(np.isnan(exact), -1, np.floor(exact + np.float32(0.5))).astype(np.int8), exact


def naive_variants(cohort: Cohort, people: People) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Every variant in everybody, and in each group (last, of none)."""
    calls, exact = rounded(cohort)
    parts = [people.group == k for k in range(len(people.groups))] + [people.group < 0]
    for v in range(len(calls)):
        kind = kind_of(cohort, v)
        kind = "autosome" if kind == "par" else kind
        found = [naive_quality.count(calls[v, people.rows], kind, people.sex)]
        men_known = (people.sex == 1).any()
        for member in parts:
            sex = people.sex[member]
            one = naive_quality.count(calls[v, people.rows[member]], kind, sex)
            assert men_known
            found.append(one)
        for one, member in zip(found, [np.ones(len(people.rows), bool), *parts], strict=True):
            # Copies are exact where calls are rounded.
            values, s = exact[v, people.rows[member]].astype(float), people.sex[member]
            half = np.where((kind in ("y", "mt")) | ((kind == "x") & (s == 1)), 0.5, 1.0)
            one["copies"] = float(np.nansum((values * half)[(s == 1) | (kind != "y")]))
        yield found[0], found[1:]


def table_of(counted: QualityCounts) -> pa.Table:
    return pa.concat_tables(counted.variant_tables(), promote_options="default")


@pytest.mark.parametrize("groups", [True, False])
def test_variants(cohort, tmp_path, groups):
    people = some_people(cohort, groups=groups)
    counted = count(cohort, tmp_path, people)
    table = table_of(counted).to_pydict()
    info = cohort.store.column("variant_info")
    fates = []
    for v, (whole, of_groups) in enumerate(naive_variants(cohort, people)):
        assert table["n_people"][v] == whole["people"]
        assert table["call_rate"][v] == pytest.approx(whole["called"] / whole["people"], rel=1e-6)
        assert (table["n_het"][v], table["n_hom_alt"][v]) == (whole["het"], whole["hom_alt"])
        assert table["allele_count"][v] == pytest.approx(whole["copies"], abs=1e-3)
        assert table["allele_number"][v] == whole["number"]
        if whole["haploid"]:
            assert table["haploid_het_rate"][v] == pytest.approx(whole["haploid_het"] / whole["haploid"], rel=1e-6)
        else:
            assert np.isnan(table["haploid_het_rate"][v])
        for name, one in zip(people.groups, of_groups, strict=False):
            assert table[f"call_rate_{name}"][v] == pytest.approx(one["called"] / one["people"], rel=1e-6)
            assert table[f"allele_number_{name}"][v] == one["number"]
            expected = naive_quality.hwe_neg_log10_p(*one["by_call"])
            assert table[f"hwe_neg_log10_p_{name}"][v] == pytest.approx(expected, rel=1e-6, abs=1e-9, nan_ok=True)
        fates.append(naive_quality.fate(whole, of_groups[:-1] if groups else of_groups, counted.rules, info[v], groups))
    assert table["fate"] == fates
    found = set(fates)
    assert found >= {"passes", "call_rate", "monomorphic", "info", "hwe_excess", "haploid_heterozygous"}
    assert ({"hwe", "differential_missingness"} <= found) == groups
    assert sum(n for _, n in counted.accounting) == cohort.store.n_variants
    assert dict(counted.accounting)["pass"] == len(counted.passing) == fates.count("passes")


def test_samples(cohort, counted):
    people = counted.people
    calls, _ = rounded(cohort)
    calls = calls[:, people.rows]
    alleles = cohort.store.column("variant_allele")
    found = sample_metrics(counted)
    passing = np.zeros(len(calls), bool)
    passing[counted.passing] = True
    kinds = np.array([kind_of(cohort, v) for v in range(len(calls))])
    pairs = [tuple(str(a).upper() for a in pair) for pair in alleles]
    single = np.array([len(a) == len(b) == 1 for a, b in pairs])
    transition = np.array([set(pair) in ({"A", "G"}, {"C", "T"}) for pair in pairs])
    insertion = np.array(["<" not in b and len(b) > len(a) for a, b in pairs])
    deletion = np.array(["<" not in b and len(b) < len(a) for a, b in pairs])
    own = passing & (kinds == "autosome")
    assert own[8]
    assert own[10]
    count_of = list(naive_variants(cohort, people))
    for i in range(len(people.rows)):
        mine = calls[:, i]

        def copies(which, mine=mine):
            return int(np.maximum(mine[own & which], 0).sum())

        def ratio(which, mine=mine):
            het, hom = (mine[own & which] == 1).sum(), (mine[own & which] == 2).sum()
            return het / hom if hom else np.nan

        assert found.n_called[i] == (mine[own] >= 0).sum()
        assert found.call_rate[i] == pytest.approx((mine[own] >= 0).mean())
        assert (found.n_het[i], found.n_hom_alt[i]) == ((mine[own] == 1).sum(), (mine[own] == 2).sum())
        assert found.snp_count[i] == copies(single)
        assert (found.ins_count[i], found.del_count[i]) == (copies(insertion), copies(deletion))
        assert found.ti_tv_ratio[i] == pytest.approx(copies(transition) / copies(single & ~transition))
        assert found.snp_het_homvar_ratio[i] == pytest.approx(ratio(single), nan_ok=True)
        assert found.indel_het_homvar_ratio[i] == pytest.approx(ratio(insertion | deletion), nan_ok=True)
        k = people.group[i]
        for which, f in ((own, found.f_het[i]), (passing & (kinds == "x"), found.f_x[i])):
            expected = sum(
                naive_quality.expected_het(
                    # Small groups, and people of none, are compared with everybody.
                    count_of[v][1][k]
                    if k >= 0 and count_of[v][1][k]["people"] >= RULES.group_people
                    else count_of[v][0]
                )
                for v in np.flatnonzero(which & (mine >= 0))
            )
            if np.isfinite(f):
                assert f == pytest.approx(1 - (mine[which] == 1).sum() / expected, abs=1e-4)
        on_y = passing & (kinds == "y")
        assert found.y_call_rate[i] == pytest.approx((mine[on_y] >= 0).mean())
    alone = np.array([min(w["copies"], w["number"] - w["copies"]) == 1 for w, _ in count_of]) & own
    assert found.singleton.tolist() == (calls[alone] == 1).sum(axis=0).tolist()
    assert found.singleton.sum() == alone.sum() >= 2
    known = people.sex > 0
    assert (found.sex_check[known] == SexCheck.OK).mean() > 0.9
    assert (found.sex_check[~known] == SexCheck.NOT_REPORTED).mean() > 0.9
    said = found.sex_inferred > 0
    assert (found.sex_inferred == true_sex()[people.rows])[said].all()
    table = found.to_arrow()
    assert len(table) == len(people.rows)
    assert table["sex_check"][0].as_py() in {one.text for one in SexCheck}


class Backwards:
    """Gives tasks out from the last to the first."""

    def run(self, function: Any, shared: Any, tasks: Any, *, memory_bytes: int = 0) -> Iterator[tuple[Any, Any]]:
        assert memory_bytes > 0
        for task in reversed(list(tasks)):
            yield task, function(shared, task)


def everything(counted: QualityCounts) -> bytes:
    persons = counted.persons
    parts = (counted.fate, persons.calls, persons.singletons, persons.expected_het, persons.variants)
    return b"".join(part.tobytes() for part in parts)


@pytest.mark.parametrize("executor", [Backwards(), EmbeddedExecutor(2), EmbeddedExecutor(2, kind="processes")])
def test_executors_change_no_bit(cohort, counted, tmp_path, executor):
    again = count(cohort, tmp_path, executor=executor)
    assert everything(again) == everything(counted)
    first, second = ([file.read_bytes() for file in sorted(one.folder.glob("*.npz"))] for one in (again, counted))
    assert len(first) == 5
    assert first == second


def test_a_pass_that_was_killed_goes_on(cohort, counted, tmp_path):
    class KilledError(Exception):
        pass

    def kill(done: int, _total: int) -> None:
        if done == 2:
            raise KilledError

    with pytest.raises(KilledError):
        count(cohort, tmp_path, on_progress=kill)
    damaged, _ = sorted(tmp_path.rglob("*.npz"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    told: list[tuple[int, int]] = []
    again = count(cohort, tmp_path, on_progress=lambda *now: told.append(now))
    assert told[0] == (1, 5)
    assert told[-1] == (5, 5)
    assert everything(again) == everything(counted)
    # Other people, or rules, are another pass.
    other = count(cohort, tmp_path, people_of(cohort.store), on_progress=lambda *now: told.append(now))
    assert told[5] == (0, 5)
    assert everything(other) != everything(counted)
    other.remove()
    assert not list(tmp_path.rglob("*.npz"))


def test_the_file_of_variants(cohort, counted, tmp_path):
    file = tmp_path / "deep" / "variants.parquet"
    counted.write_variants(file)
    table = pq.read_table(file)
    whole = table_of(counted)
    assert table.column_names == whole.column_names
    for name in table.column_names:
        np.testing.assert_array_equal(table[name].to_pylist(), whole[name].to_pylist())
    assert table["position"].to_pylist() == cohort.position.tolist()
    assert table["contig"].to_pylist()[-1] == "MT"
    assert [file.name for file in file.parent.iterdir()] == ["variants.parquet"]


def test_the_same_people_in_a_smaller_store(cohort, counted, tmp_path):
    """Who is not counted changes nothing."""
    people = counted.people
    calls, exact = rounded(cohort)
    store = cohort.store
    smaller = write_calls(
        tmp_path / "smaller.zarr",
        calls[:, people.rows],
        cohort.contig,
        cohort.position,
        CONTIGS,
        sex=people.sex,
        alleles=[tuple(pair) for pair in store.column("variant_allele")],
        info=store.column("variant_info").astype(float),
        dosage=exact[:, people.rows],
        block=32,
    )
    again = count(smaller, tmp_path, people_of(smaller.store, groups=GROUPS, group=people.group))
    assert (again.fate == counted.fate).all()
    np.testing.assert_allclose(again.persons.expected_het, counted.persons.expected_het, rtol=1e-6)
    assert (again.persons.calls == counted.persons.calls).all()


def test_nobody_is_refused(cohort, tmp_path):
    with pytest.raises(InputError, match="nobody"):
        count(cohort, tmp_path, people_of(cohort.store, np.array([], np.int64)))


def test_nobodys_sex_is_known(cohort, tmp_path):
    people = people_of(cohort.store, sex=np.zeros(PEOPLE, np.int8), groups=("all",), group=np.zeros(PEOPLE, np.int64))
    counted = count(cohort, tmp_path, people)
    table = table_of(counted).to_pydict()
    y = [v for v in range(cohort.store.n_variants) if table["contig"][v] == "Y"]
    assert all(table["n_people"][v] == PEOPLE for v in y)
    assert all(np.isnan(table["hwe_neg_log10_p"][v]) for v in y)
    assert all(table["allele_number"][v] <= PEOPLE for v in y)


def test_the_guide_works(cohort, tmp_path, monkeypatch, capsys):
    page = Path(__file__).resolve().parents[2] / "docs" / "guide" / "quality.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    (tmp_path / "cohort.zarr").symlink_to(cohort.store.path)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, page.name, "exec"), {})
    assert "pass\n" in capsys.readouterr().out
    assert (tmp_path / "variants.parquet").exists()


def test_memory_is_planned(tmp_path, monkeypatch):
    """What Python and NumPy hold while tasks run stays below what the executor is told."""
    monkeypatch.setattr(counting, "TASK_VARIANTS", 1000)
    rng = np.random.default_rng(1)
    calls = rng.binomial(2, rng.uniform(0, 1, (2000, 1)), (2000, 3000)).astype(np.int8)
    calls[rng.random(calls.shape) < 0.04] = -1
    store = write_calls(
        tmp_path / "store.zarr", calls, np.zeros(2000, np.int16), np.arange(1, 2001, dtype=np.int32), ("1",), block=500
    ).store
    people = people_of(store, groups=GROUPS, group=rng.integers(0, 3, 3000))

    class Measuring:
        def run(self, function: Any, shared: Any, tasks: Any, *, memory_bytes: int = 0) -> Iterator[tuple[Any, Any]]:
            for task in tasks:
                tracemalloc.start()
                found = function(shared, task)
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
                # Beside what the interpreter and compiled code take.
                assert peak < memory_bytes - (48 << 20)
                yield task, found

    count(Cohort(store, calls, store.variant_contig, store.variant_position), tmp_path, people, Measuring())
