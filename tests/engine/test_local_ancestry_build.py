"""Stores of local ancestry: every format gives what was drawn, and what does not fit is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.local_ancestry.building import LocalReport, build_local_ancestry
from allscan.engine.local_ancestry.matching import DIFFERENT, NOT_STORED, PHASED, UNPHASED
from allscan.engine.local_ancestry.store import LocalAncestryStore
from allscan.engine.local_ancestry.text import PhasedSite, read_vcf_sites
from allscan.engine.store import GenotypeStore
from allscan.errors import CorruptChunkError, FileFormatError, InputError, OutputError
from allscan.kernels.block import take
from allscan.kernels.haplotypes import HaplotypeBlock, haplotype_block
from tests.engine.local_ancestry_files import (
    Admixed,
    admixed,
    make_store,
    write_lanc,
    write_msp,
    write_pgen,
    write_vcf,
)

SIZES = {"21": 150, "22": 90}


@pytest.fixture(scope="module")
def cohort() -> Admixed:
    return admixed(np.random.default_rng(5), 40, SIZES, k=3, missing=0.02)


@pytest.fixture(scope="module")
def genotypes(cohort: Admixed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("genotypes"), cohort)


def build(genotypes: Path, out: Path, files: list[Path], **options: object) -> LocalReport:
    return build_local_ancestry(genotypes, out, files, executor=EmbeddedExecutor(1), **options)  # type: ignore[arg-type]


def sources(folder: Path, cohort: Admixed, kind: str) -> tuple[list[Path], dict[str, object]]:
    """Files of a kind, one for each contig, and the options that go with them."""
    files, phased = [], []
    for contig in SIZES:
        variants = cohort.of_contig(contig)
        if kind == "flare":
            files.append(write_vcf(folder / f"chr{contig}.anc.vcf.gz", cohort, variants, flare=True))
        elif kind == "msp":
            files.append(write_msp(folder / f"chr{contig}.msp.tsv", cohort, variants))
            phased.append(write_vcf(folder / f"chr{contig}.vcf.gz", cohort, variants))
        else:
            files.append(write_lanc(folder / f"chr{contig}.lanc", cohort, variants))
            write_pgen(folder / f"chr{contig}.pgen", cohort, variants)
    options: dict[str, object] = {"phased": phased} if phased else {}
    return files, options | ({"ancestries": cohort.ancestries} if kind == "lanc" else {})


def blocks(store: GenotypeStore, local: LocalAncestryStore, rows: NDArray[np.int64]) -> Iterator[HaplotypeBlock]:
    """Haplotypes of some variants of one contig, block by block of the store."""
    people = local.store_rows
    of_sample = np.full(store.n_samples, -1, np.int32)
    of_sample[people] = np.arange(len(people))
    contig = int(store.variant_contig[rows[0]])
    for number in np.unique(rows // store.block_variants):
        here = rows[rows // store.block_variants == number]
        block = take(store.read_block(int(number)), here - number * store.block_variants)
        found = local.rows(contig, here, store.variant_position[here])
        assert found is not None
        yield haplotype_block(
            block, 0, len(here), found.phase, found.changes, found.usable, of_sample,
            np.arange(len(people), dtype=np.int32), len(people), len(local.ancestries),
        )  # fmt: skip


def dense(block: HaplotypeBlock) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
    """Alleles and ancestries (variants, people, 2); -1: no call, or one of unknown phase."""
    alleles = np.zeros((block.n_variants, block.n_people, 2), np.int8)
    ancestry = np.empty((block.n_variants, 2 * block.n_people), np.uint8)
    now = block.ancestry.copy()
    for v in range(block.n_variants):
        some = slice(block.change_offset[v], block.change_offset[v + 1])
        now[block.change_haplotype[some]] = block.change_ancestry[some]
        ancestry[v] = now
        for e in range(block.offset[v], block.offset[v + 1]):
            code, i = block.state[e], block.person[e]
            pair = now[2 * i] * block.n_ancestries + now[2 * i + 1]
            assert code >> 2 == pair
            alleles[v, i] = (code >> 1 & 1, code & 1) if code & 3 else (-1, -1)
        if block.flipped[v]:
            alleles[v] = np.where(alleles[v] < 0, -1, 1 - alleles[v])
    return alleles, ancestry.reshape(block.n_variants, block.n_people, 2)


@pytest.mark.parametrize("kind", ["flare", "msp", "lanc"])
def test_every_format_gives_the_haplotypes_that_were_drawn(
    kind: str, cohort: Admixed, genotypes: Path, tmp_path: Path
) -> None:
    files, options = sources(tmp_path, cohort, kind)
    report = build(genotypes, tmp_path / "local.zarr", files, **options)
    store, local = GenotypeStore(genotypes), LocalAncestryStore(tmp_path / "local.zarr")
    local.check(store)
    assert local.ancestries == cohort.ancestries
    assert (report.n_people, report.n_without, report.counts[PHASED]) == (40, 0, 240)
    assert report.counts.get(UNPHASED, 0) == report.counts[DIFFERENT] == 0
    for contig in SIZES:
        rows = cohort.of_contig(contig)
        found = [dense(block) for block in blocks(store, local, rows)]
        np.testing.assert_array_equal(np.concatenate([a for a, _ in found]), cohort.alleles[rows])
        np.testing.assert_array_equal(np.concatenate([a for _, a in found]), cohort.ancestry[rows])
    # Some variants here and there, from the middle on.
    rows = cohort.of_contig("21")[[70, 90, 91, 130]]
    found = [dense(block) for block in blocks(store, local, rows)]
    np.testing.assert_array_equal(np.concatenate([a for _, a in found]), cohort.ancestry[rows])
    assert local.verify() == ()


def test_anchors_let_reading_begin_anywhere(
    cohort: Admixed, genotypes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allscan.engine.local_ancestry.writing.LEAST_BETWEEN_ANCHORS", 10)
    monkeypatch.setattr("allscan.engine.local_ancestry.writing.CHUNK_VALUES", 64)
    files, options = sources(tmp_path, cohort, "flare")
    build(genotypes, tmp_path / "local.zarr", files, **options)
    store, local = GenotypeStore(genotypes), LocalAncestryStore(tmp_path / "local.zarr")
    for row in range(0, SIZES["21"], 7):
        (found,) = blocks(store, local, np.array([row]))
        np.testing.assert_array_equal(dense(found)[1][0], cohort.ancestry[row])


def test_people_are_matched_by_id(cohort: Admixed, genotypes: Path, tmp_path: Path) -> None:
    """Another order, more people, and some of the store's left out."""
    order = np.random.default_rng(3).permutation(40)[:30]
    shuffled = replace(
        cohort,
        alleles=cohort.alleles[:, order],
        ancestry=cohort.ancestry[:, order],
        samples=(*(cohort.samples[i] for i in order[:-1]), "SOMEONE"),
    )
    files, options = sources(tmp_path, shuffled, "msp")
    report = build(genotypes, tmp_path / "local.zarr", files, **options)
    assert (report.n_people, report.n_without) == (29, 11)
    store, local = GenotypeStore(genotypes), LocalAncestryStore(tmp_path / "local.zarr")
    np.testing.assert_array_equal(local.store_rows, np.sort(order[:-1]))
    rows = cohort.of_contig("22")
    found = [dense(block) for block in blocks(store, local, rows)]
    np.testing.assert_array_equal(np.concatenate([a for a, _ in found]), cohort.alleles[rows][:, local.store_rows])


