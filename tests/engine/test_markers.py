"""Model markers: chosen by rules among the people analysed, or named by the user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine import marker_pruning, markers
from allscan.engine.chromosomes import Region
from allscan.engine.marker_names import named_markers, read_marker_list
from allscan.engine.marker_pruning import Pruning, find_stretches, ld_people
from allscan.engine.markers import MarkerRules, Markers, choose_markers
from allscan.errors import FileFormatError, InputError
from allscan.kernels import ld as kernels_ld
from tests import naive_ld
from tests.engine.cohorts import Cohort, write_calls
from tests.kernels.test_ld import frequencies, linked_calls

PEOPLE = 200


class Backwards:
    """Gives tasks out from the last to the first."""

    def run(self, function: Any, shared: Any, tasks: Any, *, memory_bytes: int = 0) -> Iterator[tuple[Any, Any]]:
        assert memory_bytes > 0
        for task in reversed(list(tasks)):
            yield task, function(shared, task)


@pytest.fixture
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markers, "TASK_VARIANTS", 64)
    monkeypatch.setattr(marker_pruning, "TASK_MARKERS", 20)
    monkeypatch.setattr(marker_pruning, "READ_MARKERS", 16)
    monkeypatch.setattr(marker_pruning, "CALLS_BYTES", 5 * PEOPLE)


def genome(seed: int = 0, sizes: tuple[int, ...] = (150, 90, 40, 30)) -> tuple[Any, ...]:
    """Linked calls on chromosomes 1, 2 and 22 and on X, in clumps with gaps between them."""
    rng = np.random.default_rng(seed)
    calls = linked_calls(seed, sum(sizes), PEOPLE, 0.01)
    calls[rng.random(len(calls)) < 0.1] = 0
    calls[:, 0] = 1
    badly_called = rng.random(len(calls)) < 0.1
    calls[badly_called[:, None] & (rng.random(calls.shape) < 0.2)] = -1
    contig = np.repeat(np.arange(4, dtype=np.int16), sizes)
    # Some markers lie exactly as far apart as a window reaches, and some a base further.
    steps = np.where(rng.random(len(calls)) < 0.05, 5000, rng.choice([19, 20, 20, 20, 21, 40, 60], len(calls)))
    position = np.concatenate([3_000_000 + np.cumsum(steps[contig == k]) for k in range(4)]).astype(np.int32)
    return calls, contig, position, ("1", "2", "22", "X")


def everybody(cohort: Cohort) -> NDArray[np.int64]:
    return np.arange(cohort.store.n_samples)


def choose(cohort: Cohort, people: NDArray[np.int64] | None = None, **rules: Any) -> Markers:
    executor = rules.pop("executor", EmbeddedExecutor(1))
    return choose_markers(cohort.store, everybody(cohort) if people is None else people, MarkerRules(**rules), executor)


def fates(chosen: Markers) -> dict[str, int]:
    """Counts by the first word of the reason that tells it from others."""
    words = {
        "markers": "marker",
        "not in": "not named",
        "not on": "chromosome",
        "in excluded": "excluded",
        "of sites": "multiallelic",
        "rare": "rare",
        "with more": "missing",
        "that vary": "variance",
        "with position": "duplicate",
        "with the calls": "identical",
        "with r²": "correlated",
        "thinned": "thinned",
    }
    return {word: n for start, word in words.items() for reason, n in chosen.accounting if reason.startswith(start)}


def naive_markers(
    calls: NDArray[np.int8], contig: NDArray[np.int16], position: NDArray[np.int32], rules: MarkerRules
) -> tuple[list[int], dict[str, int]]:
    """The rows, and what became of the others, by the rules as they are documented."""
    n = calls.shape[1]
    least = rules.min_mac if rules.min_mac is not None else min(100, max(10, 0.02 * n))
    least = max(least, rules.min_maf * 2 * n * (1 - rules.max_missing_rate))
    found: dict[str, int] = {}
    left = []
    for v in range(len(calls)):
        called = calls[v][calls[v] >= 0].astype(float)
        minor = min(called.sum(), 2 * len(called) - called.sum()) if len(called) else 0.0
        if contig[v] == 3:
            why = "chromosome"
        elif minor < least or minor / (2 * len(called)) < rules.min_maf:
            why = "rare"
        elif 1 - len(called) / n > rules.max_missing_rate:
            why = "missing"
        elif called.var() < rules.min_info * 2 * (p := called.mean() / 2) * (1 - p) or called.var() < 1e-9:
            why = "variance"
        else:
            left.append(v)
            continue
        found[why] = found.get(why, 0) + 1
    rows = []
    for k in range(3):
        here = [v for v in left if contig[v] == k]
        of_windows = naive_ld.windows(position[here].tolist(), rules.window_bp, rules.window)
        assert rules.prune_r2 is not None
        for v, fate in zip(
            here, naive_ld.prune(calls[here], frequencies(calls[here]), of_windows, rules.prune_r2), strict=True
        ):
            if fate == "kept":
                rows.append(v)
            else:
                found[fate] = found.get(fate, 0) + 1
    return rows, found | {"marker": len(rows)}


@pytest.mark.parametrize(
    "rules",
    [
        MarkerRules(window_bp=300),
        MarkerRules(window_bp=2000, prune_r2=0.3),
        MarkerRules(window=7, prune_r2=0.5),
        MarkerRules(window_bp=100, prune_r2=1.0, min_mac=60, max_missing_rate=0.3, min_info=0.95),
    ],
)
@pytest.mark.usefixtures("small_tasks")
def test_the_markers_are_those_of_the_rules(tmp_path: Path, rules: MarkerRules) -> None:
    calls, contig, position, contigs = genome()
    people = np.sort(np.random.default_rng(1).choice(PEOPLE, 160, replace=False))
    cohort = write_calls(tmp_path / "store.zarr", calls, contig, position, contigs)
    chosen = choose_markers(cohort.store, people, rules, EmbeddedExecutor(1))
    rows, found = naive_markers(calls[:, people], contig, position, rules)
    assert chosen.rows.tolist() == rows
    assert fates(chosen) == found
    assert sum(count for _, count in chosen.accounting) == len(calls)
    assert 20 < len(rows) < 200


@pytest.mark.usefixtures("small_tasks")
def test_layout_executor_order_of_people_and_alleles_change_nothing(tmp_path: Path) -> None:
    calls, contig, position, contigs = genome(5)
    rng = np.random.default_rng(2)
    ids = np.array([f"person{i}" for i in range(PEOPLE)], object)
    cohort = write_calls(tmp_path / "a.zarr", calls, contig, position, contigs)
    expected = choose(cohort, window_bp=500)
    order = rng.permutation(PEOPLE)
    swap = (calls >= 0) & (rng.random(len(calls)) < 0.5)[:, None]
    other = write_calls(
        tmp_path / "b.zarr",
        np.where(swap, 2 - calls, calls).astype(np.int8)[:, order],
        contig,
        position,
        contigs,
        sample_ids=ids[order],
        block=17,
    )
    executors = [EmbeddedExecutor(1), EmbeddedExecutor(3), EmbeddedExecutor(2, "processes"), Backwards()]
    for store, executor in [(cohort, executors[3]), *((other, executor) for executor in executors)]:
        chosen = choose(store, window_bp=500, executor=executor)
        np.testing.assert_array_equal(chosen.rows, expected.rows)
        assert chosen.accounting == expected.accounting


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), block=st.sampled_from([1, 16, 33, 200]), most_r2=st.sampled_from([0.1, 0.9, 1.0]))
def test_blocks_order_of_people_and_alleles_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, seed: int, block: int, most_r2: float
) -> None:
    folder = tmp_path_factory.mktemp("stores")
    rng = np.random.default_rng(seed)
    calls, contig, position, contigs = genome(seed, (50, 20, 0, 3))
    order = rng.permutation(PEOPLE)
    swap = (calls >= 0) & (rng.random(len(calls)) < 0.5)[:, None]
    one = write_calls(folder / "a.zarr", calls, contig, position, contigs)
    swapped = np.where(swap, 2 - calls, calls).astype(np.int8)[:, order]
    other = write_calls(folder / "b.zarr", swapped, contig, position, contigs, block=block)
    people = np.sort(rng.choice(PEOPLE, 150, replace=False))
    rules = {"window_bp": 500, "prune_r2": most_r2}
    expected = choose(one, people, **rules)
    chosen = choose(other, np.flatnonzero(np.isin(order, people)), **rules)
    np.testing.assert_array_equal(chosen.rows, expected.rows)
    assert chosen.accounting == expected.accounting


def test_no_more_is_held_than_the_widest_window_and_what_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []

    def prune_windows(markers: Any, *arguments: Any) -> None:
        held.append(markers.n_markers)
        kernels_ld.prune_windows(markers, *arguments)

    monkeypatch.setattr(marker_pruning, "prune_windows", prune_windows)
    monkeypatch.setattr(marker_pruning, "READ_MARKERS", 16)
    position = np.arange(700, dtype=np.int32) * 10 + 1
    cohort = on_one_chromosome(tmp_path / "a.zarr", common_calls(700), position=position, block=16)
    assert len(choose(cohort, window_bp=400)) == 700
    assert len(held) > 40
    assert max(held) <= 41 + 16 + 16


def test_few_people_are_enough_for_correlations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who they are depends on ids, and not on where they stand."""
    calls, contig, position, contigs = genome(6)
    cohort = write_calls(tmp_path / "a.zarr", calls, contig, position, contigs)
    order = np.random.default_rng(0).permutation(PEOPLE)
    ids = cohort.store.sample_ids[order]
    other = write_calls(tmp_path / "b.zarr", calls[:, order], contig, position, contigs, sample_ids=ids)
    monkeypatch.setattr(marker_pruning, "LD_PEOPLE", 50)
    people = ld_people(cohort.store, everybody(cohort))
    assert len(people) == 50
    assert np.all(np.diff(people) > 0)
    assert people[-1] - people[0] > 120
    assert set(cohort.store.sample_ids[people]) == set(ids[ld_people(other.store, everybody(other))])
    half = everybody(cohort)[::2]
    assert set(people[people % 2 == 0]) <= set(ld_people(cohort.store, half))
    np.testing.assert_array_equal(choose(cohort).rows, choose(other).rows)
    monkeypatch.undo()
    assert choose(cohort).rows.tolist() != choose(cohort, people).rows.tolist()


