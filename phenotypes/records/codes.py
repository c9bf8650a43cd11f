"""Sets of codes: what a definition means by type 2 diabetes, or by a statin, and the events that have one of them."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self

import pyarrow as pa
from pydantic import BeforeValidator, Field, model_validator

from allscan.documents.sections import FilePath, Section, Text, Texts
from allscan.errors import InputError
from allscan.phenotypes.names import did_you_mean, listed
from allscan.phenotypes.records.dialect import literal
from allscan.phenotypes.records.omop import DOMAINS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from allscan.phenotypes.records.records import Records

CODE_COLUMNS = ("code", "concept_code", "coding_system_code")
VOCABULARY_COLUMNS = ("vocabulary", "vocabulary_id", "coding_system")
CONCEPT_COLUMNS = ("concept_id",)
SPELLINGS = {
    "icd9": "ICD9CM",
    "icd9cm": "ICD9CM",
    "icd10": "ICD10",
    "icd10cm": "ICD10CM",
    "snomed": "SNOMED",
    "snomedct": "SNOMED",
    "loinc": "LOINC",
    "rxnorm": "RxNorm",
    "atc": "ATC",
    "cpt4": "CPT4",
    "hcpcs": "HCPCS",
    "read": "Read",
    "ppi": "PPI",
}
"""What people call the vocabularies of OMOP, in small letters without blanks and dashes."""

MOST_WRITTEN = 5_000
"""Codes that are written out in a query; more are looked up in a relation."""


class CodeEntry(Section):
    """Some codes: of a vocabulary, by concept ids, or in a file."""

    vocabulary: Text | None = Field(
        default=None, description="Vocabulary: ICD10CM, ICD9CM, SNOMED, LOINC, RxNorm, ATC, …"
    )
    # Texts only: 250.00 and 038 without quotes are numbers to YAML, and would come back as 250.0 and 38.
    codes: Texts = Field(
        default=[],
        description="Codes as people write them, `E11.9`; `*` at the end stands for anything: `E11*`.",
        examples=[["E11*", "O24.1"]],
    )
    concepts: list[int] = Field(default=[], description="Concept ids of OMOP.", examples=[[201826]])
    file: FilePath | None = Field(
        default=None,
        description="CSV or TSV with a column `code` (and `vocabulary`) or `concept_id`, as HDR UK's lists.",
    )
    descendants: bool = Field(default=False, description="With everything below in the hierarchy (`concept_ancestor`).")
    exclude: bool = Field(default=False, description="Take these out of the set again.")

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if sum([bool(self.codes), bool(self.concepts), self.file is not None]) != 1:
            raise InputError(
                "an entry names codes in one way", fix="write one of `codes` (with `vocabulary`), `concepts`, `file`"
            )
        if self.codes and self.vocabulary is None:
            raise InputError("the codes have no vocabulary", fix="add it, e.g. `vocabulary: ICD10CM`")
        return self


def _entries(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


CodeSet = Annotated[
    list[CodeEntry],
    BeforeValidator(_entries, json_schema_input_type=CodeEntry | list[CodeEntry]),
    Field(min_length=1),
]


@dataclass(frozen=True)
class ResolvedCodes:
    """A set of codes in the words of some records."""

    relation: str  # local relation (concept_id BIGINT): standard and source concepts
    values: str  # local relation (code VARCHAR): source values, in capital letters without dots
    table: Any  # pa.Table: vocabulary, code, name, concept_id, standard; sorted: for exports and the hash
    files: tuple[tuple[str, str], ...]  # (name, SHA-256)
    notes: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the list of codes."""
        rows = sorted(map(repr, zip(*(column.to_pylist() for column in self.table.columns), strict=True)))
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    @property
    def n_concepts(self) -> int:
        """How many concepts there are."""
        return len([one for one in self.table.column("concept_id").to_pylist() if one is not None])


