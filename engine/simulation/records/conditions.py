"""Who has which disease and since when, and the codes that visits leave behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm

from allscan.engine.simulation.records.catalogue import DISEASES, codes
from allscan.engine.simulation.records.people import DAYS_PER_YEAR, RELEASE, day
from allscan.engine.simulation.records.tables import NO_DATE, Coded, Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.simulation.records.catalogue import Disease
    from allscan.engine.simulation.records.people import Histories, Visits
    from allscan.engine.simulation.records.vocabulary import Concepts

ICD10_FROM = day("2015-10-01")
"""Visits before it are coded in ICD-9-CM."""

_RULED_OUT = 0.015  # chance of a person without the disease, of average contact, to have a code of it on one date …
_TWICE = 0.08  # … and share of them who have it on two
_WRONG_SEX = 0.02  # that chance for the sex that cannot have it, times this
_MORE_VISITS = 1.5  # mean, beside one, of an episode
_VALUE_ONLY, _CONCEPT_ONLY = 0.05, 0.05  # share of codes without their concept, without their text
_CIRCUMSTANCE_OBSERVED, _CONDITION_OBSERVED = 0.8, 0.02  # share of codes in `observation`


@dataclass(frozen=True)
class Illness:
    """Who truly has which disease, shapes (people, diseases)."""

    case: NDArray[np.bool_]
    onset: NDArray[np.int32]  # date; NO_DATE: at no time on record, or no case


@dataclass(frozen=True)
class Tally:
    """Of each disease: how many people it has left codes on how many dates, shape (diseases,)."""

    cases: NDArray[np.int64]
    cases_on: NDArray[np.int64]  # (diseases, 3) cases with codes on no date, on one, on more
    others_on: NDArray[np.int64]  # (diseases, 3) people without the disease, of the sex that can have it
    wrong_sex: int  # rows

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.cases + other.cases,
            self.cases_on + other.cases_on,
            self.others_on + other.others_on,
            self.wrong_sex + other.wrong_sex,
        )


@dataclass(frozen=True)
class CodedVisits:
    """Codes, each of a visit; ordered by visit."""

    code: NDArray[np.int32]  # index in codes()
    visit: NDArray[np.intp]


def able(disease: Disease, sex: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Who can have a disease."""
    return np.full(len(sex), True) if disease.sex == 0 else sex == disease.sex


def draw_illness(rng: np.random.Generator, histories: Histories) -> Illness:
    """Decide who has which disease and when it began: the greater the liability, the earlier."""
    people = histories.people
    n = len(people)
    age = (people.age - 55) / 14
    case = np.zeros((n, len(DISEASES)), np.bool_)
    onset = np.full((n, len(DISEASES)), NO_DATE, np.int32)
    for number, disease in enumerate(DISEASES):
        if number < people.case.shape[1]:
            ill, excess = people.case[:, number], people.excess[:, number]
        else:
            liability = disease.slope * age + rng.standard_normal(n)
            spread = np.sqrt(1 + disease.slope**2)
            excess = liability / spread - norm.isf(disease.prevalence)
            ill = excess > 0
            excess = np.where(ill, np.minimum(excess, 10), 0)
        case[:, number] = ill & able(disease, people.sex)
        began = _onset(rng, histories, disease, excess)
        onset[:, number] = np.where(case[:, number], began, NO_DATE)
    return Illness(case, onset)


def _onset(
    rng: np.random.Generator, histories: Histories, disease: Disease, excess: NDArray[np.float64]
) -> NDArray[np.int32]:
    """Date at which the disease began. What lasts a limited time falls on record, where the ages allow that."""
    birth = histories.birth.astype(np.float64)
    end = histories.end.astype(np.float64)
    low = birth + disease.youngest * DAYS_PER_YEAR
    high = np.minimum(birth + disease.oldest * DAYS_PER_YEAR, end)
    if disease.lasts:
        low = np.maximum(low, histories.start)
    else:
        low = np.minimum(low, birth + 0.8 * (end - birth))
        high = np.maximum(high, low)
    if disease.since:
        low = np.maximum(low, day(disease.since))
    began = low + (high - low) * rng.random(len(birth)) ** (1 + excess)
    return np.where(high >= low, np.floor(began), NO_DATE).astype(np.int32)


