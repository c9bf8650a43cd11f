"""Whose records are simulated: ids, dates of the record, visits; and what their simulated traits say of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.simulation.records.tables import Coded, Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.simulation.pedigree import Pedigree
    from allscan.engine.simulation.traits import CohortTraits

DAYS_PER_YEAR = 365.25


def day(text: str) -> int:
    """Days since 1970-01-01."""
    return (date.fromisoformat(text) - date(1970, 1, 1)).days


RELEASE = day("2023-10-01")
"""Nothing is recorded after it. Ages in the table of covariates are those on this day."""

_EMPTY = 0.01  # share of people without a single record
_YEARS, _MOST_YEARS = 10.0, 25.0  # of a record
_VISITS_PER_YEAR, _MOST_VISITS = 3.5, 400
_GROUP_CONTACT = {"EUR": 1.1, "AFR": 0.9, "AMR": 0.8, "EAS": 0.9, "SAS": 0.9, "MID": 0.8}
_GAPS = 0.08  # share of records with a time in which somebody was elsewhere
_WITH_DEVICE = 0.15
_SURVEYED = 0.85

_RACE = {
    "EUR": (8527, "White"),
    "AFR": (8516, "Black or African American"),
    "AMR": (0, "None indicated"),
    "EAS": (8515, "Asian"),
    "SAS": (8515, "Asian"),
    "MID": (38003615, "Middle Eastern or North African"),
}
_HISPANIC, _NOT_HISPANIC = 38003563, 38003564


def with_person_ids(rng: np.random.Generator, pedigree: Pedigree) -> Pedigree:
    """The same people with whole numbers as ids, scattered and in no order, as OMOP has them."""
    lowest = lowest_id(pedigree.n_samples)
    numbers = lowest + rng.choice(9 * lowest, pedigree.n_samples, replace=False)
    ids = np.array([str(number) for number in numbers.tolist()], object)
    individual = pedigree.individual_id.copy()
    individual[pedigree.member] = ids
    return replace(pedigree, member_id=ids, individual_id=individual)


def lowest_id(people: int) -> int:
    """Ids of so many people are between this and ten times this."""
    return max(1_000_000, 10 * people)


@dataclass(frozen=True)
class People:
    """The cohort, or some of it."""

    person_id: NDArray[np.int64]
    sex: NDArray[np.int8]  # 1 men, 2 women
    age: NDArray[np.float64]  # at the release
    group: NDArray[np.int8]
    group_names: tuple[str, ...]
    score: NDArray[np.float64]  # (people, traits) simulated traits, standardised
    case: NDArray[np.bool_]  # (people, diseases that a simulated trait decides)
    excess: NDArray[np.float64]  # of the same: liability above the threshold, in standard deviations

    @classmethod
    def of(cls, pedigree: Pedigree, traits: CohortTraits) -> People:
        """Of a cohort."""
        liability = traits.liability / traits.liability.std(axis=0)
        case = traits.case
        threshold = np.where(case, liability, np.inf).min(axis=0)
        return cls(
            person_id=np.array([int(text) for text in pedigree.member_id], np.int64),
            sex=pedigree.sex[pedigree.member],
            age=pedigree.age[pedigree.member],
            group=pedigree.group[pedigree.member],
            group_names=pedigree.group_names,
            score=(traits.complete - traits.complete.mean(axis=0)) / traits.complete.std(axis=0),
            case=case,
            excess=np.maximum(liability - threshold, 0.0),
        )

    def rows(self, low: int, high: int) -> People:
        """Some of them."""
        names = ("person_id", "sex", "age", "group", "score", "case", "excess")
        return replace(self, **{name: getattr(self, name)[low:high] for name in names})

    def __len__(self) -> int:
        return len(self.person_id)

    def trait(self, number: int) -> NDArray[np.float64] | None:
        """Scores of the trait of that number, from 1; None if it was not simulated."""
        return self.score[:, number - 1] if 0 < number <= self.score.shape[1] else None


@dataclass(frozen=True)
class Histories:
    """The time that each person is on record. Dates are days since 1970-01-01."""

    people: People
    birth: NDArray[np.int32]
    start: NDArray[np.int32]
    length: NDArray[np.int32]  # days on record; 0: no records at all
    split: NDArray[np.int32]  # days on record before the gap
    gap: NDArray[np.int32]  # length of the gap in days, or 0
    dead: NDArray[np.bool_]
    contact: NDArray[np.float64]  # how often one sees a doctor; 1 on average
    enrolment: NDArray[np.int32]  # date
    surveyed: NDArray[np.bool_]
    device: NDArray[np.bool_]
    other_units: NDArray[np.bool_]  # whether their site uses the other units

    @property
    def end(self) -> NDArray[np.int32]:
        """Last day on record."""
        return self.start + self.length - 1 + self.gap

    def date(self, person: NDArray[np.intp], offset: NDArray[np.int32]) -> NDArray[np.int32]:
        """Date of a day on record, counted from 0 and without the gap."""
        return self.start[person] + offset + np.where(offset >= self.split[person], self.gap[person], np.int32(0))

    def recorded(self, person: NDArray[np.intp], date: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether a date is on record."""
        left = self.start[person] + self.split[person]
        away = (date >= left) & (date < left + self.gap[person])
        return np.asarray((date >= self.start[person]) & (date <= self.end[person]) & ~away)

    def age_at(self, person: NDArray[np.intp], date: NDArray[np.int32]) -> NDArray[np.float64]:
        """Age in years on a date."""
        return np.asarray((date - self.birth[person]) / DAYS_PER_YEAR)


