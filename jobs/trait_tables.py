"""Trait tables in jobs: a job may name one that was built, or the phenotype file that it is built from."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allscan.errors import JobError
from allscan.jobs.job import Job
from allscan.jobs.spec import validate_job
from allscan.phenotypes.names import did_you_mean, fits, listed
from allscan.storage import ObjectPlace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from allscan.phenotypes.build.artefact import TraitTableFolder

PHENOTYPE_FILES = (".yaml", ".yml")


@contextmanager
def with_trait_tables(job: Job, *, write: bool) -> Iterator[Job]:
    """The job with the files and columns of the trait tables that it names.

    A trait table says what its traits are: their kind, label, category and transform, which the job need not repeat.

    Parameters
    ----------
    job
        A job; one without trait tables is passed on as it is.
    write
        Whether a table that is named by its phenotype file, and is not there or no longer holds, is written where that
        file says. Without, it is made in a temporary folder, which is gone with the context.

    Raises
    ------
    InputError
        If a phenotype file, its records or a table is refused, or has not the traits that the job names.
    OutputError
        If the table cannot be written.
    """
    spec = job.spec
    named = [spec.traits.file, *(spec.covariates.files if spec.covariates is not None else ())]
    if not any(_is_phenotypes(job, name) for name in named):
        yield job
        return
    with tempfile.TemporaryDirectory(prefix="allscan-traits-") as scratch:
        tables: dict[str, TraitTableFolder] = {}
        for number, name in enumerate(dict.fromkeys(named)):
            if _is_phenotypes(job, name):
                key = ("traits", "file") if name == spec.traits.file else ("covariates", "file")
                tables[name] = _table(job, name, key, None if write else Path(scratch) / str(number))
        keys = spec.model_dump(exclude_unset=True)
        if spec.traits.file in tables:
            keys["traits"] = _traits(job, tables[spec.traits.file], keys["traits"])
        if spec.covariates is not None:
            files = [
                str(tables[name].covariates.absolute()) if name in tables else name for name in spec.covariates.files
            ]
            if files:
                keys["covariates"]["file"] = files[0] if len(files) == 1 else files
        yield Job(validate_job(keys), job.base, job.document)


def _is_phenotypes(job: Job, name: str) -> bool:
    if name.lower().endswith(PHENOTYPE_FILES):
        return True
    from allscan.phenotypes.build.artefact import is_trait_table

    return is_trait_table(job.resolve(name))


def _table(job: Job, name: str, key: tuple[str, ...], scratch: Path | None) -> TraitTableFolder:
    from allscan.phenotypes.build.artefact import open_trait_table

    place = job.resolve(name)
    if not name.lower().endswith(PHENOTYPE_FILES):
        return open_trait_table(place)
    if isinstance(place, ObjectPlace):
        raise JobError(
            f"the phenotype file {name!r} stands in object storage",
            where=job.locate(*key),
            fix="build its table (`allscan phenotypes build`) from a disk, and name the table's folder",
        )
    if not place.is_file():
        raise JobError(
            f"there is no phenotype file {name!r}",
            where=job.locate(*key),
            fix="check the path; it is relative to the job file",
        )
    from allscan.phenotypes.build.build import PhenotypeJob, build

    built = build(PhenotypeJob.from_yaml(place), scratch=scratch)
    assert built.folder is not None
    if scratch is None:
        from allscan.jobs.phenotype_report import report_of

        report_of(built.folder)
    return built.folder


def _traits(job: Job, table: TraitTableFolder, keys: Mapping[str, Any]) -> dict[str, Any]:
    """The section ``traits`` in words of the table's own."""
    section = job.spec.traits
    known = {str(trait["name"]): trait for trait in table.traits}
    columns: dict[str, dict[str, str]] = {}
    for pattern, options in section.columns.items():
        matched = [pattern] if pattern in known else [name for name in known if "*" in pattern and fits(name, pattern)]
        if not matched:
            raise JobError(
                f"the trait table has no trait {pattern!r}",
                where=job.locate("traits", "columns", pattern),
                fix=did_you_mean(pattern, known, otherwise=f"its traits: {listed(known)}"),
            )
        for name in matched:
            trait = known[name]
            if options.type is not None and options.type != trait["kind"]:
                raise JobError(
                    f"the trait {name!r} is {trait['kind']}, and the job says {options.type}",
                    where=job.locate("traits", "columns", pattern),
                    fix="remove `type`: the table says what its traits are",
                )
            chosen = {"type": trait["kind"]}
            if trait["kind"] == "quantitative":
                own = trait["transform"] if "transform" not in section.model_fields_set else section.transform
                chosen["transform"] = options.transform or own
            columns.setdefault(name, chosen)
    told_by_table = {"type", "transform", "id_column", "missing_values"}
    kept = {key: value for key, value in keys.items() if key not in told_by_table}
    return {
        "descriptions": str(table.descriptions.absolute()),
        **kept,
        "file": str(table.traits_file.absolute()),
        "columns": columns,
        "id_column": table.id_column,
    }