def test_no_two_markers_of_a_window_are_correlated(tmp_path: Path) -> None:
    calls, contig, position, contigs = genome(7)
    cohort = write_calls(tmp_path / "a.zarr", calls, contig, position, contigs)
    rows = choose(cohort, window_bp=400, prune_r2=0.2).rows
    near = [(a, b) for a in rows for b in rows if a < b and contig[a] == contig[b] and position[b] - position[a] <= 400]
    assert len(near) > 50
    for a, b in near:
        r2 = naive_ld.r_squared(calls[a], calls[b])
        assert r2 is not None
        assert r2 <= 0.2


def common_calls(variants: int, seed: int = 0) -> NDArray[np.int8]:
    return np.random.default_rng(seed).binomial(2, 0.3, (variants, PEOPLE)).astype(np.int8)


def on_one_chromosome(path: Path, calls: NDArray[np.int8], name: str = "1", **options: Any) -> Cohort:
    position = options.pop("position", np.arange(len(calls), dtype=np.int32) * 100 + 1)
    return write_calls(path, calls, np.zeros(len(calls), np.int16), position, (name,), **options)


def test_each_way_out_is_counted(tmp_path: Path) -> None:
    calls = common_calls(12)
    calls[0] = 0  # of one kind
    calls[1] = 1  # frequency 0.5, and nobody differs
    calls[2, :20] = -1
    calls[3] = -1
    calls[5] = 2 - calls[4]
    calls[7] = calls[6]
    calls[7, :2] = np.where(calls[6, :2] == 2, 1, calls[6, :2] + 1)
    n_alt = np.ones(12, np.int16)
    n_alt[8] = 2
    position = np.arange(12, dtype=np.int32) * 100 + 1
    position[10] = position[9]
    alleles = [("A", "C")] * 10 + [("C", "A")] + [("A", "C")]
    cohort = on_one_chromosome(tmp_path / "a.zarr", calls, n_alt=n_alt, position=position, alleles=alleles)
    chosen = choose(cohort, exclude=(Region("chr1", 1101), Region("6")), prune_r2=0.8)
    assert chosen.rows.tolist()[:2] == [4, 6] or chosen.rows.tolist()[:2] == [4, 7]
    assert chosen.rows.tolist()[2:] == [9]
    assert fates(chosen) == {
        "marker": 3,
        "rare": 2,
        "variance": 1,
        "missing": 1,
        "identical": 1,
        "correlated": 1,
        "multiallelic": 1,
        "duplicate": 1,
        "excluded": 1,
    }