def test_unphased_calls_are_missing_where_the_ancestries_differ(
    cohort: Admixed, genotypes: Path, tmp_path: Path
) -> None:
    files = [
        write_vcf(tmp_path / f"chr{contig}.anc.vcf", cohort, cohort.of_contig(contig), flare=True, sep="/")
        for contig in SIZES
    ]
    report = build(genotypes, tmp_path / "local.zarr", files)
    called = (cohort.alleles >= 0).all(axis=2)
    het = called & (cohort.alleles.sum(axis=2) == 1)
    assert report.counts[UNPHASED] == het.sum()
    rows = cohort.of_contig("21")
    store, local = GenotypeStore(genotypes), LocalAncestryStore(tmp_path / "local.zarr")
    found = np.concatenate([dense(block)[0] for block in blocks(store, local, rows)])
    mixed = cohort.ancestry[rows, :, 0] != cohort.ancestry[rows, :, 1]
    np.testing.assert_array_equal((found < 0).all(axis=2), ~called[rows] | (het[rows] & mixed))
    np.testing.assert_array_equal(found.sum(axis=2)[het[rows] & ~mixed], 1)


def test_variants_outside_windows_and_files_are_not_usable(cohort: Admixed, genotypes: Path, tmp_path: Path) -> None:
    rows = cohort.of_contig("21")
    msp = write_msp(tmp_path / "21.msp.tsv", cohort, rows[20:100])
    vcf = write_vcf(tmp_path / "21.vcf", cohort, rows[10:90:2])
    report = build(genotypes, tmp_path / "local.zarr", [msp], phased=[vcf])
    assert report.contigs == ("21",)
    store, local = GenotypeStore(genotypes), LocalAncestryStore(tmp_path / "local.zarr")
    usable = np.concatenate([block.usable for block in blocks(store, local, rows)])
    np.testing.assert_array_equal(np.flatnonzero(usable), np.arange(20, 90, 2))
    assert local.rows(1, cohort.of_contig("22"), store.variant_position[cohort.of_contig("22")]) is None


