"""What a structure is made of: genotypes, people, tables, read and aligned before anything is computed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import allscan.engine
from allscan.engine.hashing import content_hash
from allscan.engine.long_range_ld import BUILDS, LONG_RANGE_LD, excluded_regions
from allscan.engine.manifest import program_digest
from allscan.engine.markers import MarkerRules
from allscan.errors import InputError, JobError, quoting_people
from allscan.jobs.genotypes import open_genotypes
from allscan.jobs.input_files import hash_input
from allscan.jobs.structure.folder import FORMAT, StructureFolder, is_structure, open_structure
from allscan.jobs.structure.groups import Groups, Reference, groups_of_table
from allscan.phenotypes.admixture import read_admixture
from allscan.phenotypes.ancestry import align_groups, count_groups, read_groups
from allscan.phenotypes.auxiliary import find_auxiliary
from allscan.phenotypes.matching import no_overlap, rows_of
from allscan.phenotypes.relatedness import align_relatedness, read_relatedness
from allscan.phenotypes.tables import read_sample_list

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.store import GenotypeStore
    from allscan.jobs.structure.file import StructureJob
    from allscan.phenotypes.model import CovariateTable
    from allscan.phenotypes.relatedness import AlignedPairs
    from allscan.storage import Place

_KINDS: dict[tuple[str | int, ...], str] = {
    ("relatives", "file"): "relatedness",
    ("groups", "file"): "ancestry_preds",
    ("admixture",): "admixture",
}
"""Tables of All of Us, by the keys that may name them."""
_TELLING = {"text.py", "use.py", "file.py"}
"""Sources that change nothing in the tables."""
_NO_RESULT = {"name", "output", "runtime"}
"""Keys that change nothing in the tables."""


@dataclass(frozen=True)
class Prepared:
    """A structure file with what it names, opened and aligned."""

    job: StructureJob
    store: GenotypeStore
    excluded: NDArray[np.object_]  # (samples,) why somebody is left out; None: nobody says so
    rules: MarkerRules
    pairs: AlignedPairs | None  # relatives among the people; samples are numbers in `people`
    groups: Groups | None  # of a table
    reference: Reference | None  # whom groups are learned from
    admixture: CovariateTable | None  # (samples,) shares of ancestry
    made_of: dict[str, Any]  # everything that decides the result
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def people(self) -> NDArray[np.int64]:
        """Store rows of those who are not left out, ascending."""
        return np.flatnonzero(self.excluded == None)  # noqa: E711 - element by element

    @property
    def digest(self) -> str:
        """Hash of all that decides the result."""
        return content_hash(json.dumps(self.made_of, sort_keys=True, default=str))

    @property
    def group_names(self) -> tuple[str, ...]:
        """Names of the groups."""
        if self.reference is not None:
            return tuple(sorted(set(self.reference.labels)))
        return () if self.groups is None else self.groups.names

    def built(self) -> StructureFolder | None:
        """The structure, if it is there and made of the same."""
        place = self.job.output
        if not is_structure(place):
            return None
        try:
            found = open_structure(place)
        except InputError:
            return None
        return found if found.digest == self.digest else None


def prepare(job: StructureJob) -> Prepared:
    """Open, read and align everything that a structure file names.

    Raises
    ------
    InputError
        A file is missing, damaged, or not what it should be; too few people are left.
    """
    spec = job.spec
    store = open_genotypes(job.resolve(spec.genotypes), spec.genotypes, job.locate("genotypes"))
    hashes = _hashes(job)
    with quoting_people():
        excluded = _excluded(job, store)
        people = np.flatnonzero(excluded == None)  # noqa: E711
        if len(people) <= spec.components.count:
            raise InputError(
                f"{len(people):,} people are left, who have no {spec.components.count} principal components",
                where=job.locate("samples"),
                fix="keep more people, or ask for fewer components",
            )
        pairs = _pairs(job, store, people)
        groups, group_warnings = _groups(job, store)
        reference = _reference(job)
        admixture = _admixture(job, store)
    rules, notes = _rules(job, store)
    notes += admixture.notes if admixture is not None else ()
    made_of = {
        "format": FORMAT,
        "program": _program(),
        "genotypes": store.fingerprint(),
        "reference": None if reference is None else reference.store.fingerprint(),
        "files": hashes,
        "keys": {key: value for key, value in spec.model_dump(mode="json").items() if key not in _NO_RESULT},
    }
    warnings = (*(pairs.warnings if pairs is not None else ()), *group_warnings)
    return Prepared(job, store, excluded, rules, pairs, groups, reference, admixture, made_of, notes, warnings)


@cache
def _program() -> str:
    """Hash of the sources that decide the result."""
    engine, here = Path(str(allscan.engine.__file__)).parent, Path(__file__).parent
    folders = (engine / "structure", engine / "quality", here)
    sources = [path for folder in folders for path in sorted(folder.glob("*.py")) if path.name not in _TELLING]
    sources += [engine / "markers.py", engine / "marker_pruning.py", engine / "long_range_ld.csv"]
    return content_hash(program_digest(), *(path.read_bytes() for path in sources))


def _hashes(job: StructureJob) -> dict[str, str]:
    """Contents of the tables, by the keys that name them."""
    spec = job.spec
    named: dict[tuple[str | int, ...], str | None] = {
        **{("samples", "keep", k): path for k, path in enumerate(spec.samples.keep)},
        **{("samples", "exclude", k): path for k, path in enumerate(spec.samples.exclude)},
        ("relatives", "file"): spec.relatives.file,
        ("groups", "file"): None if spec.groups is None else spec.groups.file,
        ("groups", "reference", "labels"): (
            None if spec.groups is None or spec.groups.reference is None else spec.groups.reference.labels
        ),
        ("admixture",): spec.admixture,
    }
    found = {}
    for key, path in named.items():
        if path is None:
            continue
        role = ".".join(str(part) for part in key)
        try:
            found[role] = hash_input(role, _table_of(job, key, path), path).sha256
        except OSError as error:
            raise JobError(
                f"the file {path!r} cannot be read: {error.strerror or error}",
                where=job.locate(*key),
                fix="check the path; it is relative to the structure file",
            ) from error
    return found


def _table_of(job: StructureJob, key: tuple[str | int, ...], path: str) -> Place:
    """The table that a key names; one of All of Us may be named by the folder that it lies in."""
    place = job.resolve(path)
    kind = _KINDS.get(key)
    if kind is None:
        return place
    try:
        return find_auxiliary(place, kind)
    except InputError as error:
        if not place.exists():
            return place  # refused as any file that is not there
        raise JobError(error.what, where=f"{error.where}, named in {job.locate(*key)}", fix=error.fix) from error


def _excluded(job: StructureJob, store: GenotypeStore) -> NDArray[np.object_]:
    ids = np.array([str(person) for person in store.sample_ids], dtype=object)
    excluded = np.full(len(ids), None, dtype=object)
    section = job.spec.samples
    for reason, paths, leave_out_those_in_it in (
        ("not in a list of people to keep", section.keep, False),
        ("in a list of people to exclude", section.exclude, True),
    ):
        for path in paths:
            found = read_sample_list(job.resolve(path))
            listed = rows_of(ids, found.sample_ids) >= 0
            excluded[(listed == leave_out_those_in_it) & (excluded == None)] = reason  # noqa: E711
    return excluded


def _pairs(job: StructureJob, store: GenotypeStore, people: NDArray[np.int64]) -> AlignedPairs | None:
    path = job.spec.relatives.file
    if path is None:
        return None
    table = read_relatedness(_table_of(job, ("relatives", "file"), path))
    return align_relatedness(table, store.sample_ids, people)


def _groups(job: StructureJob, store: GenotypeStore) -> tuple[Groups | None, tuple[str, ...]]:
    section = job.spec.groups
    if section is None or section.file is None:
        return None, ()
    table = read_groups(
        _table_of(job, ("groups", "file"), section.file),
        column=section.column,
        id_column=section.id_column,
        min_probability=section.min_probability,
    )
    ids = np.array([str(person) for person in store.sample_ids], dtype=object)
    groups = groups_of_table(
        table, align_groups(table, store.sample_ids), rows_of(ids, table.ids), count_groups(table, store.sample_ids)
    )
    return groups, table.warnings


def _reference(job: StructureJob) -> Reference | None:
    """The people whom groups are learned from: those with a label."""
    section = None if job.spec.groups is None else job.spec.groups.reference
    if section is None:
        return None
    key = ("groups", "reference", "genotypes")
    store = open_genotypes(job.resolve(section.genotypes), section.genotypes, job.locate(*key))
    table = read_groups(job.resolve(section.labels), column=section.column, id_column=section.id_column)
    code = align_groups(table, store.sample_ids)
    people = np.flatnonzero(code >= 0)
    labels = tuple(table.labels[k] for k in code[people].tolist())
    rules, _ = _rules(job, store)
    return Reference(store, people, labels, rules)


def _admixture(job: StructureJob, store: GenotypeStore) -> CovariateTable | None:
    """Shares of ancestry of everybody in the store, NaN where they are not known."""
    if job.spec.admixture is None:
        return None
    table = read_admixture(_table_of(job, ("admixture",), job.spec.admixture))
    ids = np.array([str(person) for person in store.sample_ids], dtype=object)
    rows = rows_of(ids, table.sample_ids)
    if not (rows >= 0).any():
        raise no_overlap(ids, table.sample_ids, what="shares of ancestry", source=table.source, key=table.id_column)
    columns = {
        name: replace(column, values=np.where(rows < 0, np.nan, column.values[rows]))
        for name, column in table.columns.items()
        if column.values is not None
    }
    return replace(table, sample_ids=ids, columns=columns)


def _rules(job: StructureJob, store: GenotypeStore) -> tuple[MarkerRules, tuple[str, ...]]:
    section = job.spec.markers
    named = section.exclude
    notes: tuple[str, ...] = ()
    if named is None:
        # Whoever says nothing wants the list, if there is one.
        known = store.reference_build in BUILDS
        named = [LONG_RANGE_LD] if known else []
        if not known:
            notes = ("regions of long-range LD are not left out: the reference build of the store is not known",)
    try:
        exclude = excluded_regions(named, store)
    except InputError as error:
        raise JobError(error.what, where=job.locate("markers", "exclude"), fix=error.fix) from error
    rules = MarkerRules(
        min_maf=section.min_maf,
        max_missing_rate=section.max_missing_rate,
        prune_r2=section.prune_r2,
        window_bp=section.window_kb * 1000,
        max_markers=section.max_markers,
        exclude=exclude,
    )
    return rules, notes
