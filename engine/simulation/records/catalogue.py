"""What simulated records are made of: diseases and their codes, drugs, measurements, questions, procedures.

ICD, LOINC, RxNorm, ATC, UCUM and SNOMED codes are real ones, and so are concept ids below :data:`LOCAL`. What has no
id here (0 in the tables beside this module) gets one from :data:`LOCAL` on, the range that OMOP leaves to sites.
Numbers like those of phecodes, and their labels, are made up: they are no phecodes.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable

LOCAL = 2_000_000_000
"""Where OMOP's range of local concept ids begins."""


class Disease(NamedTuple):
    """One disease. Its first code is the most frequent, each further one half as frequent as the one before."""

    name: str
    phecode: str  # "": none
    category: str
    icd9: str  # separated by blanks
    icd10: str
    concept: int
    snomed: str
    genetic: int  # 1: the liability of a simulated trait can decide who has it
    prevalence: float  # where none does
    slope: float  # then: standard deviations of the liability per standard deviation of age
    youngest: float  # age of onset
    oldest: float
    per_visit: float  # chance that a visit after the onset codes it
    lasts: int  # days; 0: for life
    sex: int  # 1 men, 2 women only
    since: str  # first date that it exists

    @property
    def key(self) -> str:
        """Its name as that of a column."""
        return self.name.lower().replace(" ", "_").replace("-", "_")


class Drug(NamedTuple):
    """One ingredient, the only product of it that is prescribed, and its class."""

    name: str
    group: str
    ingredient: int
    rxnorm: str
    product: str
    atc: str
    atc_name: str
    atc_concept: int


class Measure(NamedTuple):
    """One measurement. Its true value is the one at 50 years, untreated."""

    name: str
    trait: int  # number of the simulated trait that it shows, from 1; 0: none
    concept: int
    loinc: str
    label: str
    panel: str  # what is measured together
    mean: float  # 0 of weight: it follows from height and body mass index
    sd: float  # between people
    noise: float  # from one time to the next
    per_decade: float  # what ten years of age add
    floor: float
    decimals: int
    unit_concept: int
    unit: str
    other_concept: int  # a unit that some sites use
    other_unit: str
    other_per_unit: float
    low: float  # reference range
    high: float


class Question(NamedTuple):
    """A question of All of Us' surveys."""

    name: str
    concept: int
    code: str
    answers: tuple[tuple[int, str, float], ...]  # concept, code, share of those who answer


class Procedure(NamedTuple):
    """A procedure, with the chance of a visit to have it."""

    name: str
    snomed: str
    per_visit: float
    sex: int = 0


class Code(NamedTuple):
    """One ICD code of a disease."""

    text: str
    version: int  # 9 or 10
    disease: int  # index in DISEASES
    weight: float  # share among the disease's codes of that version

    @property
    def vocabulary(self) -> str:
        """Its OMOP vocabulary."""
        return f"ICD{self.version}CM"

    @property
    def circumstance(self) -> bool:
        """Whether it says a circumstance, not a condition: OMOP has most of those among observations."""
        return self.text[0] == "Z" or (self.text[0] == "V" and self.version == 9)


_Row = TypeVar("_Row")


def _read(kind: Callable[..., _Row], name: str) -> tuple[_Row, ...]:
    """The rows of a table beside this module, cells as the fields' types say."""
    types = get_type_hints(kind)
    with (Path(__file__).parent / name).open(encoding="utf-8", newline="") as file:
        return tuple(kind(**{key: types[key](cell) for key, cell in row.items()}) for row in csv.DictReader(file))


DISEASES = _read(Disease, "diseases.csv")
"""Those that are ``genetic`` first: ``disease_1`` becomes the first of them, and so on. The others depend on age and
sex alone. V22.1, V10.3 and V70.0 mean one thing in ICD-9-CM and another in ICD-10-CM."""

N_GENETIC = sum(disease.genetic for disease in DISEASES)
"""Diseases that a simulated liability can decide."""

PARENTS = {"900": "Diabetes", "910": "Chronic airway disease", "920": "Raised blood pressure"}
"""Phecode-like numbers that others roll up to."""

BROADER = (
    (201820, "73211009", "Diabetes mellitus", (201826, 201254)),
    (316866, "38341003", "Hypertensive disorder", (320128,)),
)
"""SNOMED concepts above others: concept, code, name, those below."""

DRUGS = _read(Drug, "drugs.csv")

STATIN_FACTOR = 0.70
"""What LDL cholesterol is multiplied by while a statin is taken."""

ANTIHYPERTENSIVE_FACTOR = 0.92
"""What blood pressure is multiplied by while an antihypertensive is taken."""

MEASURES = _read(Measure, "measures.csv")

PANELS = {"lipids": 0.1, "hba1c": 0.05, "metabolic": 0.12, "weight": 0.14, "height": 0.04, "pressure": 0.25}
"""Chance of a visit to have each panel."""

DIABETES_SHIFT = {"hba1c": 1.5, "glucose": 50.0}
"""What type 2 diabetes adds from its onset."""

STEPS_TRAIT, STEPS_MEAN, STEPS_SD, STEPS_NOISE = 6, 7500.0, 2500.0, 2200.0
"""Steps per day: number of the trait that they show, mean, spread between people, and from day to day."""

SKIPPED = ((903096, "PMI_Skip", 0.03), (903079, "PMI_PreferNotToAnswer", 0.01))
"""Answers that are none, to any question, with the share of people who give them."""

QUESTIONS = (
    Question(
        "smoking",
        1585857,
        "Smoking_100CigsLifetime",
        ((1585858, "100CigsLifetime_Yes", 0.38), (1585859, "100CigsLifetime_No", 0.62)),
    ),
    Question(
        "alcohol",
        1586198,
        "Alcohol_AlcoholParticipant",
        ((1586199, "AlcoholParticipant_Yes", 0.88), (1586200, "AlcoholParticipant_No", 0.12)),
    ),
    Question(
        "general_health",
        1585711,
        "OverallHealth_GeneralHealth",
        (
            (1585712, "GeneralHealth_Excellent", 0.12),
            (1585713, "GeneralHealth_VeryGood", 0.31),
            (1585714, "GeneralHealth_Good", 0.34),
            (1585715, "GeneralHealth_Fair", 0.18),
            (1585716, "GeneralHealth_Poor", 0.05),
        ),
    ),
)

PROCEDURES = (
    Procedure("Electrocardiographic procedure", "29303009", 0.03),
    Procedure("Colonoscopy", "73761001", 0.008),
    Procedure("Mammography", "71651007", 0.015, sex=2),
)


@cache
def codes() -> tuple[Code, ...]:
    """All codes of all diseases."""
    out = []
    for number, disease in enumerate(DISEASES):
        for version, texts in ((9, disease.icd9.split()), (10, disease.icd10.split())):
            total = sum(0.5**rank for rank in range(len(texts)))
            out += [Code(text, version, number, 0.5**rank / total) for rank, text in enumerate(texts)]
    return tuple(out)
