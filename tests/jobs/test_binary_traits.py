"""Jobs of binary traits, from the file to what comes out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from allscan.engine.results import ResultsCube
from allscan.errors import InputError
from allscan.jobs.job import Job
from tests.engine.binary_cohorts import NAME

if TYPE_CHECKING:
    from tests.jobs.conftest import Cohort


@pytest.fixture
def diseased(cohort: Cohort) -> Cohort:
    """The small cohort with two diseases, coded as PLINK does and as words."""
    rng = np.random.default_rng(3)
    risk = np.where(cohort.calls[40] < 0, 0, cohort.calls[40])
    rows = ["IID\tdm\tgout"]
    for i, person in enumerate(cohort.ids):
        dm = "-9" if i % 11 == 0 else str(1 + int(rng.random() < 0.1 + 0.3 * risk[i]))
        rows.append(f"{person}\t{dm}\t{'yes' if rng.random() < 0.2 else 'no'}")
    (cohort.folder / "diseases.tsv").write_text("\n".join(rows) + "\n")
    return cohort


def keys(**changes: Any) -> dict[str, Any]:
    traits = {"file": "diseases.tsv", "columns": ["dm", "gout"], "type": "binary", "missing_values": ["-9"]}
    return {
        "name": "diseases",
        "genotypes": "cohort.zarr",
        "traits": traits,
        "covariates": {"file": "covariates.tsv", "formula": "age + sex"},
        "test": NAME,
        "output": "run",
        "runtime": {"workers": 1, "memory": "2GB"},
        "results": {"hits_neg_log10_p": 3.0},
        **changes,
    }


def test_the_check_says_who_is_a_case(diseased: Cohort) -> None:
    report = Job.from_dict(keys(), base=diseased.folder).check()
    text = report.text()
    assert "diseases.tsv: cases are 2 in dm" in text
    assert "diseases.tsv: cases are yes in gout" in text
    dm, gout = report.traits
    assert (dm.kind, dm.case, gout.case) == ("binary", "2", "yes")
    table = [line.split("\t") for line in (diseased.folder / "diseases.tsv").read_text().splitlines()[1:-4]]
    assert dm.cases == sum(line[1] == "2" for line in table)
    assert dm.n - dm.cases == sum(line[1] == "1" for line in table)
    assert f"cases {dm.cases}" in text
    assert "mean" not in text


def test_a_run_counts_cases_and_says_so_in_its_provenance(diseased: Cohort) -> None:
    run = Job.from_dict(keys(), base=diseased.folder).run()
    provenance = json.loads(run.provenance_path.read_bytes())
    assert [(trait["kind"], trait["case"]) for trait in provenance["traits"]] == [("binary", "2"), ("binary", "yes")]
    assert provenance["job"]["test"]["name"] == NAME
    cube = ResultsCube.open(run.folder.path)
    found = cube.trait_columns("dm")
    autosomal = slice(0, 450)
    assert set(found["cases"][autosomal]) == {provenance["traits"][0]["cases"]}
    assert int(np.nanargmax(found["neg_log10_p"])) == 40
    assert found["effect_allele_frequency_cases"][40] > found["effect_allele_frequency_controls"][40]


def test_the_coding_belongs_to_the_table_and_not_to_those_analysed(diseased: Cohort) -> None:
    """With controls left out, 2 is still a case, and no error: the trait has a status."""
    table = [line.split("\t") for line in (diseased.folder / "diseases.tsv").read_text().splitlines()[1:]]
    (diseased.folder / "cases.txt").write_text("\n".join(line[0] for line in table if line[1] == "2") + "\n")
    report = Job.from_dict(keys(samples={"keep": ["cases.txt"]}), base=diseased.folder).check()
    assert (report.traits[0].case, report.traits[0].status) == ("2", "constant")
    assert report.traits[0].message == "everybody is a case"


def test_a_value_that_says_nothing_is_refused_with_its_line(diseased: Cohort) -> None:
    traits = {"file": "diseases.tsv", "columns": ["dm"], "type": "binary"}
    with pytest.raises(InputError, match="the value -9 is neither 1") as error:
        Job.from_dict(keys(traits=traits), base=diseased.folder).check()
    assert "diseases.tsv, line 2, column 'dm'" in (error.value.where or "")
