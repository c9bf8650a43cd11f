"""Phenome-wide scans, of columns of a table and of variants, from the job file to the page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import statsmodels.api as sm
from scipy import stats

from allscan.errors import AllscanError, InputError, JobChangedError
from allscan.jobs.job import Job
from allscan.jobs.run import rewrite_report, run_job
from tests.jobs.conftest import Cohort, CommandLine

N_TRAITS = 30
GENOTYPE = 40


@pytest.fixture
def phenome(cohort: Cohort) -> Cohort:
    """The small cohort with thirty diseases, five measurements, and a table of predictors."""
    rng = np.random.default_rng(11)
    n = len(cohort.ids)
    calls = cohort.calls[GENOTYPE].astype(float)
    calls[calls < 0] = np.nan
    score = rng.normal(size=n)
    risk = np.nan_to_num(calls)
    diseases = {}
    for t in range(N_TRAITS):
        slope = 1.2 if t == 4 else 0.0
        case = (rng.random(n) < 1 / (1 + np.exp(1.2 - slope * score - 0.8 * risk * (t == 9)))).astype(float)
        case[rng.random(n) < 0.05] = np.nan
        diseases[f"d{t:02d}"] = case
    diseases["d07"] = np.where(np.arange(n) < 9, 1.0, 0.0)
    diseases["d08"] = np.where(np.arange(n) < 14, 1.0, np.where(rng.random(n) < 0.1, np.nan, 0.0))
    levels = {f"m{t}": 5 + 0.5 * t + (0.8 * score if t == 2 else 0.0) + rng.normal(size=n) for t in range(5)}
    table(cohort.folder / "diseases.tsv", cohort.ids, diseases, rng.permutation(n))
    table(cohort.folder / "levels.tsv", cohort.ids, levels, rng.permutation(n))
    predictors = {"score": 10 + 4 * score, "calls": calls, "exposed": (rng.random(n) < 0.3).astype(float)}
    predictors["score"][::17] = np.nan
    table(cohort.folder / "predictors.tsv", cohort.ids, predictors, rng.permutation(n))
    rows = ["trait\tlabel\tcategory"]
    rows += [f"d{t:02d}\tDisease number {t}\t{'Heart' if t % 2 else 'Lungs'}" for t in range(N_TRAITS - 3)]
    (cohort.folder / "descriptions.tsv").write_text("\n".join(rows) + "\n")
    return cohort


def table(path: Path, ids: list[str], columns: dict[str, np.ndarray], order: np.ndarray) -> None:
    rows = ["\t".join(["IID", *columns])]
    for i in order:
        cells = ["NA" if np.isnan(v[i]) else f"{v[i]:.10g}" for v in columns.values()]
        rows.append("\t".join([ids[i], *cells]))
    path.write_text("\n".join(rows) + "\n")


def read(path: Path) -> dict[str, dict[str, float]]:
    """Columns of a table of numbers, by person."""
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    return {
        name: {line[0]: float("nan") if line[k] == "NA" else float(line[k]) for line in lines[1:]}
        for k, name in enumerate(lines[0])
        if k
    }


def keys(**changes: Any) -> dict[str, Any]:
    found = {
        "name": "scores and diseases",
        "mode": "phewas",
        "predictors": {"file": "predictors.tsv", "columns": ["score", "exposed"], "min_cases": 12},
        "traits": {"file": "diseases.tsv", "columns": ["*"], "type": "binary", "descriptions": "descriptions.tsv"},
        "covariates": {"file": "covariates.tsv", "formula": "age + sex"},
        "output": "run",
        "runtime": {"workers": 1, "memory": "2GB"},
        **changes,
    }
    return {key: value for key, value in found.items() if value is not None}


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / "phewas.parquet").to_pylist()
    return found


def page_data(folder: Path, name: str) -> Any:
    text = (folder / "report.html").read_text()
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_a_score_against_diseases(phenome: Cohort) -> None:
    run = Job.from_dict(keys(), base=phenome.folder).run()
    found = rows(phenome.folder / "run")
    assert [(row["predictor"], row["trait"]) for row in found[:2]] == [("score", "d00"), ("score", "d01")]
    assert len(found) == run.n_tests == 2 * N_TRAITS
    best = max((row for row in found if row["predictor"] == "score"), key=lambda row: row["neg_log10_p"] or 0)
    assert (best["trait"], best["label"], best["category"]) == ("d04", "Disease number 4", "Lungs")
    assert (best["status"], best["test"], best["per"], best["bonferroni"]) == (
        "FIRTH",
        "logistic regression",
        "unit",
        True,
    )
    np.testing.assert_allclose(best["odds_ratio"], np.exp(best["beta"]))
    np.testing.assert_allclose((best["ci_lower"] + best["ci_upper"]) / 2, best["beta"])
    few = next(row for row in found if row["trait"] == "d07")
    assert (few["status"], few["cases"], few["beta"], few["bonferroni"]) == ("TOO_FEW_CASES", 8, None, None)
    for predictor in ("score", "exposed"):
        p = [row["neg_log10_p"] for row in found if row["predictor"] == predictor and row["neg_log10_p"] is not None]
        q = [row["neg_log10_q"] for row in found if row["predictor"] == predictor and row["neg_log10_q"] is not None]
        assert len(p) == N_TRAITS - 1
        np.testing.assert_allclose(10 ** -np.array(q), stats.false_discovery_control(10 ** -np.array(p)), rtol=1e-9)
    assert run.n_hits == sum(row["bonferroni"] or False for row in found)


def test_results_are_those_of_a_regression_by_hand(phenome: Cohort) -> None:
    traits = {"file": "levels.tsv", "columns": ["m*"]}
    Job.from_dict(keys(traits=traits), base=phenome.folder).run()
    found = {row["trait"]: row for row in rows(phenome.folder / "run") if row["predictor"] == "score"}
    levels, predictors = read(phenome.folder / "levels.tsv"), read(phenome.folder / "predictors.tsv")
    lines = [line.split("\t") for line in (phenome.folder / "covariates.tsv").read_text().splitlines()[1:]]
    covariates = {line[0]: (1.0, float(line[1]), float(line[2] == "male")) for line in lines}
    for name, values in levels.items():
        people = [i for i in phenome.ids if i in covariates and not np.isnan(predictors["score"][i])]
        x = np.array([[*covariates[i], predictors["score"][i]] for i in people])
        reference = sm.OLS([values[i] for i in people], x).fit()
        row = found[name]
        assert (row["n"], row["cases"], row["odds_ratio"]) == (len(people), None, None)
        np.testing.assert_allclose(row["beta"], reference.params[-1], rtol=1e-7)
        np.testing.assert_allclose(row["standard_error"], reference.bse[-1], rtol=1e-7)
        np.testing.assert_allclose(row["neg_log10_p"], -np.log10(reference.pvalues[-1]), rtol=1e-7)


@pytest.mark.parametrize(("file", "test"), [("diseases.tsv", "firth"), ("levels.tsv", "linear")])
def test_a_genotype_as_a_column_gives_what_the_genotype_gives(phenome: Cohort, file: str, test: str) -> None:
    kind = {"type": "binary"} if file == "diseases.tsv" else {}
    traits = {"file": file, "columns": ["*"], **kind}
    predictors = {"file": "predictors.tsv", "columns": "calls", "min_cases": 1}
    Job.from_dict(keys(traits=traits, predictors=predictors, output="column"), base=phenome.folder).run()
    variants = {"ids": [f"rs{GENOTYPE}"]}
    genotypes = keys(
        predictors=None, genotypes="cohort.zarr", variants=variants, missing_genotypes="exclude", test=test
    )
    Job.from_dict(genotypes | {"traits": traits, "output": "variant"}, base=phenome.folder).run()
    column, variant = rows(phenome.folder / "column"), rows(phenome.folder / "variant")
    assert [row["trait"] for row in column] == [row["trait"] for row in variant]
    compared = 0
    for one, other in zip(column, variant, strict=True):
        assert one["n"] == other["n"]
        assert one["cases"] == other["cases"]
        # A likelihood ratio without the penalty is another test.
        if test == "linear" or one["status"] == "FIRTH":
            compared += 1
            for name in ("beta", "standard_error", "neg_log10_p"):
                np.testing.assert_allclose(one[name], other[name], rtol=2e-6)
    assert compared >= 5


def test_standardised_effects_are_per_standard_deviation_and_say_so(phenome: Cohort) -> None:
    plain = {"file": "predictors.tsv", "columns": ["score", "exposed"]}
    Job.from_dict(keys(predictors=plain, output="plain"), base=phenome.folder).run()
    Job.from_dict(keys(predictors=plain | {"standardise": True}, output="sd"), base=phenome.folder).run()
    described = json.loads((phenome.folder / "plain" / "provenance.json").read_text())["predictors"]["columns"]
    assert [one["two_valued"] for one in described] == [False, True]
    for one, other in zip(rows(phenome.folder / "plain"), rows(phenome.folder / "sd"), strict=True):
        factor = described[0]["sd"] if one["predictor"] == "score" else 1.0
        assert other["per"] == ("SD" if one["predictor"] == "score" else "1 against 0")
        if one["beta"] is not None:
            np.testing.assert_allclose(other["beta"], factor * one["beta"], rtol=1e-6)
            np.testing.assert_allclose(other["neg_log10_p"], one["neg_log10_p"], rtol=1e-6)


def results_of(folder: Path) -> tuple[bytes, dict[str, bytes]]:
    commits = {path.name: path.read_bytes() for path in (folder / "commits").iterdir()}
    return (folder / "phewas.parquet").read_bytes(), commits


@pytest.fixture
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allscan.jobs.predictor_scan.MOST_TRAITS", 4)


@pytest.mark.usefixtures("small_tasks")
def test_workers_interruption_and_lost_commits_change_no_bit(phenome: Cohort) -> None:
    run_job(Job.from_dict(keys(output="one"), base=phenome.folder))
    two = {"workers": 2, "memory": "2GB"}
    run_job(Job.from_dict(keys(output="two", runtime=two), base=phenome.folder))
    expected = results_of(phenome.folder / "one")
    assert len(expected[1]) == 8
    assert results_of(phenome.folder / "two") == expected

    def stop(progress: Any) -> None:
        if progress.tasks_done == 3:
            raise KeyboardInterrupt

    job = Job.from_dict(keys(output="stopped"), base=phenome.folder)
    with pytest.raises(KeyboardInterrupt):
        run_job(job, on_progress=stop)
    assert len(list((phenome.folder / "stopped" / "commits").iterdir())) == 3
    run_job(job)
    assert results_of(phenome.folder / "stopped") == expected
    provenance = json.loads((phenome.folder / "stopped" / "provenance.json").read_text())
    assert provenance["run"]["tasks_resumed"] == 3

    (phenome.folder / "two" / "commits" / "t000008.json").write_text("{")
    (phenome.folder / "two" / "commits" / "t000012.json").unlink()
    assert not run_job(Job.from_dict(keys(output="two"), base=phenome.folder)).already_complete
    assert results_of(phenome.folder / "two") == expected
    assert run_job(Job.from_dict(keys(output="two"), base=phenome.folder)).already_complete


@pytest.mark.usefixtures("small_tasks")
def test_a_changed_trait_is_refused_and_updated_alone(phenome: Cohort) -> None:
    job = Job.from_dict(keys(), base=phenome.folder)
    run_job(job)
    before = results_of(phenome.folder / "run")[1]
    lines = (phenome.folder / "diseases.tsv").read_text().splitlines()
    at = lines[0].split("\t").index("d09")
    changed = [line.split("\t") for line in lines]
    changed[1][at], changed[2][at] = "1", "0"
    changed[3][at], changed[4][at] = "0", "1"
    (phenome.folder / "diseases.tsv").write_text("\n".join("\t".join(line) for line in changed) + "\n")
    with pytest.raises(JobChangedError):
        run_job(job)
    run_job(job, update=True)
    after = results_of(phenome.folder / "run")[1]
    assert {name for name in after if after[name] != before[name]} == {"t000008.json"}
    assert json.loads((phenome.folder / "run" / "provenance.json").read_text())["run"]["tasks_resumed"] == 7


@pytest.mark.parametrize("scanned", ["predictors", "variants"])
def test_diseases_and_measurements_in_one_job(phenome: Cohort, scanned: str) -> None:
    diseases, levels = (read(phenome.folder / f"{name}.tsv") for name in ("diseases", "levels"))
    both = {name: np.array([values[i] for i in phenome.ids]) for name, values in (diseases | levels).items()}
    table(phenome.folder / "both.tsv", phenome.ids, both, np.arange(len(phenome.ids)))
    traits = {"file": "both.tsv", "columns": {"d0*": {"type": "binary"}, "m*": {}}}
    genotypes = {"predictors": None, "genotypes": "cohort.zarr", "variants": {"ids": ["rs40"]}}
    options = {} if scanned == "predictors" else {**genotypes, "test": {"binary": "firth"}}
    Job.from_dict(keys(traits=traits, **options), base=phenome.folder).run()
    found = [row for row in rows(phenome.folder / "run") if row["predictor"] in ("score", "rs40")]
    tests = ("logistic regression", "linear regression") if scanned == "predictors" else ("firth", "linear")
    assert [row["test"] for row in found] == [tests[0]] * 10 + [tests[1]] * 5
    assert [row["kind"] for row in found] == ["binary"] * 10 + ["quantitative"] * 5
    assert all((row["cases"] is None) == (row["odds_ratio"] is None) == (row["kind"] != "binary") for row in found[2:7])
    alone = {"file": "levels.tsv", "columns": ["*"]}
    options.pop("test", None)
    Job.from_dict(keys(traits=alone, output="alone", **options), base=phenome.folder).run()
    single = [row for row in rows(phenome.folder / "alone") if row["predictor"] in ("score", "rs40")]
    for one, other in zip(found[10:], single, strict=True):
        assert (one["trait"], one["n"], one["carriers"]) == (other["trait"], other["n"], other["carriers"])
        np.testing.assert_allclose(one["neg_log10_p"], other["neg_log10_p"], rtol=1e-6)


def test_traits_of_a_few_variants(phenome: Cohort) -> None:
    variants = {"ids": [f"rs{GENOTYPE}", "rs300"]}
    test = {"name": "logistic", "options": {"min_cases": 12}}
    job = Job.from_dict(
        keys(predictors=None, genotypes="cohort.zarr", variants=variants, test=test), base=phenome.folder
    )
    run = job.run()
    found = rows(phenome.folder / "run")
    assert [row["predictor"] for row in found] == [f"rs{GENOTYPE}"] * N_TRAITS + ["rs300"] * N_TRAITS
    cube = run.results()
    np.testing.assert_array_equal(
        np.array([row["neg_log10_p"] for row in found], float).reshape(2, -1), cube["neg_log10_p"].values[0].T
    )
    first = found[0]
    assert (first["contig"], first["position"], first["ref"], first["effect_allele"]) == ("21", 10_040_000, "A", "G")
    assert (first["label"], first["category"], first["per"]) == ("Disease number 0", "Lungs", "copy of G")
    assert first["carriers"] == int(cube["carriers_cases"][0, 0, 0] + cube["carriers_controls"][0, 0, 0])
    best = max(found[:N_TRAITS], key=lambda row: row["neg_log10_p"] or 0)
    assert best["trait"] == "d09"
    text = run.report_path.read_text()
    assert "Phenome-wide scan of variants" in text
    assert "Manhattan" not in text.split("<script")[0]
    panel = page_data(phenome.folder / "run", "predictor-0-data")
    assert panel["tested"] == N_TRAITS - 1
    order = page_data(phenome.folder / "run", "phenome")
    assert order["categories"] == ["Lungs", "Heart", "Other traits"]
    assert order["sizes"] == [14, 13, 3]


def test_the_genome_by_the_phenome_is_the_same_job_without_the_list(phenome: Cohort) -> None:
    traits = {"file": "traits.tsv", "columns": ["height", "ldl"]}
    job = keys(predictors=None, genotypes="cohort.zarr", traits=traits, report={"significance": 1e-6})
    run = Job.from_dict(job, base=phenome.folder).run()
    found = rows(phenome.folder / "run")
    assert {row["predictor"] for row in found} == {"rs40"}
    assert [row["trait"] for row in found] == ["height", "ldl"]
    text = run.report_path.read_text()
    assert "Manhattan plots" in text
    assert "Traits of the lead variants" in text
    assert page_data(phenome.folder / "run", "predictor-0-data")["name"] == "rs40"
    # Another threshold, other leads: the table follows the page.
    rewrite_report(phenome.folder / "run", significance=1e-40)
    assert rows(phenome.folder / "run") == []
    assert "No variant is significant in any trait." in run.report_path.read_text()


def test_small_counts_are_not_on_the_page(phenome: Cohort) -> None:
    Job.from_dict(keys(), base=phenome.folder).run()
    found = {row["trait"]: row for row in rows(phenome.folder / "run") if row["predictor"] == "score"}
    cases, n = found["d08"]["cases"], found["d08"]["n"]
    assert 12 <= cases <= 14
    order = page_data(phenome.folder / "run", "phenome")["traits"]
    table_ = page_data(phenome.folder / "run", "predictor-0-data")["table"]
    at = table_["trait"].index(order.index("d08"))
    assert (table_["cases"][at], table_["controls"][at], table_["n"][at]) == (-2, n - cases, -1)
    shown = json.loads(
        re.search(r"<pre>(.*?)</pre>", (phenome.folder / "run" / "report.html").read_text(), re.DOTALL)[1]  # type: ignore[index]
        .replace("&#34;", '"')
        .replace("&#39;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
    )
    told = {trait["name"]: trait for trait in shown["traits"]}
    assert told["d08"] == told["d08"] | {"n": "≤20", "cases": "≤20", "mean": None}
    assert told["d00"]["cases"] > 20


def test_nobody_is_named(phenome: Cohort) -> None:
    Job.from_dict(keys(), base=phenome.folder).run()
    for path in (phenome.folder / "run").rglob("*"):
        if path.is_file() and path.name != "job.yaml":
            content = path.read_bytes()
            assert not [person for person in phenome.ids if person.encode() in content], path.name


def test_a_trait_is_not_tested_against_itself(phenome: Cohort) -> None:
    predictors = {"file": "levels.tsv", "columns": ["m1", "m2"]}
    job = Job.from_dict(
        keys(predictors=predictors, traits={"file": "levels.tsv", "columns": ["*"]}), base=phenome.folder
    )
    assert "predictors are traits too, and are not tested against themselves: m1, m2" in job.check().warnings
    job.run()
    status = {(row["predictor"], row["trait"]): row["status"] for row in rows(phenome.folder / "run")}
    assert [pair for pair, code in status.items() if code == "NOT_TESTED"] == [("m1", "m1"), ("m2", "m2")]
    assert "trait is the predictor" in (phenome.folder / "run" / "report.html").read_text()


def spoil(column: str, make: Callable[[int, str], str]) -> Callable[[Path], None]:
    def spoilt(folder: Path) -> None:
        lines = [line.split("\t") for line in (folder / "predictors.tsv").read_text().splitlines()]
        at = lines[0].index(column)
        for k, line in enumerate(lines[1:]):
            line[at] = make(k, line[at])
        (folder / "predictors.tsv").write_text("\n".join("\t".join(line) for line in lines) + "\n")

    return spoilt


def nothing(_folder: Path) -> None: ...


@pytest.mark.parametrize(
    ("spoilt", "changes", "told"),
    [
        (
            spoil("score", lambda _k, _cell: "3"),
            {},
            "the predictor 'score' does not vary: everybody who is analysed has 3",
        ),
        (spoil("score", lambda k, cell: "high" if k == 3 else cell), {}, "predictors.tsv, line 5"),
        (
            spoil("score", lambda _k, _cell: "NA"),
            {"predictors": {"file": "predictors.tsv", "columns": "score"}},
            "missing",
        ),
        (spoil("score", lambda k, cell: "inf" if k == 3 else cell), {}, "inf"),
        (
            nothing,
            {"predictors": {"file": "predictors.tsv", "columns": ["scores"]}},
            "there is no predictor column 'scores'",
        ),
        (nothing, {"predictors": {"file": "nowhere.tsv", "columns": ["x"]}}, "there is no file 'nowhere.tsv'"),
        (nothing, {"predictors": {"file": "predictors.tsv", "columns": ["calls", "calls"]}}, "is listed twice"),
        (nothing, {"predictors": {"file": "predictors.tsv", "columns": []}}, "columns"),
        (nothing, {"mode": "gwas"}, "by a phenome-wide scan only"),
        (nothing, {"genotypes": "cohort.zarr"}, "both genotypes and predictors"),
        (nothing, {"predictors": None}, "the key `genotypes` is missing"),
        (nothing, {"model": "dominant"}, "`model` is about variants"),
        (nothing, {"null_model": "whole_genome"}, "`null_model` is about variants"),
        (nothing, {"traits": {"file": "diseases.tsv", "columns": ["zz*"], "type": "binary"}}, "no trait column 'zz*'"),
        (nothing, {"samples": {"exclude": "everybody.txt"}}, "nobody is left to analyse"),
        (nothing, {"runtime": {"memory": "300MB"}}, "the scan needs"),
    ],
)
def test_what_cannot_be_done_is_refused(
    phenome: Cohort, spoilt: Callable[[Path], None], changes: dict[str, Any], told: str
) -> None:
    spoilt(phenome.folder)
    (phenome.folder / "everybody.txt").write_text("\n".join(phenome.ids) + "\n")
    with pytest.raises(AllscanError) as refused:
        Job.from_dict(keys(**changes), base=phenome.folder).plan()
    assert told in str(refused.value)
    assert not [person for person in phenome.ids if person in str(refused.value)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("trait\tname\nd01\tx\n", "'label' or category"),
        ("code\tlabel\nd01\tx\n", "there is no column 'trait'"),
        ("trait\tlabel\nd01\tx\nd01\ty\n", "'d01' is described twice"),
        ("trait\tlabel\n\ty\n", "the trait's name is empty"),
    ],
)
def test_descriptions_that_say_nothing_are_refused(phenome: Cohort, text: str, told: str) -> None:
    (phenome.folder / "descriptions.tsv").write_text(text)
    with pytest.raises(InputError) as refused:
        Job.from_dict(keys(), base=phenome.folder).check()
    assert told in str(refused.value)


def test_traits_without_a_description_are_told(phenome: Cohort) -> None:
    warnings = Job.from_dict(keys(), base=phenome.folder).check().warnings
    assert any("3 traits are not described: d27, d28, d29" in warning for warning in warnings)


def test_by_command(phenome: Cohort, allscan_cli: CommandLine) -> None:
    path = phenome.folder / "phewas.yaml"
    path.write_text(json.dumps(keys()))
    checked = allscan_cli("check", path)
    assert "predictors  predictors.tsv: 240 people" in checked.output
    assert "effects per 1 against 0" in checked.output
    planned = allscan_cli("plan", path)
    assert "60 (2 predictors × 30 traits) in" in planned.output
    done = allscan_cli("run", path)
    assert done.exit_code == 0, done.output
    assert "phewas.parquet" in done.stdout
    assert "results.zarr" not in done.stdout
    assert allscan_cli("status", phenome.folder / "run").exit_code == 0
    exported = allscan_cli("export", phenome.folder / "run", "--trait", "d01", "--format", "plink", "--out", "x")
    assert exported.exit_code == 2
    assert "its results are the table phewas.parquet" in exported.output
    run = Job.from_yaml(path).run()
    assert run.phewas_path == phenome.folder / "run" / "phewas.parquet"
    with pytest.raises(InputError, match="columns of a table"):
        run.results()
    assert allscan_cli("report", phenome.folder / "run").exit_code == 0


@pytest.mark.reference
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("case", ["predictors", "variants", "genome"])
def test_the_page_draws_in_a_browser_without_errors(phenome: Cohort, tmp_path: Path, case: str) -> None:
    of_variants = {"predictors": None, "genotypes": "cohort.zarr"}
    changes: dict[str, dict[str, Any]] = {
        "predictors": {},
        "variants": {**of_variants, "variants": {"ids": ["rs40", "rs300"]}},
        "genome": {
            **of_variants,
            "traits": {"file": "traits.tsv", "columns": ["height", "ldl"]},
            "report": {"significance": 1e-6},
        },
    }
    run = Job.from_dict(keys(**changes[case]), base=phenome.folder).run()
    command = [
        *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"),
        f"{Path(str(run.report_path)).as_uri()}#predictor-0",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count("<article") == {"predictors": 2, "variants": 2, "genome": 3}[case]
    assert done.stdout.count('aria-label="Phenome-wide plot of') == {"predictors": 2, "variants": 2, "genome": 1}[case]