def test_poorly_imputed_dosages_are_left_out_and_good_ones_pruned(tmp_path: Path) -> None:
    truth = common_calls(4).astype(np.float32)
    noise = np.random.default_rng(1).uniform(-0.2, 0.2, truth.shape)
    dosage = np.clip(truth + noise, 0, 2)
    dosage[1] = 0.6 + 0.1 * (truth[1] - 0.6)  # r² of 0.01
    dosage[3] = np.clip(truth[2] + noise[0], 0, 2)
    dosage = (np.round(dosage * 100) / 100).astype(np.float32)
    cohort = on_one_chromosome(tmp_path / "a.zarr", np.zeros((4, PEOPLE), np.int8), dosage=dosage)
    chosen = choose(cohort)
    assert chosen.rows.tolist()[0] == 0
    assert len(chosen.rows) == 2
    assert fates(chosen) == {"marker": 2, "variance": 1, "identical": 1}


def test_markers_are_thinned_evenly(tmp_path: Path) -> None:
    cohort = on_one_chromosome(tmp_path / "a.zarr", common_calls(100))
    for most in (1, 7, 50, 99):
        chosen = choose(cohort, max_markers=most)
        assert len(chosen) == most
        assert fates(chosen) == {"marker": most, "thinned": 100 - most}
        assert set(np.diff(chosen.rows)) <= {100 // most, 100 // most + 1}
        assert abs(chosen.rows[0] - (99 - chosen.rows[-1])) <= 1
    assert "to keep 99" in choose(cohort, max_markers=99).accounting[-1][0]


@pytest.mark.parametrize(("people", "least"), [(50, 10), (489, 10), (1000, 20), (5000, 100), (400_000, 100)])
def test_small_cohorts_ask_for_fewer_copies(people: int, least: float) -> None:
    assert MarkerRules().least_copies(people) == pytest.approx(least)
    assert MarkerRules(min_mac=3).least_copies(people) == 3


def test_blocks_are_even_and_of_one_chromosome() -> None:
    rows = np.arange(0, 5000, 2)
    contig = np.repeat(np.array([0, 3], np.int16), [2400, 100])
    blocks = Markers(rows, contig, ("1", "2", "3", "chr4"), ()).blocks(1000)
    assert [(name, len(part)) for name, part in blocks] == [("1", 800), ("1", 800), ("1", 800), ("chr4", 100)]
    np.testing.assert_array_equal(np.concatenate([part for _, part in blocks]), rows)


def test_chromosome_x_when_asked_for(tmp_path: Path) -> None:
    calls, contig, position, contigs = genome(1)
    cohort = write_calls(tmp_path / "a.zarr", calls, contig, position, contigs)
    on_x = np.flatnonzero(contig == 3)
    assert not np.isin(on_x, choose(cohort).rows).any()
    with_x = choose(cohort, chromosome_x=True, prune_r2=None)
    assert np.isin(on_x, with_x.rows).sum() > 10
    assert "chromosome" not in fates(with_x)


def test_without_autosomes_or_markers_it_is_said_what_to_do(tmp_path: Path) -> None:
    cohort = on_one_chromosome(tmp_path / "a.zarr", common_calls(20), "X")
    with pytest.raises(InputError, match=r"lies on an autosome: the store's contigs are X") as caught:
        choose(cohort)
    assert "to do" in str(caught.value)
    rare = on_one_chromosome(tmp_path / "b.zarr", np.zeros((20, PEOPLE), np.int8))
    with pytest.raises(InputError, match=r"no marker is left .*: 20 rare \(fewer than 10 copies"):
        choose(rare)


def test_stretches_are_cut_where_no_window_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marker_pruning, "TASK_MARKERS", 3)
    contig = np.array([0] * 8 + [2] * 2, np.int16)
    position = np.array([1, 2, 50, 51, 52, 90, 91, 92, 5, 9], np.int32)
    store = on_one_chromosome(tmp_path / "a.zarr", common_calls(10)).store
    pruning = Pruning(store, np.arange(PEOPLE), np.arange(10), contig, position, np.full(10, 0.3), 0.9, 10, None)
    assert find_stretches(pruning) == ([(0, 5), (5, 8), (8, 10)], 3)
    assert [windows.tolist() for windows in pruning.windows(0, 5)] == [[0, 2], [2, 5]]
    assert find_stretches(pruning._replace(window=4)) == ([(0, 8), (8, 10)], 4)
    assert [windows.tolist() for windows in pruning._replace(window=4).windows(0, 6)] == [[0, 1, 2], [4, 5, 6]]


