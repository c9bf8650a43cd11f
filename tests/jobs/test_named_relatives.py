"""Jobs with predictions of the rest of the genome that name relatives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from allscan.engine.null_model_files import FOLDER, NullModelFiles
from allscan.engine.plan import plan_scan
from allscan.engine.results import ResultsCube
from allscan.errors import InputError, JobError
from allscan.jobs.check import check_job
from allscan.jobs.job import Job
from allscan.jobs.run import run_job
from tests import naive
from tests.engine.null_models import draw_model
from tests.jobs.test_sparse_grm import assert_equal, make_alike, write_relatives

if TYPE_CHECKING:
    from tests.jobs.conftest import Cohort, CommandLine

WHOLE = {
    "method": "whole_genome",
    "markers": {"prune_r2": None, "min_maf": 0.05},
    "block_markers": 100,
    "relatedness": "relatives.tsv",
}
DRAWN = {"load": "earlier", "relatedness": "relatives.tsv"}


def table(run: Path, trait: str) -> dict[str, np.ndarray]:
    return ResultsCube(run).trait_table(trait)


def draw(cohort: Cohort, **settings: Any) -> None:
    place = cohort.folder / "earlier" / FOLDER
    draw_model(place, cohort.ids, ["height", "ldl"], chromosomes=("21", "22"), transform="none")
    if settings:
        header = place / "null_model.json"
        document = json.loads(header.read_text())
        document["settings"] |= settings
        header.write_text(json.dumps(document))


def test_variances_are_those_among_relatives(cohort: Cohort, allscan_cli: CommandLine) -> None:
    make_alike(cohort)
    write_relatives(cohort)
    draw(cohort)
    job = cohort.job(null_model=DRAWN)
    checked = allscan_cli("check", job)
    assert checked.exit_code == 0, checked.output
    assert "relatives.tsv: variances among relatives from kinship (test `linear`)" in checked.output
    assert "are not accounted for" not in checked.output
    done = allscan_cli("run", job)
    assert done.exit_code == 0, done.output
    assert not any(person in done.output for person in ("NOBODY", *cohort.ids))
    unheeded = cohort.job("unheeded.yaml", null_model={"load": "earlier"}, output="unheeded")
    assert "relatives are not accounted for" in allscan_cli("check", unheeded).output
    assert allscan_cli("run", unheeded).exit_code == 0
    design = check_job(Job.from_yaml(job)).strata[0].design
    related = design.relatedness
    assert related is not None
    assert design.offsets is not None
    relationship = naive.dense(related.first, related.second, related.value, related.diagonal)
    for t, trait in enumerate(design.trait_names):
        found, plain = (table(cohort.folder / run, trait) for run in ("run", "unheeded"))
        for chromosome in ("21", "22"):
            here = (found["contig"] == chromosome) & np.isfinite(found["beta"])
            left = design.traits[:, t] - design.offsets.of(chromosome, np.array([t]))[:, 0]
            factor = naive.relatives_factor(left, design.covariates, relationship, "additive")
            assert abs(factor - 1) > 0.02
            ratio = found["standard_error"][here] / plain["standard_error"][here]
            np.testing.assert_allclose(ratio, np.sqrt(factor), rtol=1e-5)
            np.testing.assert_array_equal(found["beta"][here], plain["beta"][here])
    provenance = json.loads((cohort.folder / "run" / "provenance.json").read_text())
    relatives = provenance["null_model"]["relatives"]
    assert (relatives["path"], relatives["pairs"]) == ("relatives.tsv", len(related.first))
    notes = [note["message"] for note in provenance["trait_notes"] if note["trait"] == "height"]
    assert len([message for message in notes if message.startswith("standard errors times")]) == 1
    assert "standard errors times" in (cohort.folder / "run" / "report.html").read_text()


def test_a_fitted_model_keeps_relatives_together(cohort: Cohort, allscan_cli: CommandLine) -> None:
    make_alike(cohort)
    write_relatives(cohort)
    for test in ("linear", "mixed"):
        run_job(Job.from_yaml(cohort.job(f"{test}.yaml", null_model=WHOLE, test=test, output=test)))
    model = NullModelFiles(cohort.folder / "linear" / FOLDER)
    assert model.settings["families_together"]
    assert model.model_digest == NullModelFiles(cohort.folder / "mixed" / FOLDER).model_digest
    apart = {key: value for key, value in WHOLE.items() if key != "relatedness"}
    run_job(Job.from_yaml(cohort.job("apart.yaml", null_model=apart, output="apart")))
    other = NullModelFiles(cohort.folder / "apart" / FOLDER)
    assert not other.settings["families_together"]
    assert other.model_digest != model.model_digest
    # Loaded, it gives the same; by either test.
    for test in ("linear", "mixed"):
        section = {"load": test, "relatedness": "relatives.tsv"}
        job = cohort.job(f"again_{test}.yaml", null_model=section, test=test, output=f"again_{test}")
        run_job(Job.from_yaml(job))
        for trait in ("height", "ldl"):
            assert_equal(cohort.folder / test, cohort.folder / f"again_{test}", trait)
    provenance = json.loads((cohort.folder / "mixed" / "provenance.json").read_text())
    notes = [note["message"] for note in provenance["trait_notes"] if note["trait"] == "height"]
    assert sum("heritability" in message for message in notes) <= 2  # of autosomes and of X
    # But not by those who take relatives as strangers.
    with pytest.raises(JobError, match=r"(?s)relatives in one fold.*relatedness: FILE"):
        check_job(Job.from_yaml(cohort.job("strangers.yaml", null_model={"load": "linear"}, output="strangers")))
    refused = allscan_cli("null-model", "export", cohort.folder / "linear", "--out", cohort.folder / "step1")
    assert refused.exit_code == 2
    assert "fit one without `relatedness`" in refused.output


def test_the_test_that_goes_with_named_relatives(cohort: Cohort) -> None:
    """The mixed model, with variances of an average variant; close to those of each variant, and as exact effects."""
    make_alike(cohort)
    write_relatives(cohort)
    job = Job.from_yaml(cohort.job(null_model=WHOLE))
    assert (job.spec.test.name, dict(job.spec.test.options)) == ("mixed", {"variance": "average"})
    job.run()
    run_job(Job.from_yaml(cohort.job("each.yaml", null_model=WHOLE, test="mixed", output="each")))
    for trait in ("height", "ldl"):
        found, exact = (table(cohort.folder / run, trait) for run in ("run", "each"))
        here = (found["status"] == 0) & (exact["status"] == 0) & np.isin(found["contig"], ["21", "22"])
        assert here.sum() > 50
        ratio = (found["standard_error"] / exact["standard_error"])[here]
        assert 0.9 < np.median(ratio) < 1.1
        assert np.corrcoef(found["beta"][here], exact["beta"][here])[0, 1] > 0.98
    given = Job.from_yaml(cohort.job("given.yaml", null_model=WHOLE, test={"options": {"heritability": 0.3}}))
    assert dict(given.spec.test.options) == {"variance": "average", "heritability": 0.3}
    two = Job.from_yaml(cohort.job("two.yaml", null_model=WHOLE, model="genotypic"))
    assert two.spec.test.name == "linear"


def test_workers_and_resumption_change_no_bit(cohort: Cohort) -> None:
    write_relatives(cohort)
    for name, workers in (("one", 1), ("two", 2)):
        runtime = {"workers": workers, "memory": "2GB"}
        Job.from_yaml(cohort.job(f"{name}.yaml", null_model=WHOLE, output=name, runtime=runtime)).run()
    stopped = Job.from_yaml(cohort.job("stopped.yaml", null_model=WHOLE, output="stopped"))

    def stop(progress: Any) -> None:
        if progress.task is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(stopped, on_progress=stop)
    assert stopped.run().n_tests
    for trait in ("height", "ldl"):
        assert_equal(cohort.folder / "one", cohort.folder / "two", trait)
        assert_equal(cohort.folder / "one", cohort.folder / "stopped", trait)
    notes = [
        json.loads((cohort.folder / run / "provenance.json").read_text())["trait_notes"] for run in ("one", "stopped")
    ]
    assert notes[0] == notes[1]


def test_a_test_that_only_heeds_relatives_takes_no_more_memory(cohort: Cohort) -> None:
    write_relatives(cohort)
    draw(cohort)
    checked = [
        check_job(Job.from_yaml(cohort.job(f"{name}.yaml", null_model=section)))
        for name, section in (("named", DRAWN), ("not", {"load": "earlier"}))
    ]
    plans = [plan_scan(job.store, job.strata, job.spec, workers=1, memory_bytes=2 << 30) for job in checked]
    assert plans[0].shared_memory_bytes == plans[1].shared_memory_bytes
    assert plans[0].task_memory_bytes == plans[1].task_memory_bytes


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"null_model": DRAWN, "test": "mixed"}, "predicts people by their relatives.*write test: linear"),
        ({"null_model": {**WHOLE, "leave_one_out": True}}, "predicts people by their relatives"),
        ({"null_model": {"method": "whole_genome", "cutoff": 0.1}}, "`cutoff` is of pairs of relatives"),
        ({"null_model": {**WHOLE, "relatedness": "nothing.tsv"}}, "there is no file 'nothing.tsv'"),
        ({"null_model": "whole_genome", "test": "mixed"}, "needs to know who is related"),
    ],
)
def test_jobs_that_are_refused(cohort: Cohort, keys: dict[str, Any], message: str) -> None:
    write_relatives(cohort)
    draw(cohort)
    with pytest.raises(InputError, match=f"(?s){message}"):
        check_job(Job.from_yaml(cohort.job(**keys)))


def test_a_test_that_takes_people_as_strangers_is_refused(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from allscan.kernels.linear import LINEAR

    write_relatives(cohort)
    draw(cohort)
    deaf = replace(LINEAR, name="deaf", uses_relatedness=False)
    monkeypatch.setattr("allscan.jobs.check.find_test", lambda _name: deaf)
    with pytest.raises(JobError, match="'deaf' does not use relatedness"):
        check_job(Job.from_yaml(cohort.job(null_model=DRAWN)))
