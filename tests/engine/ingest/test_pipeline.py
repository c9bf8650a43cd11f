"""Ingest from sources in memory: what is in the store, in which order, and what was left out and counted."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.chromosomes import Region
from allscan.engine.ingest import pipeline, request, variants
from allscan.engine.ingest.pipeline import ingest
from allscan.engine.store import VARIANT_COLUMNS, open_store, verify_store
from allscan.errors import FileFormatError, InputError, OutputError
from allscan.kernels.hwe import hwe_neg_log10_p

sys.path.append(str(Path(__file__).parent))  # worker processes are given this path

from fake_source import FakeSource, Record, records

INLINE = EmbeddedExecutor(1)


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch):
    monkeypatch.setattr(request, "MIN_TASK_VARIANTS", 20)
    monkeypatch.setattr(request, "MAX_TASK_VARIANTS", 20)


def fake(*variants, name="a.vcf", **settings):
    return FakeSource(f"/nowhere/{name}", tuple(variants), **settings)


def run(sources, out, **settings):
    settings = {"executor": INLINE, "block_variants": 16} | settings
    return ingest(sources if isinstance(sources, list) else [sources], out, **settings)


def content(store):
    """Every file of a store, but for the time at which it was made."""
    files = {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    attributes = json.loads(files.pop("zarr.json"))
    assert attributes["attributes"].pop("created")
    return files | {"attributes": attributes}


def keys(store):
    table = store.variants()
    return [table.key(i) for i in range(len(table))]


def stored_columns(path):
    store = open_store(path)
    return {column.name: store.column(column.name) for column in VARIANT_COLUMNS}


LARGE = (*records("chr1", range(100, 400, 3)), *records("chr2", range(50, 260, 7)), *records("chrX", [5, 9]))


# What is in the store


def test_the_store_holds_the_genotypes(tmp_path):
    source = fake(*LARGE)
    report = run(source, tmp_path / "out.zarr")
    store = open_store(tmp_path / "out.zarr")
    expected = np.stack([source.values(row) for row in LARGE])
    np.testing.assert_allclose(store.dosages(0, store.n_variants), expected, atol=1e-6)
    table = store.variants()
    assert list(table.contig) == [row.contig for row in LARGE]
    assert list(table.position) == [row.position for row in LARGE]
    assert list(table.variant_id) == [row.variant_id for row in LARGE]
    assert list(table.ref) == ["A"] * len(LARGE)
    assert list(table.alt) == ["G"] * len(LARGE)
    assert list(store.sample_ids) == list(source.header.sample_ids)
    assert (report.n_variants, report.n_samples) == (len(LARGE), 40) == (store.n_variants, store.n_samples)
    assert report.variant_counts == {"variants read": len(LARGE), "variants kept": len(LARGE)}
    assert verify_store(tmp_path / "out.zarr") == ()
    assert not (tmp_path / "out.zarr.partial").exists()


def test_statistics_are_those_of_the_genotypes(tmp_path):
    source = fake(*LARGE, info=0.25)
    plain = fake(*LARGE)
    run(source, tmp_path / "info.zarr")
    run(plain, tmp_path / "plain.zarr")
    column = stored_columns(tmp_path / "plain.zarr")
    for i, row in enumerate(LARGE):
        values = source.values(row).astype(np.float32).astype(float)
        called = values[~np.isnan(values)]
        calls = np.floor(called + 0.5)
        assert column["variant_n_called"][i] == len(called)
        assert column["variant_missing_rate"][i] == pytest.approx(1 - len(called) / 40, abs=1e-6)
        assert column["variant_allele_count"][i] == pytest.approx(called.sum())
        assert column["variant_allele_frequency"][i] == pytest.approx(called.mean() / 2)
        assert column["variant_n_het"][i] == (calls == 1).sum()
        assert column["variant_n_hom_alt"][i] == (calls == 2).sum()
        if row.contig != "chrX":
            assert column["variant_hwe_neg_log10_p"][i] == pytest.approx(hwe(calls), rel=1e-6)
        p = called.mean() / 2
        r2 = called.var() / (2 * p * (1 - p)) if row.kind == "dosage" else np.nan
        assert column["variant_info"][i] == pytest.approx(r2, rel=1e-5, nan_ok=True)
    assert (open_store(tmp_path / "info.zarr").column("variant_info") == 0.25).all()
    assert (column["variant_length"] == 1).all()
    assert (column["variant_n_alt"] == 1).all()


def hwe(calls):
    out = np.empty(1)
    hwe_neg_log10_p(*(np.array([(calls == k).sum()]) for k in range(3)), out)
    return out[0]


def test_hardy_weinberg_on_sex_chromosomes(tmp_path):
    sex = tuple(np.resize([1, 2, 0], 300))
    rows = [
        Record("X", 1_000_000),  # pseudoautosomal in GRCh37
        Record("X", 50_000_000, kind="haploid"),
        Record("Y", 20_000_000),
        Record("MT", 100),
    ]
    source = fake(*rows, sex=sex, n_samples=300)
    run(source, tmp_path / "out.zarr", build="hg19")
    neg_log10_p = open_store(tmp_path / "out.zarr").column("variant_hwe_neg_log10_p")
    values = source.values(rows[1])
    assert neg_log10_p[0] == pytest.approx(hwe(source.values(rows[0])), rel=1e-6)
    assert neg_log10_p[1] == pytest.approx(hwe(values[np.array(sex) == 2]), rel=1e-6)
    assert neg_log10_p[1] != pytest.approx(hwe(values), rel=1e-3)
    assert np.isnan(neg_log10_p[2:]).all()
    unknown = fake(rows[1], n_samples=300)
    run(unknown, tmp_path / "unknown.zarr")
    assert np.isnan(open_store(tmp_path / "unknown.zarr").column("variant_hwe_neg_log10_p")).all()


def test_attributes_say_where_the_store_comes_from(tmp_path):
    path = tmp_path / "a.vcf"
    path.write_bytes(b"content")
    source = FakeSource(str(path), LARGE, build="hg38")
    run(source, tmp_path / "out.zarr", regions=["chr1"])
    attributes = open_store(tmp_path / "out.zarr").attrs
    assert attributes["reference_build"] == "GRCh38"
    assert attributes["software"]["name"] == "allscan"
    (described,) = attributes["sources"]
    assert (described["name"], described["bytes"]) == ("a.vcf", 7)
    assert described["sha256"] == "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    assert attributes["parameters"]["regions"] == ["chr1"]
    assert attributes["sample_counts"] == {"in the sources": 40, "kept": 40}
    assert attributes["block_variants"] == 16


@pytest.mark.parametrize(
    "executor", [EmbeddedExecutor(3), EmbeddedExecutor(2, "processes")], ids=["threads", "processes"]
)
def test_every_executor_makes_the_same_bytes(tmp_path, executor):
    run(fake(*LARGE), tmp_path / "one.zarr")
    run(fake(*LARGE), tmp_path / "other.zarr", executor=executor)
    assert content(tmp_path / "one.zarr") == content(tmp_path / "other.zarr")


def test_part_and_batch_sizes_make_no_difference_to_the_content(tmp_path, monkeypatch):
    run(fake(*LARGE), tmp_path / "one.zarr")
    monkeypatch.setattr(request, "MAX_TASK_VARIANTS", 7)
    monkeypatch.setattr(request, "MIN_TASK_VARIANTS", 7)
    monkeypatch.setattr("allscan.engine.ingest.reading.BATCH_BYTES", 16 * 40 * 3)
    run(fake(*LARGE), tmp_path / "other.zarr")
    checksums = [open_store(tmp_path / name).attrs["content_checksum"] for name in ("one.zarr", "other.zarr")]
    assert checksums[0] == checksums[1]
    one, other = content(tmp_path / "one.zarr"), content(tmp_path / "other.zarr")
    assert one.pop("attributes") != other.pop("attributes")
    assert one == other


def test_progress_counts_up_to_the_end(tmp_path):
    seen = []
    run(fake(*LARGE), tmp_path / "out.zarr", on_progress=seen.append)
    for phase in ("read", "write"):
        mine = [p for p in seen if p.phase == phase]
        assert [p.tasks_done for p in mine] == list(range(mine[0].tasks_total + 1))
        assert mine[-1].variants_done == len(LARGE)


# Order


def test_chromosomes_come_in_natural_order_then_other_contigs(tmp_path):
    names = ["chr10", "chrMT", "scaffold_b", "chr2", "chrX", "scaffold_a"]
    source = fake(*(row for name in names for row in records(name, [7, 8, 30])), contigs=tuple(reversed(names)))
    run(source, tmp_path / "out.zarr")
    store = open_store(tmp_path / "out.zarr")
    assert store.contigs == ("chr2", "chr10", "chrX", "chrMT", "scaffold_a", "scaffold_b")
    assert keys(store)[::3] == [f"{name}:7:A:G" for name in store.contigs]


def test_sources_that_overlap_are_merged_by_position(tmp_path):
    snvs = fake(*records("1", range(10, 500, 10)), *records("2", range(1, 90, 2)), name="snv.vcf")
    indels = fake(*(Record("1", p, ref="AT", alt="A") for p in range(5, 505, 25)), name="indel.vcf")
    report = run([snvs, indels], tmp_path / "out.zarr")
    store = open_store(tmp_path / "out.zarr")
    both = sorted(
        [(int(r.contig), r.position, s, r) for s, source in enumerate([snvs, indels]) for r in source.variants],
        key=lambda entry: entry[:3],
    )
    assert keys(store) == [f"{r.contig}:{r.position}:{r.ref}:{r.alt}" for *_, r in both]
    expected = np.stack([(snvs, indels)[s].values(r) for _, _, s, r in both])
    np.testing.assert_allclose(store.dosages(0, store.n_variants), expected, atol=1e-6)
    assert report.n_sources == 2


@pytest.fixture
def tiny_pieces(monkeypatch):
    """Parts of 5 variants, every group of the order a task of its own."""
    monkeypatch.setattr(request, "MIN_TASK_VARIANTS", 5)
    monkeypatch.setattr(request, "MAX_TASK_VARIANTS", 5)
    monkeypatch.setattr(variants, "GROUP_VARIANTS", 1)
    monkeypatch.setattr(pipeline, "FEW_ORDER_TASKS", 0)


PLACES = st.lists(st.tuples(st.sampled_from("12"), st.integers(1, 25), st.sampled_from("GT")), max_size=25)


@given(st.lists(PLACES, min_size=1, max_size=3).filter(any))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sources_are_merged_as_sorting_would(tiny_pieces, tmp_path_factory, files):
    out = tmp_path_factory.mktemp("merge") / "out.zarr"
    sources = [
        fake(*(Record(*place[:2], alt=place[2]) for place in sorted(places, key=lambda p: p[:2])), name=str(i))
        for i, places in enumerate(files)
    ]
    rows = sorted((row for source in sources for row in source.variants), key=lambda r: (r.contig, r.position))
    firsts = list(dict.fromkeys(rows))  # sorting is stable: the first of equal ones comes first
    report = run(sources, out, on_duplicate="first", block_variants=4)
    store = open_store(out)
    assert keys(store) == [f"{r.contig}:{r.position}:{r.ref}:{r.alt}" for r in firsts]
    np.testing.assert_array_equal(store.dosages(0, len(firsts)), np.stack([sources[0].values(r) for r in firsts]))
    assert report.variant_counts.get("variants left out: duplicates of an earlier one", 0) == len(rows) - len(firsts)


def test_sources_by_chromosome_may_come_in_any_order(tmp_path):
    one, two = fake(*records("1", range(50)), name="1.vcf"), fake(*records("2", range(50)), name="2.vcf")
    run([one, two], tmp_path / "out.zarr")
    run([two, one], tmp_path / "turned.zarr")
    out, turned = open_store(tmp_path / "out.zarr"), open_store(tmp_path / "turned.zarr")
    assert keys(out) == keys(turned)
    assert out.attrs["content_checksum"] == turned.attrs["content_checksum"]


def test_variants_at_one_position_keep_the_order_of_the_file(tmp_path):
    rows = [Record("1", 7, alt=alt) for alt in "TGC"] + [Record("1", 9)]
    for at in range(13, 22):  # so that the ties fall on borders of segments and parts
        head = [Record("1", 1, alt="A" * (i + 1)) for i in range(at)]
        run(fake(*head, *rows), tmp_path / f"{at}.zarr")
        assert [key[-1] for key in keys(open_store(tmp_path / f"{at}.zarr"))[at:]] == list("TGCG")
        shutil.rmtree(tmp_path / f"{at}.zarr")


@pytest.mark.parametrize("rows", [[("1", 9), ("1", 7)], [("1", 7), ("2", 1), ("1", 9)]])
@pytest.mark.parametrize("before", [0, 19])
def test_unsorted_variants_are_refused_by_name(tmp_path, rows, before):
    head = [Record("1", 1, alt="A" * (i + 1)) for i in range(before)]
    source = fake(*head, *(Record(contig, position) for contig, position in rows))
    with pytest.raises(FileFormatError, match="not sorted") as caught:
        run(source, tmp_path / "out.zarr")
    contig, position = rows[-1]
    assert f"{contig}:{position}:A:G" in caught.value.where
    assert "/nowhere/a.vcf" in caught.value.where
    assert "sort" in caught.value.fix
    assert not (tmp_path / "out.zarr").exists()


# Duplicates


DUPLICATED = [Record("1", 5), Record("1", 5, alt="T"), Record("1", 5), Record("1", 8)]


def test_duplicates_are_refused_and_named(tmp_path):
    with pytest.raises(InputError, match=r"1 variants occur more than once.*1:5:A:G") as caught:
        run(fake(*DUPLICATED), tmp_path / "out.zarr")
    assert "--on-duplicate" in caught.value.fix


def test_duplicates_across_sources_are_found(tmp_path):
    with pytest.raises(InputError, match=r"2 variants occur.*1:30:A:G, 1:60:A:G"):
        run(
            [fake(*records("1", range(0, 90, 10))), fake(*records("1", [3, 30, 60, 61]), name="b.vcf")],
            tmp_path / "out.zarr",
        )


def test_the_first_of_duplicates_can_be_kept(tmp_path):
    report = run(fake(*DUPLICATED), tmp_path / "out.zarr", on_duplicate="first")
    assert keys(open_store(tmp_path / "out.zarr")) == ["1:5:A:G", "1:5:A:T", "1:8:A:G"]
    assert report.variant_counts["variants left out: duplicates of an earlier one"] == 1
    assert report.variant_counts["variants kept"] == 3


def test_all_duplicates_can_be_kept(tmp_path):
    report = run(fake(*DUPLICATED), tmp_path / "out.zarr", on_duplicate="keep")
    assert keys(open_store(tmp_path / "out.zarr")) == ["1:5:A:G", "1:5:A:T", "1:5:A:G", "1:8:A:G"]
    assert report.variant_counts["variants kept that duplicate an earlier one"] == 1


# Contigs and builds


def test_unknown_contigs_are_refused_with_the_way_out(tmp_path):
    source = fake(Record("1", 1), Record("scaffold_9", 5))
    with pytest.raises(InputError, match="scaffold_9") as caught:
        run(source, tmp_path / "out.zarr")
    assert "scaffold_9:5:A:G" in caught.value.where
    assert "--contigs any" in caught.value.fix
    run(source, tmp_path / "any.zarr", contigs="any")
    assert open_store(tmp_path / "any.zarr").contigs == ("1", "scaffold_9")
    run(source.but(contigs=("1", "scaffold_9")), tmp_path / "declared.zarr")
    assert open_store(tmp_path / "declared.zarr").contigs == ("1", "scaffold_9")


def test_plink_codes_become_names(tmp_path):
    rows = [Record(code, 60_000) for code in ("0", "22", "23", "24", "25", "26")]
    report = run(fake(*rows), tmp_path / "out.zarr")
    assert open_store(tmp_path / "out.zarr").contigs == ("22", "X", "Y", "XY", "MT")
    assert report.variant_counts["variants left out: chromosome 0 (unplaced)"] == 1
    run(fake(*rows), tmp_path / "any.zarr", contigs="any")
    assert set(open_store(tmp_path / "any.zarr").contigs) == {"0", "22", "23", "24", "25", "26"}


def test_two_spellings_of_a_chromosome_are_one(tmp_path):
    one, other = fake(Record("chr1", 5)), fake(Record("1", 3), name="b.vcf")
    report = run([one, other], tmp_path / "out.zarr")
    assert keys(open_store(tmp_path / "out.zarr")) == ["chr1:3:A:G", "chr1:5:A:G"]
    assert any("'chr1' and '1'" in note for note in report.notes)


def test_different_builds_are_refused(tmp_path):
    one, other = fake(Record("1", 1), build="hg19"), fake(Record("2", 1), name="b.vcf", build="GRCh38")
    with pytest.raises(InputError, match=r"GRCh38 here, GRCh37 by /nowhere/a\.vcf"):
        run([one, other], tmp_path / "out.zarr")
    with pytest.raises(InputError, match="GRCh38"):
        run(one, tmp_path / "out.zarr", build="hg38")
    assert run(one, tmp_path / "out.zarr").reference_build == "GRCh37"
    assert run(fake(Record("1", 1)), tmp_path / "given.zarr", build="b38").reference_build == "GRCh38"


def test_contig_lengths_that_contradict_are_refused(tmp_path):
    one = fake(Record("1", 1), contigs=("1",), contig_lengths=(249250621,))
    other = fake(Record("1", 2), name="b.vcf", contigs=("chr1",), contig_lengths=(248956422,))
    with pytest.raises(InputError, match="249250621 bases in one source and 248956422"):
        run([one, other], tmp_path / "out.zarr")
    run(one, tmp_path / "out.zarr")
    assert zarr.open_array(tmp_path / "out.zarr" / "contig_length", mode="r")[0] == 249250621


# Samples


def test_samples_in_another_order_are_put_right(tmp_path):
    order = tuple(np.random.default_rng(0).permutation(40))
    sex = tuple(np.resize([1, 2, 0], 40))
    one = fake(*records("1", range(30)), sex=(0,) * 40)
    other = fake(*records("2", range(30)), name="b.vcf", sample_order=order, sex=sex)
    run([one, other], tmp_path / "out.zarr")
    store = open_store(tmp_path / "out.zarr")
    assert list(store.sample_ids) == list(one.header.sample_ids)
    assert list(store.sample_sex) == list(sex)
    expected = np.stack([one.values(row) for row in (*one.variants, *other.variants)])
    np.testing.assert_allclose(store.dosages(0, 60), expected, atol=1e-6)


def test_different_samples_are_refused_without_naming_people(tmp_path):
    one, other = fake(Record("1", 1)), fake(Record("2", 1), name="b.vcf", n_samples=43)
    with pytest.raises(InputError, match=r"has 3 that the first file lacks.*sample 41") as caught:
        run([one, other], tmp_path / "out.zarr")
    assert "P000" not in str(caught.value)
    with pytest.raises(InputError, match=r"lacks 3 of the first file.*sample 41"):
        run([other, one], tmp_path / "out.zarr")


def test_sexes_that_contradict_are_refused(tmp_path):
    one = fake(Record("1", 1), n_samples=3, sex=(1, 2, 0))
    other = fake(Record("2", 1), n_samples=3, sex=(2, 2, 1), name="b.vcf")
    with pytest.raises(InputError, match="1 samples are male in one source and female"):
        run([one, other], tmp_path / "out.zarr")


def test_keep_and_exclude_lists(tmp_path):
    source = fake(*LARGE)
    keep = ["P00003", "P00001", "P00007", "stranger"]
    report = run(source, tmp_path / "out.zarr", keep_samples=keep, exclude_samples=["P00007"])
    store = open_store(tmp_path / "out.zarr")
    assert list(store.sample_ids) == ["P00001", "P00003"]
    expected = np.stack([source.values(row)[[1, 3]] for row in LARGE])
    np.testing.assert_allclose(store.dosages(0, store.n_variants), expected, atol=1e-6)
    assert list(store.column("variant_n_called")) == list((~np.isnan(expected)).sum(axis=1))
    assert report.sample_counts == {
        "in the sources": 40,
        "left out: not in the keep list": 37,
        "left out: in the exclude list": 1,
        "kept": 2,
    }
    assert "1 of 4 ids of the keep list are not in the sources" in report.notes


def test_nobody_left_is_refused(tmp_path):
    with pytest.raises(InputError, match="none of the 40 samples is left"):
        run(fake(*LARGE), tmp_path / "out.zarr", keep_samples=["stranger"])


def test_haploid_calls_are_counted_as_far_as_they_are_known(tmp_path):
    rows = [Record("MT", 5, kind="haploid"), Record("MT", 6)]
    source = fake(*rows)
    run(source, tmp_path / "all.zarr")
    called = [int((~np.isnan(source.values(row))).sum()) for row in rows]
    assert list(open_store(tmp_path / "all.zarr").column("variant_n_haploid")) == [called[0], 0]
    run(source, tmp_path / "some.zarr", keep_samples=["P00000", "P00002"])
    kept = int((~np.isnan(source.values(rows[0])[[0, 2]])).sum())
    assert list(open_store(tmp_path / "some.zarr").column("variant_n_haploid")) == [kept, 0]


# Filters of variants


@pytest.mark.parametrize(
    ("regions", "kept"),
    [
        (["1"], lambda r: r.contig == "chr1"),
        (["chr1:103-109", "1:107-150"], lambda r: r.contig == "chr1" and 103 <= r.position <= 150),
        ([Region("chr2", 60), "X:9"], lambda r: (r.contig == "chr2" and r.position >= 60) or r.position == 9),
    ],
)
def test_regions(tmp_path, regions, kept):
    report = run(fake(*LARGE), tmp_path / "out.zarr", regions=regions)
    expected = [f"{r.contig}:{r.position}:A:G" for r in LARGE if kept(r)]
    assert keys(open_store(tmp_path / "out.zarr")) == expected
    assert report.variant_counts["variants left out: outside the regions"] == len(LARGE) - len(expected)


def test_allele_counts_of_the_kept_samples_filter_variants(tmp_path):
    source = fake(*LARGE)
    keep = [f"P{i:05d}" for i in range(20)]
    report = run(source, tmp_path / "out.zarr", keep_samples=keep, min_allele_count=2, max_allele_count=15)
    expected, below, above = [], 0, 0
    for row in LARGE:
        values = source.values(row)[:20].astype(np.float32)
        copies, called = float(np.nansum(values, dtype=float)), int((~np.isnan(values)).sum())
        rarer = min(copies, 2 * called - copies)
        below += rarer < 2
        above += rarer > 15
        if 2 <= rarer <= 15:
            expected.append(f"{row.contig}:{row.position}:A:G")
    assert below > 5
    assert above > 5
    assert keys(open_store(tmp_path / "out.zarr")) == expected
    assert report.variant_counts == {
        "variants read": len(LARGE),
        "variants left out: minor allele count below the minimum": below,
        "variants left out: minor allele count above the maximum": above,
        "variants kept": len(expected),
    }


def test_nothing_left_is_refused_with_the_counts(tmp_path):
    with pytest.raises(InputError, match=r"no variant is left.*132 variants left out: outside the regions"):
        run(fake(*LARGE), tmp_path / "out.zarr", regions=["7"])
    assert list(tmp_path.iterdir()) == []


# The request


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_allele_count": 5, "max_allele_count": 4}, "no variant can pass"),
        ({"block_variants": 0}, "block of 0 variants"),
        ({"on_duplicate": "drop"}, "drop"),
        ({"regions": ["1:9-3"]}, "ends before it starts"),
        ({"build": " "}, "reference build is empty"),
    ],
)
def test_requests_that_make_no_sense(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        run(fake(*LARGE), tmp_path / "out.zarr", **settings)
    assert list(tmp_path.iterdir()) == []


def test_no_source_and_the_same_source_twice_are_refused(tmp_path):
    with pytest.raises(InputError, match="nothing to ingest"):
        run([], tmp_path / "out.zarr")
    with pytest.raises(InputError, match="named twice"):
        run([fake(*LARGE), fake(*LARGE)], tmp_path / "out.zarr")


def test_a_finished_store_is_not_made_again(tmp_path):
    first = run(fake(*LARGE), tmp_path / "out.zarr")
    made = open_store(tmp_path / "out.zarr").attrs["created"]
    again = run(fake(*LARGE), tmp_path / "out.zarr")
    assert (first.already_complete, again.already_complete) == (False, True)
    assert (again.variant_counts, again.n_variants) == (first.variant_counts, first.n_variants)
    assert open_store(tmp_path / "out.zarr").attrs["created"] == made


def test_another_store_is_replaced_only_on_request(tmp_path):
    run(fake(*LARGE), tmp_path / "out.zarr")
    other = fake(*LARGE, seed=2, name="b.vcf")
    with pytest.raises(OutputError, match="exists already") as caught:
        run(other, tmp_path / "out.zarr")
    assert "--overwrite" in caught.value.fix
    run(other, tmp_path / "out.zarr", overwrite=True)
    np.testing.assert_allclose(open_store(tmp_path / "out.zarr").dosages(0, 1)[0], other.values(LARGE[0]), atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["out.zarr"]


def test_what_is_not_a_store_is_never_overwritten(tmp_path):
    (tmp_path / "out.zarr").mkdir()
    (tmp_path / "out.zarr" / "thesis.tex").write_text("precious")
    with pytest.raises(OutputError, match="not a genotype store"):
        run(fake(*LARGE), tmp_path / "out.zarr", overwrite=True)
    assert (tmp_path / "out.zarr" / "thesis.tex").read_text() == "precious"


def test_a_source_is_never_the_output(tmp_path):
    with pytest.raises(InputError, match="both the source and the output"):
        run(FakeSource(str(tmp_path / "out.zarr"), LARGE), tmp_path / "out.zarr", overwrite=True)
