"""A job: a checked job file that can be checked against its data, planned, and run."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allscan.documents.validation import locate
from allscan.documents.yaml_source import YamlDocument, read_yaml
from allscan.jobs.spec import validate_job
from allscan.storage import ObjectPlace, is_url, one_match, place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from allscan.engine.scan import ScanProgress
    from allscan.jobs.check_report import CheckReport
    from allscan.jobs.plan import PlanReport
    from allscan.jobs.run import Run
    from allscan.jobs.spec import JobSpec
    from allscan.storage import Place


class Job:
    """One job, from a job file or from a mapping with the same keys.

    Examples
    --------
    >>> job = Job.from_yaml("lipids.yaml")  # doctest: +SKIP
    >>> job.check()  # doctest: +SKIP
    >>> run = job.run()  # doctest: +SKIP
    >>> run.results()  # doctest: +SKIP
    """

    def __init__(self, spec: JobSpec, base: Place, document: YamlDocument | None = None) -> None:
        self.spec = spec
        self.base = base
        self.document = document

    @classmethod
    def from_yaml(cls, path: str | Place) -> Job:
        """Read a job file. Its paths are relative to its folder.

        Raises
        ------
        JobError
            The file is not a job; the message names line, key, and what to do.
        """
        place = place_of(path)
        document = read_yaml(place)
        return cls(validate_job(document.data, document), place.parent, document)

    @classmethod
    def from_dict(cls, job: Mapping[str, Any], *, base: str | Place = ".") -> Job:
        """A job from a mapping with the keys of a job file.

        Parameters
        ----------
        job
            The keys and values.
        base
            Folder that the job's paths are relative to.

        Raises
        ------
        JobError
            A key is unknown, missing or has an impossible value.
        """
        return cls(validate_job(copy.deepcopy(dict(job))), place_of(base))

    def __repr__(self) -> str:
        spec = self.spec
        traits = f"{len(spec.traits.columns)} trait column{'s' if len(spec.traits.columns) != 1 else ''}"
        scanned = f"genotypes {spec.genotypes!r}" if spec.predictors is None else f"predictors {spec.predictors.file!r}"
        return f"Job({spec.name!r}: {traits}, {scanned}, output {spec.output!r})"

    @property
    def output(self) -> Place:
        """Folder of the run."""
        return self.resolve(self.spec.output)

    def resolve(self, path: str) -> Place:
        """A path or URL of the job file; a path is relative to the job file's folder.

        Raises
        ------
        InputError
            The name holds ``*`` and means more than one file.
        """
        return one_match(self._place(path))

    def _place(self, path: str) -> Place:
        options = self.spec.runtime.storage.options()
        if is_url(path):
            return place_of(path, options)
        local = Path(path).expanduser()
        if isinstance(self.base, ObjectPlace) and not local.is_absolute():
            return replace(self.base, options=options) / path
        return local if isinstance(self.base, ObjectPlace) else self.base / local

    def locate(self, *key_path: str | int) -> str:
        """Where a key stands, for messages: file, line, column and key."""
        return locate(key_path, self.document)

    def with_runtime(
        self,
        *,
        workers: int | None = None,
        memory: str | None = None,
        executor: str | None = None,
        address: str | None = None,
    ) -> Job:
        """The same job with other run-time settings; None leaves one as it is.

        Raises
        ------
        JobError
            A setting is impossible.
        """
        settings: dict[str, Any] = {"workers": workers, "memory": memory, "executor": executor, "address": address}
        given = {key: value for key, value in settings.items() if value is not None}
        if not given:
            return self
        if executor == "embedded":
            given["address"] = None  # whatever the job file names
        elif address is not None:
            given["executor"] = "ray"
        # Only what was given: some keys exclude each other, and their defaults would not be told from choices.
        keys = self.spec.model_dump(exclude_unset=True)
        keys["runtime"] = keys.get("runtime", {}) | given
        return Job(validate_job(keys), self.base, self.document)

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