@dataclass(frozen=True)
class Visits:
    """Visits of a chunk of people, by person and date."""

    person: NDArray[np.intp]  # row in the chunk
    date: NDArray[np.int32]
    visit_id: NDArray[np.int64]
    first: NDArray[np.intp]  # (people + 1,) where the visits of each person begin

    def __len__(self) -> int:
        return len(self.person)


def draw_histories(rng: np.random.Generator, people: People) -> Histories:
    """Draw when each person is on record."""
    n = len(people)
    birth = (RELEASE - np.round(people.age * DAYS_PER_YEAR)).astype(np.int32)
    group = np.array([_GROUP_CONTACT[name] for name in people.group_names])[people.group]
    contact = rng.gamma(2.0, 0.5, n) * group * (0.6 + 0.4 * people.age / 55)
    years = np.minimum(rng.gamma(2.0, _YEARS / 2, n) * group * np.sqrt(contact), _MOST_YEARS)
    dead = rng.random(n) < np.minimum(0.02 * np.exp((people.age - 60) / 12), 0.3)
    before = np.where(dead, rng.uniform(1, 5 * DAYS_PER_YEAR, n), np.minimum(rng.exponential(150.0, n), 2000))
    end = (RELEASE - before).astype(np.int32)
    length = np.clip(years * DAYS_PER_YEAR, 30, end - birth - 30).astype(np.int32)
    gap = (rng.uniform(180, 1000, n) * (rng.random(n) < _GAPS)).astype(np.int32)
    gap[(length < 3 * DAYS_PER_YEAR) | (length + gap > end - birth - 30)] = 0
    split = np.where(gap > 0, length * rng.uniform(0.2, 0.8, n), length).astype(np.int32)
    empty = rng.random(n) < _EMPTY
    length[empty] = 0
    gap[empty] = 0
    split[empty] = 0
    dead &= ~empty
    start = end - length - gap + 1
    enrolled = (length * rng.uniform(0.3, 1.0, n)).astype(np.int32)
    histories = Histories(
        people=people,
        birth=birth,
        start=start,
        length=length,
        split=split,
        gap=gap,
        dead=dead,
        contact=contact,
        enrolment=birth,
        surveyed=~empty & (rng.random(n) < _SURVEYED),
        device=~empty & (length > 120) & (rng.random(n) < _WITH_DEVICE),
        other_units=rng.random(n) < 0.12,
    )
    return replace(histories, enrolment=histories.date(np.arange(n), enrolled))


