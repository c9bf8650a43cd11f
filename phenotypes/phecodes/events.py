"""Diagnoses of records: which ICD code stands in a row, of which vocabulary, on which day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from allscan.arrow import string_array
from allscan.errors import InputError
from allscan.phenotypes.names import listed
from allscan.phenotypes.records.dialect import literal
from allscan.phenotypes.records.omop import DOMAINS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from allscan.phenotypes.phecodes.maps import PhecodeMap
    from allscan.phenotypes.phecodes.matrix import Events
    from allscan.phenotypes.phecodes.spec import PhecodesSection
    from allscan.phenotypes.records.records import Records

BATCH = 1 << 20
SHOWN_CODES = 5
SHOWN_FROM = 21
"""People who must have a code before its name is shown: what few have may tell who they are."""

_CONDITIONS = "condition_occurrence"
"""Where a source value is a diagnosis code. Elsewhere ``99213`` is a procedure, and not ICD-9 992.13."""
_CELLS = {"value": "source_value", "source": "source_concept_id", "standard": "concept_id"}
"""Cells that tell a row's code, and how their columns' names end."""
_DAYS_OF_YEAR = 365.25


@dataclass(frozen=True)
class Diagnoses:
    """Diagnoses of everybody in the records."""

    records: Records
    relation: str  # local table (person INTEGER, code INTEGER, day INTEGER: since 1970)
    tables: str  # that they stand in
    codes: tuple[tuple[str, str], ...]  # (vocabulary of the map, code)
    rows: tuple[int, ...]  # of each code

    def batches(self, first: int, last: int) -> Iterator[Events]:
        """The diagnoses of a range of people, in batches of no order."""
        everybody = first == 0 and last == len(self.records.people)
        where = "" if everybody else f" WHERE person >= {first} AND person < {last}"
        found = self.records.connection.sql(f"SELECT person, code, day FROM {self.relation}{where}")
        for batch in found.to_arrow_reader(BATCH):
            person, code, day = (np.asarray(column) for column in batch.columns)
            yield person, code, day


def find_diagnoses(records: Records, section: PhecodesSection, phecode_map: PhecodeMap) -> Diagnoses:
    """Find the diagnoses that a phecode map may know.

    A row's code is that of its source concept, where this is known. Where it is not, the source value is looked up
    among the codes of the vocabularies: as it is written, and in ``condition_occurrence`` also without its dot. One
    that is a code of ICD-9 and of ICD-10 (``V10.1``) is the one whose concept maps to the row's standard concept; where
    this does not tell, the one that was in use on the row's day.

    Parameters
    ----------
    records
        With the tables that ``section`` names, as far as they are there. Without ``concept``, source values are looked
        up in the map alone.
    section
        What counts.
    phecode_map
        Of the phecodes.

    Raises
    ------
    InputError
        If the records have none of the tables, or the map has not the vocabularies.
    """
    vocabularies = _vocabularies(section, phecode_map)
    tables = [table for table in section.tables if records.has(table)]
    if not tables:
        raise InputError(
            f"the records have no table of diagnoses: {listed(section.tables)}",
            where=records.source.name,
            fix="add condition_occurrence, with condition_source_value and condition_source_concept_id",
        )
    search = _Search(records, section, vocabularies, records.fresh_name("diagnoses"))
    search.make_codebook(phecode_map)
    search.collect(tables)
    search.resolve()
    return search.finished()


def unmapped(diagnoses: Diagnoses, counts: Sequence[int]) -> tuple[int, str]:
    """Rows whose code has no phecode, and the codes that most of them have, as far as these can be told."""
    missing = [code for code, count in enumerate(counts) if not count]
    rows = sum(diagnoses.rows[code] for code in missing)
    shown = sorted(missing, key=lambda code: (-diagnoses.rows[code], code))[:SHOWN_CODES]
    if not shown:
        return rows, ""
    found = diagnoses.records.connection.execute(
        f"SELECT code FROM {diagnoses.relation} WHERE code IN ({', '.join(map(str, shown))}) "
        f"GROUP BY code HAVING count(DISTINCT person) >= {SHOWN_FROM}"
    ).fetchall()
    kept = {code for (code,) in found}
    return rows, ", ".join(f"{diagnoses.codes[code][1]} ({diagnoses.rows[code]:,})" for code in shown if code in kept)


def _vocabularies(section: PhecodesSection, phecode_map: PhecodeMap) -> dict[str, str]:
    """Vocabularies of the records, and what each is in the map, in order of preference."""
    known = phecode_map.vocabularies
    american = [name for name in ("ICD9CM", "ICD10CM") if name in known]
    # A code of ICD-10 is one of ICD-10-CM, too: both would count, where nobody says which.
    chosen = section.vocabularies or (american if "ICD10CM" in known else list(known))
    found = {name: section.read_as.get(name, name) for name in [*chosen, *section.read_as]}
    lacking = [name for name, there in found.items() if there not in known]
    if lacking:
        raise InputError(
            f"the phecode map has no codes of {listed(lacking)}, only of {listed(known)}",
            where="phecodes.vocabularies",
            fix="name files of the map that have them, or look them up as others: "
            f"read_as: {{{lacking[0]}: {known[0]}}}",
        )
    return found


class _Search:
    """The steps from rows to codes, each a local table or view whose name begins with that of the search.

    In their SQL, ``$book`` is the table of the search that is called so.
    """

    def __init__(self, records: Records, section: PhecodesSection, vocabularies: dict[str, str], name: str) -> None:
        self.records = records
        self.section = section
        self.vocabularies = vocabularies
        self.name = name
        self.tables = ""
        self.has_concepts = records.has("concept", "concept_id", "vocabulary_id", "concept_code")
        self.is_icd = f"vocabulary_id IN ({', '.join(map(literal, vocabularies))})"

    def run(self, text: str) -> list[tuple[Any, ...]]:
        return self.records.connection.execute(text.replace("$", f"{self.name}_")).fetchall()

    def make(self, table: str, text: str, kind: str = "TABLE") -> None:
        self.run(f"CREATE TEMP {kind} ${table} AS {text}")

    def make_codebook(self, phecode_map: PhecodeMap) -> None:
        """All codes of the vocabularies, by how they are written, with and without their dots."""
        self._arrive(
            "order",
            vocabulary=string_array(self.vocabularies),
            there=string_array(self.vocabularies.values()),  # what it is in the map
            place=pa.array(range(len(self.vocabularies)), pa.int32()),  # the first one is preferred
        )
        pairs = [
            (name, code)
            for name, there in self.vocabularies.items()
            for vocabulary, code in phecode_map.codes
            if vocabulary == there
        ]
        self._arrive("of_map", vocabulary=string_array(v for v, _ in pairs), code=string_array(c for _, c in pairs))
        concepts = "SELECT 0 AS concept_id, '' AS vocabulary_id, '' AS concept_code WHERE FALSE"
        if self.has_concepts:
            columns = ["concept_id", "vocabulary_id", "concept_code"]
            concepts = f"SELECT * FROM {self.records.vocabulary('concept', columns, self.is_icd)}"
        self.make(
            "concept",
            f"""SELECT CAST(concept_id AS BIGINT) AS concept_id, vocabulary_id AS vocabulary,
                    {_plain("concept_code")} AS code
                FROM ({concepts}) WHERE concept_code IS NOT NULL""",
        )
        # A table of concepts that has none of ours can tell nothing, and no rows may be left aside for it.
        self.has_concepts = bool(self.run("SELECT 1 FROM $concept LIMIT 1"))
        self.make(
            "book",
            """SELECT vocabulary, code, max(concept_id) AS concept_id
                FROM (SELECT vocabulary, code, NULL AS concept_id FROM $of_map
                    UNION ALL SELECT vocabulary, code, concept_id FROM $concept)
                GROUP BY vocabulary, code""",
        )
        # Only where it leaves no doubt which code is meant.
        self.make(
            "bare",
            """SELECT vocabulary, replace(code, '.', '') AS bare, min(code) AS code FROM $book
                GROUP BY vocabulary, bare HAVING count(*) = 1 AND min(code) <> bare""",
        )

    def _arrive(self, table: str, **columns: Any) -> None:
        arriving = f"{self.name}_arriving"
        self.records.connection.register(arriving, pa.table(columns))
        self.make(table, f"SELECT * FROM {arriving}")
        self.records.connection.unregister(arriving)

    def collect(self, tables: Sequence[str]) -> None:
        """The rows of the tables, and what stands in them, each spelling once with a number."""
        self.tables = ", ".join(tables)
        self.make("rows", " UNION ALL ".join(map(self._rows, tables)), "VIEW")
        self.make(
            "spelled",
            """SELECT *, row_number() OVER (ORDER BY value, source, standard, dotless) AS spelling
                FROM (SELECT value, source, standard, dotless, count(*) AS n FROM $rows GROUP BY ALL)""",
        )

    def _rows(self, table: str) -> str:
        domain = DOMAINS[table]
        names = {cell: f"{domain}_{ending}" for cell, ending in _CELLS.items()}
        have = {cell: name for cell, name in names.items() if self.records.has(table, name)}
        if not {"value", "source"} & have.keys():
            self.records.require(table, names["value"], names["source"])
        tests = []
        if self.has_concepts and table != _CONDITIONS:
            # These tables hold much else, which need not be read.
            tests += [f"{have['source']} IN (SELECT concept_id FROM concept WHERE {self.is_icd})"] * ("source" in have)
            codes = f"SELECT upper(concept_code) FROM concept WHERE {self.is_icd}"
            tests += [f"upper(trim({have['value']})) IN ({codes})"] * ("value" in have)
        relation = self.records.events(table, list(have.values()), " OR ".join(tests))
        value = have.get("value", "NULL")
        cells = ", ".join(f"CAST({have.get(cell, 'NULL')} AS BIGINT) AS {cell}" for cell in ("source", "standard"))
        return f"""SELECT person, date, CAST({value} AS VARCHAR) AS value, {cells}, {table == _CONDITIONS} AS dotless
            FROM {relation}{self._window()}"""

    def _window(self) -> str:
        section = self.section
        years = f"(date - birth) / {_DAYS_OF_YEAR}"
        tests = [f"date >= DATE {literal(section.first_day)}"] if section.first_day else []
        tests += [f"date <= DATE {literal(section.last_day)}"] if section.last_day else []
        tests += [f"{years} >= {section.min_age}"] if section.min_age is not None else []
        tests += [f"{years} < {section.max_age}"] if section.max_age is not None else []
        by_age = section.min_age is not None or section.max_age is not None
        join = " JOIN (SELECT person, birth FROM people) USING (person)" if by_age else ""
        return join + (f" WHERE {' AND '.join(tests)}" if tests else "")

    def resolve(self) -> None:
        """The code that each spelling means, before the first day of ICD-10 and from then on."""
        # A source concept of another vocabulary says that the value is no diagnosis code; 0 says nothing.
        self.make(
            "open",
            f"""SELECT spelling, {_plain("value")} AS code, standard, dotless FROM $spelled
                WHERE coalesce(source, 0) = 0 AND value IS NOT NULL""",
        )
        self.make(
            "options",
            """SELECT o.spelling, o.standard, b.vocabulary, b.code FROM $open AS o JOIN $book AS b USING (code)
                UNION SELECT o.spelling, o.standard, b.vocabulary, b.code
                FROM $open AS o JOIN $bare AS b ON b.bare = o.code WHERE o.dotless""",
        )
        self._prefer_mapped()
        # From here on, what is read as another vocabulary is that one.
        self.make(
            "chosen",
            """SELECT spelling, FALSE AS by_value, {'there': there, 'code': code} AS before, before AS after
                FROM $spelled JOIN $concept ON source = concept_id JOIN $order USING (vocabulary)
                UNION ALL SELECT spelling, TRUE,
                    coalesce(arg_min(meant, place) FILTER (is_nine), arg_min(meant, place)),
                    coalesce(arg_min(meant, place) FILTER (NOT is_nine), arg_min(meant, place))
                FROM (SELECT spelling, place, {'there': there, 'code': code} AS meant,
                        starts_with(there, 'ICD9') AS is_nine
                    FROM $options JOIN $order USING (vocabulary))
                GROUP BY spelling""",
        )
        self.make(
            "numbered",
            """SELECT meant, CAST(row_number() OVER (ORDER BY meant.there, meant.code) - 1 AS INTEGER) AS number
                FROM (SELECT before AS meant FROM $chosen UNION SELECT after FROM $chosen)""",
        )
        self.make(
            "meaning",
            """SELECT c.spelling, c.by_value, b.number AS before, a.number AS after
                FROM $chosen AS c JOIN $numbered AS b ON b.meant = c.before JOIN $numbered AS a ON a.meant = c.after""",
        )

    def _prefer_mapped(self) -> None:
        """Where a spelling is a code of several vocabularies, keep those whose concept maps to the row's."""
        doubtful = "(SELECT spelling FROM $options GROUP BY spelling HAVING count(DISTINCT vocabulary) > 1)"
        count = f"SELECT coalesce(sum(n), 0) FROM $spelled WHERE spelling IN {doubtful}"
        ((n_doubtful,),) = self.run(count)
        columns = ("concept_id_1", "concept_id_2", "relationship_id")
        if not n_doubtful:
            return
        if self.has_concepts and self.records.has("concept_relationship", *columns):
            maps_to = self.records.vocabulary("concept_relationship", columns, "relationship_id = 'Maps to'")
            self.make(
                "mapped",
                f"""SELECT DISTINCT o.spelling, o.vocabulary FROM $options AS o JOIN $book AS b USING (vocabulary, code)
                    JOIN {maps_to} AS r ON r.concept_id_1 = b.concept_id AND r.concept_id_2 = o.standard
                    WHERE o.spelling IN {doubtful} AND o.standard <> 0""",
            )
            self.run(
                """DELETE FROM $options WHERE spelling IN (SELECT spelling FROM $mapped)
                    AND (spelling, vocabulary) NOT IN (SELECT (spelling, vocabulary) FROM $mapped)"""
            )
        ((left,),) = self.run(count)
        what = "source values that are codes of several vocabularies, told apart by the"
        self.records.note_quality(self.tables, f"{what} standard concept", n_doubtful - left)
        self.records.note_quality(self.tables, f"{what} day", left)

    def finished(self) -> Diagnoses:
        """The table of diagnoses; what is to be said of the other rows is noted."""
        same = " AND ".join(f"s.{cell} IS NOT DISTINCT FROM r.{cell}" for cell in (*_CELLS, "dotless"))
        self.make(
            "found",
            f"""SELECT r.person, CAST(r.date - DATE '1970-01-01' AS INTEGER) AS day,
                    CASE WHEN r.date < DATE {literal(self.section.icd10_from)} THEN m.before ELSE m.after END AS code
                FROM $rows AS r JOIN ($spelled AS s JOIN $meaning AS m USING (spelling)) ON {same}""",
        )
        codes = self.run("SELECT meant.there, meant.code FROM $numbered ORDER BY number")
        rows = dict(self.run("SELECT code, count(*) FROM $found GROUP BY code"))
        ((others, by_value),) = self.run(
            """SELECT coalesce(sum(n) FILTER (by_value IS NULL), 0), coalesce(sum(n) FILTER (by_value), 0)
                FROM $spelled LEFT JOIN $meaning USING (spelling)"""
        )
        self.records.note_quality(self.tables, "diagnoses known by their source value alone", by_value)
        self.records.note_quality(self.tables, f"rows without a code of {listed(self.vocabularies)}", others)
        for table in ("of_map", "concept", "book", "bare", "open", "options", "chosen", "spelled", "meaning"):
            self.run(f"DROP TABLE ${table}")
        counts = tuple(int(rows.get(number, 0)) for number in range(len(codes)))
        return Diagnoses(self.records, f"{self.name}_found", self.tables, tuple(codes), counts)


def _plain(column: str) -> str:
    """As :func:`allscan.phenotypes.phecodes.maps.plain`."""
    return f"rtrim(upper(trim({column})), '.')"
