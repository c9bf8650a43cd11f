"""Exports: every row with its numbers or its reason, in the layouts that other programs read."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import re
import sys
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from allscan.errors import InputError, OutputError
from allscan.jobs import gwas_ssf, result_source
from allscan.jobs.export import ExportSummary, export
from allscan.jobs.export_cells import PValues, lines, strings, text
from allscan.jobs.export_text import PLINK_COLUMNS, REGENIE_COLUMNS
from allscan.kernels.association import OutputColumn, Status
from allscan.kernels.summary import chi_square
from tests.jobs.naive_export import naive_export
from tests.jobs.synthetic_results import GENOTYPIC_COLUMNS, LINEAR_COLUMNS, ArrayResults, make_binary, make_results


@pytest.fixture
def results() -> ArrayResults:
    made = make_results(3, 2_000, seed=4)
    made.values["neg_log10_p"][0, 1, 17] = 412.345
    return made


def write(results: ArrayResults, format_name: str, path: Path, **options: Any) -> ExportSummary:
    return export(path.parent, "trait_002", format_name, path, cube=results, **options)


def floats(column: pd.Series) -> np.ndarray:
    return column.astype(np.float32).to_numpy()


def keys(results: ArrayResults) -> list[str]:
    return [results.table.key(v) for v in range(len(results.table))]


# ---- numbers as text ----------------------------------------------------------------------------------


@given(st.lists(st.floats(width=32), min_size=1))
def test_numbers_read_back_as_the_same_float(values: list[float]) -> None:
    written = strings(text(np.array(values, dtype=np.float32)))
    for value, word in zip(values, written, strict=True):
        if np.isfinite(value):
            assert np.float32(word) == np.float32(value)
        else:
            assert word is None


@given(st.floats(0.0, 20_000.0))
def test_p_value_has_seven_right_digits(y: float) -> None:
    (word,) = strings(PValues(np.array([y])))
    with localcontext() as context:
        context.prec, context.Emin = 30, -999_999
        exact = Decimal(10) ** -Decimal(y)
        # Half a unit of the seventh digit, and what float64 loses of y.
        tolerance = Decimal("5.1e-7") + Decimal(y) * Decimal("3e-16")
        assert abs(Decimal(word) - exact) / exact <= tolerance
    assert re.fullmatch(r"1|0\.\d+|\d(\.\d{1,6})?e-\d+", word)


def test_p_values_as_people_write_them() -> None:
    y = np.array([0.0, -np.log10(0.05), 4.0, 5.0, 7.30103, 411.25, np.nan])
    assert strings(PValues(y)) == ["1", "0.05", "0.0001", "1e-5", "5e-8", "5.623413e-412", None]


def test_lines_of_nothing_are_empty() -> None:
    assert lines([[text(np.empty(0, np.float32))]], " ").content.tobytes() == b""


# ---- REGENIE ------------------------------------------------------------------------------------------


def test_regenie_rows_are_the_cubes(results: ArrayResults, tmp_path: Path) -> None:
    summary = write(results, "regenie", tmp_path / "out.regenie")
    content = (tmp_path / "out.regenie").read_text()
    assert content.splitlines()[0] == " ".join(REGENIE_COLUMNS)
    table = pd.read_csv(io.StringIO(content), sep=" ", dtype=str, keep_default_na=False, na_values=["NA"])
    values = {name: array[0, 1] for name, array in results.values.items()}
    assert summary.rows == len(table) == 2_000
    assert table["ALLELE0"].tolist() == results.table.ref.tolist()
    assert table["ALLELE1"].tolist() == results.table.alt.tolist()
    assert table["GENPOS"].astype(int).tolist() == results.table.position.tolist()
    for column, name in (
        ("A1FREQ", "effect_allele_frequency"),
        ("BETA", "beta"),
        ("SE", "standard_error"),
        ("LOG10P", "neg_log10_p"),
    ):
        np.testing.assert_array_equal(floats(table[column]), values[name])
    np.testing.assert_array_equal(floats(table["INFO"]), results.table.info)
    np.testing.assert_array_equal(floats(table["CHISQ"]), chi_square(values["neg_log10_p"]).astype(np.float32))
    assert set(table["TEST"]) == {"ADD"}
    assert set(table["N"]) == {"20000"}
    missing = values["status"] == Status.MONOMORPHIC
    assert missing.any()
    assert set(table["EXTRA"][missing]) == {"MONOMORPHIC"}
    assert table["EXTRA"][~missing].isna().all()


def test_variants_without_a_name_are_named_by_place_and_alleles(results: ArrayResults, tmp_path: Path) -> None:
    write(results, "regenie", tmp_path / "out.regenie")
    names = pd.read_csv(tmp_path / "out.regenie", sep=" ", usecols=["ID"])["ID"].tolist()
    ids = results.table.variant_id
    assert names == [key if i == "." else i for key, i in zip(keys(results), ids, strict=True)]


@pytest.mark.parametrize(("model", "label"), [("additive", "ADD"), ("dominant", "DOM"), ("recessive", "REC")])
def test_model_is_under_test(model: str, label: str, results: ArrayResults, tmp_path: Path) -> None:
    results.attrs["model"] = model
    write(results, "regenie", tmp_path / "a")
    write(results, "plink", tmp_path / "b")
    assert set(pd.read_csv(tmp_path / "a", sep=" ")["TEST"]) == {label}
    assert set(pd.read_csv(tmp_path / "b", sep="\t")["TEST"]) == {label}


@pytest.fixture
def genotypic(results: ArrayResults) -> ArrayResults:
    results.values["beta_domdev"] = -results.values["beta"]
    results.values["standard_error_domdev"] = 2 * results.values["standard_error"]
    results.own_columns = GENOTYPIC_COLUMNS
    results.attrs["model"] = "genotypic"
    return results


def test_regenie_keeps_the_dominance_deviation_under_extra(genotypic: ArrayResults, tmp_path: Path) -> None:
    write(genotypic, "regenie", tmp_path / "out")
    table = pd.read_csv(tmp_path / "out", sep=" ")
    extra = table["EXTRA"].str.extract(r"^BETA_DOMDEV=(\S+);STANDARD_ERROR_DOMDEV=(\S+)$")
    tested = genotypic.values["status"][0, 1] == Status.OK
    np.testing.assert_array_equal(floats(extra[0])[tested], genotypic.values["beta_domdev"][0, 1, tested])
    assert set(table["EXTRA"][~tested]) == {"MONOMORPHIC"}
    y = genotypic.values["neg_log10_p"][0, 1]
    np.testing.assert_allclose(table["CHISQ"], 2 * np.log(10) * y, rtol=1e-6)


def test_a_status_beside_a_result_is_told(results: ArrayResults, tmp_path: Path) -> None:
    results.values["status"][0, 1, 5] = Status.PARTLY_COLLINEAR
    write(results, "regenie", tmp_path / "a")
    write(results, "plink", tmp_path / "b")
    regenie = pd.read_csv(tmp_path / "a", sep=" ").iloc[5]
    assert regenie["EXTRA"] == pd.read_csv(tmp_path / "b", sep="\t").iloc[5]["ERRCODE"] == "PARTLY_COLLINEAR"
    assert np.isfinite(regenie["BETA"])


# ---- the text as a whole ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format_name", "kind"),
    [
        *((format_name, kind) for format_name in ("regenie", "plink") for kind in ("additive", "genotypic", "binary")),
        *(("gwas-ssf", kind) for kind in ("additive", "binary")),
    ],
)
def test_lines_are_those_of_plain_python(
    format_name: str, kind: str, results: ArrayResults, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    made = request.getfixturevalue("genotypic") if kind == "genotypic" else results
    if kind == "binary":
        make_binary(made)
    # Of every size, and as short as they can be.
    beta = made.values["beta"][0, 1]
    beta[:600] *= np.float32(10.0) ** np.resize(np.arange(-20, 20), 600).astype(np.float32)
    beta[600:700] = np.resize([0.5, 1.0, -2.0, 0.0, -0.0, 1234567.0, 1e9, 1e10, 2**-149, 1e-6], 100)
    write(made, format_name, tmp_path / "out")
    written = (tmp_path / "out").read_text().split("\n", 1)[1]
    label = "GENO_2DF" if kind == "genotypic" else "ADD"
    assert written.splitlines() == naive_export(made, format_name, 1, label).splitlines()


# ---- PLINK --------------------------------------------------------------------------------------------


def test_plink_rows_are_the_cubes(results: ArrayResults, tmp_path: Path) -> None:
    write(results, "plink", tmp_path / "out.glm.linear")
    table = pd.read_csv(tmp_path / "out.glm.linear", sep="\t", dtype=str, keep_default_na=False, na_values=["NA"])
    values = {name: array[0, 1] for name, array in results.values.items()}
    assert table.columns.tolist() == list(PLINK_COLUMNS)
    assert len(table) == 2_000
    assert table["A1"].tolist() == table["ALT"].tolist() == results.table.alt.tolist()
    np.testing.assert_array_equal(floats(table["BETA"]), values["beta"])
    np.testing.assert_allclose(floats(table["T_STAT"]), values["beta"] / values["standard_error"], rtol=1e-6)
    tested = values["status"] == Status.OK
    assert set(table["ERRCODE"][tested]) == {"."}
    assert set(table["ERRCODE"][~tested]) == {"MONOMORPHIC"}
    assert table["P"][~tested].isna().all()
    usual = tested & (values["neg_log10_p"] < 300)
    p = table["P"].astype(float)[usual]
    np.testing.assert_allclose(-np.log10(p), values["neg_log10_p"][usual], rtol=1e-6, atol=1e-6)
    assert re.fullmatch(r"4\.51\d+e-413", table["P"][17])


def test_plink_genotypic_takes_three_lines(genotypic: ArrayResults, tmp_path: Path) -> None:
    write(genotypic, "plink", tmp_path / "out")
    table = pd.read_csv(tmp_path / "out", sep="\t", dtype=str, keep_default_na=False, na_values=["NA"])
    assert table["TEST"].tolist() == ["ADD", "DOMDEV", "GENO_2DF"] * 2_000
    np.testing.assert_array_equal(floats(table["BETA"][1::3]), genotypic.values["beta_domdev"][0, 1])
    assert table["P"][0::3].isna().all()
    assert table["BETA"][2::3].isna().all()
    p = table["P"][2::3].astype(float).to_numpy()
    small = genotypic.values["neg_log10_p"][0, 1] < 300
    np.testing.assert_allclose(-np.log10(p[small]), genotypic.values["neg_log10_p"][0, 1, small], atol=1e-6)
    assert table["POS"][0::3].tolist() == table["POS"][2::3].tolist()


def test_columns_of_another_test_are_not_lost(results: ArrayResults, tmp_path: Path) -> None:
    results.own_columns = (*LINEAR_COLUMNS, OutputColumn("rho", "A correlation"))
    results.values["rho"] = results.values["beta"] * 0.5
    write(results, "regenie", tmp_path / "a")
    write(results, "plink", tmp_path / "b")
    rho = results.values["rho"][0, 1]
    np.testing.assert_array_equal(floats(pd.read_csv(tmp_path / "b", sep="\t", dtype=str)["RHO"]), rho)
    extra = pd.read_csv(tmp_path / "a", sep=" ")["EXTRA"].str.extract(r"RHO=(.*)")[0]
    np.testing.assert_array_equal(floats(extra), rho)


# ---- compressed text ----------------------------------------------------------------------------------


@pytest.mark.parametrize("format_name", ["regenie", "plink", "gwas-ssf"])
def test_compressed_text_is_found_by_region(format_name: str, results: ArrayResults, tmp_path: Path) -> None:
    import pysam

    path = tmp_path / "out.gz"
    summary = write(results, format_name, path)
    assert summary.index == tmp_path / "out.gz.tbi"
    tested = results.values["status"][0, 1] == Status.OK
    wanted = (results.table.contig == "3") & (results.table.position > 50e6) & (results.table.position < 90e6)
    if format_name == "gwas-ssf":
        wanted &= tested
    with pysam.TabixFile(str(path)) as file:
        rows = [row.split("\t") for row in file.fetch("3", 50_000_000, 90_000_000)]
    assert len(rows) > 10
    assert [int(row[1]) for row in rows] == results.table.position[wanted].tolist()
    beside = {"out.gz", "out.gz.tbi"} | ({"out.gz-meta.yaml"} if format_name == "gwas-ssf" else set())
    assert {entry.name for entry in tmp_path.iterdir()} == beside


def test_positions_beyond_tabix_get_the_other_index(results: ArrayResults, tmp_path: Path) -> None:
    import pysam

    results.table.position[-5:] = 2**29 + np.arange(5)
    summary = write(results, "plink", tmp_path / "wheat.gz")
    assert summary.index == tmp_path / "wheat.gz.csi"
    with pysam.TabixFile(str(tmp_path / "wheat.gz"), index=str(summary.index)) as file:
        assert len(list(file.fetch("22", 2**29 - 2))) == 5


@pytest.mark.parametrize("format_name", ["regenie", "plink", "gwas-ssf"])
def test_compressed_and_plain_text_hold_the_same(format_name: str, results: ArrayResults, tmp_path: Path) -> None:
    write(results, format_name, tmp_path / "plain")
    write(results, format_name, tmp_path / "small.bgz")
    packed = gzip.decompress((tmp_path / "small.bgz").read_bytes()).decode()
    assert packed == (tmp_path / "plain").read_text().replace(" ", "\t")


def test_compression_needs_no_library(results: ArrayResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(results, "plink", tmp_path / "quick.gz")
    for name in ("pysam", "isal"):
        monkeypatch.setitem(sys.modules, name, None)
    write(results, "plink", tmp_path / "slow.gz")
    packed = [(tmp_path / name).read_bytes() for name in ("quick.gz", "slow.gz")]
    assert packed[0] != packed[1]
    assert gzip.decompress(packed[0]) == gzip.decompress(packed[1])


@pytest.mark.parametrize("block", [1 << 16, 37])
def test_variants_out_of_order_are_not_indexed(
    block: int, results: ArrayResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_source, "BLOCK", block)
    falling, parted = results, make_results(3, 2_000, seed=4)
    falling.table.position[700] = 1
    parted.table.contig[-1] = "1"
    places = f"{falling.table.contig[700]}:1", f"1:{parted.table.position[-1]}"
    for unordered, place in zip((falling, parted), places, strict=True):
        with pytest.raises(InputError, match="together and in the order") as caught:
            write(unordered, "regenie", tmp_path / "out.gz")
        assert place in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert write(parted, "gwas-ssf", tmp_path / "out.gz").index == tmp_path / "out.gz.tbi"


# ---- GWAS-SSF -----------------------------------------------------------------------------------------


def read_ssf(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, na_values=["#NA"])


def test_gwas_ssf_follows_the_standard(results: ArrayResults, tmp_path: Path) -> None:
    summary = write(results, "gwas-ssf", tmp_path / "out.tsv")
    table = read_ssf(tmp_path / "out.tsv")
    assert table.columns.tolist() == [
        *("chromosome", "base_pair_location", "effect_allele", "other_allele", "beta", "standard_error"),
        *("effect_allele_frequency", "neg_log_10_p_value", "variant_id", "rsid", "ref_allele", "info", "n"),
    ]
    assert len(table) == summary.rows
    required = table.columns[:8]
    assert not table[required].isna().any().any()
    assert table["chromosome"].astype(int).between(1, 25).all()
    assert table["variant_id"].str.fullmatch("[A-Za-z0-9_]+").all()
    assert table["rsid"].dropna().str.fullmatch("rs[0-9]+").all()
    assert set(table["ref_allele"]) == {"OA"}
    assert table["effect_allele"].str.fullmatch("[ACGT]+").all()
    place = list(zip(table["chromosome"].astype(int), table["base_pair_location"].astype(int), strict=True))
    assert place == sorted(place)
    tested = results.values["status"][0, 1] == Status.OK
    np.testing.assert_array_equal(floats(table["beta"]), results.values["beta"][0, 1, tested])
    assert table["effect_allele"].tolist() == results.table.alt[tested].tolist()


def test_what_gwas_ssf_cannot_hold_is_counted(results: ArrayResults, tmp_path: Path) -> None:
    tested = results.values["status"][0, 1] == Status.OK
    first, second, third = np.flatnonzero(tested)[:3]
    results.table.alt[first] = "<DEL>"
    results.table.ref[second] = "N"
    results.table.contig[third] = "chrUn_KI270302v1"
    results.table.info[np.flatnonzero(tested)[3]] = 1.02
    summary = write(results, "gwas-ssf", tmp_path / "out.tsv")
    assert summary.left_out == {
        "no result: MONOMORPHIC": int((~tested).sum()),
        gwas_ssf.NO_CHROMOSOME: 1,
        gwas_ssf.ODD_ALLELE: 2,
    }
    table = read_ssf(tmp_path / "out.tsv")
    assert summary.rows == len(table) == 2_000 - sum(summary.left_out.values())
    assert table["info"].astype(float).max() == 1.0
    assert "left out: 2 variants" in str(summary)
    notes = YAML(typ="safe").load(tmp_path / "out.tsv-meta.yaml")["author_notes"]
    assert "2 variants (an allele is not a sequence" in notes


def test_gwas_ssf_metadata_describes_the_file(results: ArrayResults, tmp_path: Path) -> None:
    provenance = {
        "samples": {"sex": {"male": 10, "female": 12, "unknown": 0}},
        "covariates": {"names": ["intercept", "age", "sex[female]"]},
    }
    (tmp_path / "provenance.json").write_text(json.dumps(provenance))
    results.strata = ("EUR",)
    summary = write(results, "gwas-ssf", tmp_path / "out.tsv.gz", stratum="EUR")
    assert summary.metadata is not None
    document = YAML(typ="safe").load(summary.metadata)
    frequency = results.values["effect_allele_frequency"][0, 1]
    lowest = np.minimum(frequency, 1 - frequency)[results.values["status"][0, 1] == Status.OK].min()
    assert document.pop("minor_allele_freq_lower_limit") == pytest.approx(lowest, rel=1e-5)
    assert document.pop("author_notes").startswith("Not in the table")
    assert document.pop("date_metadata_last_modified")
    assert document.pop("analysis_software").startswith("allscan ")
    assert document == {
        "trait_description": ["trait_002"],
        "genome_assembly": "GRCh38",
        "coordinate_system": "1-based",
        "samples": [{"sample_size": 20_000, "sample_ancestry_category": ["European"]}],
        "sex": "combined",
        "data_file_name": "out.tsv.gz",
        "file_type": "GWAS-SSF v1.0",
        "data_file_md5sum": hashlib.md5((tmp_path / "out.tsv.gz").read_bytes()).hexdigest(),
        "adjusted_covariates": ["age", "sex[female]"],
        "is_harmonised": False,
        "is_sorted": True,
    }


@pytest.mark.parametrize("block", [1 << 16, 37])
def test_gwas_ssf_orders_chromosomes_and_merges_the_parts_of_x(
    block: int, results: ArrayResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_source, "BLOCK", block)
    monkeypatch.setattr(gwas_ssf, "BLOCK", block)
    names = {"1": "chr10", "2": "PAR1", "3": "chr2", "4": "chrX", "5": "chrM", "6": "chrY", "7": "PAR2"}
    contig = results.table.contig.copy()
    for old, new in names.items():
        results.table.contig[contig == old] = new
    tested = results.values["status"][0, 1] == Status.OK
    summary = write(results, "gwas-ssf", tmp_path / "out.tsv")
    table = read_ssf(tmp_path / "out.tsv")
    assert summary.rows == tested.sum()
    place = list(zip(table["chromosome"].astype(int), table["base_pair_location"].astype(int), strict=True))
    assert place == sorted(place)
    on_x = tested & np.isin(results.table.contig, ["PAR1", "PAR2", "chrX"])
    assert (table["chromosome"] == "23").sum() == on_x.sum() > 0
    assert sorted(floats(table["beta"])) == sorted(results.values["beta"][0, 1, tested])


def test_gwas_ssf_sorts_a_chromosome_that_falls_back_between_two_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_source, "BLOCK", 50)
    monkeypatch.setattr(gwas_ssf, "BLOCK", 50)
    results = make_results(2, 100, contigs=1)
    results.table.position[:] = np.concatenate([np.arange(501, 551), np.arange(1, 51)])
    write(results, "gwas-ssf", tmp_path / "out.tsv")
    position = read_ssf(tmp_path / "out.tsv")["base_pair_location"].astype(int)
    assert position.is_monotonic_increasing
    assert len(position) > 50


def test_gwas_ssf_refuses_a_test_with_two_effects(genotypic: ArrayResults, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one effect per variant"):
        write(genotypic, "gwas-ssf", tmp_path / "out.tsv")
    assert list(tmp_path.iterdir()) == []


# ---- Parquet ------------------------------------------------------------------------------------------


def test_parquet_holds_every_column(results: ArrayResults, tmp_path: Path) -> None:
    summary = write(results, "parquet", tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert summary.rows == len(table) == 2_000
    for column in results.columns[:-1]:
        np.testing.assert_array_equal(table[column.name].to_numpy(), results.values[column.name][0, 1])
    assert table["beta"].null_count == np.isnan(results.values["beta"][0, 1]).sum()
    assert table["alt"].to_pylist() == results.table.alt.tolist()
    codes = results.values["status"][0, 1]
    assert table["status"].to_pylist() == [Status(int(code)).name for code in codes]
    about = json.loads(table.schema.metadata[b"allscan"])
    assert (about["trait"], about["stratum"], about["effect_allele"]) == ("trait_002", "all", "alt")
    assert table.schema.field("beta").metadata[b"description"] == b"Effect of one copy"


def test_parquet_splits_floats_and_keeps_dictionaries_for_strings_that_repeat(
    results: ArrayResults, tmp_path: Path
) -> None:
    write(results, "parquet", tmp_path / "out.parquet")
    group = pq.ParquetFile(tmp_path / "out.parquet").metadata.row_group(0)
    for k in range(group.num_columns):
        column = group.column(k)
        repeats = column.path_in_schema in ("contig", "ref", "alt", "status")
        assert column.compression == "ZSTD"
        assert ("RLE_DICTIONARY" in column.encodings) == repeats
        assert ("BYTE_STREAM_SPLIT" in column.encodings) == (column.physical_type == "FLOAT")


# ---- what holds for all -------------------------------------------------------------------------------

ALL = ["regenie", "plink", "gwas-ssf", "parquet"]


@pytest.mark.parametrize("format_name", ALL)
def test_an_export_does_not_depend_on_the_size_of_blocks(
    format_name: str, results: ArrayResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(results, format_name, tmp_path / "whole")
    monkeypatch.setattr(result_source, "BLOCK", 311)
    monkeypatch.setattr(gwas_ssf, "BLOCK", 311)
    write(results, format_name, tmp_path / "pieces")
    if format_name == "parquet":
        assert pq.read_table(tmp_path / "whole").equals(pq.read_table(tmp_path / "pieces"))
    else:
        assert (tmp_path / "whole").read_bytes() == (tmp_path / "pieces").read_bytes()


@pytest.mark.parametrize("format_name", ALL)
def test_no_more_than_a_block_is_read_at_once(
    format_name: str, results: ArrayResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the parts of X are merged, and no column that the format has no place for."""
    names = {"2": "PAR1", "4": "X", "7": "PAR2"}
    results.table.contig[:] = [names.get(name, name) for name in results.table.contig]
    monkeypatch.setattr(result_source, "BLOCK", 311)
    monkeypatch.setattr(gwas_ssf, "BLOCK", 311)
    monkeypatch.setattr(gwas_ssf, "GAP", 8)
    sizes, columns = [], set()
    read = ArrayResults.block

    def record(self: ArrayResults, column: str, stratum: int, traits: slice, variants: slice) -> Any:
        assert traits == slice(1, 2)
        sizes.append(variants.stop - variants.start)
        columns.add(column)
        return read(self, column, stratum, traits, variants)

    monkeypatch.setattr(ArrayResults, "block", record)
    write(results, format_name, tmp_path / "out")
    assert max(sizes) <= 311
    if format_name != "parquet":
        assert columns == {"beta", "standard_error", "neg_log10_p", "n", "effect_allele_frequency", "status"}


