"""The check of a job: what would be analysed, and which inputs are refused before work starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from allscan.errors import InputError, JobError
from allscan.jobs.check import check_job
from allscan.jobs.job import Job
from allscan.jobs.run import job_text

if TYPE_CHECKING:
    from conftest import Cohort

    from allscan.jobs.check_report import CheckReport


def check(cohort: Cohort, **changes: object) -> CheckReport:
    return Job.from_yaml(cohort.job(**changes)).check()


def test_the_accounting_adds_up(cohort: Cohort) -> None:
    report = check(cohort)
    lines = {line.reason: line.count for line in report.accounting}
    assert lines["in the genotypes"] == 240
    assert lines["analysed"] == report.n_analysed == 230
    assert sum(count for reason, count in lines.items() if "not in the trait table" in reason) == 10
    assert sum(count for reason, count in lines.items() if "in the trait table" in reason and "not in the g" in reason)
    assert sum(report.sex.values()) == 230
    assert [(trait.name, trait.n) for trait in report.traits] == [("height", 230), ("ldl", 204)]
    assert report.covariates == ("intercept", "age", "sex[male]")


def test_the_design_holds_the_people_of_the_tables_in_store_order(cohort: Cohort) -> None:
    checked = check_job(Job.from_yaml(cohort.job()))
    assert np.array_equal(checked.strata[0].design.store_rows, np.arange(230))
    ages = {}
    for row in (cohort.folder / "covariates.tsv").read_text().splitlines()[1:]:
        person, age, *_ = row.split("\t")
        ages[person] = float(age)
    expected = [ages[cohort.ids[row]] for row in checked.strata[0].design.store_rows]
    column = checked.strata[0].design.covariate_names.index("age")
    assert checked.strata[0].design.covariates[:, column].tolist() == expected


def test_ids_are_shown_to_the_analyst_and_nowhere_else(cohort: Cohort) -> None:
    report = check(cohort)
    assert "P0230" in report.text(examples=True)
    assert "STRANGER" in report.text(examples=True)
    for text in (report.text(), repr(report), str(report)):
        assert "P02" not in text
        assert "STRANGER" not in text


def test_collinear_covariates_are_named(cohort: Cohort) -> None:
    report = check(cohort, covariates={"file": "covariates.tsv", "formula": "age + sex + age_months"})
    assert report.dropped_covariates == (("age_months", "a linear combination of the covariates before it"),)
    assert "dropped: age_months" in report.text()


def test_a_constant_trait_is_told_and_the_check_goes_on(cohort: Cohort) -> None:
    report = check(cohort, traits={"file": "traits.tsv", "columns": ["height", "flat"]})
    assert [trait.status for trait in report.traits] == ["ok", "constant"]
    assert "CONSTANT" in report.text()


def test_keep_and_exclude_lists(cohort: Cohort) -> None:
    (cohort.folder / "keep.txt").write_text("\n".join(cohort.ids[:100]) + "\n")
    (cohort.folder / "withdrawn.txt").write_text("\n".join([*cohort.ids[:7], "NOBODY"]) + "\n")
    report = check(cohort, samples={"keep": "keep.txt", "exclude": ["withdrawn.txt"]})
    assert report.n_analysed == 93
    counts = [line.count for line in report.accounting if "withdrawn.txt" in line.reason]
    assert 7 in counts


def test_sex_of_the_table_wins_over_the_store_and_differences_are_told(cohort: Cohort) -> None:
    table = cohort.folder / "covariates.tsv"
    lines = table.read_text().splitlines()
    swapped = "female" if lines[1].split("\t")[2] == "male" else "male"
    cells = lines[1].split("\t")
    lines[1] = "\t".join([*cells[:2], swapped, cells[3]])
    table.write_text("\n".join(lines) + "\n")
    report = check(cohort)
    assert any("sex of 1 people differs" in warning for warning in report.warnings)


def test_sex_codes_of_the_job(cohort: Cohort) -> None:
    table = cohort.folder / "covariates.tsv"
    table.write_text(table.read_text().replace("\tfemale\t", "\t1\t").replace("\tmale\t", "\t0\t"))
    before = check(cohort).sex
    told = check(cohort, samples={"sex": "sex", "sex_codes": {"male": 0, "female": 1}})
    assert told.sex == before  # the store's sex, which the table then agrees with
    assert not [warning for warning in told.warnings if "differs" in warning]
    turned = check(cohort, samples={"sex": "sex", "sex_codes": {"male": 1, "female": 0}})
    assert (turned.sex["male"], turned.sex["female"]) == (before["female"], before["male"])


def test_regions_count_variants_and_match_other_spellings(cohort: Cohort) -> None:
    assert check(cohort, variants={"regions": ["chr22"]}).n_in_regions == 150
    report = check(cohort, variants={"regions": ["21:10000000-10004000", "X:1-10000000"], "min_maf": 0.05})
    assert report.n_in_regions == 5 + 1
    assert report.filters[0] == "in 21:10000000-10004000, X:1-10000000"
    assert "frequency at least 0.05" in report.filters[1]


def test_chromosome_x_without_sex_is_told(cohort: Cohort) -> None:
    import zarr

    sex = zarr.open_group(cohort.store, mode="r+")["sample_sex"]
    assert isinstance(sex, zarr.Array)
    # Zarr leaves a chunk of zeros out, unless it is told not to.
    sex.with_config({"write_empty_chunks": True})[:] = 0
    report = check(cohort, covariates={"file": "covariates.tsv", "formula": "age"}, samples={})
    assert report.sex["unknown"] == 0  # the column `sex` of the covariate table is found
    without = check(cohort, covariates=None)
    assert without.sex["unknown"] == 230
    assert any("230 of 230 analysed people is unknown" in warning for warning in without.warnings)


def test_a_pinned_core_type_is_told(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    from allscan.jobs import machine

    monkeypatch.setattr(machine, "_cpu_line", lambda key: "fpu avx2 avx512f" if key == "flags" else "A CPU")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert any("OPENBLAS_CORETYPE=Haswell" in warning for warning in check(cohort).warnings)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "SkylakeX")
    assert not any("OPENBLAS" in warning for warning in check(cohort).warnings)


REFUSED = [
    pytest.param({"genotypes": "nowhere.zarr"}, "key genotypes", "no genotype store", "allscan ingest", id="no store"),
    pytest.param({"genotypes": "raw.vcf.gz"}, "key genotypes", "not a genotype store", "allscan ingest", id="raw VCF"),
    pytest.param({"genotypes": "raw.bed"}, "key genotypes", "not a genotype store", "raw.zarr", id="raw bed"),
    pytest.param({"genotypes": "half.zarr"}, "key genotypes", "not finished", "same `allscan ingest`", id="half store"),
    pytest.param({"genotypes": "traits.tsv"}, "key genotypes", "not a genotype store", "ingest", id="table as store"),
    pytest.param(
        {"traits": {"file": "nowhere.tsv", "columns": ["a"]}}, "key traits.file", "no file", "relative", id="no traits"
    ),
    pytest.param(
        {"traits": {"file": "traits.tsv", "columns": ["hight"]}}, "traits.tsv", "'hight'", "'height'", id="no column"
    ),
    pytest.param(
        {"covariates": {"file": "none.csv", "formula": "age"}}, "key covariates.file", "no file", "", id="no covariates"
    ),
    pytest.param(
        {"covariates": {"file": "covariates.tsv", "formula": "agee"}}, "", "agee", "age", id="unknown covariate"
    ),
    pytest.param({"samples": {"exclude": ["no.txt"]}}, "key samples.exclude[0]", "no file", "", id="no list"),
    pytest.param({"variants": {"regions": ["7"]}}, "key variants.regions", "'7'", "21, 22, X", id="unknown contig"),
    pytest.param({"variants": {"regions": ["21:1-5"]}}, "key variants.regions", "no variant", "build", id="no variant"),
    pytest.param({"test": "linaer"}, "key test", "'linear'", "installed", id="unknown test"),
    pytest.param(
        {"test": {"name": "linear", "options": {"firth": True}}}, "key test.options.firth", "no option", "", id="option"
    ),
]


@pytest.mark.parametrize(("changes", "where", "what", "fix"), REFUSED)
def test_inputs_are_refused_with_what_where_and_what_to_do(
    cohort: Cohort, changes: dict[str, object], where: str, what: str, fix: str
) -> None:
    (cohort.folder / "raw.vcf.gz").write_bytes(b"")
    (cohort.folder / "raw.bed").write_bytes(b"")
    (cohort.folder / "half.zarr.partial").mkdir()
    with pytest.raises(InputError) as error:
        check(cohort, **changes)
    assert where in (error.value.where or "")
    assert what in error.value.what
    assert error.value.fix
    assert fix in error.value.fix


def test_zero_overlap_of_ids_is_refused_and_shows_both_sides(cohort: Cohort) -> None:
    table = cohort.folder / "traits.tsv"
    table.write_text("".join(line.replace("P0", "X0", 1) + "\n" for line in table.read_text().splitlines()))
    with pytest.raises(InputError) as error:
        check(cohort)
    text = str(error.value)
    assert "X0" in text
    assert "P0" in text


def test_a_test_for_other_traits_is_refused_before_any_table_is_read(cohort: Cohort) -> None:
    (cohort.folder / "traits.tsv").write_text("IID\theight\nP1\twords\n")
    with pytest.raises(JobError, match="'linear' is for quantitative traits, and those of the job are binary") as error:
        check(cohort, traits={"file": "traits.tsv", "columns": ["height"], "type": "binary"}, test="linear")
    assert "key test" in (error.value.where or "")
    assert "the default is 'logistic'" in (error.value.fix or "")


def test_relatives_by_a_mixed_model_are_for_quantitative_traits(cohort: Cohort) -> None:
    traits = {"file": "traits.tsv", "columns": ["height"], "type": "binary"}
    with pytest.raises(JobError, match="`method: sparse_grm` is for quantitative traits") as error:
        check(cohort, traits=traits, null_model={"method": "sparse_grm", "relatedness": "traits.tsv"})
    assert "key null_model" in (error.value.where or "")
    assert "whole_genome" in (error.value.fix or "")


def test_variables_and_stars_in_paths(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = cohort.job()
    monkeypatch.setenv("ALLSCAN_TEST_TABLES", str(cohort.folder))
    traits = {"file": "${ALLSCAN_TEST_TABLES}/tra*.tsv", "columns": ["height", "ldl"]}
    job = cohort.job("variables.yaml", traits=traits)
    found = Job.from_yaml(job)
    assert found.check().n_analysed == Job.from_yaml(plain).check().n_analysed
    # The copy in a run folder means the same where the variable is not set.
    copy = cohort.folder / "copy.yaml"
    copy.write_text(job_text(found))
    monkeypatch.delenv("ALLSCAN_TEST_TABLES")
    assert Job.from_yaml(copy).spec == found.spec
    with pytest.raises(JobError, match="'ALLSCAN_TEST_TABLES' is not set"):
        Job.from_yaml(job)
