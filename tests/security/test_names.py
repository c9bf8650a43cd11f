"""Names from other people's files are text wherever they go: file names, tables, the terminal, logs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from allscan.engine.arrays import StoredArray
from allscan.engine.store import GenotypeStore
from allscan.engine.store_writing import write_variants
from allscan.errors import CorruptChunkError, InputError
from allscan.jobs.api import ingest
from allscan.jobs.export import export
from allscan.printable import control_character, printable
from tests.jobs.conftest import Cohort, CommandLine
from tests.security.conftest import Refusal

HARMLESS = [
    *("../../escape", "a/b", "..", ".", "/etc/passwd", "<script>alert(1)</script>", "=cmd|' /C calc'!A0", "x" * 5000),
    *("a:b*c?", "$(id)", "`id`", "%s%n", "{0.__class__}", "名前", "-rf"),
]
CONTROLS = ["a\x1b[2Jb", "a\x07", "a\x7fb", "a\x9bb", "a\u202eb", "a\u2028b", "a\u200bb"]


def _tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_control_characters_are_found_and_spelt_out() -> None:
    for text in CONTROLS:
        assert control_character(text) is not None
        assert control_character(printable(text)) is None
    assert printable("one\ntwo é 名前") == "one\ntwo é 名前"
    assert str(InputError("\x1b[31mred")).startswith("\\x1b[31mred")


def test_names_of_traits_and_covariates_make_no_file(cohort: Cohort, allscan_cli: CommandLine) -> None:
    """Whatever the columns are called, a run writes the same files, and nothing outside its folder."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(len(cohort.ids), len(HARMLESS)))
    rows = ["IID\t" + "\t".join(HARMLESS)]
    rows += [person + "\t" + "\t".join(map(str, row)) for person, row in zip(cohort.ids, values, strict=True)]
    (cohort.folder / "evil.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    plain = cohort.folder / "plain.tsv"
    plain.write_text("\n".join(["\t".join(["IID", *(f"t{k}" for k in range(len(HARMLESS)))]), *rows[1:]]) + "\n")
    outside = _tree(cohort.folder.parent) | {"cohort/evil.yaml", "cohort/plain.yaml"}
    for name, columns in (("plain", ["t*"]), ("evil", HARMLESS)):
        job = cohort.job(
            f"{name}.yaml", traits={"file": f"{name}.tsv", "columns": columns}, output=f"run-{name}", covariates=None
        )
        result = allscan_cli("run", job)
        assert result.exit_code == 0, result.output
    assert _tree(cohort.folder / "run-evil") == _tree(cohort.folder / "run-plain")
    inside = {path for path in _tree(cohort.folder.parent) if path.startswith(("cohort/run-evil", "cohort/run-plain"))}
    assert _tree(cohort.folder.parent) - inside == outside
    out = cohort.folder / "out.tsv"
    result = allscan_cli(
        "export", cohort.folder / "run-evil", "--trait", "../../escape", "--format", "gwas-ssf", "--out", out
    )
    assert result.exit_code == 0, result.output
    log = (cohort.folder / "run-evil" / "run.log.jsonl").read_text()
    assert not any(name in log for name in HARMLESS if len(name) > 4)


@pytest.mark.parametrize("name", CONTROLS, ids=ascii)
def test_columns_with_control_characters_are_refused(name: str, cohort: Cohort, allscan_cli: CommandLine) -> None:
    for file in ("traits.tsv", "covariates.tsv"):
        path = cohort.folder / file
        text = path.read_text(encoding="utf-8")
        first, rest = text.split("\n", 1)
        path.write_text(f"{first}\t{name}\n" + "\n".join(f"{row}\t1" for row in rest.splitlines()) + "\n")
        result = allscan_cli("check", cohort.job())
        assert result.exit_code == 2
        assert "control character" in result.output
        assert control_character(result.output.replace("\n", "")) is None
        path.write_text(text)


@pytest.mark.parametrize("name", ["rs1\tx", "rs1\nrs2", "rs\x1b[31m", "rs\u202e"], ids=ascii)
@pytest.mark.parametrize("column", ["variant_id", "variant_allele"])
def test_a_store_whose_names_would_break_a_table_is_refused(column: str, name: str, cohort: Cohort) -> None:
    """Made without the ingest, by somebody else."""
    store = GenotypeStore(cohort.store)
    assert len(store.strings(column, 0, 5))
    values = store.column(column)
    values[(3, 0) if values.ndim == 2 else 3] = name
    write_variants(cohort.store, 0, {column: values})
    again = GenotypeStore(cohort.store)
    for read in (lambda: again.strings(column, 0, 5), lambda: again.column(column)):
        with pytest.raises(CorruptChunkError, match="control character"):
            read()


@pytest.mark.parametrize("array", ["contig_id", "sample_id"])
def test_contigs_and_people_have_plain_names(array: str, cohort: Cohort) -> None:
    group = zarr.open_group(cohort.store, mode="r+")
    names = np.array(group[array][:], object)
    names[0] = "\x1b]0;owned\x07"
    group[array][:] = names
    with pytest.raises(ValueError, match="control character"):
        StoredArray(cohort.store / array).read()


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("1 rs\x1b[31m 0 100 A G", "control character"),
        ("1 rs1 0 100 A G\x07", "control character"),
    ],
    ids=["id", "allele"],
)
def test_genotype_files_with_such_names_are_not_ingested(
    line: str, what: str, tmp_path: Path, refusal: Refusal
) -> None:
    (tmp_path / "x.bim").write_text(line.replace(" ", "\t") + "\n")
    (tmp_path / "x.fam").write_text("f a 0 0 1 -9\nf b 0 0 2 -9\n")
    (tmp_path / "x.bed").write_bytes(b"\x6c\x1b\x01\x0e")
    error = refusal(lambda: ingest([tmp_path / "x.bed"], tmp_path / "x.zarr", workers=1))
    assert what in str(error)
    assert not (tmp_path / "x.zarr").exists()


