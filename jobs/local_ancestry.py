"""Local ancestry in a job: the store that it names, whom it leaves out, and the tests that go with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.local_ancestry.store import LocalAncestryStore
from allscan.errors import InputError, JobError
from allscan.jobs.method_spec import LOCAL_TESTS
from allscan.phenotypes.model import SampleList

if TYPE_CHECKING:
    from allscan.engine.store import GenotypeStore
    from allscan.jobs.job import Job
    from allscan.kernels.association import AssociationTest


def open_local_ancestry(job: Job, store: GenotypeStore) -> LocalAncestryStore | None:
    """The store of local ancestry that a job names; None: it names none.

    Raises
    ------
    JobError
        There is no such store, or it is of other genotypes.
    """
    named = job.spec.local_ancestry
    if named is None:
        return None
    try:
        local = LocalAncestryStore(job.resolve(named))
        local.check(store)
    except InputError as error:
        raise JobError(
            error.what, where=f"{error.where}, named in {job.locate('local_ancestry')}", fix=error.fix
        ) from error
    return local


def without_local_ancestry(local: LocalAncestryStore | None, store: GenotypeStore) -> tuple[SampleList, ...]:
    """People of the genotypes who have no local ancestry, and are left out."""
    if local is None:
        return ()
    others = np.delete(np.asarray(store.sample_ids, object), local.store_rows)
    return (SampleList(others, str(local.path), "without local ancestry"),) if len(others) else ()


def refuse_test_without_ancestry(job: Job, test: AssociationTest) -> None:
    """A test of local ancestry, and a job that names it, belong together.

    Raises
    ------
    JobError
        One without the other.
    """
    given = job.spec.local_ancestry is not None
    if given and test.score_haplotypes is None:
        raise JobError(
            f"the test {test.name!r} does not look at local ancestry",
            where=job.locate("test"),
            fix=f"remove `test` (those with local ancestry: {', '.join(LOCAL_TESTS.values())}), or `local_ancestry`",
        )
    if not given and test.score_haplotypes is not None:
        raise JobError(
            f"the test {test.name!r} needs local ancestry",
            where=job.locate("test"),
            fix="name the store that `allscan local-ancestry build` made: local_ancestry: PATH",
        )
