"""The check of any job: of one that scans variants, or columns of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allscan.jobs.check import CheckedJob, check_job
from allscan.jobs.predictors import CheckedPredictors, check_predictors

if TYPE_CHECKING:
    from allscan.jobs.job import Job

Checked = CheckedJob | CheckedPredictors


def check(job: Job) -> Checked:
    """Open, read and align everything that a job names.

    Raises
    ------
    InputError
        A file is missing, damaged, or not what the job says; nobody is left to analyse.
    """
    return check_job(job) if job.spec.predictors is None else check_predictors(job)
