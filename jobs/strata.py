"""The strata of a job: everybody together, and each group in which there are people enough."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.engine.design import POOLED as EVERYBODY
from allscan.errors import InputError, JobError
from allscan.jobs.check_report import NOT_RUN, TraitLine, trait_line
from allscan.jobs.groups import read_labels
from allscan.jobs.people import read_people
from allscan.jobs.strata_spec import ANCESTRY, META, POOLED
from allscan.jobs.structure.use import structure_of_job
from allscan.jobs.structured import StructureInJob
from allscan.phenotypes.alignment import Among
from allscan.phenotypes.formula import parse_formula
from allscan.phenotypes.matching import rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from allscan.engine.store import GenotypeStore
    from allscan.jobs.groups import Labels
    from allscan.jobs.input_files import InputFile
    from allscan.jobs.job import Job
    from allscan.jobs.people import AlignedPeople, People
    from allscan.jobs.strata_spec import StratificationSection
    from allscan.phenotypes.model import AnalysisTable, SampleCount, SampleList, TraitSpec, TraitStatus


@dataclass(frozen=True)
class Group:
    """A group of a stratification, and what is scanned in it."""

    name: str
    stratum: str | None  # as which it is scanned; None: not at all, and
    reason: str  # why
    n: int  # people who are analysed
    n_members: int  # and who is in the group and has genotypes
    traits: tuple[TraitLine, ...] = ()  # those that are not scanned say why
    covariates: tuple[str, ...] = ()
    left_out: tuple[SampleCount, ...] = ()  # why members are not analysed; nothing of a group that has too few
    note: str = ""
    warning: str = ""

    @property
    def n_scanned(self) -> int:
        """Traits that are scanned."""
        return 0 if self.stratum is None else sum(trait.status != NOT_RUN for trait in self.traits)

    def to_json(self) -> dict[str, Any]:
        """As in the provenance document."""
        about: dict[str, Any] = {"group": self.name, "stratum": self.stratum, "reason": self.reason or None}
        about["analysed"] = self.n
        about["in_genotypes"] = self.n_members
        about["left_out"] = [{"reason": line.reason, "count": line.count} for line in self.left_out]
        about["covariates"] = list(self.covariates)
        about["traits_not_scanned"] = [
            {"trait": trait.name, "reason": trait.message} for trait in self.traits if trait.status == NOT_RUN
        ]
        return about


@dataclass(frozen=True)
class Stratification:
    """Groups that are scanned apart, and what is made of them."""

    name: str
    analyses: tuple[str, ...]
    groups: tuple[Group, ...]
    n_outside: int  # people who are analysed and in no group: in the pooled scan only
    min_people: int
    min_cases: int
    is_known: bool = True  # not where groups are those of a structure that is to be built

    @property
    def strata(self) -> tuple[str, ...]:
        """Names of the strata that its groups are scanned as."""
        return tuple(group.stratum for group in self.groups if group.stratum is not None)

    @property
    def has_meta(self) -> bool:
        """Whether there is a meta-analysis of its groups: it takes two."""
        return META in self.analyses and len(self.strata) > 1

    def to_json(self) -> dict[str, Any]:
        """As in the provenance document."""
        return {
            "name": self.name,
            "analyses": list(self.analyses),
            "min_people": self.min_people,
            "min_cases": self.min_cases,
            "in_no_group": self.n_outside,
            "groups": [group.to_json() for group in self.groups],
        }


@dataclass(frozen=True)
class AlignedStratum:
    """The people of a stratum, and which traits are scanned among them."""

    name: str
    table: AnalysisTable
    run: NDArray[np.bool_] | None = None  # (traits,) None: all


@dataclass(frozen=True)
class Cohort:
    """The people of a job: everybody who is analysed, and the strata that they make."""

    pooled: AlignedPeople
    strata: tuple[AlignedStratum, ...]
    stratifications: tuple[Stratification, ...]
    structure: StructureInJob | None
    inputs: tuple[InputFile, ...]  # that the job does not name by their files
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def align_cohort(job: Job, store: GenotypeStore, exclude: Sequence[SampleList] = (), *, least_cases: int = 1) -> Cohort:
    """Read everything that a job says of people, and cut them into strata.

    Parameters
    ----------
    exclude
        People who are left out, beside those on the job's lists.
    least_cases
        Of a binary trait that its test asks for, and as many controls.

    Raises
    ------
    InputError
        A table or the structure is damaged or not what the job says; a group that is asked for is not there; nobody is
        left to analyse.
    """
    named = job.spec.structure
    structure = None if named is None else StructureInJob(structure_of_job(job, named, write=False), store.sample_ids)
    own = () if structure is None else structure.excluded()
    people = read_people(job, store.sample_ids, exclude=(*own, *exclude))
    pooled = people.align(more=() if structure is None else (structure.covariates,))
    whole = _Whole(people, pooled, structure, _uses_components(job, pooled, structure), least_cases)
    labels = read_labels(job, people, None if structure is None else structure.structure)
    is_known = all(one.is_known for one in labels)
    # Where groups are not known yet, a check shows everybody together.
    together = not is_known or not labels or any(POOLED in one.section.analyses for one in labels)
    strata = [AlignedStratum(EVERYBODY, pooled.table)] if together else []
    stratifications = []
    for one in labels:
        found = [_group(one, name, whole) for name in one.wanted(job)]
        strata += [aligned for _, aligned in found if aligned is not None]
        section, code = one.section, one.code[pooled.table.store_rows]
        stratifications.append(
            Stratification(
                one.name,
                tuple(section.analyses),
                tuple(group for group, _ in found),
                int((code < 0).sum()),
                section.min_people,
                section.min_cases,
                one.is_known,
            )
        )
    if not strata:
        why = "; ".join(f"{group.name}: {group.reason}" for one in stratifications for group in one.groups)
        raise JobError(
            f"no group has people enough to be scanned ({why})",
            where=job.locate(*labels[0].where),
            fix="lower min_people or min_cases, or add `pooled` to the analyses",
        )
    return Cohort(
        pooled,
        tuple(strata),
        tuple(stratifications),
        structure,
        () if structure is None else structure.structure.inputs,
        (
            *(() if structure is None else structure.structure.lines()),
            *pooled.traits.notes,
            *(pooled.covariates.notes if pooled.covariates is not None else ()),
            *pooled.table.notes,
            *(note for one in labels for note in one.notes),
            *(group.note for one in stratifications for group in one.groups if group.note),
        ),
        (
            *pooled.traits.warnings,
            *pooled.table.warnings,
            *(() if structure is None else structure.warnings()),
            *(warning for one in labels for warning in one.warnings),
            *(group.warning for one in stratifications for group in one.groups if group.warning),
        ),
    )


class _Whole(NamedTuple):
    """What groups are taken out of."""

    people: People
    pooled: AlignedPeople
    structure: StructureInJob | None
    uses_components: bool
    least_cases: int


def _uses_components(job: Job, pooled: AlignedPeople, structure: StructureInJob | None) -> bool:
    """Whether the job adjusts for components of the structure, and they are known."""
    if structure is None or not structure.is_built or job.spec.covariates is None:
        return False
    variables = parse_formula(job.spec.covariates.formula, pooled.covariates).variables
    return not set(variables).isdisjoint(structure.structure.components)


def _group(labels: Labels, name: str, whole: _Whole) -> tuple[Group, AlignedStratum | None]:
    """A group, and its stratum if it is scanned."""
    people, pooled, structure, uses_components, least_cases = whole
    stratum = f"{labels.name}={name}"
    members = labels.code == labels.groups.index(name)
    own = None if structure is None else structure.of_group(labels.name, name)
    others = own.others if own is not None and uses_components else None
    lacking = members & (False if others is None else rows_of(people.sample_ids, others.sample_ids) >= 0)
    n_members, n_lacking = int(members.sum()), int(lacking.sum())
    warning = "" if others is None or not n_lacking else _not_of_structure(stratum, name, n_lacking, n_members)
    n = int((members & ~lacking)[pooled.table.store_rows].sum())
    if n < labels.section.min_people:
        few = f"{n:,} people are analysed, fewer than {labels.section.min_people:,} (`min_people`)"
        return Group(name, None, few, n, n_members, warning=warning), None
    if others is not None:
        people = replace(people, exclude=(*people.exclude, others))
    try:
        table = people.align(Among(stratum, members), () if own is None else (own.covariates,)).table
    except InputError as error:
        raise type(error)(f"stratum {stratum}: {error.what}", where=error.where, fix=error.fix) from error
    lines = tuple(
        _line(status, spec, labels.section, least_cases)
        for status, spec in zip(table.trait_status, pooled.traits.specs, strict=True)
    )
    run = np.array([line.status != NOT_RUN for line in lines])
    note = ""
    if uses_components and others is None and labels.name == ANCESTRY:
        note = f"stratum {stratum}: components are those of everybody: the structure has none of a group {name!r}"
    group = Group(
        name,
        stratum if run.any() else None,
        "" if run.any() else "no trait has enough people",
        len(table.store_rows),
        n_members,
        lines,
        table.covariate_names,
        tuple(line for line in table.left_out if line.count),
        note,
        warning,
    )
    return group, AlignedStratum(stratum, table, run) if run.any() else None


def _not_of_structure(stratum: str, name: str, n: int, n_members: int) -> str:
    """What is to be said where people of a group are not in the structure's group of its name."""
    most = "most of " if 2 * n > n_members else "of "
    return (
        f"stratum {stratum}: {n:,} people, {most}the {n_members:,} people in the group, are not in the structure's "
        f"group {name!r}, whose components the stratum is adjusted for: they are left out. Scan the structure's own "
        "groups (leave out `ancestry.groups`), or build a structure of this table (`groups` of the structure file)"
    )


def _line(status: TraitStatus, spec: TraitSpec, section: StratificationSection, least_cases: int) -> TraitLine:
    """What the report of the check says of a trait in a group."""
    line = trait_line(status, spec)
    few = ""
    if status.n < section.min_people:
        few = f"{status.n:,} people have it, fewer than {section.min_people:,} (`min_people`)"
    elif status.cases is not None:
        controls = status.n - status.cases
        fewest, which = min((status.cases, "cases"), (controls, "controls"))
        least = max(section.min_cases, least_cases)
        whose = "" if section.min_cases >= least_cases else " of the test"
        if fewest < least:
            few = f"{fewest:,} {which}, fewer than {least:,} (`min_cases`{whose})"
    return line.not_run(few) if few else line