def test_a_build_goes_on_and_is_finished_once(
    cohort: Admixed, genotypes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, _ = sources(tmp_path, cohort, "flare")
    out = tmp_path / "local.zarr"

    def stop(done: int, _total: int) -> None:
        if done == 1:
            raise KeyError(done)

    with pytest.raises(KeyError):
        build(genotypes, out, files, on_progress=stop)
    assert not out.exists()
    report = build(genotypes, out, files)
    assert report.resumed == 1
    fingerprint = LocalAncestryStore(out).fingerprint
    assert build(genotypes, out, files).counts == report.counts  # nothing to do
    other = build(genotypes, tmp_path / "again.zarr", files)
    assert other.resumed == 0
    assert LocalAncestryStore(tmp_path / "again.zarr").fingerprint == fingerprint
    with pytest.raises(OutputError, match="exists already"):
        build(genotypes, out, files[:1])
    assert build(genotypes, out, files[:1], overwrite=True).contigs == ("21",)


def test_other_genotypes_are_refused(cohort: Admixed, genotypes: Path, tmp_path: Path) -> None:
    swapped = replace(cohort, samples=cohort.samples[::-1])
    file = write_vcf(tmp_path / "21.anc.vcf", swapped, cohort.of_contig("21"), flare=True)
    with pytest.raises(InputError, match="differ from the genotype store's"):
        build(genotypes, tmp_path / "local.zarr", [file])
    file = write_vcf(
        tmp_path / "21.anc.vcf", replace(cohort, position=cohort.position + 7), cohort.of_contig("21"), flare=True
    )
    with pytest.raises(InputError, match=f"no variant of the genotypes is in the files.*{NOT_STORED}"):
        build(genotypes, tmp_path / "local.zarr", [file])
    nobody = replace(cohort, samples=tuple(f"X{i}" for i in range(40)))
    file = write_vcf(tmp_path / "21.anc.vcf", nobody, cohort.of_contig("21"), flare=True)
    with pytest.raises(InputError, match="none of the 40 people"):
        build(genotypes, tmp_path / "local.zarr", [file])
    assert not (tmp_path / "local.zarr").exists()
    other = make_store(tmp_path, nobody)
    file = write_vcf(tmp_path / "21.anc.vcf", cohort, cohort.of_contig("21"), flare=True)
    build(genotypes, tmp_path / "local.zarr", [file])
    with pytest.raises(InputError, match="made for other genotypes"):
        LocalAncestryStore(tmp_path / "local.zarr").check(GenotypeStore(other))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("GT:AN1:AN2", "GT:AN1"), "FORMAT"),
        (("##ANCESTRY=<AFR=0,EUR=1,NAT=2>", "##ANCESTRY=<AFR=0,EUR=2>"), "not numbered"),
        (("##ANCESTRY=<AFR=0,EUR=1,NAT=2>", "##ANCESTRY=<AFR=0,EUR=1>"), "genotypes and ancestries"),
        (("##ANCESTRY=<AFR=0,EUR=1,NAT=2>", ""), "without ancestries"),
        (("\tP0039", ""), "of 39 samples"),
        (("\trs5\t", "\t"), "position|columns|FORMAT"),
    ],
)
def test_damaged_flare_files_are_refused(
    change: tuple[str, str], message: str, cohort: Admixed, genotypes: Path, tmp_path: Path
) -> None:
    file = write_vcf(tmp_path / "21.anc.vcf", cohort, cohort.of_contig("21"), flare=True)
    file.write_text(file.read_text().replace(*change).replace("\n\n", "\n"))
    with pytest.raises(FileFormatError, match=message):
        build(genotypes, tmp_path / "local.zarr", [file])


