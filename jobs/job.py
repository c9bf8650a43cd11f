"""A job: a checked job file that can be checked against its data, planned, and run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allscan.jobs.job_file import JobFile
from allscan.jobs.spec import validate_job

if TYPE_CHECKING:
    from collections.abc import Callable

    from allscan.documents.yaml_source import YamlDocument
    from allscan.engine.scan import ScanProgress
    from allscan.jobs.check_report import CheckReport
    from allscan.jobs.plan import PlanReport
    from allscan.jobs.run import Run
    from allscan.jobs.spec import JobSpec


class Job(JobFile["JobSpec"]):
    """One job, from a job file or from a mapping with the same keys.

    Examples
    --------
    >>> job = Job.from_yaml("lipids.yaml")  # doctest: +SKIP
    >>> job.check()  # doctest: +SKIP
    >>> run = job.run()  # doctest: +SKIP
    >>> run.results()  # doctest: +SKIP
    """

    def __repr__(self) -> str:
        spec = self.spec
        traits = f"{len(spec.traits.columns)} trait column{'s' if len(spec.traits.columns) != 1 else ''}"
        scanned = f"genotypes {spec.genotypes!r}" if spec.predictors is None else f"predictors {spec.predictors.file!r}"
        return f"Job({spec.name!r}: {traits}, {scanned}, output {spec.output!r})"

    @classmethod
    def _checked(cls, keys: dict[str, Any], document: YamlDocument | None) -> JobSpec:
        return validate_job(keys, document)

    def check(self) -> CheckReport:
        """Open everything, align the samples, and say what would be analysed. Nothing is written.

        Raises
        ------
        InputError
            A file is missing, damaged or not what the job says; nobody is left to analyse.
        """
        from allscan.jobs.checks import check
        from allscan.jobs.trait_tables import with_trait_tables

        with with_trait_tables(self, write=False) as job:
            return check(job).report

    def plan(self) -> PlanReport:
        """Tasks, memory, expected time and output size of the run. Nothing is written."""
        from allscan.jobs.checks import check
        from allscan.jobs.plan import plan_job
        from allscan.jobs.trait_tables import with_trait_tables

        with with_trait_tables(self, write=False) as job:
            return plan_job(job, check(job)).report

    def run(self, on_progress: Callable[[ScanProgress], None] | None = None) -> Run:
        """Run the job, or go on with it where it was stopped.

        Parameters
        ----------
        on_progress
            Called after every finished task.

        Raises
        ------
        InputError
            The job or its data are refused; see :meth:`check`.
        JobChangedError
            The output folder holds results of another job.
        OutputError
            The output cannot be written, or another run is writing there.
        """
        from allscan.jobs.run import run_job

        return run_job(self, on_progress=on_progress)