def test_people_with_such_ids_are_not_ingested_and_not_named(tmp_path: Path, refusal: Refusal) -> None:
    (tmp_path / "x.bim").write_text("1\trs1\t0\t100\tA\tG\n")
    (tmp_path / "x.fam").write_text("f PERSON\x1b[31m 0 0 1 -9\nf b 0 0 2 -9\n")
    (tmp_path / "x.bed").write_bytes(b"\x6c\x1b\x01\x0e")
    error = str(refusal(lambda: ingest([tmp_path / "x.bed"], tmp_path / "x.zarr", workers=1)))
    assert "sample 1 holds a control character" in error
    assert "PERSON" not in error


def test_a_state_that_somebody_else_wrote_draws_nothing(cohort: Cohort, allscan_cli: CommandLine) -> None:
    assert allscan_cli("run", cohort.job()).exit_code == 0
    path = cohort.folder / "run" / "run.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, "name": "\x1b]0;owned\x07", "host": "\x1b[2J"}))
    result = allscan_cli("status", cohort.folder / "run")
    assert result.exit_code == 0
    assert control_character(result.output.replace("\n", "")) is None


def test_names_with_spaces_do_not_shift_columns(cohort: Cohort, tmp_path: Path, allscan_cli: CommandLine) -> None:
    """REGENIE separates by spaces; a name that holds one goes into a file that is separated by tabs."""
    store = GenotypeStore(cohort.store)
    values = store.column("variant_id")
    values[3] = "rs 1"
    write_variants(cohort.store, 0, {"variant_id": values})
    assert allscan_cli("run", cohort.job()).exit_code == 0
    run = cohort.folder / "run"
    with pytest.raises(InputError, match="space"):
        export(run, "height", "regenie", tmp_path / "out.regenie")
    assert not (tmp_path / "out.regenie").exists()
    export(run, "height", "plink", tmp_path / "out.plink")
    widths = {len(line.split("\t")) for line in (tmp_path / "out.plink").read_text().splitlines()}
    assert len(widths) == 1
