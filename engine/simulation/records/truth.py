"""What simulated records are known to hold, as a table; and a phenotype file to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.simulation.records.catalogue import (
    ANTIHYPERTENSIVE_FACTOR,
    DISEASES,
    DRUGS,
    MEASURES,
    STATIN_FACTOR,
    STEPS_MEAN,
    STEPS_NOISE,
    STEPS_SD,
    STEPS_TRAIT,
)
from allscan.engine.simulation.records.vocabulary import all_concepts
from allscan.engine.simulation.traits import of_cases

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from allscan.engine.simulation.options import SimulationOptions
    from allscan.engine.simulation.records.writing import RecordCounts

COLUMNS = (
    "kind",  # disease, measure, drug, table, fault
    "name",
    "simulated_as",  # the trait whose truth this has
    "concept_id",
    "phecode",
    "codes",
    "sex",
    "count",  # true cases, people treated, rows
    "prevalence",
    "log_odds_per_sd",  # of a small effect on the liability
    "cases_on_0_dates",
    "cases_on_1_date",
    "cases_on_more",
    "others_on_1_date",
    "others_on_more",
    "mean",  # at 50 years, untreated
    "sd",  # between people
    "per_trait_unit",  # what one unit of the simulated trait makes: effects in truth.tsv times this are those on it
    "noise_sd",  # from one time to the next
    "per_decade",
    "unit",
    "factor",
)

_FACTORS = {"statin": STATIN_FACTOR, "antihypertensive": ANTIHYPERTENSIVE_FACTOR}


def write_records_truth(path: Path, options: SimulationOptions, counts: RecordCounts) -> None:
    """One row for each disease, measurement, group of drugs, table, and kind of fault."""
    rows = [*_diseases(options, counts), *_measures(options, counts), *_others(counts)]
    lines = ["\t".join(COLUMNS)]
    for row in rows:
        assert set(row) <= set(COLUMNS)
        lines.append("\t".join(_cell(row.get(column)) for column in COLUMNS))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cell(value: object) -> str:
    if value is None or value == "":
        return "NA"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _diseases(options: SimulationOptions, counts: RecordCounts) -> Iterator[dict[str, object]]:
    tally = counts.tally
    assert tally is not None
    concepts = all_concepts()
    for number, disease in enumerate(DISEASES):
        genetic = number < options.binary_traits
        shares = np.array([options.prevalence_of(number)]) if genetic else None
        yield {
            "kind": "disease",
            "name": disease.name,
            "simulated_as": options.binary_names[number] if genetic else None,
            "concept_id": concepts.of_disease[number],
            "phecode": disease.phecode,
            "codes": ",".join([*disease.icd9.split(), *disease.icd10.split()]),
            "sex": ("both", "male", "female")[disease.sex],
            "count": int(tally.cases[number]),
            "prevalence": float(tally.cases[number] / counts.people),
            "log_odds_per_sd": None if shares is None else float(of_cases(shares).log_odds[0]),
            "cases_on_0_dates": int(tally.cases_on[number, 0]),
            "cases_on_1_date": int(tally.cases_on[number, 1]),
            "cases_on_more": int(tally.cases_on[number, 2]),
            "others_on_1_date": int(tally.others_on[number, 1]),
            "others_on_more": int(tally.others_on[number, 2]),
        }


def _measures(options: SimulationOptions, counts: RecordCounts) -> Iterator[dict[str, object]]:
    def spread(trait: int, sd: float) -> dict[str, object]:
        if not 0 < trait <= options.traits:
            return {"sd": sd or None}
        name = options.names[trait - 1]
        return {"simulated_as": name, "sd": sd, "per_trait_unit": sd / counts.trait_sd[trait - 1]}

    for measure in MEASURES:
        yield {
            "kind": "measure",
            "name": measure.name,
            **spread(measure.trait, measure.sd),
            "concept_id": measure.concept,
            "codes": measure.loinc,
            "mean": measure.mean or None,
            "noise_sd": measure.noise or None,
            "per_decade": measure.per_decade,
            "unit": measure.unit,
        }
    yield {
        "kind": "measure",
        "name": "steps",
        **spread(STEPS_TRAIT, STEPS_SD),
        "mean": STEPS_MEAN,
        "noise_sd": STEPS_NOISE,
        "per_decade": 0.0,
    }


def _others(counts: RecordCounts) -> Iterator[dict[str, object]]:
    for group, treated in counts.treated.items():
        ingredients = [str(drug.ingredient) for drug in DRUGS if drug.group == group]
        factor = _FACTORS.get(group)
        yield {"kind": "drug", "name": group, "codes": ",".join(ingredients), "count": treated, "factor": factor}
    for name, number in counts.rows.items():
        yield {"kind": "table", "name": name, "count": number}
    yield {"kind": "fault", "name": "person.empty_record", "count": counts.empty}
    for name, number in sorted(counts.faults.items()):
        yield {"kind": "fault", "name": name, "count": number}


def write_records_file(path: Path) -> None:
    """A phenotype file that makes traits of the records."""
    lines = [
        "# Traits from the simulated records: allscan phenotypes build records.yaml",
        "name: simulated",
        "records: records",
        "phecodes: {files: phecode_map.csv, roll_up: false, min_cases: 50}  # the map lists parents, too",
        "definitions:",
        "  - kind: measurement",
        "    id: ldl_cholesterol",
        "    title: LDL cholesterol without statins",
        "    category: Laboratory",
        "    codes: {concepts: [3028437]}",
        "    unit: mg/dL",
        "    molar_mass: 386.65  # some values are in mmol/L",
        "    plausible: [10, 1000]",
        "    adjust:",
        "      - {codes: {vocabulary: ATC, codes: [C10AA], descendants: true}, when: exposed, grace: 30, divide: 0.7}",
        "    summary: median",
        "  - kind: wearable",
        "    id: daily_steps",
        "    title: Steps per day",
        "    category: Activity",
        "    measure: steps",
        "    valid: [100, 45000]",
        "    min_days: 30",
        "    summary: median",
        "groups: {file: covariates.tsv, column: group}",
        "covariates: [age, sex, record_years, visits]",
        "output: phenotypes",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
