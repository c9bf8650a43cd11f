"""Building a trait table from a phenotype file, and telling whether one that is there still holds."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import allscan
from allscan.documents.validation import locate, validate
from allscan.documents.yaml_source import YamlDocument, read_yaml
from allscan.errors import InputError, JobError
from allscan.phenotypes.build.artefact import (
    FORMAT,
    Columns,
    TraitTableFolder,
    is_trait_table,
    open_trait_table,
    write_trait_table,
)
from allscan.phenotypes.build.covariates import Covariate, covariate_columns
from allscan.phenotypes.build.spec import GroupsSection, PhenotypeFile
from allscan.phenotypes.definitions.loading import derive, load_definition
from allscan.phenotypes.matching import rows_of
from allscan.phenotypes.names import did_you_mean, listed
from allscan.phenotypes.phecodes.traits import phecode_phenotypes, section_map
from allscan.phenotypes.records.opening import open_records
from allscan.phenotypes.tables import read_covariate_table, read_sample_list
from allscan.storage import is_url, local_path, one_match

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from allscan.phenotypes.definitions.loading import Definition
    from allscan.phenotypes.model import SampleList
    from allscan.phenotypes.phecodes.maps import PhecodeMap
    from allscan.phenotypes.phenotype import Phenotype
    from allscan.phenotypes.records.records import Records

SUBJECT = "the phenotype file"
FIX = "`allscan schema --of phenotypes` describes every key"


@dataclass(frozen=True)
class PhenotypeJob:
    """A phenotype file, checked, with the definitions that it names."""

    spec: PhenotypeFile
    base: Path  # folder that its paths are relative to
    definitions: tuple[Definition, ...]
    document: YamlDocument | None = None

    @classmethod
    def from_yaml(cls, path: str | Path) -> PhenotypeJob:
        """Read a phenotype file, and every definition that it names.

        Raises
        ------
        JobError
            If one of them is no such file; the message names line, key, and what to do.
        """
        place = Path(path)
        document = read_yaml(place)
        return cls._of(document.data, place.parent, document)

    @classmethod
    def from_dict(cls, keys: Mapping[str, Any], *, base: str | Path = ".") -> PhenotypeJob:
        """The same from a mapping with the keys of a phenotype file."""
        return cls._of(dict(keys), Path(base), None)

    @classmethod
    def _of(cls, keys: dict[str, Any], base: Path, document: YamlDocument | None) -> PhenotypeJob:
        spec = validate(PhenotypeFile, keys, document, subject=SUBJECT, fix=FIX)
        if spec.phecodes is None and not spec.definitions:
            raise JobError(
                "the phenotype file asks for no trait",
                where=locate((), document),
                fix="add `phecodes: {map: X}`, or `definitions: [FILE.yaml]`",
            )
        definitions = []
        for number, given in enumerate(spec.definitions):
            named = base / Path(given).expanduser() if isinstance(given, str) else None
            if named is not None:
                _require(named, f"definition {given!r}", locate(("definitions", number), document))
            definitions.append(load_definition(given if named is None else named.absolute(), base))
        return cls(spec, base, tuple(definitions), document)

    @property
    def output(self) -> Path:
        """Folder of the trait table."""
        return self.resolve(self.spec.output)

    def resolve(self, path: str) -> Path:
        """A path of the file, which is relative to its folder; ``*`` in a name stands for any text."""
        return local_path(one_match(self.base / Path(path).expanduser()), "give a path")

    def place(self, path: str) -> Path | str:
        """The same, of a file that may stand in object storage."""
        return path if is_url(path) else self.resolve(path)

    def locate(self, *keys: str | int) -> str:
        """Where a key stands, for messages."""
        return locate(keys, self.document)


@dataclass(frozen=True)
class Built:
    """What a build made, or would make."""

    provenance: dict[str, Any]
    folder: TraitTableFolder | None  # None: nothing was written
    already: bool = False  # it was there, and still holds


def build(
    job: PhenotypeJob,
    *,
    write: bool = True,
    scratch: Path | None = None,
    client: Any = None,
    on_trait: Callable[[Phenotype], None] | None = None,
) -> Built:
    """Make the trait table of a phenotype file, unless it is there and made of the same.

    Parameters
    ----------
    job
        The phenotype file.
    write
        Whether the table is written; without, everything is done but that.
    scratch
        Where it is written, if it is not there yet; without: the file's ``output``.
    client
        Of BigQuery; without: one with the credentials of the environment.
    on_trait
        Called for each trait when it is made.

    Raises
    ------
    InputError
        If records, definitions or lists are refused, or no trait is left.
    OutputError
        If the table cannot be written.
    """
    phecode_map = None if job.spec.phecodes is None else section_map(job.spec.phecodes, job.place)
    with _records(job, client) as (records, lists):
        made_of = _made_of(job, records, lists, phecode_map)
        digest = hashlib.sha256(_canonical(made_of).encode()).hexdigest()
        if write and is_trait_table(job.output):
            found = open_trait_table(job.output)
            if found.digest == digest:
                return Built(found.provenance, found, already=True)
        columns = Columns()
        left_out: list[dict[str, str]] = []
        for trait in _traits(job, records, phecode_map, left_out):
            columns.add(trait)
            if on_trait is not None:
                on_trait(trait)
        if not columns.names:
            raise InputError(
                "no trait is left", where=job.locate(), fix="ask for fewer cases (`min_cases`), or for other traits"
            )
        covariates = [*covariate_columns(records, job.spec.covariates), *_groups(job, records)]
        provenance = {
            "digest": digest,
            "name": job.spec.name,
            "allscan": allscan.__version__,
            "built": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "made_of": made_of,
            "people": len(records.people),
            "accounting": [{"what": what, "people": count} for what, count in records.accounting],
            "tables": list(records.used),
            "quality": [{"table": line.table, "what": line.what, "rows": line.rows} for line in records.quality()],
            "notes": [*records.notes, *(phecode_map.notes if phecode_map is not None else ())],
            "left_out": left_out,
            "covariates": [{"name": one.name, "description": one.description} for one in covariates],
        }
        if not write:
            return Built({"format": FORMAT, **provenance, "traits": columns.facts}, None)
        folder = write_trait_table(scratch or job.output, records.people.person_id, columns, covariates, provenance)
        return Built(folder.provenance, folder)


@contextmanager
def _records(job: PhenotypeJob, client: Any) -> Iterator[tuple[Records, list[SampleList]]]:
    spec = job.spec
    lists = []
    for number, path in enumerate(spec.people.exclude):
        _require(job.resolve(path), f"file {path!r}", job.locate("people", "exclude", number))
        lists.append(read_sample_list(job.resolve(path)))
    source = spec.records.source
    until = spec.records.until
    with open_records(
        source if "://" in source else job.resolve(source),
        exclude=lists,
        until=None if until is None else dt.date.fromisoformat(until),
        cdr=spec.records.cdr,
        memory=spec.runtime.memory,
        threads=spec.runtime.threads,
        spill=None if spec.runtime.spill is None else job.resolve(spec.runtime.spill),
        client=client,
    ) as records:
        yield records, lists


def _made_of(
    job: PhenotypeJob, records: Records, lists: list[SampleList], phecode_map: PhecodeMap | None
) -> dict[str, Any]:
    """Everything that decides what is in the table."""
    people = sorted({str(person) for one in lists for person in one.sample_ids})
    return {
        "format": FORMAT,
        "allscan": allscan.__version__,
        "records": {
            "source": Path(records.source.name).name if "://" not in records.source.name else records.source.name,
            "cdr": records.cdr,
            "until": str(records.until),
            "fingerprint": records.fingerprint(),
        },
        "exclusion": {"sha256": hashlib.sha256("\n".join(people).encode()).hexdigest(), "people": len(people)},
        "definitions": [
            {"id": one.spec.id, "version": one.spec.version, "sha256": one.digest} for one in job.definitions
        ],
        "phecodes": None if phecode_map is None else _phecodes_made_of(job, phecode_map),
        "covariates": list(job.spec.covariates),
        "groups": None if job.spec.groups is None else _groups_made_of(job, job.spec.groups),
    }


def _phecodes_made_of(job: PhenotypeJob, phecode_map: PhecodeMap) -> dict[str, Any]:
    assert job.spec.phecodes is not None
    return {
        "map": phecode_map.name,
        "files": [{"name": name, "sha256": digest} for name, digest in phecode_map.sources],
        **job.spec.phecodes.model_dump(mode="json", exclude={"map", "files"}),
    }


def _traits(
    job: PhenotypeJob, records: Records, phecode_map: PhecodeMap | None, left_out: list[dict[str, str]]
) -> Iterator[Phenotype]:
    for definition in job.definitions:
        yield from derive(records, definition)
    if job.spec.phecodes is not None and phecode_map is not None:

        def leave_out(name: str, why: str) -> None:
            left_out.append({"name": name, "why": why})

        yield from phecode_phenotypes(records, job.spec.phecodes, phecode_map, on_left_out=leave_out)


def _groups_made_of(job: PhenotypeJob, section: GroupsSection) -> dict[str, str]:
    path = job.resolve(section.file)
    _require(path, f"file {section.file!r}", job.locate("groups", "file"))
    with path.open("rb") as file:
        return {"column": section.column, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _groups(job: PhenotypeJob, records: Records) -> list[Covariate]:
    section = job.spec.groups
    if section is None:
        return []
    path = job.resolve(section.file)
    table = read_covariate_table(path)
    column = table.columns.get(section.column)
    if column is None:
        raise InputError(
            f"there is no column {section.column!r}",
            where=table.source,
            fix=did_you_mean(section.column, table.columns, otherwise=f"there are {listed(table.columns)}"),
        )
    ids = np.array([str(person) for person in records.people.person_id.tolist()], dtype=object)
    rows = rows_of(ids, table.sample_ids)
    names = np.full(len(ids), None, dtype=object)
    if column.codes is not None:
        levels = np.array([*column.levels, None], dtype=object)
        names = levels[np.where(rows < 0, -1, column.codes[rows])]
    elif column.values is not None:
        values = np.where(rows < 0, np.nan, column.values[rows])
        names = np.array([None if np.isnan(value) else f"{value:g}" for value in values], dtype=object)
    return [Covariate("group", names, f"{section.column} of {path.name}")]


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _require(path: Path, what: str, where: str) -> None:
    if not path.is_file():
        raise JobError(f"there is no {what}", where=where, fix="check the path; it is relative to the phenotype file")
