"""Definitions of phenotypes: read from YAML, checked, hashed with the files they name, and derived from records."""

from __future__ import annotations

import hashlib
import importlib
import json
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from allscan.documents.validation import Problem, locate, refusal, validate
from allscan.documents.yaml_source import read_yaml
from allscan.errors import InputError, JobError
from allscan.phenotypes.definitions.spec import Header, sections
from allscan.phenotypes.names import did_you_mean, listed
from allscan.phenotypes.records.codes import CodeEntry, known_vocabulary
from allscan.storage.places import is_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from allscan.documents.yaml_source import KeyPath, YamlDocument
    from allscan.phenotypes.phenotype import Phenotype
    from allscan.phenotypes.records.records import Records

KINDS = {
    "case_control": "allscan.phenotypes.definitions.case_control",
    "time_to_event": "allscan.phenotypes.definitions.time_to_event",
    "circe": "allscan.phenotypes.definitions.circe",
    "measurement": "allscan.phenotypes.quantities.measurement",
    "wearable": "allscan.phenotypes.quantities.wearable",
    "survey": "allscan.phenotypes.quantities.survey",
}
"""Module of each kind of definition (see :class:`KindModule`), imported when there is one of that kind."""

_FIX = "the page 'Definition file' of the documentation describes every key"

FORMAT = 1
"""Of what is hashed; a change of what a key means is a new one."""


class KindModule(Protocol):
    """What the module of a kind has."""

    SPEC: type[Header]

    def derive(self, records: Records, definition: Definition) -> Iterator[Phenotype]:
        """The traits of a definition; label, category, sex and recipe are completed by :func:`derive`."""

    def problems(self, spec: Any) -> Iterable[tuple[KeyPath, str, str]]:
        """What keys say against each other: key, what, what to do. A kind may do without."""

    def check(self, definition: Definition) -> None:
        """Refuse a definition for what its files say. A kind may do without."""

    def cohort(self, records: Records, definition: Definition) -> str:
        """Local relation of the cases, ``person`` and ``date`` (their index dates), for definitions that build on this.

        A kind that has no cases has no such function.
        """


@dataclass(frozen=True)
class Definition:
    """A definition with everything that it names."""

    spec: Header
    source: str  # its file, as messages spell it
    folder: Path  # that the files it names are relative to
    digest: str  # SHA-256 of the content, with that of files and definitions it names
    files: Mapping[str, str] = field(default_factory=dict)  # as spelled → SHA-256
    others: Mapping[str, Definition] = field(default_factory=dict)  # as spelled → definition that it builds on
    document: YamlDocument | None = field(default=None, repr=False)

    def path(self, spelled: str) -> Path:
        """Where a file stands that the definition names."""
        return self.folder / spelled

    def where(self, *key_path: str | int) -> str:
        """File, line and key, for messages."""
        if self.document is None:
            return f"definition {self.spec.id}, {locate(key_path, None)}"
        return locate(key_path, self.document)

    @contextmanager
    def at(self, *key_path: str | int) -> Iterator[None]:
        """Say, in refusals of what is done inside, which key of the definition led there."""
        try:
            yield
        except InputError as error:
            where = self.where(*key_path)
            if error.where is not None and error.where.startswith(where):
                raise
            told = f"{where}: {error.where}" if error.where else where
            raise type(error)(error.what, where=told, fix=error.fix) from error

    @property
    def recipe(self) -> dict[str, Any]:
        """What a trait's provenance says of its definition."""
        return {
            "id": self.spec.id,
            "version": self.spec.version,
            "kind": self.spec.kind,
            "sha256": self.digest,
            "files": dict(sorted(self.files.items())),
            "definitions": {name: other.recipe for name, other in sorted(self.others.items())},
        }


def load_definition(definition: str | Path | Mapping[str, Any], base: str | Path = ".") -> Definition:
    """Read and check a definition.

    Parameters
    ----------
    definition
        A YAML file, or its keys and values.
    base
        Folder that the file, or what the keys name, is relative to.

    Raises
    ------
    JobError
        If anything is wrong with it, or with a definition that it builds on: all problems at once, each with file,
        line, key, and what to do.
    """
    if isinstance(definition, (str, Path)):
        return _read(Path(base) / definition, ())
    return _made(dict(definition), None, Path(base), ())