def draw_visits(
    rng: np.random.Generator, histories: Histories, episodes: tuple[NDArray[np.intp], NDArray[np.int32]], first_id: int
) -> Visits:
    """Draw the visits: as many as the contact and the length of the record make likely, at any time.

    Parameters
    ----------
    episodes
        Person and date of what is a reason for a visit; what is not on record is left out.
    """
    expected = histories.contact * _VISITS_PER_YEAR * histories.length / DAYS_PER_YEAR
    number = np.minimum(np.maximum(rng.poisson(expected), histories.length > 0), _MOST_VISITS)
    person = np.repeat(np.arange(len(number)), number)
    date = histories.date(person, (rng.random(len(person)) * histories.length[person]).astype(np.int32))
    seen = histories.recorded(*episodes)
    person = np.concatenate([person, episodes[0][seen]])
    date = np.concatenate([date, episodes[1][seen]])
    order = np.lexsort((date, person))
    first = np.searchsorted(person[order], np.arange(len(number) + 1))
    return Visits(person[order], date[order], first_id + np.arange(len(person)), first)


def person_rows(histories: Histories) -> Rows:
    """Rows of ``person``."""
    people = histories.people
    born = histories.birth.astype("datetime64[D]")
    month = born.astype("datetime64[M]")
    year = born.astype("datetime64[Y]")
    woman = (people.sex == 2).astype(np.int32)
    race = np.array([_RACE[name][0] for name in people.group_names], np.int32)
    hispanic = np.array([name == "AMR" for name in people.group_names])[people.group]
    return Rows(
        len(people),
        {
            "person_id": people.person_id,
            "gender_concept_id": np.array([8507, 8532])[woman],
            "year_of_birth": year.astype(int) + 1970,
            "month_of_birth": (month - year).astype(int) + 1,
            "day_of_birth": (born - month).astype(int) + 1,
            "birth_datetime": histories.birth * np.int64(86_400_000_000),
            "race_concept_id": race[people.group],
            "ethnicity_concept_id": np.where(hispanic, _HISPANIC, _NOT_HISPANIC),
            "gender_source_value": Coded(woman, ("M", "F")),
            "race_source_value": Coded(
                people.group.astype(np.int32), tuple(_RACE[name][1] for name in people.group_names)
            ),
            "sex_at_birth_concept_id": np.array([45880669, 45878463])[woman],
            "sex_at_birth_source_concept_id": np.array([1585846, 1585847])[woman],
            "sex_at_birth_source_value": Coded(woman, ("SexAtBirth_Male", "SexAtBirth_Female")),
        },
    )


def period_rows(histories: Histories, first_id: int) -> Rows:
    """Rows of ``observation_period``: one, or two with a gap between them."""
    some = np.flatnonzero(histories.length > 0)
    two = np.flatnonzero(histories.gap > 0)
    start = np.concatenate([histories.start[some], (histories.start + histories.split + histories.gap)[two]])
    end = np.concatenate(
        [np.where(histories.gap > 0, histories.start + histories.split - 1, histories.end)[some], histories.end[two]]
    )
    person = np.concatenate([some, two])
    order = np.argsort(person, kind="stable")
    return Rows(
        len(person),
        {
            "observation_period_id": first_id + np.arange(len(person)),
            "person_id": histories.people.person_id[person[order]],
            "observation_period_start_date": start[order],
            "observation_period_end_date": end[order],
            "period_type_concept_id": 32817,
        },
    )


def visit_rows(rng: np.random.Generator, histories: Histories, visits: Visits) -> Rows:
    """Rows of ``visit_occurrence``: at the practice, in the emergency room, in hospital."""
    kind = np.searchsorted([0.87, 0.95], rng.random(len(visits)))
    nights = np.where(kind == 2, 1 + rng.poisson(2.0, len(visits)), 0)
    return Rows(
        len(visits),
        {
            "visit_occurrence_id": visits.visit_id,
            "person_id": histories.people.person_id[visits.person],
            "visit_concept_id": np.array([9202, 9203, 9201])[kind],
            "visit_start_date": visits.date,
            "visit_end_date": np.minimum(visits.date + nights, histories.end[visits.person]),
            "visit_type_concept_id": 32817,
        },
    )


def death_rows(histories: Histories) -> Rows:
    """Rows of ``death``: on the last day of the record."""
    dead = np.flatnonzero(histories.dead)
    return Rows(
        len(dead),
        {
            "person_id": histories.people.person_id[dead],
            "death_date": histories.end[dead],
            "death_type_concept_id": 32817,
        },
    )


def to_chunks(n: int, people_per_chunk: int) -> list[tuple[int, int]]:
    """Rows of the chunks."""
    return [(low, min(low + people_per_chunk, n)) for low in range(0, n, people_per_chunk)]
