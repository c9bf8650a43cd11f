"""Jobs with a null model that was made before: by allscan, or by REGENIE."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from allscan.engine.null_model_files import ARRAYS, HEADER, NullModelFiles
from allscan.engine.offsets import residual_sd
from allscan.engine.regenie_predictions import write_regenie_predictions
from allscan.engine.results import ResultsCube
from allscan.errors import CorruptChunkError, InputError, JobChangedError, JobError
from allscan.jobs.check import check_job
from allscan.jobs.job import Job
from allscan.jobs.run import run_job
from allscan.kernels.linear import LINEAR
from tests.engine.null_models import draw_model

if TYPE_CHECKING:
    from tests.jobs.conftest import Cohort, CommandLine

TRAITS = ["height", "ldl"]
DEAF = replace(LINEAR, name="deaf", uses_offset=False)


def draw(cohort: Cohort, folder: str = "earlier/null_model", **options: Any) -> Path:
    options = {"chromosomes": ("21", "22"), "transform": "none"} | options
    place = cohort.folder / folder
    draw_model(place, options.pop("people", cohort.ids), options.pop("traits", TRAITS), **options)
    return place


def table(run: Path, trait: str = "height") -> dict[str, np.ndarray]:
    return ResultsCube(run).trait_table(trait)


def test_a_run_takes_the_predictions_off_and_says_so(cohort: Cohort, allscan_cli: CommandLine) -> None:
    model = NullModelFiles(draw(cohort))
    job = cohort.job(null_model={"load": "earlier"})
    checked = allscan_cli("check", job)
    assert "null model  earlier: drawn, 2 traits, 2 chromosomes" in checked.output
    planned = allscan_cli("plan", job)
    assert "null model  earlier; of at most 3 chromosomes in memory at a time" in planned.output  # 21, 22, X
    done = allscan_cli("run", job)
    assert done.exit_code == 0, done.output
    provenance = json.loads((cohort.folder / "run" / "provenance.json").read_text())
    told = provenance["null_model"]
    assert [(trait["name"], trait["n"], trait["status"]) for trait in told.pop("traits")] == [
        (trait, 240, "ok") for trait in TRAITS
    ]
    assert told.pop("settings") == {"seed": 3}
    assert told == {
        "path": "earlier",
        "method": "drawn",
        "format": "allscan",
        "digest": model.model_digest,
        "program_version": model.program_version,
        "people_found_by": "sample_id",
        "relatives": None,
    }
    (read,) = [entry for entry in provenance["inputs"] if entry["role"] == "null_model.load"]
    assert read["path"] == "earlier"
    assert not any("P00" in text for text in (planned.output, done.output, json.dumps(provenance)))
    # The same by hand: chromosome 22, the trait less its prediction.
    rows = (cohort.folder / "traits.tsv").read_text().splitlines()
    place = {person: k for k, person in enumerate(model.sample_ids)}
    less = ["IID\theight"]
    for row in rows[1:-1]:
        person, height, *_ = row.split("\t")
        less.append(f"{person}\t{float(height) - float(model.read(0, '22')[place[person]])!r}")
    (cohort.folder / "less.tsv").write_text("\n".join(less) + "\n")
    Job.from_yaml(cohort.job("less.yaml", traits={"file": "less.tsv", "columns": ["height"]}, output="less")).run()
    found, expected = table(cohort.folder / "run"), table(cohort.folder / "less")
    on_22 = found["contig"] == "22"
    np.testing.assert_array_equal(found["status"], expected["status"])
    np.testing.assert_allclose(found["beta"][on_22], expected["beta"][on_22], rtol=1e-5, atol=1e-7)
    assert not np.allclose(found["beta"][~on_22], expected["beta"][~on_22], rtol=1e-3, equal_nan=True)
    again = allscan_cli("run", job)
    assert "nothing was computed" in again.output


def test_a_null_model_and_what_is_written_of_it_for_regenie_give_the_same(
    cohort: Cohort, allscan_cli: CommandLine
) -> None:
    """REGENIE's unit is the deviation after the covariates, which a job computes again."""
    plain = Job.from_yaml(cohort.job("plain.yaml", output="plain"))
    design = check_job(plain).strata[0].design
    present = ~np.isnan(design.traits[:, 0])
    unit = residual_sd(design.traits[present, 0], design.covariates[present])
    draw(cohort, traits=["height"], residual_sd=unit)
    done = allscan_cli("null-model", "export", cohort.folder / "earlier", "--out", cohort.folder / "out")
    assert done.exit_code == 0, done.output
    assert done.output.strip() == str(cohort.folder / "out_pred.list")
    traits = {"file": "traits.tsv", "columns": ["height"]}
    for name, load in (("ours", "earlier/null_model"), ("theirs", "out_pred.list")):
        job = cohort.job(f"{name}.yaml", traits=traits, null_model={"load": load}, output=name)
        assert allscan_cli("run", job).exit_code == 0
    assert "people are found by IID" in allscan_cli("check", cohort.folder / "theirs.yaml").output
    ours, theirs = table(cohort.folder / "ours"), table(cohort.folder / "theirs")
    for name in ("beta", "standard_error", "neg_log10_p"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-6)
    provenance = json.loads((cohort.folder / "theirs" / "provenance.json").read_text())
    assert provenance["null_model"]["format"] == "regenie"
    assert provenance["null_model"]["people_found_by"] == "IID"