def resolve(records: Records, codes: Sequence[CodeEntry], locate: Callable[[str], Path]) -> ResolvedCodes:
    """Find the concepts of a set of codes.

    Codes are looked up in ``concept``, descendants in ``concept_ancestor``; standard concepts that source codes map to
    are *not* added: an event is found by its own source code, so that a code means itself and nothing broader.

    Parameters
    ----------
    records
        With the tables of the vocabulary, as far as the codes need them.
    codes
        The entries; those with ``exclude`` are taken out at the end.
    locate
        From the spelling of a file to its path.

    Raises
    ------
    InputError
        If a file has no codes, a vocabulary is unknown, or everything is taken out again. Codes that the vocabulary
        does not have are told in the notes.
    """
    connection = records.connection
    relation = records.fresh_name("codes")
    values = f"{relation}_values"
    connection.execute(
        f"CREATE TEMP TABLE {relation}_rows (vocabulary VARCHAR, code VARCHAR, name VARCHAR, concept_id BIGINT, "
        "standard VARCHAR, taken_out BOOLEAN)"
    )
    files: list[tuple[str, str]] = []
    notes: list[str] = []
    for entry in codes:
        wanted = _wanted(entry, locate, files)
        _add(records, relation, entry, wanted, notes)
    connection.execute(
        f"CREATE TEMP TABLE {relation}_kept AS SELECT DISTINCT vocabulary, code, name, concept_id, standard "
        f"FROM {relation}_rows AS r WHERE NOT taken_out AND NOT EXISTS (SELECT 1 FROM {relation}_rows AS x "
        "WHERE x.taken_out AND ((x.concept_id IS NOT NULL AND x.concept_id = r.concept_id) "
        "OR (x.code IS NOT NULL AND x.code = r.code AND x.vocabulary IS NOT DISTINCT FROM r.vocabulary))) ORDER BY ALL"
    )
    connection.execute(
        f"CREATE TEMP VIEW {relation} AS SELECT DISTINCT concept_id FROM {relation}_kept WHERE concept_id IS NOT NULL"
    )
    # A source value says nothing of its vocabulary: it counts where the concept of the source is not known.
    connection.execute(
        f"CREATE TEMP VIEW {values} AS SELECT DISTINCT {_plain('code')} AS code FROM {relation}_kept "
        "WHERE code IS NOT NULL AND coalesce(standard, '') <> 'S'"
    )
    table = connection.sql(f"SELECT * FROM {relation}_kept ORDER BY ALL").to_arrow_table()
    # Codes that the vocabulary does not have are for a note: a definition is for many records.
    found = connection.execute(f"SELECT count(*) FILTER (NOT taken_out) FROM {relation}_rows").fetchall()[0][0]
    if found and not table.num_rows:
        raise InputError(
            "everything in the set is taken out of it again", where=_told(codes), fix="check the entries with `exclude`"
        )
    return ResolvedCodes(relation, values, table, tuple(files), tuple(notes))


def matching_events(records: Records, table: str, codes: ResolvedCodes, columns: Sequence[str] = ()) -> str:
    """A relation of the events of a table that have one of the codes: ``person``, ``date``, and the columns.

    An event has a code if its concept or its source concept is in the set, or, where the source concept is not known (0
    or missing), its source value, whatever its case and dots.
    """
    domain = DOMAINS[table]
    have = [c for c in (f"{domain}_concept_id", f"{domain}_source_concept_id") if records.has(table, c)]
    value = f"{domain}_source_value"
    has_value = records.has(table, value)
    wanted = list(dict.fromkeys([*have, *([value] if has_value else []), *columns]))
    concepts, values = _written(records, codes)
    few = len(concepts) + len(values) <= MOST_WRITTEN
    if not few:
        concepts, values = [f"SELECT concept_id FROM {codes.relation}"], [f"SELECT code FROM {codes.values}"]
    found = [f"{column} IN ({', '.join(concepts)})" for column in have if concepts]
    if has_value and values:
        source = f"{domain}_source_concept_id"
        unknown = f"coalesce({source}, 0) = 0" if source in have else "TRUE"
        found.append(f"({unknown} AND {_plain(value)} IN ({', '.join(values)}))")
    condition = " OR ".join(found) or "FALSE"
    # Sought where the table stands, if the codes fit into the question: of a billion rows only these are fetched.
    events = records.events(table, wanted, condition if few else "")
    name = records.fresh_name("matching")
    shown = "".join(f", {column}" for column in columns)
    kept = "" if few else f" WHERE {condition}"
    records.connection.execute(f"CREATE TEMP VIEW {name} AS SELECT person, date{shown} FROM {events}{kept}")
    return name


