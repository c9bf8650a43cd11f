"""From aligned people to what is scanned: the design of a stratum, with the null model that the job asks for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from allscan.engine.design import POOLED, UNKNOWN_SEX, Design
from allscan.jobs.null_model import align_null_model, of_stratum
from allscan.jobs.null_model_spec import WHOLE_GENOME
from allscan.jobs.whole_genome import FittedNullModel, whole_genome_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from allscan.engine.store import GenotypeStore
    from allscan.jobs.input_files import InputFile
    from allscan.jobs.job import Job
    from allscan.jobs.null_model import LoadedNullModel
    from allscan.jobs.relatedness import RelatednessModel, Relatives
    from allscan.kernels.association import AssociationTest
    from allscan.phenotypes.model import AnalysisTable, TraitSpec

STRATA = "strata"
"""Folder of what belongs to single strata in a run folder."""


@dataclass(frozen=True)
class DesignOfStratum:
    """A stratum as it is scanned, and what is to be said of it."""

    name: str
    table: AnalysisTable
    design: Design
    null_model: LoadedNullModel | FittedNullModel | RelatednessModel | None
    inputs: tuple[InputFile, ...]  # that only this stratum has
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Designs:
    """What the designs of all strata have in common."""

    job: Job
    store: GenotypeStore
    traits: Sequence[TraitSpec]
    tests: Sequence[AssociationTest]
    loaded: LoadedNullModel | None
    relatives: Relatives | None

    def of(self, name: str, table: AnalysisTable, run: NDArray[np.bool_] | None = None) -> DesignOfStratum:
        """The design of a stratum.

        Parameters
        ----------
        name
            Of the stratum.
        table
            Its people.
        run
            (traits,) which traits are scanned in it; None: all.

        Raises
        ------
        InputError
            The null model does not fit people, traits or tests.
        """
        job, store = self.job, self.store
        sex, warnings = merged_sex(table, store)
        values = table.traits
        if run is not None and not run.all():
            values = np.where(run, values, np.nan)
        design = Design(
            store_rows=table.store_rows,
            traits=values,
            trait_names=table.trait_names,
            covariates=table.covariates,
            covariate_names=table.covariate_names,
            sex=sex,
            binary=np.array([trait.kind == "binary" for trait in self.traits]),
        )
        loaded = None if self.loaded is None else of_stratum(job, self.loaded, place_in(name))
        design = align_null_model(job, loaded, store, design, self.traits, self.tests)
        predictions: LoadedNullModel | FittedNullModel | None = loaded
        section = job.spec.null_model
        if section is not None and section.method == WHOLE_GENOME:
            home = job.output.joinpath(*place_in(name))
            predictions, design = whole_genome_model(
                job, section, store, table, design, self.traits, self.tests, self.relatives, home
            )
        null_model: LoadedNullModel | FittedNullModel | RelatednessModel | None = predictions
        if self.relatives is not None:
            of_analysed, design = self.relatives.model(design, self.tests)
            warnings += of_analysed.warnings
            null_model = of_analysed if predictions is None else replace(predictions, relatives=of_analysed)
        inputs = () if loaded is None else loaded.inputs
        return DesignOfStratum(name, table, design, null_model, inputs, warnings)


def place_in(name: str) -> tuple[str, ...]:
    """Where in a run folder what belongs to a stratum is: that of everybody at the top."""
    # A label may hold what no file name may.
    return () if name == POOLED else (STRATA, quote(name, safe="= "))


def merged_sex(table: AnalysisTable, store: GenotypeStore) -> tuple[NDArray[np.int8], tuple[str, ...]]:
    """Sex of the analysed samples, the table's where it is known, else the store's; and what is to be said of it."""
    of_store = store.sample_sex[table.store_rows].astype(np.int8)
    if table.sex is None:
        return of_store, ()
    sex = np.where(table.sex == UNKNOWN_SEX, of_store, table.sex).astype(np.int8)
    differ = (table.sex != UNKNOWN_SEX) & (of_store != UNKNOWN_SEX) & (table.sex != of_store)
    if not differ.any():
        return sex, ()
    return sex, (
        f"sex of {int(differ.sum()):,} people differs between the covariate table and the genotype store; "
        "the table's is used",
    )
