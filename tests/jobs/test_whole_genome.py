"""A job with `null_model: whole_genome`, from the file to the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from allscan.engine.null_model_files import FOLDER, NullModelFiles
from allscan.engine.results import ResultsCube
from allscan.jobs.job import Job
from tests.jobs.conftest import Cohort

MARKERS = {"method": "whole_genome", "markers": {"prune_r2": None, "min_maf": 0.05}, "block_markers": 100}


def betas(folder: Path) -> np.ndarray:
    cube = ResultsCube.open(folder)
    shape = slice(0, len(cube.traits)), slice(0, cube.n_variants)
    return np.asarray(cube.block("beta", 0, *shape))


def results(folder: Path) -> dict[str, bytes]:
    files = [*(folder / "results.zarr").rglob("*"), *(folder / FOLDER).rglob("*")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files if file.is_file()}


@pytest.fixture
def job(cohort: Cohort) -> Path:
    return cohort.job(null_model=MARKERS)


def test_the_run_fits_the_model_and_scans_with_it(cohort: Cohort, job: Path) -> None:
    checked = Job.from_yaml(job).check()
    assert "whole genome: ridge regression on markers of cohort.zarr" in checked.text()
    run = Job.from_yaml(job).run()
    folder = cohort.folder / "run"
    model = NullModelFiles(folder / FOLDER)
    assert [trait.name for trait in model.traits] == ["height", "ldl"]
    assert model.settings["markers"] == sum(
        number for reason, number in model.settings["marker_accounting"].items() if reason == "markers of the model"
    )
    provenance = json.loads(run.provenance_path.read_bytes())
    assert provenance["null_model"]["method"] == "whole_genome"
    assert provenance["null_model"]["digest"] == model.model_digest
    page = run.report_path.read_text()
    assert "Whole-genome null model" in page
    assert "Markers of the null model" in page
    # What was fitted can be loaded, and gives the same results.
    loaded = cohort.job("loaded.yaml", null_model={"load": "run"}, output="loaded")
    Job.from_yaml(loaded).run()
    np.testing.assert_array_equal(betas(folder), betas(cohort.folder / "loaded"))
    plain = cohort.job("plain.yaml", output="plain")
    Job.from_yaml(plain).run()
    assert not np.array_equal(betas(folder), betas(cohort.folder / "plain"))


def test_another_worker_changes_no_bit(cohort: Cohort, job: Path) -> None:
    Job.from_yaml(job).run()
    two = cohort.job("two.yaml", null_model=MARKERS, output="two", runtime={"workers": 2, "memory": "2GB"})
    Job.from_yaml(two).run()
    assert results(cohort.folder / "run") == results(cohort.folder / "two")


def test_a_run_that_is_stopped_while_it_fits_goes_on(cohort: Cohort, job: Path) -> None:
    stages: list[str] = []

    def stop(progress: object) -> None:
        stages.append(progress.stage)  # type: ignore[attr-defined]
        if "level 1" in stages[-1]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Job.from_yaml(job).run(on_progress=stop)
    state = json.loads((cohort.folder / "run" / "run.json").read_bytes())
    assert state["state"] == "stopped"
    Job.from_yaml(job).run()
    whole = cohort.job("whole.yaml", null_model=MARKERS, output="whole")
    Job.from_yaml(whole).run()
    assert results(cohort.folder / "run") == results(cohort.folder / "whole")


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"method": "ridge"}, "whole_genome"),
        ({"method": "whole_genome", "load": "run"}, "either"),
        ({"load": "run", "folds": 3}, "loaded"),
        ({}, "either"),
        ({"method": "whole_genome", "genotypes": "absent.zarr"}, "there is no genotype store 'absent.zarr'"),
        ({"method": "whole_genome", "markers": {"exclude": ["6:nonsense"]}}, "6:nonsense"),
        ({"method": "whole_genome", "markers": {"exclude": ["long_range_ld", "chr9q:1-2"]}}, "no contig"),
        ("other", "whole_genome"),
    ],
)
def test_what_cannot_be_is_refused(cohort: Cohort, section: object, told: str) -> None:
    from click.testing import CliRunner

    from allscan.jobs.cli import main

    result = CliRunner().invoke(main, ["check", str(cohort.job(null_model=section))])
    assert result.exit_code == 2, result.output
    assert told in result.output
    assert "null_model" in result.output


def test_no_marker_is_left(cohort: Cohort) -> None:
    from allscan.errors import InputError

    job = cohort.job(null_model={"method": "whole_genome", "markers": {"min_mac": 10_000}})
    with pytest.raises(InputError, match="marker"):
        Job.from_yaml(job).run()