def draw_episodes(rng: np.random.Generator, illness: Illness) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Person and date of the visits that a disease of limited time is the reason for."""
    people, dates = [], []
    for number, disease in enumerate(DISEASES):
        if disease.lasts:
            ill = np.flatnonzero(illness.onset[:, number] != NO_DATE)
            person = np.repeat(ill, 1 + rng.poisson(_MORE_VISITS, len(ill)))
            after = (rng.random(len(person)) * disease.lasts).astype(np.int32)
            people.append(person)
            dates.append(illness.onset[person, number] + after)
    return np.concatenate(people), np.concatenate(dates)


def draw_codes(
    rng: np.random.Generator, histories: Histories, visits: Visits, illness: Illness
) -> tuple[CodedVisits, Tally]:
    """Draw the codes of all visits, and count whom they are of."""
    sex = histories.people.sex
    some = np.flatnonzero(np.diff(visits.first))
    parts: list[tuple[NDArray[np.int32], NDArray[np.intp]]] = []
    cases_on, others_on = [], []
    wrong_sex = 0
    for number, disease in enumerate(DISEASES):
        ill = illness.case[:, number]
        onset = illness.onset[:, number]
        since = visits.date - onset[visits.person]
        during = (since >= 0) & (since < disease.lasts) if disease.lasts else since >= 0
        candidates = np.flatnonzero(during)
        coded = candidates[rng.random(len(candidates)) < disease.per_visit]
        can = able(disease, sex)
        chance = _RULED_OUT * np.minimum(histories.contact, 3.0) * np.where(can, 1.0, _WRONG_SEX)
        mistaken = some[(rng.random(len(some)) < chance[some]) & ~ill[some]]
        twice = mistaken[rng.random(len(mistaken)) < _TWICE]
        by_mistake = _visit_of(rng, visits, np.concatenate([mistaken, twice]))
        coded = np.concatenate([coded, by_mistake])
        code, kept = _codes_of(rng, number, visits.date[coded])
        coded = coded[kept]
        parts.append((code, coded))
        person = visits.person[coded]
        wrong_sex += int((~can[person]).sum())
        dates = _dates_per_person(person, visits.date[coded], len(sex))
        cases_on.append(np.bincount(dates[ill], minlength=3))
        others_on.append(np.bincount(dates[~ill & can], minlength=3))
    code = np.concatenate([part[0] for part in parts])
    visit = np.concatenate([part[1] for part in parts])
    order = np.argsort(visit, kind="stable")
    tally = Tally(illness.case.sum(axis=0), np.array(cases_on), np.array(others_on), wrong_sex)
    return CodedVisits(code[order], visit[order]), tally


def _visit_of(rng: np.random.Generator, visits: Visits, person: NDArray[np.intp]) -> NDArray[np.intp]:
    """One of the visits of each of these people."""
    number = visits.first[person + 1] - visits.first[person]
    return np.asarray(visits.first[person] + (rng.random(len(person)) * number).astype(np.intp))


def _codes_of(
    rng: np.random.Generator, disease: int, dates: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Codes of a disease by what was in use on each date; and for which dates there is one."""
    chosen = np.full(len(dates), -1, np.int32)
    luck = rng.random(len(dates))
    since = day(DISEASES[disease].since) if DISEASES[disease].since else 0
    for version, in_use in ((9, dates < ICD10_FROM), (10, dates >= max(ICD10_FROM, since))):
        known = [index for index, code in enumerate(codes()) if (code.disease, code.version) == (disease, version)]
        if known:
            shares = np.cumsum([codes()[index].weight for index in known])
            rank = np.minimum(np.searchsorted(shares, luck, side="right"), len(known) - 1)
            chosen = np.where(in_use, np.array(known, np.int32)[rank], chosen)
    kept = chosen >= 0
    return chosen[kept], kept


def _dates_per_person(person: NDArray[np.intp], dates: NDArray[np.int32], people: int) -> NDArray[np.int64]:
    """On how many dates each person has a code: 0, 1, or 2 for more."""
    keys = np.unique(person.astype(np.int64) * 2 * RELEASE + dates)
    return np.minimum(np.bincount(keys // (2 * RELEASE), minlength=people), 2)


def code_rows(
    rng: np.random.Generator,
    histories: Histories,
    visits: Visits,
    coded: CodedVisits,
    concepts: Concepts,
    first_id: int,
) -> tuple[Rows, Rows]:
    """Rows of ``condition_occurrence``, and those of ``observation`` that are codes too."""
    n = len(coded.code)
    circumstance = np.array([code.circumstance for code in codes()])[coded.code]
    observed = rng.random(n) < np.where(circumstance, _CIRCUMSTANCE_OBSERVED, _CONDITION_OBSERVED)
    # A text that begins with V is of either vocabulary: only the concept tells.
    either = np.array([code.text[0] == "V" for code in codes()])[coded.code]
    luck = np.where(either, 1.0, rng.random(n))
    text = np.where((luck >= _VALUE_ONLY) & (luck < _VALUE_ONLY + _CONCEPT_ONLY), np.int32(-1), coded.code)
    source = np.where(luck < _VALUE_ONLY, 0, concepts.of_code[coded.code])
    columns = {
        "person_id": histories.people.person_id[visits.person[coded.visit]],
        "concept": concepts.standard_of_code[coded.code],
        "date": visits.date[coded.visit],
        "visit_occurrence_id": visits.visit_id[coded.visit],
        "text": Coded(text, tuple(code.text for code in codes())),
        "source": source,
    }
    whole = Rows(n, columns)
    return (
        _named(whole.take(np.flatnonzero(~observed)), "condition", "condition_start_date", first_id),
        _named(whole.take(np.flatnonzero(observed)), "observation", "observation_date", first_id),
    )


def _named(rows: Rows, table: str, date: str, first_id: int) -> Rows:
    columns = rows.columns
    key = "condition_occurrence_id" if table == "condition" else f"{table}_id"
    return Rows(
        rows.n,
        {
            key: first_id + np.arange(rows.n),
            "person_id": columns["person_id"],
            f"{table}_concept_id": columns["concept"],
            date: columns["date"],
            f"{table}_type_concept_id": 32817,
            "visit_occurrence_id": columns["visit_occurrence_id"],
            f"{table}_source_value": columns["text"],
            f"{table}_source_concept_id": columns["source"],
        },
    )


def onset_columns(illness: Illness) -> dict[str, NDArray[np.bool_] | NDArray[np.int32]]:
    """The truth of each person: ``case_…`` and ``onset_…`` of every disease."""
    out: dict[str, NDArray[np.bool_] | NDArray[np.int32]] = {}
    for number, disease in enumerate(DISEASES):
        out[f"case_{disease.key}"] = illness.case[:, number]
        out[f"onset_{disease.key}"] = illness.onset[:, number]
    return out
