"""Jobs of quantitative and binary traits together, from the file to what comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allscan.engine.null_model_files import NullModelFiles
from allscan.engine.results import ResultsCube
from allscan.errors import JobError
from allscan.jobs.check import check_job
from allscan.jobs.job import Job
from tests.jobs.conftest import Cohort, CommandLine

COLUMNS: dict[str, Any] = {"dm": {"type": "binary"}, "ldl": {}, "gout": {"type": "binary"}, "height": {}}
MARKERS = {"method": "whole_genome", "block_markers": 100, "markers": {"min_maf": 0.05, "prune_r2": None}}


@pytest.fixture
def diseased(cohort: Cohort) -> Cohort:
    """The small cohort, whose table has two diseases as well."""
    rng = np.random.default_rng(3)
    risk = np.maximum(cohort.calls[41], 0)
    table = pd.read_csv(cohort.folder / "traits.tsv", sep="\t", dtype=str, keep_default_na=False)
    of_person = {person: k for k, person in enumerate(cohort.ids)}
    at = table.IID.map(of_person).fillna(0).astype(int).to_numpy()
    table["dm"] = np.where(at % 11 == 0, "NA", (rng.random(len(table)) < 0.1 + 0.3 * risk[at]).astype(int).astype(str))
    table["gout"] = np.where(rng.random(len(table)) < 0.4, "yes", "no")
    table.to_csv(cohort.folder / "traits.tsv", sep="\t", index=False)
    return cohort


def keys(output: str = "run", columns: Any = None, **changes: Any) -> dict[str, Any]:
    return {
        "name": "both",
        "genotypes": "cohort.zarr",
        "traits": {"file": "traits.tsv", "columns": columns or COLUMNS, **changes.pop("traits", {})},
        "covariates": {"file": "covariates.tsv", "formula": "age + sex"},
        "output": output,
        "runtime": {"workers": 1, "memory": "2GB"},
        "results": {"hits_neg_log10_p": 2.0},
        **changes,
    }


def job_file(folder: Path, **changes: Any) -> Path:
    given = keys(**changes)
    path = folder / f"{given['output']}.yaml"
    path.write_text(json.dumps(given, indent=1))  # JSON is YAML
    return path


def of_kind(kind: str) -> dict[str, Any]:
    return {name: options for name, options in COLUMNS.items() if options.get("type", "quantitative") == kind}


def assert_same_results(found: Path, expected: Path, rtol: float = 0.0, atol: float = 0.0) -> None:
    """Of the traits that are expected, bit for bit if nothing else is said."""
    one, other = ResultsCube(found), ResultsCube(expected)
    for trait in other.traits:
        a, b = one.trait_columns(trait), other.trait_columns(trait)
        assert list(a) == list(b)
        for name, values in b.items():
            np.testing.assert_allclose(a[name], values, rtol, atol, err_msg=f"{trait}, {name}")


@pytest.mark.parametrize("model", [None, MARKERS])
def test_a_job_of_both_kinds_gives_what_a_job_of_each_gives(
    diseased: Cohort, allscan_cli: CommandLine, model: dict[str, Any] | None
) -> None:
    folder = diseased.folder
    changes: dict[str, Any] = {"test": {"binary": {"options": {"min_cases": 20}}}, "null_model": model}
    done = allscan_cli("run", job_file(folder, **changes), "--workers", "2")
    assert done.exit_code == 0, done.output
    assert "tests       2,400 (600 variants × 4 traits)" in done.output
    for kind, options in (("quantitative", {}), ("binary", {"test": {"options": {"min_cases": 20}}})):
        alone = job_file(folder, output=kind, columns=of_kind(kind), null_model=model, **options)
        assert allscan_cli("run", alone).exit_code == 0
        # A null model is fitted to the batch's traits together, which shows in the last digit.
        assert_same_results(folder / "run", folder / kind, **({} if model is None else {"rtol": 1e-5, "atol": 1e-6}))
    assert ResultsCube(folder / "run").traits == ("dm", "ldl", "gout", "height")
    if model is None:
        return
    fitted = NullModelFiles(folder / "run/null_model").traits
    assert [trait.kind for trait in fitted] == ["binary", "quantitative", "binary", "quantitative"]
    # Loaded, or by way of REGENIE's files: the same predictions, each in the unit of its kind.
    given = {**changes, "null_model": {"load": "run"}}
    assert allscan_cli("run", job_file(folder, output="loaded", **given)).exit_code == 0
    assert_same_results(folder / "loaded", folder / "run")
    assert allscan_cli("null-model", "export", folder / "run", "--out", folder / "step1").exit_code == 0
    given = {**changes, "null_model": {"load": "step1_pred.list"}}
    assert allscan_cli("run", job_file(folder, output="regenie", **given)).exit_code == 0
    assert_same_results(folder / "run", folder / "regenie", rtol=1e-4, atol=1e-5)


def test_exports_and_report_of_a_trait_are_those_of_its_kind(diseased: Cohort, allscan_cli: CommandLine) -> None:
    folder = diseased.folder
    test = {"binary": {"options": {"min_cases": 20}}}
    assert allscan_cli("run", job_file(folder, test=test)).exit_code == 0
    for kind, trait, options in (("quantitative", "ldl", {}), ("binary", "dm", {"test": test})):
        assert allscan_cli("run", job_file(folder, output=kind, columns=of_kind(kind), **options)).exit_code == 0
        for name in ("regenie", "plink", "gwas-ssf", "parquet"):
            out = [folder / f"{run}.{name}" for run in ("run", kind)]
            for run, path in zip(("run", kind), out, strict=True):
                words = ["--trait", trait, "--format", name, "--out", path, "--overwrite"]
                assert allscan_cli("export", folder / run, *words).exit_code == 0
            if name == "parquet":
                pd.testing.assert_frame_equal(*(pd.read_parquet(path) for path in out))
            else:
                assert out[0].read_bytes() == out[1].read_bytes()
    page = (folder / "run/report.html").read_text()
    assert "Linear test of 2 quantitative traits, logistic test of 2 binary traits" in page
    rows = page.split('<tr data-panel="')[1:5]
    assert [row.split('data-value="')[1].split('"')[0] for row in rows] == list(COLUMNS)
    assert [">–</td><td" in row.split("Variants")[0] for row in rows] == [False, True, False, True]
    hits = pd.read_parquet(folder / "run/hits.parquet")
    assert (hits.cases[hits.trait.isin(["dm", "gout"])] > 0).all()
    assert not hits.cases[hits.trait.isin(["ldl", "height"])].any()
    provenance = json.loads((folder / "run/provenance.json").read_text())
    assert provenance["job"]["test"]["binary"]["name"] == "logistic"
    assert [trait["kind"] for trait in provenance["traits"]] == ["binary", "quantitative"] * 2


def test_traits_of_the_other_kind_are_added_by_an_update(diseased: Cohort, allscan_cli: CommandLine) -> None:
    folder = diseased.folder
    test = {"options": {"min_cases": 20}}
    assert allscan_cli("run", job_file(folder, columns=of_kind("binary"), test=test)).exit_code == 0
    mixed = job_file(folder, test={"binary": test})
    refused = allscan_cli("run", mixed)
    assert refused.exit_code == 2
    assert "traits.columns.ldl.type: nothing before" in refused.output
    assert allscan_cli("run", mixed, "--update").exit_code == 0
    provenance = json.loads((folder / "run/provenance.json").read_text())
    assert provenance["run"]["results_kept"] == 2 * 600
    assert allscan_cli("run", job_file(folder, output="fresh", test={"binary": test})).exit_code == 0
    assert_same_results(folder / "run", folder / "fresh")


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        (None, {"quantitative": "linear", "binary": "logistic"}),
        ({"binary": "firth"}, {"quantitative": "linear", "binary": "firth"}),
        (
            {"quantitative": "linear", "binary": {"name": "logistic_wald"}},
            {"quantitative": "linear", "binary": "logistic_wald"},
        ),
        ({"binary": {"options": {"min_cases": 7}}}, {"quantitative": "linear", "binary": "logistic"}),
    ],
)
def test_each_kind_has_its_test(diseased: Cohort, test: Any, expected: dict[str, str]) -> None:
    given = keys() if test is None else keys(test=test)
    job = Job.from_dict(given, base=diseased.folder)
    checked = check_job(job)
    assert {kind: name for kind, (name, _) in checked.spec.tests.items()} == expected
    assert checked.strata[0].design.is_binary.tolist() == [True, False, True, False]
    # Written out and read again, it is the same job.
    again = Job.from_dict(json.loads(json.dumps(job.spec.model_dump(exclude_unset=True))), base=diseased.folder)
    assert again.spec == job.spec
    assert check_job(again).science == checked.science


def test_a_job_of_one_kind_may_name_the_test_of_its_kind(diseased: Cohort) -> None:
    named, plain = (
        Job.from_dict(keys(columns=of_kind("binary"), test=test), base=diseased.folder)
        for test in ({"binary": "firth"}, "firth")
    )
    assert named.spec.test.name == "firth"
    assert (check_job(named).spec, check_job(named).science) == (check_job(plain).spec, check_job(plain).science)


@pytest.mark.parametrize(
    ("test", "key", "what", "fix"),
    [
        ("firth", "test", "for binary traits, and the job has quantitative ones as well", "binary: firth}"),
        ("linear", "test", "for quantitative traits, and the job has binary ones as well", "binary: logistic}"),
        ({"quantitative": "firth"}, "test.quantitative", "for binary traits", "quantitative: linear, binary: firth}"),
        ({"binary": "frith"}, "test.binary", "no association test 'frith'; did you mean 'firth'?", "installed"),
        ({"options": {"min_cases": 5}}, "test.options", "of one test", "test: {binary: {options: {…}}}"),
        ({"binary": {"options": {"min_case": 5}}}, "test.binary.options.min_case", "no option", "mean 'min_cases'?"),
        ({"binary": {"options": {"min_cases": 0}}}, "test.binary.options", "min_cases is 0", "change the option"),
        ({"name": "linear", "binary": "firth"}, "test", "or one for each kind", ""),
        ({"binry": "firth"}, "test.binry", "unknown key 'binry'", "did you mean 'binary'?"),
        ({"binary": "a.module:TEST"}, "test.binary", "names a module", "install"),
    ],
)
def test_mistakes_in_tests_are_told_with_their_line(diseased: Cohort, test: Any, key: str, what: str, fix: str) -> None:
    given = {**keys(), "test": test}
    order = ["name", "genotypes", "output", "traits", "test", "covariates", "runtime"]
    path = diseased.folder / "job.yaml"
    path.write_text("\n".join(f"{key}: {json.dumps(given[key])}" for key in order))
    with pytest.raises(JobError) as error:
        check_job(Job.from_yaml(path))
    assert what in error.value.what
    assert fix in (error.value.fix or "")
    assert (error.value.where or "").startswith(f"{path}:5:")
    assert (error.value.where or "").endswith(f", key {key}")


def test_a_test_of_traits_that_the_job_does_not_have_is_refused(diseased: Cohort) -> None:
    job = Job.from_dict(keys(columns=["ldl"], test={"binary": "firth"}), base=diseased.folder)
    with pytest.raises(JobError, match="names a test of binary traits, and those of the job are quantitative") as error:
        check_job(job)
    assert error.value.where == "key test.binary"


def test_a_transform_of_the_section_is_one_of_the_quantitative_traits(diseased: Cohort) -> None:
    job = Job.from_dict(keys(traits={"transform": "rank_inverse_normal"}), base=diseased.folder)
    checked = check_job(job)
    assert [trait.transform for trait in checked.report.traits] == ["none", "rank_inverse_normal"] * 2
    given = keys(columns={"dm": {"type": "binary", "transform": "log"}, "ldl": {}})
    with pytest.raises(JobError, match="the trait 'dm' is binary, and there is a transform"):
        Job.from_dict(given, base=diseased.folder)


def test_a_pattern_that_finds_one_kind_only_makes_a_job_of_one_kind(diseased: Cohort) -> None:
    columns = {"dm": {"type": "binary"}, "gout": {"type": "binary"}, "d*": {}}
    checked = check_job(Job.from_dict(keys(columns=columns), base=diseased.folder))
    assert checked.strata[0].design.is_binary.all()
    assert (checked.spec.tests, checked.spec.test) == ({}, "logistic")


def test_relatives_by_a_mixed_model_are_refused(diseased: Cohort) -> None:
    (diseased.folder / "king.tsv").write_text("ID1\tID2\tKINSHIP\n")
    given = keys(null_model={"method": "sparse_grm", "relatedness": "king.tsv"})
    with pytest.raises(JobError, match="is for quantitative traits, and some of the job's are binary"):
        check_job(Job.from_dict(given, base=diseased.folder))
