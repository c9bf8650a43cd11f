"""Trait tables: what is in the folder, when it is built again, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from allscan.errors import AllscanError, InputError, JobError
from allscan.phenotypes.build.artefact import is_trait_table, open_trait_table
from allscan.phenotypes.build.build import PhenotypeJob, build
from allscan.phenotypes.definitions import loading
from tests.phenotypes.cdr import Cdr

IDS = list(range(1_000_001, 1_000_061))


@pytest.fixture
def records(tmp_path, monkeypatch) -> Path:
    """Sixty people with visits, in a folder; and the kind of definition of these tests."""
    monkeypatch.setitem(loading.KINDS, "coin", "tests.phenotypes.build.coin")
    cdr = Cdr()
    for k, person in enumerate(IDS):
        cdr.person(person, "MF"[k % 2], 1940 + k % 50).observed(person, "2000-01-01", "2019-12-31")
        cdr.observed(person, "2019-06-01", "2020-12-31")
        for visit in range(k % 4):
            cdr.add("visit_occurrence", person_id=person, visit_start_date=f"2010-01-0{1 + visit % 2}")
    cdr.add("death", person_id=IDS[0], death_date="2010-07-01")
    cdr.add("cdm_source", cdm_source_name="Synthetic", cdm_version="v5.4", source_release_date="2021-01-01")
    cdr.write(tmp_path / "cdr")
    return tmp_path


def job(folder: Path, **changes: object) -> PhenotypeJob:
    keys = {
        "name": "coins",
        "records": "cdr",
        "definitions": [
            {"kind": "coin", "id": "heads", "title": "Heads", "category": "coins"},
            {"kind": "coin", "id": "height", "of": "quantitative", "transform": "rank_inverse_normal"},
        ],
        "covariates": ["age", "sex", "record_years", "visits"],
        "output": "table",
        **changes,
    }
    (folder / "phenotypes.yaml").write_text(json.dumps(keys))
    return PhenotypeJob.from_yaml(folder / "phenotypes.yaml")


def test_what_is_in_the_folder(records):
    built = build(job(records))
    assert built.folder is not None
    assert not built.already
    assert is_trait_table(records / "table")
    table = pq.read_table(records / "table" / "traits.parquet")
    assert table.column_names == ["person_id", "heads", "height"]
    assert table.column("person_id").to_pylist() == IDS
    assert table.column("heads").to_pylist() == [{1: True, 0: False}.get(person % 3) for person in IDS]
    values = np.array([np.nan if value is None else value for value in table.column("height").to_pylist()])
    assert np.array_equal(np.isnan(values), np.array(IDS) % 3 == 0)
    covariates = pq.read_table(records / "table" / "covariates.parquet").to_pydict()
    assert covariates["sex"][:2] == [1, 2]
    assert covariates["age"][0] == pytest.approx(70.0, abs=0.01)  # at death
    assert covariates["age"][1] == pytest.approx(79.5, abs=0.01)  # at the end of the records, born in mid 1941
    days = (np.datetime64("2020-12-31") - np.datetime64("1999-12-31")).astype(int)
    assert covariates["record_years"] == pytest.approx([days / 365.25] * 60)  # both periods, what they share once
    assert covariates["visits"][:4] == [0, 1, 2, 2]
    opened = open_trait_table(records / "table")
    assert [trait["transform"] for trait in opened.traits] == ["none", "rank_inverse_normal"]
    assert opened.traits[0]["cases"] == 20
    assert opened.traits[0]["recipe"]["definition"]["sha256"] == job(records).definitions[0].digest
    assert opened.provenance["made_of"]["records"]["cdr"] == "Synthetic v5.4 2021-01-01"
    described = (records / "table" / "descriptions.tsv").read_text().splitlines()
    assert described[1].split("\t")[:4] == ["heads", "Heads", "coins", "binary"]
    for name in ("provenance.json", "descriptions.tsv"):
        assert "1000001" not in (records / "table" / name).read_text()


def test_it_is_built_again_when_what_it_is_made_of_changes(records):
    first = build(job(records))
    bytes_before = (records / "table" / "traits.parquet").read_bytes()
    assert build(job(records)).already
    assert build(job(records, name="another title", runtime={"threads": 1})).already
    (records / "withdrawn.txt").write_text(f"{IDS[4]}\n{IDS[5]}\n7\n")
    second = build(job(records, people={"exclude": "withdrawn.txt"}))
    assert not second.already
    assert second.provenance["digest"] != first.provenance["digest"]
    left = pq.read_table(records / "table" / "traits.parquet").column("person_id").to_pylist()
    assert left == [person for person in IDS if person not in IDS[4:6]]
    assert second.provenance["accounting"][1] == {"what": "left out by a list", "people": 2}
    third = build(job(records))
    assert third.provenance["digest"] == first.provenance["digest"]
    assert (records / "table" / "traits.parquet").read_bytes() == bytes_before
    other = Cdr().person(1).observed(1, "2000-01-01", "2001-01-01").add("visit_occurrence", person_id=1)
    other.write(records / "cdr2")
    assert build(job(records, records="cdr2")).provenance["digest"] != first.provenance["digest"]


def test_a_dry_run_writes_nothing(records):
    seen = []
    built = build(job(records), write=False, on_trait=seen.append)
    assert [trait.name for trait in seen] == ["heads", "height"]
    assert built.provenance["traits"][0]["cases"] == 20
    assert not (records / "table").exists()


def test_definitions_stand_beside_the_file_wherever_it_is_read_from(records, monkeypatch):
    (records / "heads.yaml").write_text(json.dumps({"kind": "coin", "id": "heads"}))
    monkeypatch.chdir(records.parent)
    folder = Path(records.name)
    built = build(job(folder, definitions="heads.yaml", covariates=[]))
    assert [trait["name"] for trait in built.provenance["traits"]] == ["heads"]


def test_groups_of_people(records):
    rows = [f"{person}\t{'afr' if person % 2 else 'eur'}" for person in IDS[:50]]
    (records / "ancestry_preds.tsv").write_text("\n".join(["research_id\tancestry_pred", *rows]) + "\n")
    build(job(records, groups={"file": "ancestry_preds.tsv"}))
    groups = pq.read_table(records / "table" / "covariates.parquet").column("group").to_pylist()
    assert groups[:2] == ["afr", "eur"]
    assert groups[50:] == [None] * 10
    with pytest.raises(InputError, match="there is no column 'ancestry'"):
        build(job(records, groups={"file": "ancestry_preds.tsv", "column": "ancestry"}))


def test_records_may_be_a_dataset_of_bigquery(records):
    assert job(records, records="bigquery://project.dataset").spec.records.source == "bigquery://project.dataset"
    with pytest.raises(JobError, match="not a kind of storage"):
        job(records, records="ftp://project.dataset")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"definitions": []}, "asks for no trait"),
        ({"definitions": ["missing.yaml"]}, "there is no definition 'missing.yaml'"),
        ({"covariates": ["agee"]}, "there is no covariate 'agee'"),
        ({"records": {"source": "cdr", "until": "2020-13-01"}}, "is no date"),
        ({"records": "nowhere"}, "no records here"),
        ({"people": {"exclude": "nobody.txt"}}, "there is no file 'nobody.txt'"),
        ({"groups": {"file": "nothing.tsv"}}, "there is no file 'nothing.tsv'"),
        ({"covariates": ["code_days"]}, "no table 'condition_occurrence'"),
        ({"definitions": [{"kind": "coin", "id": "a"}, {"kind": "coin", "id": "a"}]}, "two traits are called 'a'"),
        ({"outputs": "x"}, "did you mean 'output'"),
    ],
)
def test_what_is_wrong_is_refused(records, changes, message):
    with pytest.raises(AllscanError, match=message):
        build(job(records, **changes))


def test_what_is_no_trait_table_is_refused(records):
    build(job(records))
    path = records / "table" / "provenance.json"
    path.write_text(path.read_text().replace("allscan trait table 1", "allscan trait table 0"))
    with pytest.raises(InputError, match="is of the format 'allscan trait table 0'"):
        open_trait_table(records / "table")
    path.write_text("{")
    with pytest.raises(InputError, match="is no trait table"):
        open_trait_table(records / "table")


def test_a_file_that_is_no_phenotype_file_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("name: a\nrecord: cdr\n")
    with pytest.raises(JobError, match="did you mean 'records'"):
        PhenotypeJob.from_yaml(tmp_path / "a.yaml")
