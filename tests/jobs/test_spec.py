"""The job model: what a job may say, and how each mistake is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from allscan.documents.yaml_source import parse_yaml
from allscan.errors import JobError
from allscan.jobs.job import Job
from allscan.jobs.runtime_spec import parse_memory
from allscan.jobs.schema import DESCRIBED, json_schema, markdown_reference
from allscan.jobs.spec import JobSpec, Transform, validate_job
from allscan.phenotypes.transforms import TRANSFORMS

SMALLEST = """\
name: lipids
genotypes: cohort.zarr
traits: {file: traits.tsv, columns: [ldl, hdl]}
covariates: {file: covariates.tsv, formula: "age + sex + pc[1:10]"}
output: runs/lipids
"""


def job(text: str) -> JobSpec:
    document = parse_yaml(text, Path("job.yaml"))
    return validate_job(document.data, document)


def refusal(text: str) -> JobError:
    with pytest.raises(JobError) as error:
        job(text)
    return error.value


def test_the_smallest_job_is_read_with_the_defaults_of_the_reference() -> None:
    spec = job(SMALLEST)
    assert list(spec.traits.columns) == ["ldl", "hdl"]
    assert spec.model == "additive"
    assert spec.missing_genotypes == "impute_mean"
    assert (spec.test.name, spec.test.options) == ("linear", {})
    assert (spec.chromosome_x.male_dosage, spec.chromosome_x.sex_covariate) == (2, True)
    assert spec.results.hits_neg_log10_p == 5.0
    assert spec.variants.max_missing_rate == 1.0
    assert spec.runtime.executor == "embedded"


def test_every_key_may_be_written() -> None:
    spec = job(
        """\
name: all
genotypes: g.zarr
traits:
  file: t.parquet
  id_column: person_id
  transform: standardise
  missing_values: [-9, "x"]
  columns:
    ldl: {type: quantitative, transform: rank_inverse_normal}
    hdl:
    phe_*: {}