def test_progress_is_told(tmp_path: Path) -> None:
    cohort = on_one_chromosome(tmp_path / "a.zarr", common_calls(20))
    told: list[tuple[str, int, int]] = []
    choose_markers(
        cohort.store,
        everybody(cohort),
        MarkerRules(),
        EmbeddedExecutor(1),
        on_progress=lambda *progress: told.append(progress),
    )
    assert told == [("count", 1, 1), ("prune", 1, 1)]


class TestNamed:
    """The user's own list."""

    @pytest.fixture
    def cohort(self, tmp_path: Path) -> Cohort:
        calls = common_calls(10)
        calls[3] = calls[2]
        calls[4] = 0
        calls[5, :100] = -1
        position = np.array([10, 20, 30, 40, 50, 60, 70, 70, 70, 80], np.int32)
        alleles = [("A", "C")] * 6 + [("A", "C"), ("A", "G"), ("C", "A"), ("T", "TA")]
        ids = ["rs0", "rs1", "rs2", "rs3", "rs4", "rs5", "rs6", "rs6", "other", "."]
        return write_calls(
            tmp_path / "a.zarr", calls, np.zeros(10, np.int16), position, ("chr1",), variant_ids=ids, alleles=alleles
        )

    def named(self, cohort: Cohort, *names: str) -> Markers:
        return named_markers(cohort.store, names, everybody(cohort), EmbeddedExecutor(1))

    def test_ids_and_positions(self, cohort: Cohort) -> None:
        chosen = self.named(cohort, "rs1", "1:10:A:C", "chr1:80:TA:T", "rs3", "rs2", "rs5")
        assert chosen.rows.tolist() == [0, 1, 2, 3, 5, 9]
        assert fates(chosen) == {"marker": 6, "not named": 4}
        assert chosen.unknown == ()
        assert chosen.notes == ()

    def test_what_the_store_does_not_have_is_listed(self, cohort: Cohort) -> None:
        chosen = self.named(cohort, "rs1", "rs9", "1:10:A:G", "2:10:A:C", ".", "1:11:A:C", "a:b:c:d", "rs77", "rs1")
        assert chosen.rows.tolist() == [1]
        assert chosen.unknown == ("rs9", "1:10:A:G", "2:10:A:C", ".", "1:11:A:C", "a:b:c:d", "rs77")
        assert chosen.notes == (
            "1 names of markers are given more than once",
            "7 of the markers named are not in the store: rs9, 1:10:A:G, 2:10:A:C, ., 1:11:A:C, …",
        )

    def test_one_id_of_several_variants_and_one_variant_twice(self, cohort: Cohort) -> None:
        chosen = self.named(cohort, "rs6", "other", "1:70:A:G")
        assert chosen.rows.tolist() == [6, 7]
        assert fates(chosen) == {"marker": 2, "duplicate": 1, "not named": 7}
        assert chosen.notes == ("1 names of markers mean several variants, which are all taken",)

    def test_a_constant_marker_is_dropped_and_counted(self, cohort: Cohort) -> None:
        chosen = self.named(cohort, "rs4", "rs0")
        assert chosen.rows.tolist() == [0]
        assert fates(chosen) == {"marker": 1, "variance": 1, "not named": 8}

    def test_none_known_is_an_error(self, cohort: Cohort) -> None:
        with pytest.raises(InputError, match="none of the 2 markers named, such as x, y"):
            self.named(cohort, "x", "y")

    def test_a_file_has_one_name_a_line(self, tmp_path: Path) -> None:
        path = tmp_path / "list.txt"
        path.write_bytes(b"\xef\xbb\xbfrs1\r\n\n  rs2 \nrs1\n")
        assert read_marker_list(path) == ["rs1", "rs2", "rs1"]
        for content, message in (
            (b"rs1\n1\trs2\t0\n", "3 words on a line"),
            (b"\n\n", "is empty"),
            (b"\xff\xfe\x00", "is not text"),
        ):
            path.write_bytes(content)
            with pytest.raises(InputError, match=message) as caught:
                read_marker_list(path)
            assert str(path) in str(caught.value)
        path.write_bytes(b"rs1\n1\trs2\t0\n")
        with pytest.raises(FileFormatError, match="line 2"):
            read_marker_list(path)
        with pytest.raises(InputError, match="cannot be read"):
            read_marker_list(tmp_path / "nowhere.txt")
