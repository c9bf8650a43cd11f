"""Simulated health records for tests, of people whose liabilities one allele raises, and no genotypes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import duckdb
import numpy as np
import pandas as pd

from allscan.engine.simulation.options import SimulationOptions
from allscan.engine.simulation.pedigree import draw_pedigree
from allscan.engine.simulation.records.catalogue import N_GENETIC
from allscan.engine.simulation.records.people import with_person_ids
from allscan.engine.simulation.records.tables import IN_PARTS, TABLES
from allscan.engine.simulation.records.truth import write_records_truth
from allscan.engine.simulation.records.vocabulary import write_phecode_map
from allscan.engine.simulation.records.writing import write_records

EFFECT = 0.3  # standard deviations of every liability per copy of the allele
OPTIONS = SimulationOptions(traits=6, binary_traits=N_GENETIC, prevalence=(0.15, 0.08))


class Records(NamedTuple):
    db: duckdb.DuckDBPyConnection
    folder: Path
    truth: pd.DataFrame
    people: pd.DataFrame  # truth of each person, in the order of the cohort
    allele: np.ndarray
    case: np.ndarray  # (people, N_GENETIC)
    score: np.ndarray  # (people, 6)
    sex: np.ndarray

    def of(self, kind: str) -> pd.DataFrame:
        return self.truth[self.truth["kind"] == kind].set_index("name")

    def count(self, fault: str) -> int:
        return int(self.of("fault").loc[fault, "count"])

    def number(self, query: str) -> int:
        row = self.db.execute(query).fetchone()
        assert row is not None
        return int(row[0])


def opened(folder: Path) -> duckdb.DuckDBPyConnection:
    db = duckdb.connect()
    for name in TABLES:
        files = folder / "records" / (f"{name}/*.parquet" if name in IN_PARTS else f"{name}.parquet")
        db.execute(f"CREATE VIEW {name} AS FROM '{files}'")
    db.execute(f"CREATE VIEW truth_of_people AS FROM '{folder / 'records_people.parquet'}'")
    return db


def make_records(folder: Path, people: int) -> Records:
    """Write records and their truth into a folder, and open them."""
    n = people
    rng = np.random.default_rng(5)
    pedigree = with_person_ids(rng, draw_pedigree(rng, n, OPTIONS.groups, 0.1))
    allele = rng.binomial(2, 0.3, n)
    noise = np.sqrt(1 - EFFECT**2 * allele.var())
    liability = EFFECT * allele[:, None] + noise * rng.standard_normal((n, N_GENETIC))
    threshold = [np.quantile(liability[:, k], 1 - OPTIONS.prevalence_of(k)) for k in range(N_GENETIC)]
    case = liability > np.array(threshold)
    score = rng.standard_normal((n, 6))
    traits = SimpleNamespace(complete=100 + 7 * score, liability=liability, case=case)
    counts = write_records(folder, pedigree, traits, lambda chunk: np.random.default_rng([9, chunk]), 2)  # type: ignore[arg-type]
    write_records_truth(folder / "truth.tsv", OPTIONS, counts)
    write_phecode_map(folder / "phecode_map.csv")
    db = opened(folder)
    truth_of_people = pd.read_parquet(folder / "records_people.parquet")
    assert truth_of_people["person_id"].tolist() == [int(iid) for iid in pedigree.member_id]
    truth = pd.read_csv(folder / "truth.tsv", sep="\t", keep_default_na=False, na_values=["NA"])
    score = (traits.complete - traits.complete.mean(axis=0)) / traits.complete.std(axis=0)
    return Records(db, folder, truth, truth_of_people, allele, case, score, pedigree.sex[pedigree.member])
