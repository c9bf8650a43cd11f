"""Jobs that name trait tables, or the phenotype files that they are built from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from allscan.errors import InputError
from allscan.jobs.job import Job
from allscan.phenotypes.definitions import loading
from tests.jobs.conftest import CommandLine, write_store
from tests.jobs.test_run import content
from tests.phenotypes.cdr import Cdr


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Records of the people of a small store, whose ids are numbers."""
    monkeypatch.setitem(loading.KINDS, "coin", "tests.phenotypes.build.coin")
    ids = [str(1_000_001 + 7 * k) for k in range(200)]
    calls = np.random.default_rng(3).binomial(2, 0.3, (96, len(ids))).astype(np.int8)
    write_store(tmp_path / "cohort.zarr", calls, ids, np.tile(np.array([1, 2], np.int8), 100))
    cdr = Cdr()
    for k, person in enumerate(ids):
        cdr.person(int(person), "MF"[k % 2], 1940 + k % 47).observed(int(person), "2000-01-01", "2019-12-31")
    cdr.write(tmp_path / "cdr")
    keys = {
        "name": "coins",
        "records": "cdr",
        "definitions": [
            {"kind": "coin", "id": "height", "of": "quantitative", "transform": "rank_inverse_normal"},
            {"kind": "coin", "id": "weight", "of": "quantitative", "every": 5},
        ],
        "covariates": ["age", "sex"],
        "output": "table",
    }
    (tmp_path / "phenotypes.yaml").write_text(json.dumps(keys))
    pcs = pa.table({"research_id": [int(person) for person in ids], "pc1": np.linspace(-1, 1, len(ids))})
    pq.write_table(pcs, tmp_path / "pcs.parquet")
    return tmp_path


def job(folder: Path, **changes: object) -> Job:
    keys = {
        "name": "scan",
        "genotypes": "cohort.zarr",
        "traits": "phenotypes.yaml",
        "covariates": {"file": ["phenotypes.yaml", "pcs.parquet"], "formula": "age + sex + pc1"},
        "output": "run",
        "runtime": {"workers": 1},
        **changes,
    }
    (folder / "job.yaml").write_text(json.dumps(keys))
    return Job.from_yaml(folder / "job.yaml")


def test_a_job_takes_its_traits_from_records(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    folder = Path(folder.name)  # paths are relative to the job file, wherever it is run from
    checked = job(folder).check()
    assert [(line.name, line.transform) for line in checked.traits] == [
        ("height", "rank_inverse_normal"),
        ("weight", "none"),
    ]
    assert not (folder / "table").exists()  # a check writes nothing
    run = job(folder).run()
    assert (folder / "table" / "traits.parquet").exists()
    assert (folder / "table" / "report.html").exists()
    assert list(run.results().trait.values) == ["height", "weight"]
    before = content(folder / "run")
    assert job(folder).run().already_complete
    assert content(folder / "run") == before


def test_the_table_and_its_file_mean_the_same(folder):
    from allscan.jobs.trait_tables import with_trait_tables

    with with_trait_tables(job(folder), write=True) as resolved:
        by_file = resolved.spec
    by_folder = job(folder, traits="table", covariates={"file": ["table", "pcs.parquet"], "formula": "age + sex + pc1"})
    with with_trait_tables(by_folder, write=False) as resolved:
        assert resolved.spec == by_file


def test_some_of_the_traits_and_other_transforms(folder):
    some = {"file": "phenotypes.yaml", "columns": {"hei*": {}, "weight": {"transform": "standardise"}}}
    assert [line.transform for line in job(folder, traits=some).check().traits] == [
        "rank_inverse_normal",
        "standardise",
    ]
    plain = {"file": "phenotypes.yaml", "columns": ["height"], "transform": "none"}
    assert [line.transform for line in job(folder, traits=plain).check().traits] == ["none"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"traits": {"file": "phenotypes.yaml", "columns": ["heigth"]}}, "did you mean 'height'"),
        ({"traits": {"file": "phenotypes.yaml", "columns": {"height": {"type": "binary"}}}}, "is quantitative"),
        ({"traits": "nothing.yaml"}, "there is no phenotype file 'nothing.yaml'"),
        ({"covariates": {"file": ["table", "nothing.tsv"], "formula": "age"}}, "there is no file"),
    ],
)
def test_what_does_not_fit_is_refused(folder, changes, message):
    with pytest.raises(InputError, match=message):
        job(folder, **changes).check()


def test_a_covariate_of_two_tables_is_refused(folder):
    (folder / "more.tsv").write_text("IID\tage\n1000001\t5\n")
    with pytest.raises(InputError, match="'age' stands in two tables"):
        job(folder, covariates={"file": ["phenotypes.yaml", "more.tsv"], "formula": "age"}).check()


def test_commands(folder, allscan_cli: CommandLine):
    checked = allscan_cli("phenotypes", "check", folder / "phenotypes.yaml").stdout
    assert "in the records" in checked
    assert not (folder / "table").exists()
    done = allscan_cli("phenotypes", "build", folder / "phenotypes.yaml")
    assert done.exit_code == 0, done.stderr
    built = done.stdout
    assert "height  n " in built
    assert (folder / "table" / "provenance.json").exists()
    assert (folder / "table" / "report.html").exists()
    assert "still holds" in allscan_cli("phenotypes", "build", folder / "phenotypes.yaml").stdout
    assert "1000001" not in checked + built
    refused = allscan_cli("phenotypes", "build", folder / "job.yaml")
    assert refused.exit_code == 2


def test_codes_and_imports(folder, allscan_cli: CommandLine):
    (folder / "lists").mkdir()
    named = "{name: Gout, type: csv, filepath: gout.csv, code_column: code, coding_system: ICD10 codes}"
    (folder / "lists" / "gout.yaml").write_text(f"name: Gout\nconcepts:\n  - {named}\n")
    (folder / "lists" / "gout.csv").write_text("code,description\nM10.0,Idiopathic gout\n")
    made = allscan_cli("phenotypes", "import", folder / "lists" / "gout.yaml", "--out", folder / "definitions")
    assert made.exit_code == 0, made.stderr
    definition = folder / "definitions" / "gout.yaml"
    assert str(definition) in made.stdout
    done = allscan_cli("phenotypes", "codes", definition, "--records", folder / "cdr", "--out", folder / "codes.csv")
    assert done.exit_code == 0, done.stderr
    assert (folder / "codes.csv").read_text().splitlines()[1].startswith("gout,ICD10,M10.0")
    assert hashlib.sha256((folder / "codes.csv").read_bytes()).hexdigest() in done.stdout