def derive(records: Records, definition: Definition) -> Iterator[Phenotype]:
    """Find the traits of a definition.

    Parameters
    ----------
    records
        Of people.
    definition
        What is looked for.

    Raises
    ------
    InputError
        If the records lack tables or columns that it needs, or it names what is not there.
    """
    spec = definition.spec
    for phenotype in kind_module(spec.kind).derive(records, definition):
        yield replace(
            phenotype,
            label=phenotype.label or spec.label,
            category=phenotype.category or spec.category,
            only_sex=phenotype.only_sex or spec.only_sex,
            recipe={"definition": definition.recipe, **phenotype.recipe},
        )


def cohort(records: Records, definition: Definition) -> str:
    """A local relation of the cases of a definition and their index dates: ``person``, ``date``, one row each.

    Raises
    ------
    InputError
        If it is of a kind that has no cases.
    """
    module = kind_module(definition.spec.kind)
    if not hasattr(module, "cohort"):
        raise InputError(
            f"a definition of kind {definition.spec.kind!r} has no cases to build on",
            where=definition.source,
            fix="name one of a binary trait, such as case_control",
        )
    return module.cohort(records, definition)


def kind_module(kind: str) -> KindModule:
    """The module of a kind of definition."""
    return cast("KindModule", importlib.import_module(KINDS[kind]))


def _read(path: Path, above: tuple[Path, ...]) -> Definition:
    document = read_yaml(path)
    return _made(document.data, document, path.parent, (*above, path.resolve()))


def _made(data: dict[str, Any], document: YamlDocument | None, folder: Path, above: tuple[Path, ...]) -> Definition:
    kind = data.get("kind")
    if kind not in KINDS:
        told = f"a definition's kind is not {kind!r}" if "kind" in data else "the definition does not say its kind"
        known = f"write one of {listed(KINDS)}"
        raise JobError(
            told, where=locate(("kind",), document), fix=did_you_mean(str(kind or ""), KINDS, otherwise=known)
        )
    module = kind_module(kind)
    spec = validate(module.SPEC, data, document, subject="the definition", fix=_FIX)
    refused = _problems(module, spec)
    if refused:
        raise refusal(refused, document, subject="the definition", fix=_FIX)
    files: dict[str, str] = {}
    others: dict[str, Definition] = {}
    for key_path, section in sections(spec):
        named = getattr(section, "file", None)
        if named is not None:
            _on_disk(named, (*key_path, "file"), document)
            files[named] = _file_digest(folder / named, locate((*key_path, "file"), document))
        other = getattr(section, "definition", None)
        if other is not None:
            _on_disk(other, (*key_path, "definition"), document)
            others[other] = _other(folder / other, (*key_path, "definition"), document, above)
    content = {
        "format": FORMAT,
        "definition": spec.model_dump(mode="json"),
        "files": files,
        "definitions": {name: one.digest for name, one in others.items()},
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    source = str(document.path) if document is not None else f"definition {spec.id}"
    made = Definition(spec, source, folder, digest, files, others, document)
    if hasattr(module, "check"):
        module.check(made)
    return made


def _problems(module: KindModule, spec: Header) -> list[Problem]:
    """What is wrong between keys, which the model of one section does not see."""
    found: list[tuple[KeyPath, str, str]] = []
    for key_path, section in sections(spec):
        if isinstance(section, CodeEntry) and section.vocabulary is not None:
            try:
                known_vocabulary(section.vocabulary)
            except InputError as error:
                found.append(((*key_path, "vocabulary"), error.what, error.fix or ""))
    if hasattr(module, "problems"):
        found += module.problems(spec)
    return [Problem(what, key_path, fix) for key_path, what, fix in found]


def _other(path: Path, key_path: KeyPath, document: YamlDocument | None, above: tuple[Path, ...]) -> Definition:
    if path.resolve() in above:
        circle = [*above[above.index(path.resolve()) :], path]
        raise JobError(
            f"definitions build on each other in a circle: {' → '.join(one.name for one in circle)}",
            where=locate(key_path, document),
            fix="let one of them do without the others",
        )
    if not path.is_file():
        raise JobError("there is no such file", where=locate(key_path, document), fix="check the path")
    return _read(path, above)


def _on_disk(named: str, key_path: KeyPath, document: YamlDocument | None) -> None:
    if is_url(named):
        raise JobError(
            "what a definition names stands on disk beside it",
            where=locate(key_path, document),
            fix="copy the file into the definition's folder",
        )


def _file_digest(path: Path, where: str) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise JobError(
            f"the file {path.name!r} cannot be read: {error.strerror}", where=where, fix="check the path"
        ) from error