covariates: {file: c.csv, formula: age, id_column: person_id, missing_values: -9}
samples: {keep: k.txt, exclude: [a.txt, b.txt], sex: gender, sex_codes: {male: 0, female: 1}}
variants: {regions: [22, "X:1-1000"], min_mac: 5, min_maf: 0.01, max_missing_rate: 0.1, min_info: 0.3}
model: genotypic
missing_genotypes: exclude
test: {name: linear, options: {}}
chromosome_x: {male_dosage: 1, sex_covariate: false}
results: {hits_neg_log10_p: 6}
report: {significance: 1e-8, lead_window_kb: 250}
output: out
runtime: {workers: 3, memory: 8GB, executor: embedded}
"""
    )
    assert spec.traits.missing_values == ["-9", "x"]
    assert spec.traits.columns["hdl"].transform is None
    assert spec.covariates is not None
    assert spec.covariates.missing_values == ["-9"]
    assert spec.samples.keep == ["k.txt"]
    assert spec.samples.sex_codes is not None
    assert spec.samples.sex_codes.female == "1"
    assert spec.variants.regions == ["22", "X:1-1000"]
    assert spec.report.significance == 1e-8
    # The resolved job, as it stands in the provenance, is a job again.
    assert validate_job(json.loads(json.dumps(spec.model_dump(exclude_unset=True)))) == spec
    other = Job(spec, Path(), None).with_runtime(workers=3).spec
    assert (other.test, other.runtime.workers) == (spec.test, 3)


def test_a_test_may_be_given_by_its_name() -> None:
    assert job(SMALLEST + "test: linear\n") == job(SMALLEST + "test: {name: linear}\n")


@pytest.mark.parametrize(
    ("more", "where", "what", "fix"),
    [
        pytest.param("modell: dominant", "job.yaml:6:1, key modell", "unknown key 'modell'", "'model'", id="misspelt"),
        pytest.param(
            "variants: {min_mafs: 0.1}", "job.yaml:6:12, key variants.min_mafs", "unknown", "'min_maf'", id="nested"
        ),
        pytest.param("min_maf: 0.1", "job.yaml:6:1, key min_maf", "unknown", "under 'variants'", id="misplaced"),
        pytest.param("report: {workers: 2}", "key report.workers", "unknown", "under 'runtime'", id="misplaced below"),
        pytest.param("runtime: {model: x}", "key runtime.model", "unknown", "top level", id="belongs on top"),
        pytest.param("qqqqq: 1", "key qqqqq", "unknown", "known keys here: name, mode", id="far from all"),
        pytest.param("model: dominnt", "job.yaml:6:1, key model", "none of its values", "'dominant'", id="choice"),
        pytest.param("chromosome_x: {male_dosage: 3}", "male_dosage", "is 3", "write 2, 1", id="number choice"),
        pytest.param("variants: {min_maf: 0.9}", "min_maf", "0.9", "0 to 0.5", id="too large"),
        pytest.param("variants: {min_mac: '5'}", "min_mac", "not a number", "a number", id="quoted number"),
        pytest.param("variants: {min_mac: .inf}", "min_mac", "inf", "finite", id="infinite"),
        pytest.param("variants: {min_maf: .nan}", "min_maf", "nan", "", id="not a number"),
        pytest.param("variants:", "key variants", "has no value", "remove the key", id="empty section"),
        pytest.param("variants: [a]", "key variants", "a list", "section of keys", id="list for section"),
        pytest.param("variants: {regions: '22:9-5'}", "variants.regions", "ends before", "START", id="region"),
        pytest.param("runtime: {workers: 0}", "runtime.workers", "is 0", "Tasks", id="no workers"),
        pytest.param("runtime: {workers: 1.5}", "runtime.workers", "1.5", "whole number", id="half a worker"),
        pytest.param("runtime: {memory: 8}", "runtime.memory", "no", "8GB", id="memory without unit"),
        pytest.param("runtime: {memory: 1MB}", "runtime.memory", "too little", "", id="too little memory"),
        pytest.param("runtime: {executor: dask}", "runtime.executor", "'dask'", "embedded", id="executor"),
        pytest.param(
            "runtime: {executor: ray, address: the cluster}",
            "runtime.address",
            "'the cluster'",
            "HOST:PORT",
            id="address",
        ),
        pytest.param("runtime: {address: auto}", "runtime", "set `executor: ray` too", "", id="no executor"),
        pytest.param("chromosome_x: {sex_covariate: no}", "sex_covariate", "'no'", "true or false", id="no is a word"),
        pytest.param("samples: {sex: 2443}", "samples.sex", "2443", "quotes: '2443'", id="number for text"),
        pytest.param("samples: {keep: [[a]]}", "samples.keep[0]", "a list", "text", id="list in list"),
        pytest.param('samples: {sex: ""}', "samples.sex", "empty", "Column", id="empty text"),
        pytest.param('samples: {sex: "a\\nb"}', "samples.sex", "line break", "Column", id="line break"),
        pytest.param("report: {significance: 0}", "report.significance", "is 0", "p-value", id="zero p"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_the_way_out(more: str, where: str, what: str, fix: str) -> None:
    error = refusal(SMALLEST + more + "\n")
    assert where in (error.where or "")
    assert what in error.what
    assert fix in (error.fix or "")


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ("[]", "'columns' is empty"),
        ("{}", "'columns' is empty"),
        ("[ldl, ldl]", "listed twice"),
        ("[1]", "put it in quotes: '1'"),
        ("[true]", "put it in quotes: 'true'"),
        ("{ldl: {transfrm: log}}", "unknown key 'transfrm'"),
        ("{ldl: {transform: logg}}", "none of its values"),
        ("{ldl: {type: ordinal}}", "none of its values"),
        ("[ldl, hdl], type: binary, transform: log", "the trait 'ldl' is binary, and there is a transform"),
        ("{dm: {type: binary, transform: log}}", "the trait 'dm' is binary, and there is a transform"),
        ("{ldl: log}", "not a section of keys"),
    ],
)
def test_mistakes_in_trait_columns(columns: str, what: str) -> None:
    error = refusal(SMALLEST.replace("[ldl, hdl]", columns))
    assert what in error.what
    assert (error.where or "").startswith("job.yaml:3:")


@pytest.mark.parametrize(
    ("traits", "more", "test"),
    [
        ("columns: [ldl]", "", "linear"),
        ("columns: [dm], type: binary", "", "logistic"),
        ("columns: {dm: {type: binary}}", "", "logistic"),
        ("columns: {'phe_*': {type: binary}}, type: quantitative", "", "logistic"),
        ("columns: {ldl: {type: quantitative}}, type: binary", "", "linear"),
        ("columns: [dm], type: binary", "test: firth", "firth"),
        ("columns: [dm], type: binary", "test: {options: {min_cases: 20}}", "logistic"),
        ("columns: [ldl]", "null_model: {method: sparse_grm, relatedness: king.kin0}", "mixed"),
        ("columns: [ldl]", "null_model: whole_genome", "linear"),
    ],
)
def test_the_test_follows_the_traits_where_the_job_names_none(traits: str, more: str, test: str) -> None:
    text = SMALLEST.replace("columns: [ldl, hdl]", traits) + more + "\n"
    spec = job(text)
    assert spec.test.name == test
    assert spec.traits.kinds == (("quantitative",) if test in ("linear", "mixed") else ("binary",))
    # Written out and read again, it is the same job.
    assert validate_job(json.loads(json.dumps(spec.model_dump(exclude_unset=True)))) == spec
    other = Job(spec, Path(), None).with_runtime(workers=3).spec
    assert (other.test, other.null_model, other.runtime.workers) == (spec.test, spec.null_model, 3)


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    error = refusal("genotypes: 5\nnme: x\ntraits: {file: t.tsv}\n")
    lines = error.what.splitlines()
    assert lines[0] == "the job has 5 problems:"
    assert [line.split(", key ")[1].split(":")[0] for line in lines[1:]] == [
        "name",
        "genotypes",
        "output",
        "nme",
        "traits.columns",
    ]


def test_a_job_from_python_is_refused_by_key() -> None:
    keys: dict[str, Any] = {"name": "x", "genotypes": "g", "traits": {"file": "t", "columns": ["a"]}, "outptu": "o"}
    with pytest.raises(JobError, match="outptu") as error:
        Job.from_dict(keys)
    assert "key outptu" in error.value.what
    keys["output"] = keys.pop("outptu")
    made = Job.from_dict(keys, base="somewhere")
    assert made.output == Path("somewhere/o")
    assert "x" in repr(made)


def test_run_time_settings_win_over_the_file() -> None:
    document = parse_yaml(SMALLEST + "runtime: {workers: 2, memory: 4GB}\n", Path("job.yaml"))
    made = Job(validate_job(document.data), Path(), document)
    assert made.with_runtime().spec.runtime.workers == 2
    changed = made.with_runtime(workers=7, memory="1GiB").spec.runtime
    assert (changed.workers, changed.memory) == (7, "1GiB")
    with pytest.raises(JobError, match="not an amount of memory"):
        made.with_runtime(memory="lots")


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 8 * 10**9), ("8 GiB", 8 * 2**30), ("1.5G", 1_500_000_000), ("500mb", 500_000_000), ("1TiB", 2**40)],
)
def test_memory_units(text: str, size: int) -> None:
    assert parse_memory(text) == size


def test_transforms_are_those_of_the_phenotypes() -> None:
    assert set(Transform.__args__) == set(TRANSFORMS)


@pytest.mark.parametrize("of", DESCRIBED)
def test_the_reference_page_is_the_model(repository: Path, of: str) -> None:
    page = repository / "docs" / "reference" / f"{of}.md"
    assert page.read_text(encoding="utf-8") == markdown_reference(of), (
        f"write it anew: allscan schema --of {of} --format markdown > docs/reference/{of}.md"
    )


def test_the_reference_page_describes_every_key() -> None:
    page = markdown_reference()
    for section in (JobSpec, *(field.annotation for field in JobSpec.model_fields.values())):
        for name, field in getattr(section, "model_fields", {}).items():
            row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
            assert row.split("|")[4].strip(), name
            assert field.description


def test_the_json_schema_names_every_key_and_allows_both_forms_of_columns() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == set(JobSpec.model_fields)
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"name", "traits", "output"}
    columns = schema["$defs"]["TraitsSection"]["properties"]["columns"]
    assert {option["type"] for option in columns["anyOf"]} == {"array", "object"}
