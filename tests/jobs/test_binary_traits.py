"""Jobs of binary traits, from the file to what comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allscan.engine.null_model_files import NullModelFiles
from allscan.engine.results import ResultsCube
from allscan.errors import InputError, JobError
from allscan.jobs.check import check_job
from allscan.jobs.job import Job
from allscan.jobs.run import run_job
from tests import naive_logistic
from tests.engine.binary_cohorts import NAME
from tests.jobs.conftest import Cohort, CommandLine


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


WALD = {"name": "logistic_wald", "options": {"min_cases": 20}}
MARKERS = {"method": "whole_genome", "markers": {"min_mac": 5, "prune_r2": None}, "block_markers": 60}


def column(folder: Path, name: str = "beta") -> np.ndarray:
    cube = ResultsCube.open(folder)
    return np.stack([cube.trait_columns(trait)[name] for trait in cube.traits])


def test_a_whole_genome_model_predicts_log_odds(diseased: Cohort, allscan_cli: CommandLine) -> None:
    folder = diseased.folder
    regions = {"regions": ["21:10000000-10100000", "22:10000000-10040000"]}

    def run(output: str, *words: str, **changes: Any) -> Path:
        job = folder / f"{output}.yaml"
        # JSON is YAML.
        job.write_text(json.dumps(keys(test=WALD, variants=regions, output=output, **changes)))
        result = allscan_cli("run", job, *words)
        assert result.exit_code == 0, result.output
        return folder / output

    fitted = run("fitted", "--workers", "2", null_model=MARKERS)
    model = NullModelFiles(fitted / "null_model")
    assert [(trait.kind, trait.residual_sd) for trait in model.traits] == [("binary", None)] * 2
    assert [trait.accuracy.name for trait in model.traits if trait.accuracy] == ["auc"] * 2
    assert model.settings["markers_unused"] == 0
    page = (fitted / "report.html").read_text()
    assert "AUC 0." in page
    # Fitted, loaded, or by way of REGENIE's files: the same offsets.
    loaded = run("loaded", null_model={"load": "fitted"})
    np.testing.assert_array_equal(column(fitted), column(loaded))
    assert allscan_cli("null-model", "export", fitted, "--out", folder / "step1").exit_code == 0
    of_regenie = run("regenie", null_model={"load": "step1_pred.list"})
    np.testing.assert_allclose(column(fitted), column(of_regenie), rtol=1e-4, atol=1e-6)
    # They are those of the null model: the same as an offset given to the regression.
    plain = run("plain")
    assert np.nanmax(np.abs(column(fitted) - column(plain))) > 0.01
    design = check_job(Job.from_yaml(folder / "loaded.yaml")).strata[0].design
    assert design.offsets is not None
    offset = design.offsets.of("21", np.array([0]))[:, 0]
    present = ~np.isnan(design.traits[:, 0])
    calls = diseased.calls[40, design.store_rows].astype(float)
    dosage = np.where(calls < 0, calls[present & (calls >= 0)].mean(), calls)[present]
    x = np.column_stack([dosage, design.covariates[present]])
    expected = naive_logistic.maximum_likelihood(x, design.traits[present, 0], offset[present])
    assert column(fitted)[0, 40] == pytest.approx(expected[0], rel=1e-5)


def test_a_model_of_other_traits_is_refused(diseased: Cohort) -> None:
    quantitative = keys(traits={"file": "traits.tsv", "columns": ["height"]}, test="linear", null_model=MARKERS)
    Job.from_dict(quantitative | {"output": "step1"}, base=diseased.folder).run()
    table = (diseased.folder / "diseases.tsv").read_text().replace("dm", "height", 1)
    (diseased.folder / "diseases.tsv").write_text(table)
    traits = {"file": "diseases.tsv", "columns": ["height"], "type": "binary", "missing_values": ["-9"]}
    job = keys(traits=traits, test=WALD, null_model={"load": "step1"})
    with pytest.raises(JobError, match="was fitted with the type 'quantitative', and the job has 'binary'"):
        Job.from_dict(job, base=diseased.folder).check()


def test_an_update_keeps_what_holds_and_the_counts_with_it(diseased: Cohort) -> None:
    def run(output: str, columns: list[str], *, update: bool = False) -> dict[str, np.ndarray]:
        traits = {"file": "diseases.tsv", "columns": columns, "type": "binary", "missing_values": ["-9"]}
        folder = diseased.folder
        run_job(Job.from_dict(keys(traits=traits, output=output), base=folder), update=update)
        return ResultsCube.open(folder / output).trait_columns("dm")

    run("kept", ["dm"])
    updated, fresh = run("kept", ["gout", "dm"], update=True), run("fresh", ["gout", "dm"])
    assert json.loads((diseased.folder / "kept" / "provenance.json").read_bytes())["run"]["results_kept"] == 600
    for name, values in fresh.items():
        np.testing.assert_array_equal(updated[name], values)