@pytest.mark.parametrize("format_name", ALL)
def test_a_threshold_keeps_the_significant_and_counts_the_rest(
    format_name: str, results: ArrayResults, tmp_path: Path
) -> None:
    summary = write(results, format_name, tmp_path / "out", min_neg_log10_p=2.0)
    enough = np.count_nonzero(results.values["neg_log10_p"][0, 1] >= 2.0)
    assert summary.rows == enough
    assert summary.left_out == {"−log10 p below 2, or no result": 2_000 - enough}


@pytest.mark.parametrize("format_name", ALL)
def test_what_is_there_is_not_overwritten_unasked(format_name: str, results: ArrayResults, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("precious")
    with pytest.raises(OutputError, match="already there") as caught:
        write(results, format_name, path)
    assert caught.value.exit_code == 2
    assert path.read_text() == "precious"
    assert write(results, format_name, path, overwrite=True).rows > 0
    assert path.read_bytes()[:8] != b"precious"


def test_what_stood_beside_an_old_file_does_not_outlive_it(results: ArrayResults, tmp_path: Path) -> None:
    write(results, "gwas-ssf", tmp_path / "out.gz")
    old = (tmp_path / "out.gz.tbi").read_bytes()
    write(results, "plink", tmp_path / "out.gz", overwrite=True)
    assert {entry.name for entry in tmp_path.iterdir()} == {"out.gz", "out.gz.tbi"}
    assert (tmp_path / "out.gz.tbi").read_bytes() != old


@pytest.mark.parametrize(
    ("format_name", "name"),
    [
        *((format_name, "out") for format_name in ALL),
        *((format_name, "out.gz") for format_name in ALL[:3]),
    ],
)
def test_a_failed_export_leaves_nothing(
    format_name: str, name: str, results: ArrayResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_source, "BLOCK", 500)
    monkeypatch.setattr(gwas_ssf, "BLOCK", 500)
    read = ArrayResults.block

    def fails_late(self: ArrayResults, column: str, stratum: int, traits: slice, variants: slice) -> Any:
        if variants.start >= 500:
            raise OSError(errno.ENOSPC, "No space left on device")
        return read(self, column, stratum, traits, variants)

    monkeypatch.setattr(ArrayResults, "block", fails_late)
    with pytest.raises(OutputError, match="No space left") as caught:
        write(results, format_name, tmp_path / name)
    assert "make room" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format_name", ALL)
def test_a_folder_that_is_not_there_is_named(format_name: str, results: ArrayResults, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written") as caught:
        export(tmp_path, "trait_001", format_name, tmp_path / "none" / "out", cube=results)
    assert str(tmp_path / "none" / "out") in str(caught.value)


@pytest.mark.parametrize(
    ("trait", "format_name", "name", "stratum", "message"),
    [
        ("trait_02", "plink", "out", "all", "no trait 'trait_02'; did you mean 'trait_002'"),
        ("trait_001", "vcf", "out", "all", "'vcf' is not an export format"),
        ("trait_001", "plink", "out", "EUR", "no stratum 'EUR'"),
        ("trait_001", "parquet", "out.parquet.gz", "all", "compressed inside"),
    ],
)
def test_refusals_name_the_way_out(
    trait: str, format_name: str, name: str, stratum: str, message: str, results: ArrayResults, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        export(tmp_path, trait, format_name, tmp_path / name, stratum=stratum, cube=results)
    assert caught.value.fix
    assert list(tmp_path.iterdir()) == []


def test_strata_are_exported_apart(tmp_path: Path) -> None:
    results = make_results(2, 300, strata=("AFR", "EUR"))
    export(tmp_path, "trait_002", "regenie", tmp_path / "out", stratum="EUR", cube=results)
    table = pd.read_csv(tmp_path / "out", sep=" ", dtype={"BETA": np.float32})
    np.testing.assert_array_equal(table["BETA"], results.values["beta"][1, 1])