def _written(records: Records, codes: ResolvedCodes) -> tuple[list[str], list[str]]:
    """Concepts and source values as SQL."""
    read = records.connection.execute
    concepts = read(f"SELECT concept_id FROM {codes.relation} ORDER BY ALL").fetchall()
    values = read(f"SELECT code FROM {codes.values} ORDER BY ALL").fetchall()
    return [str(concept) for (concept,) in concepts], [literal(code) for (code,) in values]


def _plain(column: str) -> str:
    return f"upper(replace(trim({column}), '.', ''))"


@dataclass(frozen=True)
class _Wanted:
    vocabulary: str | None
    code: str | None
    concept: int | None


def _wanted(entry: CodeEntry, locate: Callable[[str], Path], files: list[tuple[str, str]]) -> list[_Wanted]:
    if entry.concepts:
        return [_Wanted(None, None, concept) for concept in entry.concepts]
    if entry.codes:
        return [_Wanted(known_vocabulary(entry.vocabulary), code, None) for code in entry.codes]
    assert entry.file is not None
    path = locate(entry.file)
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the list of codes cannot be read: {error}", where=str(path), fix="give a CSV file"
        ) from error
    files.append((path.name, hashlib.sha256(content).hexdigest()))
    return _listed_codes(text, str(path), entry.vocabulary)


def _listed_codes(text: str, where: str, vocabulary: str | None) -> list[_Wanted]:
    first = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text), delimiter="\t" if "\t" in first else ",")
    names = {str(name).strip().lower(): name for name in rows.fieldnames or []}
    code = next((names[c] for c in CODE_COLUMNS if c in names), None)
    concept = next((names[c] for c in CONCEPT_COLUMNS if c in names), None)
    system = next((names[c] for c in VOCABULARY_COLUMNS if c in names), None)
    if code is None and concept is None:
        raise InputError(
            f"the list has the columns {listed(names)}, and none of {listed((*CODE_COLUMNS, *CONCEPT_COLUMNS))}",
            where=where,
            fix="name the column of codes `code`",
        )
    if concept is None and system is None and vocabulary is None:
        raise InputError("the list does not say of which vocabulary its codes are", where=where, fix="add `vocabulary`")
    out = []
    for number, row in enumerate(rows, 2):
        number_text = str(row[concept] or "").strip() if concept is not None else ""
        if number_text:
            if not number_text.isdecimal():
                raise InputError(f"{number_text!r} is no concept id", where=f"{where}, line {number}", fix="correct it")
            out.append(_Wanted(None, None, int(number_text)))
        elif code is not None and str(row[code] or "").strip():
            of = vocabulary or (str(row[system]) if system is not None else None)
            out.append(_Wanted(known_vocabulary(of, f"{where}, line {number}"), str(row[code]).strip(), None))
        else:
            raise InputError("the line has no code", where=f"{where}, line {number}", fix="remove the line")
    if not out:
        raise InputError("the list of codes is empty", where=where, fix="add codes")
    return out


def known_vocabulary(name: str | None, where: str | None = None) -> str:
    """The name that OMOP gives to a vocabulary.

    Raises
    ------
    InputError
        If it has none that is known here.
    """
    plain = re.sub(r"[ _-]", "", (name or "").lower())
    found = SPELLINGS.get(re.sub(r"codes?$", "", plain))
    if found is None:
        known = sorted(set(SPELLINGS.values()))
        raise InputError(
            f"{name!r} is no vocabulary that is known",
            where=where,
            fix=did_you_mean(name or "", known, otherwise=f"known are {listed(known, limit=20)}"),
        )
    return found


_COLUMNS = ("concept_id", "vocabulary_id", "concept_code", "concept_name", "standard_concept")


