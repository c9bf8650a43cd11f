"""The check of any job: of one that scans variants, or columns of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allscan.jobs.check import CheckedJob, check_job
from allscan.jobs.predictors import CheckedPredictors, check_predictors
from allscan.jobs.structure.use import structure_of_job

if TYPE_CHECKING:
    from collections.abc import Callable

    from allscan.jobs.job import Job

Checked = CheckedJob | CheckedPredictors


def check(job: Job, *, build: bool = False, on_progress: Callable[[str, int, int], None] | None = None) -> Checked:
    """Open, read and align everything that a job names.

    Parameters
    ----------
    job
        The job.
    build
        Whether a structure that the job names, and is not there, is built; after everything else has been found good.
    on_progress
        Called with stage, tasks done and tasks in all, while it is built.

    Raises
    ------
    InputError
        A file is missing, damaged, or not what the job says; nobody is left to analyse.
    """
    if job.spec.predictors is not None:
        return check_predictors(job)
    checked = check_job(job)
    if not (build and checked.awaits_structure):
        return checked
    assert job.spec.structure is not None
    structure_of_job(job, job.spec.structure, write=True, on_progress=on_progress)
    return check_job(job)
