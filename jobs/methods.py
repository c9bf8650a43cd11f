"""The association tests of a job, found and checked against its traits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allscan.engine.association_tests import find_test
from allscan.errors import InputError, JobError
from allscan.jobs.method_spec import DEFAULT_TESTS, TRAIT_TYPES
from allscan.kernels.association import Model
from allscan.phenotypes.names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from allscan.jobs.job import Job


def job_tests(job: Job) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Name and options, with their defaults, of the test of each kind of trait that a job has.

    Raises
    ------
    JobError
        A test is not installed, is not for these traits or this model, or has no such option.
    """
    kinds = job.spec.traits.kinds
    for kind in TRAIT_TYPES:
        if kind not in kinds and getattr(job.spec.test, kind) is not None:
            raise JobError(
                f"`test` names a test of {kind} traits, and those of the job are {kinds[0]}",
                where=job.locate("test", kind),
                fix=f"remove it, or write `type: {kind}` where the traits are",
            )
    if len(kinds) > 1 and job.spec.test.options and job.spec.test.name is None:
        raise JobError(
            "the options are of one test, and the job's kinds of traits have each their own",
            where=job.locate("test", "options"),
            fix="write them for the kind that they are meant for: test: {binary: {options: {…}}}",
        )
    return {kind: _checked(job, kind) for kind in kinds}


def _checked(job: Job, kind: str) -> tuple[str, Mapping[str, Any]]:
    method = job.spec.test.of_kind(kind)
    own = () if method is job.spec.test else (kind,)
    assert method.name is not None
    where = job.locate("test", *own)
    if ":" in method.name and job.document is not None:
        # To import a module is to run it, and whoever runs a job file did not write the module's name.
        raise JobError(
            f"the test {method.name!r} names a module: a job file may name installed tests only",
            where=where,
            fix="install the test's package (entry point group allscan.association_tests) and write the test's name, "
            "or run the job from Python: Job.from_dict",
        )
    try:
        test = find_test(method.name)
    except InputError as error:
        raise JobError(error.what, where=where, fix=error.fix) from error
    known = dict(test.options or {})
    if kind not in test.trait_kinds:
        raise _unfit(job, kind, method.name, test.trait_kinds, where)
    for name in method.options:
        if name not in known:
            raise JobError(
                f"the test {method.name!r} has no option {name!r}",
                where=job.locate("test", *own, "options", name),
                fix=did_you_mean(name, known, otherwise=f"its options: {', '.join(known) or 'none'}"),
            )
    options = {**known, **method.options}
    if test.check_options is not None:
        try:
            test.check_options(options)
        except ValueError as error:
            raise JobError(str(error), where=job.locate("test", *own, "options"), fix="change the option") from error
    if Model[job.spec.model.upper()] not in test.models:
        raise JobError(
            f"the test {method.name!r} has no {job.spec.model} model",
            where=job.locate("model"),
            fix=f"its models: {', '.join(model.name.lower() for model in sorted(test.models))}",
        )
    return method.name, options


def _unfit(job: Job, kind: str, name: str, trait_kinds: frozenset[str], where: str) -> JobError:
    """A test that is not for the job's traits."""
    of_kind = " or ".join(sorted(trait_kinds))
    if len(job.spec.traits.kinds) > 1:
        fitting = {other: name if other in trait_kinds else default for other, default in DEFAULT_TESTS.items()}
        told = ", ".join(f"{other}: {test}" for other, test in fitting.items())
        return JobError(
            f"the test {name!r} is for {of_kind} traits, and the job has {kind} ones as well",
            where=where,
            fix=f"name one for each kind: test: {{{told}}}",
        )
    return JobError(
        f"the test {name!r} is for {of_kind} traits, and those of the job are {kind}",
        where=where if "test" in job.spec.model_fields_set else job.locate("traits"),
        fix=f"remove `test` (the default is {DEFAULT_TESTS[kind]!r}), or write `type: {of_kind}` under `traits`",
    )