def _add(records: Records, relation: str, entry: CodeEntry, wanted: list[_Wanted], notes: list[str]) -> None:
    """Add the rows of one entry."""
    rows = _Rows(records, relation, entry.exclude)
    by_code = [one for one in wanted if one.code is not None]
    ids = sorted({one.concept for one in wanted if one.concept is not None})
    if by_code:
        conditions = [
            f"(vocabulary_id = {literal(str(one.vocabulary))} AND {_code_condition(str(one.code))})" for one in by_code
        ]
        if not rows.add_concepts(" OR ".join(conditions)) and not entry.exclude:
            notes.append(f"none of {listed([str(one.code) for one in by_code])} is in the vocabulary of the records")
        # As they are written, too: records may have source values without concepts.
        exact = [one for one in by_code if not str(one.code).endswith("*")]
        if len(exact) < len(by_code) and not rows.has_names:
            raise InputError(
                "`*` needs the table 'concept', which the records do not have",
                where=_told([entry]),
                fix="add the table, or write every code",
            )
        rows.add_codes(exact)
    if ids:
        rows.add_ids(ids)
    if entry.descendants:
        rows.add_descendants()


class _Rows:
    """The rows of a set in the making: codes that count, and codes that are taken out."""

    def __init__(self, records: Records, relation: str, taken_out: bool) -> None:
        self._records = records
        self._connection = records.connection
        self._relation = f"{relation}_rows"
        self._out = str(taken_out).upper()
        self.has_names = records.has("concept", *_COLUMNS)

    def add_concepts(self, condition: str) -> int:
        """Add what ``concept`` has under a condition; how many that are."""
        if not self.has_names:
            return 0
        found = self._records.vocabulary("concept", _COLUMNS, condition)
        done = self._connection.execute(
            f"INSERT INTO {self._relation} SELECT vocabulary_id, concept_code, concept_name, concept_id, "
            f"standard_concept, {self._out} FROM {found}"
        ).fetchall()
        return int(done[0][0])

    def add_codes(self, codes: Sequence[_Wanted]) -> None:
        """Add codes as people write them, unless they are there with their concept."""
        if not codes:
            return
        arriving = {
            "vocabulary": pa.array([one.vocabulary for one in codes], pa.string()),
            "code": pa.array([one.code for one in codes], pa.string()),
        }
        self._connection.register("arriving", pa.table(arriving))
        self._connection.execute(
            f"INSERT INTO {self._relation} SELECT vocabulary, code, NULL, NULL, NULL, {self._out} FROM arriving AS a "
            f"WHERE NOT EXISTS (SELECT 1 FROM {self._relation} AS r WHERE r.vocabulary = a.vocabulary "
            f"AND r.code = a.code AND r.taken_out = {self._out})"
        )
        self._connection.unregister("arriving")

    def add_ids(self, ids: Sequence[int]) -> None:
        """Add concepts by their ids, with their names where there are some."""
        among = ", ".join(map(str, ids))
        self.add_concepts(f"concept_id IN ({among})")
        self._add_bare(f"SELECT unnest([{among}])")

    def add_descendants(self) -> None:
        """Add what is below what is there."""
        roots = self._connection.execute(
            f"SELECT DISTINCT concept_id FROM {self._relation} WHERE concept_id IS NOT NULL "
            f"AND taken_out = {self._out} ORDER BY ALL"
        ).fetchall()
        if not roots:
            return
        under = f"ancestor_concept_id IN ({', '.join(str(root) for (root,) in roots)})"
        below = self._records.vocabulary("concept_ancestor", ["descendant_concept_id"], under)
        self.add_concepts(f"concept_id IN (SELECT descendant_concept_id FROM concept_ancestor WHERE {under})")
        self._add_bare(f"SELECT DISTINCT descendant_concept_id FROM {below}")

    def _add_bare(self, ids: str) -> None:
        """Add the ids of a query that are not there yet."""
        self._connection.execute(
            f"INSERT INTO {self._relation} SELECT NULL, NULL, NULL, id, NULL, {self._out} "
            f"FROM ({ids}) AS found(id) "
            f"WHERE id NOT IN (SELECT concept_id FROM {self._relation} WHERE concept_id IS NOT NULL "
            f"AND taken_out = {self._out})"
        )


def _code_condition(code: str) -> str:
    if code.endswith("*"):
        return f"starts_with(concept_code, {literal(code[:-1])})"
    return f"concept_code = {literal(code)}"


def _told(codes: Sequence[CodeEntry]) -> str:
    first = codes[0]
    return f"codes {listed(first.codes) or listed(map(str, first.concepts)) or first.file}"
