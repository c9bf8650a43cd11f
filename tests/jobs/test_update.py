"""A job that changed: refused with a way out, or updated."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from allscan.errors import JobChangedError
from allscan.jobs.job import Job
from allscan.jobs.run import run_job

if TYPE_CHECKING:
    from conftest import Cohort


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "allscan.jobs.cli", *arguments]
    return subprocess.run(call, capture_output=True, text=True, timeout=120, check=False)


def test_a_trait_is_added_from_the_command_line(cohort: Cohort) -> None:
    assert command("run", str(cohort.job(traits={"file": "traits.tsv", "columns": ["ldl"]}))).returncode == 0
    path = cohort.job(traits={"file": "traits.tsv", "columns": ["ldl", "height"]})
    refused = command("run", str(path))
    assert refused.returncode == 2
    assert "traits.columns.height" in refused.stderr
    assert "--update" in refused.stderr
    updated = command("run", str(path), "--update")
    assert updated.returncode == 0, updated.stderr
    run = run_job(Job.from_yaml(path))
    assert run.already_complete
    document = json.loads(run.provenance_path.read_text())
    assert document["run"]["results_kept"] == 600
    assert document["results"]["n_tests"] == 1200
    assert not (run.folder.path / "previous").exists()


def test_an_update_of_a_folder_without_a_run_is_a_run(cohort: Cohort) -> None:
    run = run_job(Job.from_yaml(cohort.job()), update=True)
    assert json.loads(run.provenance_path.read_text())["run"]["results_kept"] == 0


def test_nothing_changes_without_the_word(cohort: Cohort) -> None:
    run_job(Job.from_yaml(cohort.job()))
    changed = Job.from_yaml(cohort.job(model="dominant"))
    with pytest.raises(JobChangedError, match="model"):
        run_job(changed)
    run_job(changed, update=True)
    with pytest.raises(JobChangedError, match="model"):
        run_job(Job.from_yaml(cohort.job()))
