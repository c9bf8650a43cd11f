"""Who is related to whom among the people who are analysed: `relatedness` of a job's null model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.errors import InputError, JobError, quoting_people
from allscan.jobs.input_files import InputFile, hash_input
from allscan.jobs.null_model_spec import MIXED, SPARSE_GRM, WHOLE_GENOME
from allscan.kernels.relatedness import Relatedness, family_numbers, make_relatedness
from allscan.phenotypes.relatedness import AlignedPairs, align_relatedness, ids_of_sparse, read_relatedness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from allscan.engine.design import Design
    from allscan.engine.store import GenotypeStore
    from allscan.jobs.job import Job
    from allscan.jobs.null_model_spec import NullModelSection
    from allscan.kernels.association import AssociationTest
    from allscan.phenotypes.relatedness import RelatednessTable


@dataclass(frozen=True)
class RelatednessModel:
    """A sparse relationship matrix of the people who are analysed, in numbers."""

    path: str  # as the job spells it
    unit: str  # what the file gives
    tests: tuple[str, ...]
    inputs: tuple[InputFile, ...]  # beside the file itself
    cutoff: float
    n_listed: int  # pairs of analysed people in the file
    n_related: int  # of these, the pairs that are not below the cut-off
    n_families: int
    n_in_families: int
    largest_family: int
    n_absent: int  # people of the file who are not in the genotypes
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """What a check tells of it."""
        what = {
            test: "mixed model with a sparse relationship matrix" if test == MIXED else "variances among relatives"
            for test in self.tests
        }
        told = [
            *(f"{self.path}: {use} from {self.unit} (test `{test}`)" for test, use in what.items()),
            f"{self.n_related:,} of {self.n_listed:,} pairs of analysed people have a relatedness of at least "
            f"{self.cutoff:g}",
            f"{self.n_families:,} families of {self.n_in_families:,} people, the largest of {self.largest_family:,}",
        ]
        if self.n_absent:
            told.append(f"{self.n_absent:,} people of the file are not in the genotypes")
        return told

    def to_json(self) -> dict[str, Any]:
        """As in the provenance document, of a null model that is nothing else."""
        return {"method": SPARSE_GRM, **self.numbers()}

    def numbers(self) -> dict[str, Any]:
        """Who is related, in the provenance document."""
        return {
            "path": self.path,
            "unit": self.unit,
            "cutoff": self.cutoff,
            "pairs": self.n_related,
            "families": self.n_families,
            "people_in_families": self.n_in_families,
            "largest_family": self.largest_family,
            "people_not_in_genotypes": self.n_absent,
        }


@dataclass(frozen=True)
class Relatives:
    """The list of relatives that a job names, as read."""

    table: RelatednessTable
    path: str  # as the job spells it
    where: str  # in the job file
    cutoff: float
    store: GenotypeStore
    inputs: tuple[InputFile, ...]  # beside the file itself

    def families(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """A number for each of some people (rows of the store, ascending) that relatives among them share."""
        return family_numbers(self._among(rows)[1])

    def model(self, design: Design, tests: Sequence[AssociationTest]) -> tuple[RelatednessModel, Design]:
        """The relationship matrix of the people who are analysed, and the design with it.

        Raises
        ------
        InputError
            The file makes a family that is too large.
        """
        pairs, relatedness = self._among(design.store_rows)
        sizes = np.bincount(family_numbers(relatedness))
        families = sizes[sizes > 1]
        warnings = pairs.warnings
        if not len(relatedness.first):
            warnings += ("nobody who is analysed has a relative among them: the tests are those of linear regression",)
        model = RelatednessModel(
            path=self.path,
            unit=self.table.unit,
            tests=tuple(test.name for test in tests),
            inputs=self.inputs,
            cutoff=self.cutoff,
            n_listed=len(pairs.first),
            n_related=len(relatedness.first),
            n_families=len(families),
            n_in_families=int(families.sum()),
            largest_family=int(sizes.max(initial=0)),
            n_absent=pairs.n_absent,
            warnings=warnings,
        )
        return model, replace(design, relatedness=relatedness)

    def _among(self, rows: NDArray[np.int64]) -> tuple[AlignedPairs, Relatedness]:
        with quoting_people():
            pairs = align_relatedness(self.table, self.store.sample_ids, rows)
        try:
            relatedness = make_relatedness(
                pairs.first, pairs.second, pairs.value, len(rows), cutoff=self.cutoff, diagonal=pairs.diagonal
            )
        except InputError as error:
            raise InputError(error.what, where=f"{self.table.source}, named in {self.where}", fix=error.fix) from error
        return pairs, relatedness


def read_relatives(job: Job, section: NullModelSection, store: GenotypeStore) -> Relatives | None:
    """The list of relatives that a job names; None if it names none.

    Raises
    ------
    InputError
        The file cannot be used.
    """
    if section.relatedness is None:
        return None
    place = job.resolve(section.relatedness)
    with quoting_people():
        table = read_relatedness(place)
    ids = ids_of_sparse(place)
    beside = () if ids is None else (hash_input("null_model.relatedness, ids", ids, ids.name),)
    where = job.locate("null_model", "relatedness")
    return Relatives(table, section.relatedness, where, section.cutoff, store, beside)


def refuse_relatives_of_cases(job: Job) -> None:
    """The mixed model of relatives is one of quantitative traits.

    Raises
    ------
    JobError
        Binary traits are to be tested with it.
    """
    section = job.spec.null_model
    if section is not None and section.method == SPARSE_GRM and "binary" in job.spec.traits.kinds:
        which = "those of the job are" if len(job.spec.traits.kinds) == 1 else "some of the job's are"
        raise JobError(
            f"`method: {SPARSE_GRM}` is for quantitative traits, and {which} binary",
            where=job.locate("null_model"),
            fix=f"write null_model: {WHOLE_GENOME}, or remove null_model",
        )


def refuse_other_test(job: Job, test: AssociationTest) -> None:
    """A test that needs to know who is related, and a job that says it, belong together.

    Raises
    ------
    JobError
        One without the other.
    """
    section = job.spec.null_model
    given = section is not None and section.relatedness is not None
    if test.needs_relatedness and not given:
        raise JobError(
            f"the test {test.name!r} needs to know who is related",
            where=job.locate("test"),
            fix=f"write null_model: {{method: {SPARSE_GRM}, relatedness: FILE}}, or test: linear",
        )
    if given and not test.uses_relatedness:
        raise JobError(
            f"the test {test.name!r} does not use relatedness",
            where=job.locate("test"),
            fix=f"remove relatedness, or choose a test that does: linear and {MIXED}, or logistic for binary traits",
        )
    if section is not None and section.method == SPARSE_GRM and not test.needs_relatedness:
        raise JobError(
            f"the test {test.name!r} is no mixed model",
            where=job.locate("test"),
            fix=f"write test: {MIXED} or nothing, or null_model: {{method: {WHOLE_GENOME}, relatedness: FILE}}",
        )
