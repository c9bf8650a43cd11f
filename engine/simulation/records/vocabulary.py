"""The vocabulary tables of simulated records, with what these use and no more; and a map of phecode-like groups."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.simulation.records.catalogue import (
    BROADER,
    DISEASES,
    DRUGS,
    LOCAL,
    MEASURES,
    PARENTS,
    PROCEDURES,
    QUESTIONS,
    SKIPPED,
    codes,
)
from allscan.engine.simulation.records.people import day
from allscan.engine.simulation.records.tables import Coded, Rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_VALID_FROM, _VALID_TO = day("1970-01-01"), day("2099-12-31")

_OTHERS = (
    (0, "No matching concept", "Metadata", "None", "Undefined", "No matching concept"),
    (8507, "MALE", "Gender", "Gender", "Gender", "M"),
    (8532, "FEMALE", "Gender", "Gender", "Gender", "F"),
    (8527, "White", "Race", "Race", "Race", "5"),
    (8516, "Black or African American", "Race", "Race", "Race", "3"),
    (8515, "Asian", "Race", "Race", "Race", "2"),
    (38003563, "Hispanic or Latino", "Ethnicity", "Ethnicity", "Ethnicity", "Hispanic"),
    (38003564, "Not Hispanic or Latino", "Ethnicity", "Ethnicity", "Ethnicity", "Not Hispanic"),
    (9201, "Inpatient Visit", "Visit", "Visit", "Visit", "IP"),
    (9202, "Outpatient Visit", "Visit", "Visit", "Visit", "OP"),
    (9203, "Emergency Room Visit", "Visit", "Visit", "Visit", "ER"),
    (32817, "EHR", "Type Concept", "Type Concept", "Type Concept", "OMOP4976890"),
    (44818701, "From physical examination", "Type Concept", "Meas Type", "Meas Type", "OMOP generated"),
    (45905771, "Observation Recorded from a Survey", "Type Concept", "Observation Type", "Obs Type", "OMOP generated"),
    (4171756, "<", "Meas Value Operator", "SNOMED", "Qualifier Value", "276139006"),
    (4172704, ">", "Meas Value Operator", "SNOMED", "Qualifier Value", "276136004"),
)  # fmt: skip


class Concept(NamedTuple):
    """One row of ``concept``."""

    concept_id: int
    name: str
    domain: str
    vocabulary: str
    kind: str
    code: str
    standard: str = "S"  # or C (a class), or "" (not standard)


@dataclass
class Concepts:
    """All concepts, and where they are used: ids by what the catalogue calls them."""

    rows: list[Concept] = field(default_factory=list)
    ancestors: list[tuple[int, int, int]] = field(default_factory=list)  # ancestor, descendant, steps
    relations: list[tuple[int, int, str]] = field(default_factory=list)
    of_code: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(codes()), np.int64))
    standard_of_code: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(codes()), np.int64))
    of_disease: list[int] = field(default_factory=list)
    of_product: list[int] = field(default_factory=list)
    of_procedure: list[int] = field(default_factory=list)

    def add(self, concept_id: int, *rest: str) -> int:
        """Add a concept, with the next local id where it has none."""
        concept_id = concept_id or LOCAL + len(self.rows)
        self.rows.append(Concept(concept_id, *rest))
        return concept_id

    def relate(self, one: int, other: int, relation: str, inverse: str) -> None:
        """Add a relationship and its inverse."""
        self.relations += [(one, other, relation), (other, one, inverse)]

    def below(self, ancestor: int, descendant: int, steps: int = 1) -> None:
        """Add a line of descent."""
        self.ancestors.append((ancestor, descendant, steps))
        if steps == 1:
            self.relate(descendant, ancestor, "Is a", "Subsumes")


def all_concepts() -> Concepts:
    """Everything that simulated records refer to."""
    out = Concepts(rows=[Concept(*row) for row in _OTHERS])
    _add_diseases(out)
    _add_drugs(out)
    for measure in MEASURES:
        domain = "Measurement"
        out.add(measure.concept, measure.label, domain, "LOINC", "Clinical Observation", measure.loinc)
        for concept, unit in ((measure.unit_concept, measure.unit), (measure.other_concept, measure.other_unit)):
            if concept and all(row.concept_id != concept for row in out.rows):
                out.add(concept, unit, "Unit", "UCUM", "Unit", unit)
    for question in QUESTIONS:
        out.add(question.concept, question.code, "Observation", "PPI", "Question", question.code)
        for concept, code, _ in question.answers:
            out.add(concept, code, "Observation", "PPI", "Answer", code)
    for concept, code, _ in SKIPPED:
        out.add(concept, code, "Observation", "PPI", "Answer", code)
    for procedure in PROCEDURES:
        out.of_procedure.append(out.add(0, procedure.name, "Procedure", "SNOMED", "Procedure", procedure.snomed))
    out.ancestors += [(row.concept_id, row.concept_id, 0) for row in out.rows if row.standard]
    return out


def _add_diseases(out: Concepts) -> None:
    for disease in DISEASES:
        concept = out.add(disease.concept, disease.name, "Condition", "SNOMED", "Disorder", disease.snomed)
        out.of_disease.append(concept)
    for concept, snomed, name, narrower in BROADER:
        out.add(concept, name, "Condition", "SNOMED", "Disorder", snomed)
        for descendant in narrower:
            out.below(concept, descendant)
    for index, code in enumerate(codes()):
        domain = "Observation" if code.circumstance else "Condition"
        name = f"{DISEASES[code.disease].name} ({code.text})"
        kind = f"{code.vocabulary[:-2]} code"
        concept = out.add(0, name, domain, code.vocabulary, kind, code.text, "")
        out.of_code[index] = concept
        if not code.circumstance:
            out.standard_of_code[index] = out.of_disease[code.disease]
            out.relate(concept, out.of_disease[code.disease], "Maps to", "Mapped from")


def _add_drugs(out: Concepts) -> None:
    classes: dict[str, int] = {}
    for drug in DRUGS:
        if drug.atc not in classes:
            classes[drug.atc] = out.add(drug.atc_concept, drug.atc_name, "Drug", "ATC", "ATC 4th", drug.atc, "C")
        out.add(drug.ingredient, drug.name, "Drug", "RxNorm", "Ingredient", drug.rxnorm)
        local = f"OMOP{LOCAL + len(out.rows)}"
        product = out.add(0, drug.product, "Drug", "RxNorm Extension", "Clinical Drug", local)
        out.of_product.append(product)
        out.below(classes[drug.atc], drug.ingredient)
        out.below(drug.ingredient, product)
        out.below(classes[drug.atc], product, 2)


def vocabulary_rows(concepts: Concepts) -> dict[str, Rows]:
    """Rows of the vocabulary tables."""
    valid = {"valid_start_date": _VALID_FROM, "valid_end_date": _VALID_TO}
    rows = concepts.rows
    ancestors = np.array(concepts.ancestors, np.int64)
    return {
        "concept": Rows(
            len(rows),
            {
                "concept_id": np.array([row.concept_id for row in rows]),
                "concept_name": _texts([row.name for row in rows]),
                "domain_id": _texts([row.domain for row in rows]),
                "vocabulary_id": _texts([row.vocabulary for row in rows]),
                "concept_class_id": _texts([row.kind for row in rows]),
                "standard_concept": _texts([row.standard for row in rows]),
                "concept_code": _texts([row.code for row in rows]),
                **valid,
            },
        ),
        "concept_ancestor": Rows(
            len(ancestors),
            {
                "ancestor_concept_id": ancestors[:, 0],
                "descendant_concept_id": ancestors[:, 1],
                "min_levels_of_separation": ancestors[:, 2],
                "max_levels_of_separation": ancestors[:, 2],
            },
        ),
        "concept_relationship": Rows(
            len(concepts.relations),
            {
                "concept_id_1": np.array([one for one, _, _ in concepts.relations]),
                "concept_id_2": np.array([other for _, other, _ in concepts.relations]),
                "relationship_id": _texts([relation for _, _, relation in concepts.relations]),
                **valid,
            },
        ),
    }


def _texts(values: Sequence[str]) -> Coded:
    """Texts as a column; empty ones are missing."""
    texts = tuple(dict.fromkeys(value for value in values if value))
    number = {text: index for index, text in enumerate(texts)}
    return Coded(np.array([number.get(value, -1) for value in values], np.int32), texts)


def write_phecode_map(path: Path) -> None:
    """A map of the codes to groups like phecodes, in the columns of the published maps, rolled up."""
    lines = ["phecode,ICD,flag,phecode_string,phecode_category,exclude_range,sex"]
    for code in codes():
        disease = DISEASES[code.disease]
        if not disease.phecode:
            continue
        block = disease.phecode.split(".")[0]
        sex = ("Both", "Male", "Female")[disease.sex]
        excluded = f"{block}-{block}.99"
        groups = [(disease.phecode, disease.name, disease.category, sex)]
        if block in PARENTS:
            same = next(other.category for other in DISEASES if other.phecode.startswith(block))
            groups.append((block, PARENTS[block], same, "Both"))
        lines += [
            f"{phecode},{code.text},{code.version},{name},{category},{excluded},{of}"
            for phecode, name, category, of in groups
        ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