def test_an_update_follows_the_null_model_of_each_trait(cohort: Cohort) -> None:
    draw(cohort)
    job = Job.from_yaml(cohort.job(null_model={"load": "earlier"}))
    job.run()
    before = table(cohort.folder / "run")
    shutil.rmtree(cohort.folder / "earlier")
    # Traits are drawn one after the other: of ldl alone the predictions are others.
    draw_model(cohort.folder / "other", cohort.ids, ["x", "height"], chromosomes=("21", "22"), seed=9)
    drawn = NullModelFiles(cohort.folder / "other")
    draw(cohort)
    changed = cohort.folder / "earlier/null_model" / ARRAYS / "loco_prediction/c/1"
    shutil.rmtree(changed)
    shutil.copytree(drawn.place / ARRAYS / "loco_prediction/c/1", changed)
    header = cohort.folder / "earlier/null_model" / HEADER
    document = json.loads(header.read_text())
    document["traits"][1]["digest"] = drawn.traits[1].digest
    header.write_text(json.dumps(document))
    with pytest.raises(JobChangedError, match=r"null_model\.load"):
        job.run()
    run_job(job, update=True)
    provenance = json.loads((cohort.folder / "run" / "provenance.json").read_text())
    assert provenance["run"]["results_kept"] == 600  # height
    after = table(cohort.folder / "run")
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)


@pytest.mark.parametrize(
    ("draws", "changes", "match"),
    [
        ({}, {"null_model": {"load": "nowhere"}}, "there is no null model 'nowhere'"),
        ({}, {"null_model": {"load": "cohort.zarr"}}, "there is no null model here"),
        ({}, {"null_model": {"load": "traits.tsv"}}, "a line has 4 words"),
        ({"traits": ["height"]}, {}, "no predictions of 'ldl'"),
        ({"failed": ["ldl"]}, {}, "was not fitted"),
        ({"missing": 0.3}, {}, "people who have a trait have no prediction"),
        ({"transform": "log"}, {}, "the transform 'log', and the job has 'none'"),
        (
            {"transform": "log"},
            {"traits": {"file": "traits.tsv", "columns": ["hei*"]}},
            "of 'height' was fitted with the",
        ),
        ({"kind": "binary"}, {}, "the type 'binary', and the job has 'quantitative'"),
    ],
)
def test_what_does_not_fit_is_refused_before_work_starts(
    cohort: Cohort, draws: dict[str, Any], changes: dict[str, Any], match: str
) -> None:
    draw(cohort, **draws)
    job = Job.from_yaml(cohort.job(**{"null_model": {"load": "earlier"}, **changes}))
    with pytest.raises(InputError, match=match) as refused:
        job.run()
    assert "null_model.load" in str(refused.value)
    assert "P0" not in str(refused.value)
    assert not (cohort.folder / "run").exists()


def test_a_test_that_uses_no_predictions_is_refused(cohort: Cohort) -> None:
    draw(cohort)
    keys = {
        "name": "small",
        "genotypes": "cohort.zarr",
        "traits": {"file": "traits.tsv", "columns": ["height"]},
        "null_model": {"load": "earlier"},
        "test": f"{__name__}:DEAF",
        "output": "run",
    }
    with pytest.raises(JobError, match="does not use predictions of the rest of the genome"):
        Job.from_dict(keys, base=cohort.folder).check()


def test_a_damaged_prediction_stops_the_run(cohort: Cohort) -> None:
    place = draw(cohort)
    chunk = place / ARRAYS / "loco_prediction/c/0/1/0"
    chunk.write_bytes(chunk.read_bytes()[::-1])
    with pytest.raises(CorruptChunkError, match="predictions of the null model cannot be read"):
        Job.from_yaml(cohort.job(null_model={"load": "earlier"})).run()


def test_unknown_keys_are_refused(cohort: Cohort) -> None:
    with pytest.raises(JobError, match="laod"):
        Job.from_yaml(cohort.job(null_model={"laod": "earlier"}))


def test_an_export_says_what_is_wrong(cohort: Cohort, allscan_cli: CommandLine) -> None:
    done = allscan_cli("null-model", "export", cohort.folder / "nothing", "--out", cohort.folder / "out")
    assert done.exit_code == 2
    assert "there is no null model here" in done.output
    draw(cohort)
    (cohort.folder / "file").write_text("")
    done = allscan_cli("null-model", "export", cohort.folder / "earlier", "--out", cohort.folder / "file" / "out")
    assert done.exit_code == 2
    assert "cannot be written" in done.output


def test_ids_of_a_list_may_be_labels(cohort: Cohort) -> None:
    """A store whose ids are FID_IID finds REGENIE's people by them."""
    place = draw(cohort, people=[f"{person}_x" for person in cohort.ids])
    write_regenie_predictions(NullModelFiles(place), cohort.folder / "out", "included")
    job = Job.from_yaml(cohort.job(null_model={"load": "out_pred.list"}))
    with pytest.raises(InputError, match="have no prediction"):
        job.check()
