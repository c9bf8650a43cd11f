"""`variants.ids`: variants by name, in every mode."""

from __future__ import annotations

import json

import numpy as np
import pytest

from allscan.errors import JobError
from allscan.jobs.job import Job
from tests.jobs.conftest import Cohort


def names_tested(cohort: Cohort, **variants: object) -> list[str]:
    run = Job.from_yaml(cohort.job(variants=variants)).run()
    return [str(name) for name in run.results()["variant_id"].values]


def test_a_list_selects_by_identifier_and_by_place_and_alleles(cohort: Cohort) -> None:
    # Row 3 stands at 10,003,000 of contig 21, with alleles A and G in either order.
    assert names_tested(cohort, ids=["rs550", "21:10003000:G:A", "chr21:10000000:A:G"]) == ["rs0", "rs3", "rs550"]


def test_a_file_has_one_name_on_each_line_and_is_an_input_of_the_run(cohort: Cohort) -> None:
    (cohort.folder / "wanted.txt").write_text("rs7\n\nrs5\n")
    assert names_tested(cohort, ids="wanted.txt") == ["rs5", "rs7"]
    inputs = json.loads((cohort.folder / "run" / "provenance.json").read_text())["inputs"]
    assert "variants.ids" in [file["role"] for file in inputs]


def test_results_are_those_of_the_whole_scan(cohort: Cohort) -> None:
    whole = Job.from_yaml(cohort.job(output="whole")).run().results()
    few = Job.from_yaml(cohort.job(variants={"ids": ["rs40", "rs500"]})).run().results()
    at = np.isin(whole["variant_id"].values, ["rs40", "rs500"])
    np.testing.assert_array_equal(few["neg_log10_p"].values, whole["neg_log10_p"].values[..., at])


def test_names_and_regions_select_what_both_do(cohort: Cohort) -> None:
    report = Job.from_yaml(cohort.job(variants={"ids": ["rs1", "rs320"], "regions": ["22"]})).check()
    assert report.n_in_regions == 1
    assert report.filters[:2] == ("named by the job", "in 22")
    with pytest.raises(JobError, match="none of the variants named lies in 22"):
        Job.from_yaml(cohort.job(variants={"ids": ["rs1"], "regions": ["22"]})).check()


@pytest.mark.parametrize(
    ("name", "told"),
    [("rs5551", "rs5551 (is it rs555?)"), ("21:10003000:G:T", "is it 21:10003000 A/G?"), ("kgp9", "names: kgp9")],
)
def test_an_unknown_name_is_refused_with_the_nearest(cohort: Cohort, name: str, told: str) -> None:
    with pytest.raises(JobError) as refused:
        Job.from_yaml(cohort.job(variants={"ids": ["rs1", name]})).check()
    assert told in refused.value.what
    assert "key variants.ids" in str(refused.value)


def test_a_name_of_several_variants_means_all_and_is_told(cohort: Cohort) -> None:
    import zarr

    store = zarr.open_group(cohort.store, mode="r+")
    # A multi-allelic site that was split keeps one identifier.
    store["variant_id"][10] = "rs11"
    report = Job.from_yaml(cohort.job(variants={"ids": ["rs11"]})).check()
    assert report.n_in_regions == 2
    assert "names of several variants, which are all tested: rs11" in report.notes
