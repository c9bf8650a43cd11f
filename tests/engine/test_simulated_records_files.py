"""What `allscan simulate --records` writes: whole cohorts, the same bytes on any number of workers, and no more."""

from __future__ import annotations

import hashlib
import resource
import time
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from allscan.engine.simulation.cohort import SimulationReport, simulate_cohort
from allscan.engine.simulation.options import SimulationOptions
from allscan.engine.simulation.records import writing
from allscan.engine.simulation.records.catalogue import DISEASES, N_GENETIC, codes
from allscan.engine.simulation.records.vocabulary import write_phecode_map
from allscan.errors import InputError
from tests.engine.simulated_records import make_records, opened

SMALL = SimulationOptions(
    samples=150, variants=60, chromosomes=("21", "22"), traits=2, binary_traits=2, components=2, records=True
)


def test_the_map_has_every_code_with_a_phecode(tmp_path: Path) -> None:
    write_phecode_map(tmp_path / "map.csv")
    rows = pd.read_csv(tmp_path / "map.csv", dtype=str)
    mapped = {(row.ICD, int(row.flag)) for row in rows.itertuples()}
    assert mapped == {(code.text, code.version) for code in codes() if DISEASES[code.disease].phecode}
    of_v = rows[rows["ICD"] == "V10.3"].set_index("flag")["phecode"]
    assert of_v["9"] == "930"
    assert of_v["10"] == "982"
    assert set(rows[rows["ICD"] == "E11.9"]["phecode"]) == {"900.2", "900"}
    assert set(rows[rows["phecode"] == "930"]["sex"]) == {"Female"}
    assert (
        rows.groupby("phecode")[["phecode_string", "phecode_category", "sex", "exclude_range"]]
        .nunique()
        .eq(1)
        .to_numpy()
        .all()
    )


def _hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _small(folder: Path, monkeypatch: pytest.MonkeyPatch, **change: object) -> SimulationReport:
    monkeypatch.setattr(writing, "_PEOPLE_PER_CHUNK", 40)
    workers = change.pop("workers", 2)
    return simulate_cohort(folder, SimulationOptions(**{**vars(SMALL), **change}), workers=workers)  # type: ignore[arg-type]


def test_equal_seeds_give_equal_bytes_on_any_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _small(tmp_path / "one", monkeypatch, workers=1)
    _small(tmp_path / "three", monkeypatch, workers=3)
    _small(tmp_path / "other", monkeypatch, seed=2)
    one, three, other = (_hashes(tmp_path / name) for name in ("one", "three", "other"))
    assert one == three
    assert "records/condition_occurrence/part-1.parquet" in one
    assert one["records/person.parquet"] != other["records/person.parquet"]


def test_the_cohorts_files_have_the_records_ids_and_nothing_else_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = _small(tmp_path / "with", monkeypatch)
    without = _small(tmp_path / "without", monkeypatch, records=False)
    assert report.records == tmp_path / "with" / "records"
    assert without.records is None
    assert not (tmp_path / "without" / "records").exists()
    person = opened(report.folder).execute("SELECT person_id FROM person").df()["person_id"].astype(str).tolist()
    for name in ("traits.tsv", "covariates.tsv", "binary_traits.tsv", "samples.tsv"):
        table = pd.read_csv(report.folder / name, sep="\t", dtype=str, keep_default_na=False)
        plain = pd.read_csv(without.folder / name, sep="\t", dtype=str, keep_default_na=False)
        assert table["IID"].tolist() == person
        kept = [column for column in table if column not in ("IID", "father", "mother")]
        assert table[kept].equals(plain[kept])
    psam = pd.read_csv(report.folder / "genotypes.psam", sep="\t", dtype=str)
    assert psam.filter(like="IID").iloc[:, 0].tolist() == person
    assert (report.folder / "genotypes.pgen").read_bytes() == (without.folder / "genotypes.pgen").read_bytes()
    traits = pd.read_csv(report.folder / "binary_traits.tsv", sep="\t")
    case = pd.read_parquet(report.folder / "records_people.parquet")["case_type_2_diabetes"]
    seen = traits["disease_1"].notna()
    assert (traits["disease_1"][seen] == case[seen]).all()
    asked = YAML(typ="safe").load(report.folder / "records.yaml")
    assert (report.folder / asked["records"]) == report.records
    assert (report.folder / asked["phecodes"]["files"]).exists()
    assert (report.folder / asked["groups"]["file"]).exists()
    components = pd.read_csv(report.folder / "components.tsv", sep="\t", dtype=str)
    everything = pd.read_csv(report.folder / "covariates.tsv", sep="\t", dtype=str)
    assert components.equals(everything[components.columns])
    job = YAML(typ="safe").load(report.folder / "phenome_job.yaml")
    assert job["covariates"]["file"] == ["records.yaml", "components.tsv"]


def test_records_need_no_binary_traits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = _small(tmp_path / "out", monkeypatch, binary_traits=0, traits=1)
    truth = pd.read_csv(report.folder / "records_truth.tsv", sep="\t")
    assert truth["simulated_as"].dropna().tolist() == ["trait_1"]
    assert (truth[truth["kind"] == "disease"]["count"] > 0).sum() > 30


def test_overwriting_replaces_all_tables_and_leaves_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    _small(out, monkeypatch)
    (out / "records" / "measurement" / "part-2.parquet").write_bytes(b"of an earlier, larger one")
    (out / "records" / "mine.txt").write_text("kept")
    simulate_cohort(out, SimulationOptions(**{**vars(SMALL), "seed": 7}), overwrite=True)
    assert sorted(path.name for path in (out / "records" / "measurement").iterdir()) == ["part-1.parquet"]
    assert (out / "records" / "mine.txt").read_text() == "kept"
    truth = pd.read_csv(out / "records_truth.tsv", sep="\t")
    rows = opened(out).execute("SELECT count(*) FROM measurement").fetchone()
    assert rows is not None
    assert rows[0] == truth[truth["name"] == "measurement"]["count"].item()


def test_more_diseases_than_there_are_is_refused() -> None:
    SimulationOptions(binary_traits=N_GENETIC, records=True)
    SimulationOptions(binary_traits=N_GENETIC + 1)
    with pytest.raises(InputError, match=f"at most {N_GENETIC} with records"):
        SimulationOptions(binary_traits=N_GENETIC + 1, records=True)


@pytest.mark.slow
def test_a_hundred_thousand_people_take_less_than_a_minute_and_two_gigabytes(tmp_path: Path) -> None:
    started = time.perf_counter()
    records = make_records(tmp_path, 100_000)
    assert time.perf_counter() - started < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2e6
    assert records.of("table")["count"].sum() > 10_000_000
