"""Ingest of real files: the same calls give the same store from every format, and PLINK 2's counts."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.ingest.pipeline import ingest
from allscan.engine.ingest.vcf import VcfSource
from allscan.engine.store import VARIANT_COLUMNS, open_store, verify_store
from allscan.errors import FileFormatError, InputError

pytestmark = pytest.mark.reference
INLINE = EmbeddedExecutor(1)


def plink2(*arguments):
    subprocess.run(["plink2", *map(str, arguments)], check=True, capture_output=True)


def read_table(path):
    rows = [line.split() for line in path.read_text().splitlines() if not line.startswith("##")]
    return {name.lstrip("#"): np.array([row[i] for row in rows[1:]]) for i, name in enumerate(rows[0])}


@pytest.fixture(scope="module")
def vcf(reference):
    return reference("kg3202_tiny1000G") / "tiny1000G.vcf.gz"


@pytest.fixture(scope="module")
def store(vcf, tmp_path_factory):
    out = tmp_path_factory.mktemp("vcf") / "out.zarr"
    ingest([vcf], out, executor=INLINE)
    return open_store(out)


def assert_same(store, other):
    assert list(other.sample_ids) == list(store.sample_ids)
    assert other.contigs == store.contigs
    np.testing.assert_array_equal(other.column("variant_allele"), store.column("variant_allele"))
    for column in VARIANT_COLUMNS:
        if column.name == "variant_n_haploid":
            continue  # PLINK files do not hold ploidy, and PLINK writes diploid calls where sex is not known
        np.testing.assert_array_equal(other.column(column.name), store.column(column.name), err_msg=column.name)
    for index in range(store.n_blocks):
        name = f"call_dosage/c/{index}/0"
        assert (other.path / name).read_bytes() == (store.path / name).read_bytes()


def test_bgen_files_of_the_same_calls(vcf, tmp_path):
    # On X one person, diploid in the VCF, is homozygous in the BGEN files, as PLINK 2 reads them too.
    autosomes = [str(number) for number in range(1, 23)]
    ingest([vcf], tmp_path / "vcf.zarr", executor=INLINE, regions=autosomes)
    for name in ("unphased", "phased"):
        ingest(
            [vcf.parent / f"tiny1000G.{name}.bgen"],
            tmp_path / f"{name}.zarr",
            executor=INLINE,
            regions=autosomes,
            reader_options={"ref_first": False},  # written with the reference allele last
        )
        assert_same(open_store(tmp_path / "vcf.zarr"), open_store(tmp_path / f"{name}.zarr"))


@pytest.mark.parametrize(
    ("arguments", "suffix"),
    [
        (["--make-pgen"], ".pgen"),
        (["--make-bed"], ".bed"),
        (["--export", "bgen-1.3", "bits=8", "ref-first"], ".bgen"),
        (["--export", "bcf"], ".bcf"),
    ],
)
def test_files_that_plink2_makes_of_the_same_calls(vcf, store, tmp_path, arguments, suffix):
    plink2("--vcf", vcf, *arguments, "--out", tmp_path / "made")
    ingest([tmp_path / f"made{suffix}"], tmp_path / "out.zarr", executor=INLINE)
    assert_same(store, open_store(tmp_path / "out.zarr"))


def test_counts_are_those_of_plink2(store, vcf, tmp_path):
    plink2(
        "--vcf", vcf, "--autosome", "--geno-counts", "--hardy", "--sort-vars", "--make-pgen", "--out", tmp_path / "p"
    )
    counts, hardy = read_table(tmp_path / "p.gcount"), read_table(tmp_path / "p.hardy")
    table = store.variants()
    place = {name: row for row, name in enumerate(table.variant_id)}
    rows = np.array([place[name] for name in counts["ID"]])
    assert len(rows) > 900
    np.testing.assert_array_equal(store.column("variant_n_het")[rows], counts["HET_REF_ALT_CTS"].astype(int))
    np.testing.assert_array_equal(store.column("variant_n_hom_alt")[rows], counts["TWO_ALT_GENO_CTS"].astype(int))
    missing = counts["MISSING_CT"].astype(int)
    np.testing.assert_array_equal(store.n_samples - store.column("variant_n_called")[rows], missing)
    rows = np.array([place[name] for name in hardy["ID"]])
    p = 10.0 ** -store.column("variant_hwe_neg_log10_p")[rows].astype(float)
    np.testing.assert_allclose(p, hardy["P"].astype(float), rtol=2e-5)


def test_a_region_of_an_indexed_vcf_is_that_part_of_the_whole(reference, tmp_path):
    path = reference("kg_phase1_chr22") / "1KG_phase1_release_v3_chr22.vcf.gz"
    report = ingest(
        [path],
        tmp_path / "out.zarr",
        executor=EmbeddedExecutor(2, "processes"),
        regions=["chr22:20000000-20400000", "22:30000000-30100000"],
        build="GRCh37",
    )
    store = open_store(tmp_path / "out.zarr")
    listed = subprocess.run(
        ["tabix", str(path), "22:20000000-20400000", "22:30000000-30100000"],
        check=True,
        capture_output=True,
        text=True,
    )
    rows = [line.split("\t") for line in listed.stdout.splitlines()]
    inside = [row for row in rows if 20_000_000 <= int(row[1]) <= 20_400_000 or int(row[1]) >= 30_000_000]
    table = store.variants()
    expected = [(int(row[1]), row[3], row[4]) for row in inside]
    assert list(zip(table.position.tolist(), table.ref, table.alt, strict=True)) == expected
    assert report.variant_counts["variants read"] < 2000  # of 19,773: the rest was not read
    assert store.reference_build == "GRCh37"
    assert verify_store(tmp_path / "out.zarr") == ()


def test_files_of_different_people_are_refused(reference, tmp_path):
    example = reference("regenie_example")
    with pytest.raises(InputError, match="do not hold the same samples"):
        ingest(
            [example / "example.bed", reference("kg3202_tiny1000G") / "tiny1000G.vcf.gz"],
            tmp_path / "out.zarr",
            executor=INLINE,
        )


def test_chromosomes_in_files_of_their_own_make_the_same_store(reference, tmp_path):
    example = reference("regenie_example")
    for chromosome in ("1", "2", "3"):
        plink2("--bfile", example / "example_3chr", "--chr", chromosome, "--make-pgen", "--out", tmp_path / chromosome)
    ingest([example / "example_3chr.bed"], tmp_path / "one.zarr", executor=INLINE)
    ingest([tmp_path / f"{c}.pgen" for c in ("3", "1", "2")], tmp_path / "three.zarr", executor=INLINE)
    assert_same(open_store(tmp_path / "one.zarr"), open_store(tmp_path / "three.zarr"))


class Lossy(VcfSource):
    """Reads its file, and loses a record, as htslib does where it ends a damaged region without a word."""

    def read(self, partition, max_variants, counts):
        for batch in super().read(partition, max_variants, counts):
            counts.counts["records read"] -= 1
            yield batch


def test_records_that_a_reader_lost_are_missed(vcf, tmp_path):
    source = Lossy(vcf)
    assert source.header.n_records == 1004
    with pytest.raises(FileFormatError, match=r"were read of the 1,004 that the index counts"):
        ingest([source], tmp_path / "out.zarr", executor=INLINE)
    assert not (tmp_path / "out.zarr").exists()