def test_files_without_their_partners_are_refused(cohort: Admixed, genotypes: Path, tmp_path: Path) -> None:
    rows = cohort.of_contig("21")
    msp, lanc = write_msp(tmp_path / "a.msp.tsv", cohort, rows), write_lanc(tmp_path / "b.lanc", cohort, rows)
    flare = write_vcf(tmp_path / "c.anc.vcf", cohort, rows, flare=True)
    for files, options, message in (
        ([msp], {}, "no alleles"),
        ([lanc], {}, "not their names"),
        ([lanc], {"ancestries": ("a", "b", "c")}, "no b.pgen"),
        ([flare], {"phased": [flare]}, "phased genotypes in it"),
        ([msp], {"phased": [flare, flare]}, "1 files of ancestries and 2"),
        ([flare, write_vcf(tmp_path / "d.anc.vcf", cohort, rows, flare=True)], {}, "is in two files"),
        ([tmp_path / "none.msp.tsv"], {}, "there is no file"),
    ):
        with pytest.raises(InputError, match=message):
            build(genotypes, tmp_path / "local.zarr", files, **options)
    write_pgen(tmp_path / "b.pgen", cohort, rows[:-1])
    with pytest.raises(InputError, match=r"is of 150 variants, and b\.pgen has 149"):
        build(genotypes, tmp_path / "local.zarr", [lanc], ancestries=("a", "b", "c"))


def test_a_damaged_store_is_named(cohort: Admixed, genotypes: Path, tmp_path: Path) -> None:
    file = write_vcf(tmp_path / "21.anc.vcf", cohort, cohort.of_contig("21"), flare=True)
    build(genotypes, tmp_path / "local.zarr", [file])
    chunk = tmp_path / "local.zarr" / "0" / "phase_bits" / "c" / "0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    local = LocalAncestryStore(tmp_path / "local.zarr")
    assert len(local.verify()) == 1
    assert "phase_bits" in local.verify()[0]
    with pytest.raises(CorruptChunkError):
        local.rows(0, np.arange(3), GenotypeStore(genotypes).variant_position[:3])


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_parser_reads_what_stands_there(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any order of fields, missing calls, several alleles, haploid calls, probabilities after the ancestries."""
    n, k = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 8))
    keys = data.draw(st.permutations(["GT", "AN1", "AN2", "ANP1"]))
    alleles = st.sampled_from([".", "0", "1", "2", "12"])
    rows, lines = [], []
    for position in range(1, data.draw(st.integers(1, 4)) + 1):
        cells, site = [], []
        for _ in range(n):
            a, b = data.draw(alleles), data.draw(st.one_of(alleles, st.none()))
            bar = data.draw(st.sampled_from("|/"))
            x, y = data.draw(st.integers(0, k - 1)), data.draw(st.integers(0, k - 1))
            values = {"GT": a if b is None else f"{a}{bar}{b}", "AN1": str(x), "AN2": str(y), "ANP1": "0.9,0.1"}
            cells.append(":".join(values[key] for key in keys))
            numbers = [-1 if allele in (".", None) else int(allele) for allele in (a, b)]
            site.append((*numbers, b is not None and bar == "|", x, y))
        rows.append(site)
        lines.append("\t".join(["1", str(position), ".", "A", "C,G", ".", ".", ".", ":".join(keys), *cells]))
    codes = ",".join(f"N{i}={i}" for i in range(k))
    head = f"##fileformat=VCFv4.2\n##ANCESTRY=<{codes}>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t"
    path = tmp_path_factory.mktemp("parser") / "x.vcf"
    end = data.draw(st.sampled_from(["\n", ""]))
    path.write_text(head + "\t".join(f"s{i}" for i in range(n)) + "\n" + "\n".join(lines) + end)
    found: list[PhasedSite] = []
    for site, expected in zip(read_vcf_sites(path), rows, strict=True):
        found.append(site)
        assert site.ancestry is not None
        got = np.column_stack([site.alleles.reshape(n, 2), site.phased, site.ancestry.reshape(n, 2)])
        np.testing.assert_array_equal(got, np.array(expected, int))
    assert [site.position for site in found] == list(range(1, len(rows) + 1))
