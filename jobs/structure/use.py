"""Structures in jobs: a job names one that was built, or the structure file that it is built from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.arrow import numbers, objects
from allscan.errors import JobError
from allscan.jobs.input_files import InputFile
from allscan.jobs.structure.folder import EXCLUDED, GROUP, ID, StructureFolder, component_names, open_structure
from allscan.phenotypes.model import CovariateColumn, CovariateTable
from allscan.storage import ObjectPlace

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from numpy.typing import NDArray

    from allscan.jobs.job import Job

ROLE = "structure"
STRUCTURE_FILES = (".yaml", ".yml")


class StructureGroups(NamedTuple):
    """Who is in which group."""

    sample_ids: NDArray[np.object_]  # (people,) everybody who is not excluded
    code: NDArray[np.int16]  # (people,) index into names; -1: in no group
    names: tuple[str, ...]


class Exclusion(NamedTuple):
    """People whom the structure leaves out, for one reason."""

    reason: str
    sample_ids: NDArray[np.object_]


@dataclass(frozen=True)
class JobStructure:
    """What a job can ask of the structure that it names.

    Where it is not built yet (``folder`` is None), its names are known and its people are not.
    """

    path: str  # as the job spells it
    inputs: tuple[InputFile, ...]  # by what it is made of: the same before and after it is built
    components: tuple[str, ...]
    columns: tuple[str, ...]  # of covariates(): the components, and other numbers
    groups: tuple[str, ...]
    folder: StructureFolder | None

    def covariates(self) -> CovariateTable:
        """Components and other numbers of everybody who is not excluded."""
        folder = self._built()
        table = folder.samples([ID, EXCLUDED, *folder.covariates])
        return _covariate_table(_included(table), folder.covariates, folder)

    def covariates_of(self, group: str) -> CovariateTable | None:
        """Components of a group's people, computed within the group; None: the group has none of its own."""
        import pyarrow.compute as pc

        folder = self._built()
        if group not in folder.groups_with_components:
            return None
        table = folder.group_components()
        return _covariate_table(table.filter(pc.equal(table[GROUP], group)), folder.components, folder)

    def group_labels(self) -> StructureGroups:
        """Who is in which group."""
        folder = self._built()
        table = _included(folder.samples([ID, EXCLUDED, GROUP]))
        number = {name: code for code, name in enumerate(folder.groups)}
        code = np.array([number.get(name, -1) for name in table[GROUP].to_pylist()], np.int16)
        return StructureGroups(objects(table[ID]), code, folder.groups)

    def excluded(self) -> tuple[Exclusion, ...]:
        """Whom the structure leaves out, by reason."""
        table = self._built().samples([ID, EXCLUDED])
        reasons = np.array([reason or "" for reason in table[EXCLUDED].to_pylist()], dtype=object)
        ids = objects(table[ID])
        return tuple(Exclusion(reason, ids[reasons == reason]) for reason in dict.fromkeys(reasons) if reason)

    def lines(self) -> list[str]:
        """What a check tells of it."""
        if self.folder is None:
            return [f"{self.path}: {len(self.components)} components, to be built before the scan"]
        people = self.folder.provenance["people"]
        told = f"{self.path}: {len(self.components)} components of {people['left']:,} people"
        return [told + (f", {len(self.folder.groups)} groups" if self.folder.groups else "")]

    def _built(self) -> StructureFolder:
        assert self.folder is not None, "the structure is not built yet"
        return self.folder


def structure_of_job(
    job: Job, named: str, *, write: bool, on_progress: Callable[[str, int, int], None] | None = None
) -> JobStructure:
    """The structure that a job names.

    Parameters
    ----------
    job
        The job: what its paths are relative to.
    named
        The folder of a structure, or a structure file, as the job spells it.
    write
        Whether a structure that is named by its file, and is not there or is made of something else, is built: where
        the job runs, unless the file says otherwise.
    on_progress
        Called with stage, tasks done and tasks in all, while it is built.

    Raises
    ------
    InputError
        There is no such folder or file, or the file is refused.
    OutputError
        It cannot be written.
    """
    place = job.resolve(named)
    where = job.locate(ROLE)
    if not named.lower().endswith(STRUCTURE_FILES):
        if not place.exists():
            raise JobError(
                f"there is no structure {named!r}", where=where, fix="check the path; it is relative to the job file"
            )
        return _of_folder(named, open_structure(place))
    if not isinstance(place, ObjectPlace) and not place.is_file():
        raise JobError(
            f"there is no structure file {named!r}", where=where, fix="check the path; it is relative to the job file"
        )
    from allscan.jobs.structure.build import build_structure
    from allscan.jobs.structure.file import StructureJob
    from allscan.jobs.structure.inputs import prepare
    from allscan.jobs.structure.report import report_of

    described = StructureJob.from_yaml(place)
    if "runtime" not in described.spec.model_fields_set:
        spec = described.spec.model_copy(update={"runtime": job.spec.runtime})
        described = StructureJob(spec, described.base, described.document)
    prepared = prepare(described)
    built = build_structure(prepared, on_progress=on_progress).folder if write else prepared.built()
    if built is not None:
        if write:
            report_of(built)
        return _of_folder(named, built)
    names = component_names(prepared.job.spec.components.count)
    others = () if prepared.admixture is None else tuple(prepared.admixture.columns)
    return JobStructure(named, (_input(named, prepared.digest),), names, (*names, *others), prepared.group_names, None)


def _of_folder(named: str, folder: StructureFolder) -> JobStructure:
    made_of = (_input(named, folder.digest),)
    return JobStructure(named, made_of, folder.components, folder.covariates, folder.groups, folder)


def _input(named: str, digest: str) -> InputFile:
    return InputFile(ROLE, named, 0, digest)


def _included(table: pa.Table) -> pa.Table:
    return table.filter(table[EXCLUDED].is_null())


def _covariate_table(table: pa.Table, names: tuple[str, ...], folder: StructureFolder) -> CovariateTable:
    import pyarrow as pa

    columns = {
        name: CovariateColumn(name, numbers(table[name].cast(pa.float64()), np.float64, np.nan)) for name in names
    }
    return CovariateTable(objects(table[ID]), columns, str(folder.path), id_column=ID)
