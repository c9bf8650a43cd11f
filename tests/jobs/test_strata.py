"""Groups of people that are scanned together and apart, from the job file to the results."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from allscan.engine.null_model_files import NullModelFiles
from allscan.engine.results import ResultsCube
from allscan.errors import InputError, JobError
from allscan.jobs.check import check_job
from allscan.jobs.job import Job
from tests.jobs.conftest import Cohort, CommandLine

if TYPE_CHECKING:
    from pathlib import Path

MARKERS = {"method": "whole_genome", "block_markers": 100, "markers": {"min_maf": 0.05, "prune_r2": None}}


def label(k: int) -> str:
    """The group of a person: 110 eur, 80 afr, 6 sas, 44 in none."""
    return "eur" if k < 110 else "afr" if k < 190 else "sas" if k < 196 else "oth"


@pytest.fixture
def grouped(cohort: Cohort) -> Cohort:
    """The small cohort, with a table of ancestry groups and a disease."""
    rows = [f"{person}\t{label(k)}" for k, person in enumerate(cohort.ids[:-5])]
    (cohort.folder / "groups.tsv").write_text("\n".join(["research_id\tancestry_pred_other", *rows]) + "\n")
    # Five cases in afr, 55 in eur.
    ill = [int(k < 55 or 110 <= k < 115) for k in range(len(cohort.ids))]
    lines = ["IID\tdm\tldl", *(f"{person}\t{ill[k]}\t{(k * 37) % 101}" for k, person in enumerate(cohort.ids))]
    (cohort.folder / "ill.tsv").write_text("\n".join(lines) + "\n")
    return cohort


def job(cohort: Cohort, **changes: Any) -> Job:
    return Job.from_yaml(cohort.job(f"{changes.get('output', 'run')}.yaml", **changes))


def both(cohort: Cohort, **changes: Any) -> dict[str, Any]:
    """Keys of a job by ancestry."""
    return {"ancestry": {"groups": "groups.tsv", "min_people": 50, "min_cases": 20, **changes}}


def test_every_group_is_scanned_or_told(grouped: Cohort) -> None:
    report = job(grouped, **both(grouped), strata="sex").check()
    by_ancestry, by_sex = report.strata
    told = {group.name: (group.stratum, group.n) for group in by_ancestry.groups}
    assert told == {"afr": ("ancestry=afr", 80), "eur": ("ancestry=eur", 110), "sas": (None, 6)}
    assert by_ancestry.n_outside == report.n_analysed - 196 == 34
    assert [group.stratum for group in by_sex.groups] == ["sex=female", "sex=male"]
    assert sum(group.n for group in by_sex.groups) == report.n_analysed
    text = report.text()
    assert "NOT SCANNED: 6 people are analysed, fewer than 50 (`min_people`)" in text
    assert "in no group: in the pooled scan only" in text
    assert "labelled 'oth'" in text
    assert "P00" not in text


@pytest.mark.parametrize(
    ("of_test", "reason"),
    [
        (50, "5 cases, fewer than 50 (`min_cases` of the test)"),
        (3, "5 cases, fewer than 20 (`min_cases`)"),
    ],
)
def test_a_trait_is_scanned_where_it_has_cases_enough(grouped: Cohort, of_test: int, reason: str) -> None:
    traits = {"file": "ill.tsv", "columns": {"dm": {"type": "binary"}, "ldl": {}}}
    test = {"binary": {"name": "logistic", "options": {"min_cases": of_test}}}
    checked = check_job(job(grouped, traits=traits, test=test, **both(grouped)))
    everybody, afr, eur = checked.strata
    assert [one.name for one in checked.strata] == ["all", "ancestry=afr", "ancestry=eur"]
    assert everybody.design.has_anybody.all()
    assert eur.design.has_anybody.all()
    assert afr.design.has_anybody.tolist() == [False, True]
    assert f"not dm: {reason}" in checked.report.text()
    (told,) = checked.report.strata
    assert told.to_json()["groups"][0]["traits_not_scanned"] == [{"trait": "dm", "reason": reason}]


def test_transforms_are_made_among_the_people_of_a_stratum(grouped: Cohort) -> None:
    traits = {"file": "traits.tsv", "columns": ["height"], "transform": "rank_inverse_normal"}
    for one in check_job(job(grouped, traits=traits, **both(grouped))).strata:
        values = one.design.traits[:, 0]
        assert abs(values.mean()) < 1e-12
        assert np.isclose(values.std(), 1, atol=0.05)


def test_a_stratum_is_what_a_job_of_its_people_finds(grouped: Cohort) -> None:
    traits = {"file": "traits.tsv", "columns": ["height", "ldl"], "transform": "rank_inverse_normal"}
    job(grouped, traits=traits, **both(grouped), strata=["sex"]).run()
    together = ResultsCube(grouped.folder / "run")
    assert together.strata == ("all", "ancestry=afr", "ancestry=eur", "sex=female", "sex=male")
    people = [person for k, person in enumerate(grouped.ids) if label(k) == "afr"]
    (grouped.folder / "afr.txt").write_text("\n".join(people) + "\n")
    job(grouped, traits=traits, samples={"keep": "afr.txt"}, output="alone").run()
    alone = ResultsCube(grouped.folder / "alone")
    for name in ("beta", "standard_error", "neg_log10_p", "n", "effect_allele_count", "status"):
        whole = (slice(0, 2), slice(0, together.n_variants))
        assert together.block(name, 1, *whole).tobytes() == alone.block(name, 0, *whole).tobytes()
    job(grouped, traits=traits, output="pooled").run()
    pooled = ResultsCube(grouped.folder / "pooled")
    assert together.block("beta", 0, *whole).tobytes() == pooled.block("beta", 0, *whole).tobytes()


def test_a_check_says_where_groups_cannot_be_combined(grouped: Cohort) -> None:
    told = job(grouped, model="genotypic", **both(grouped)).check().warnings
    assert "groups of ancestry are not combined: the model has not one effect per variant" in told
    assert not any("not combined" in warning for warning in job(grouped, **both(grouped)).check().warnings)


def test_provenance_says_who_was_scanned_apart(grouped: Cohort) -> None:
    job(grouped, **both(grouped, analyses="per_group")).run()
    document = json.loads((grouped.folder / "run" / "provenance.json").read_text())
    assert document["strata"] == ["ancestry=afr", "ancestry=eur"]
    (by_ancestry,) = document["stratifications"]
    assert [group["group"] for group in by_ancestry["groups"]] == ["afr", "eur", "sas"]
    assert by_ancestry["groups"][2]["stratum"] is None
    assert {file["role"] for file in document["inputs"]} >= {"ancestry.groups", "traits.file"}


def test_each_stratum_has_a_null_model_of_its_own(grouped: Cohort) -> None:
    given = {"null_model": MARKERS, "traits": {"file": "traits.tsv", "columns": ["height"]}}
    job(grouped, **given, **both(grouped, only=["eur"])).run()
    run = grouped.folder / "run"
    assert NullModelFiles(run / "null_model").traits[0].name == "height"
    assert NullModelFiles(run / "strata" / "ancestry=eur" / "null_model").traits[0].name == "height"
    loaded = {**given, "null_model": {"load": "run"}, "output": "again"}
    job(grouped, **loaded, **both(grouped, only=["eur"])).run()
    first, second = ResultsCube(run), ResultsCube(grouped.folder / "again")
    whole = (slice(0, 1), slice(0, first.n_variants))
    for stratum in range(2):
        assert first.block("beta", stratum, *whole).tobytes() == second.block("beta", stratum, *whole).tobytes()
    with pytest.raises(JobError, match="no null model of the stratum ancestry=afr"):
        job(grouped, **loaded, **both(grouped, only=["afr"])).check()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"ancestry": {"groups": "groups.tsv", "only": ["eru"]}}, "there is no group 'eru'"),
        ({"ancestry": "nothing.tsv"}, "nothing.tsv"),
        ({"ancestry": "groups.tsv", "strata": ["ancestry"]}, "grouped by 'ancestry' twice"),
        ({"ancestry": {}}, "not said who is in which group"),
        ({"strata": ["smoking"]}, "no column 'smoking'"),
        ({"strata": [{"column": "height", "file": "traits.tsv"}]}, "they are no groups"),
        ({"ancestry": {"groups": "groups.tsv", "analyses": "per_group", "min_people": 200}}, "no group has people"),
        ({"ancestry": {"groups": "groups.tsv", "analyses": ["pooled", "pooled"]}}, "stands twice"),
        ({"structure": "nothing"}, "no structure 'nothing'"),
    ],
)
def test_what_cannot_be_stratified_is_refused(grouped: Cohort, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        job(grouped, **keys).check()


def test_a_refusal_is_short_and_exits_with_2(grouped: Cohort, allscan_cli: CommandLine) -> None:
    path: Path = grouped.job(ancestry={"groups": "groups.tsv", "only": ["eru"]})
    result = allscan_cli("check", path)
    assert result.exit_code == 2
    assert "eur" in result.output
    assert "Traceback" not in result.output
