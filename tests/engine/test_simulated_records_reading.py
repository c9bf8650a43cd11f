"""Simulated health records, read as anybody's: what the reader leaves out is what the simulation got wrong."""

from __future__ import annotations

import numpy as np
import pytest

from allscan.engine.simulation.records.catalogue import DISEASES
from allscan.phenotypes.phecodes.map_files import read_map
from allscan.phenotypes.phecodes.spec import PhecodesSection
from allscan.phenotypes.phecodes.traits import phecode_phenotypes
from allscan.phenotypes.records.opening import open_records
from tests.engine.simulated_records import Records, make_records

FOUND = {
    "rows of people who are not in the table of people": "unknown_person",
    "rows dated before the year of birth": "before_birth",
    "rows dated after the end of the records": "in_future",
}
FAULTY = ("condition_occurrence", "drug_exposure", "measurement", "observation")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Records:
    return make_records(tmp_path_factory.mktemp("records"), 2000)


def test_people_and_faults_are_those_of_the_truth(simulated: Records) -> None:
    rows = simulated.of("table")["count"]
    with open_records(simulated.folder / "records") as records:
        order = np.argsort(simulated.people["person_id"].to_numpy())
        assert (records.people.person_id == simulated.people["person_id"].to_numpy()[order]).all()
        assert (records.people.sex == simulated.sex[order]).all()
        assert str(records.until) == "2023-10-01"
        left = {}
        for table in (*FAULTY, "visit_occurrence", "procedure_occurrence", "death", "activity_summary"):
            relation = records.events(table)
            row = records.connection.execute(f"SELECT count(*) FROM {relation}").fetchone()
            assert row is not None
            left[table] = row[0]
        found = {(line.table, FOUND[line.what]): line.rows for line in records.quality()}
    assert found == {(table, kind): simulated.count(f"{table}.{kind}") for table in FAULTY for kind in FOUND.values()}
    for table, number in left.items():
        assert number == rows[table] - sum(found.get((table, kind), 0) for kind in FOUND.values())


def test_cases_of_every_phecode_are_who_has_codes_on_two_dates(simulated: Records) -> None:
    section = PhecodesSection(files=[str(simulated.folder / "phecode_map.csv")], min_cases=1)
    of_disease = simulated.of("disease")
    with open_records(simulated.folder / "records") as records:
        made = list(phecode_phenotypes(records, section, read_map(files=section.files)))
    cases = {phenotype.label: int((phenotype.values == 1).sum()) for phenotype in made}
    for disease in DISEASES:
        row = of_disease.loc[disease.name]
        # What is ruled out by mistake on two dates is a case all the same.
        expected = int(row["cases_on_more"] + row["others_on_more"]) if disease.phecode else 0
        assert cases.get(disease.name, 0) == expected, disease.name
    assert cases["Diabetes"] > cases["Type 2 diabetes"]
    by_label = {phenotype.label: phenotype for phenotype in made}
    men = simulated.sex[np.argsort(simulated.people["person_id"].to_numpy())] == 1
    assert (by_label["Breast cancer"].values[men] == -1).all()
    # Who has another kind of diabetes is no control of this one.
    controls = by_label["Type 1 diabetes"].values == 0
    assert not (controls & (by_label["Type 2 diabetes"].values == 1)).any()
