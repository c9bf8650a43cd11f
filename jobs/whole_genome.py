"""`null_model: whole_genome` of a job: who and what the model is fitted to, and the fit as a part of the run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.chromosomes import PloidyClass, ploidy_class
from allscan.engine.costs import BASE_MEMORY
from allscan.engine.long_range_ld import excluded_regions
from allscan.engine.markers import MarkerRules
from allscan.engine.null_model_files import FOLDER, NullModelFiles
from allscan.engine.offsets import OK
from allscan.engine.whole_genome.cohort import Cohort
from allscan.engine.whole_genome.costs import task_memory, work_bytes
from allscan.engine.whole_genome.model import (
    WholeGenomeSpec,
    fit_whole_genome,
    trait_digests,
)
from allscan.engine.whole_genome.offsets import WholeGenomeOffsets
from allscan.errors import InputError, JobError
from allscan.jobs.genotypes import open_genotypes
from allscan.jobs.null_model import described, refuse_tests_without_offset, relatives_json, relatives_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from allscan.cluster.executor import Executor
    from allscan.engine.design import Design
    from allscan.engine.store import GenotypeStore
    from allscan.jobs.job import Job
    from allscan.jobs.null_model_spec import NullModelSection
    from allscan.jobs.relatedness import RelatednessModel, Relatives
    from allscan.kernels.association import AssociationTest
    from allscan.phenotypes.model import AnalysisTable, TraitSpec
    from allscan.storage import Place


@dataclass(frozen=True)
class FittedNullModel:
    """A whole-genome model that the run fits before it scans."""

    store: GenotypeStore  # of the model's markers
    cohort: Cohort
    spec: WholeGenomeSpec
    genotypes: str  # the store as the job spells it
    home: Place  # the folder in which it will be, called :data:`FOLDER`
    relatives: RelatednessModel | None = None  # who are named

    @property
    def path(self) -> str:
        """What a plan calls it."""
        return "whole genome, fitted before the scan"

    def lines(self) -> list[str]:
        """What a check tells of it."""
        folds = "leaving one person out" if self.spec.folds == 1 else f"{self.spec.folds} folds"
        return [
            f"whole genome: ridge regression on markers of {self.genotypes}, in {self.cohort.n_people:,} people "
            f"with covariates, {folds}",
            *relatives_lines(self.relatives),
        ]

    def to_json(self) -> dict[str, Any]:
        """As in the provenance document, once it is fitted."""
        return {
            "path": FOLDER,
            "method": "whole_genome",
            "format": "allscan",
            **described(NullModelFiles(self.home / FOLDER)),
            "program_version": None,  # that of the run
            "people_found_by": "sample_id",
            "genotypes": f"store {self.store.fingerprint()}",
            "n_people": self.cohort.n_people,
            "relatives": relatives_json(self.relatives),
        }

    def task_bytes(self) -> int:
        """Memory of its largest task."""
        return task_memory(self.store, self.cohort, self.spec)

    def work_bytes(self) -> int:
        """What its predictions between the levels take on the disk at most."""
        return work_bytes(self.store, self.cohort, self.spec)

    def fit(
        self, stratum: str, executor: Executor, limit: int, on_progress: Callable[[str, int, int], None]
    ) -> tuple[tuple[str, str, str], ...]:
        """Fit it, where that has not been done.

        Parameters
        ----------
        stratum
            Whose model it is, for what is told.
        limit
            Bytes that this process may use; on a cluster, tasks declare what they need.

        Returns
        -------
        (trait, stratum, message) of the traits without a model, which are scanned without predictions.
        """
        from threadpoolctl import threadpool_limits

        if executor.name == "embedded":
            fitting = max(1, (limit - BASE_MEMORY) // self.task_bytes())
            executor = EmbeddedExecutor(min(executor.workers, fitting), "threads")
        # As in a scan: no digit may follow the number of CPUs.
        with threadpool_limits(limits=1, user_api="blas"):
            fit_whole_genome(self.store, self.cohort, self.spec, executor, self.home, on_progress=on_progress)
        return tuple(
            (model.name, stratum, f"scanned without a whole-genome model, which could not be fitted: {model.message}")
            for model in NullModelFiles(self.home / FOLDER).traits
            if model.status != OK
        )


def whole_genome_model(
    job: Job,
    section: NullModelSection,
    store: GenotypeStore,
    table: AnalysisTable,
    design: Design,
    traits: Sequence[TraitSpec],
    tests: Sequence[AssociationTest],
    relatives: Relatives | None,
    home: Place,
) -> tuple[FittedNullModel, Design]:
    """The model that a job asks for, and the design with what it will predict.

    Parameters
    ----------
    home
        Folder in which it is fitted: that of the run, or of a stratum in it.

    Raises
    ------
    InputError
        The markers' store is not there, or holds too few of the people who are analysed; a test does not use
        predictions.
    """
    refuse_tests_without_offset(tests, job.locate("null_model"))
    markers, spelled = _marker_store(job, section, store)
    ids = store.sample_ids[table.eligible_rows]
    rows = _rows_of(markers, store, ids, table.eligible_rows)
    there = rows >= 0
    missing = int((~there[np.searchsorted(table.eligible_rows, design.store_rows)]).sum())
    if missing:
        raise JobError(
            f"{missing:,} of {design.n_samples:,} people who are analysed are not in the store of the markers",
            where=job.locate("null_model", "genotypes"),
            fix="leave them out (samples: keep), or make that store of all people",
        )
    place = {row: k for k, row in enumerate(table.eligible_rows[there].tolist())}
    values = np.full((int(there.sum()), len(design.trait_names)), np.nan)
    values[[place[row] for row in design.store_rows.tolist()]] = design.traits
    cohort = Cohort(
        rows[there],
        ids[there],
        table.eligible_covariates[there],
        values,
        design.trait_names,
        kinds=tuple(trait.kind for trait in traits),
        transforms=tuple(trait.transform for trait in traits),
        family=None if relatives is None else relatives.families(table.eligible_rows)[there],
    )
    spec = WholeGenomeSpec(
        markers=_rules(job, section, markers),
        block_markers=section.block_markers,
        folds=1 if section.leave_one_out else section.folds,
    )
    fitted = FittedNullModel(markers, cohort, spec, spelled, home)
    chromosomes = [name for name in markers.contigs if ploidy_class(name, 1 << 28, None) == PloidyClass.AUTOSOME]
    offsets = WholeGenomeOffsets(
        home / FOLDER,
        chromosomes,
        trait_digests(markers, cohort, spec),
        design,
        store.sample_ids[design.store_rows],
    )
    return fitted, replace(design, offsets=offsets)


def _marker_store(job: Job, section: NullModelSection, store: GenotypeStore) -> tuple[GenotypeStore, str]:
    if section.genotypes is None:
        return store, job.spec.store
    named, where = section.genotypes, job.locate("null_model", "genotypes")
    return open_genotypes(job.resolve(named), named, where), named


def _rows_of(
    markers: GenotypeStore, store: GenotypeStore, ids: np.ndarray[Any, Any], rows: np.ndarray[Any, Any]
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Rows of people in the store of the markers, -1 for none."""
    if markers.path == store.path:
        return rows.astype(np.int64)
    number = {person: k for k, person in enumerate(markers.sample_ids)}
    return np.array([number.get(person, -1) for person in ids], np.int64)


def _rules(job: Job, section: NullModelSection, store: GenotypeStore) -> MarkerRules:
    chosen = section.markers
    try:
        exclude = excluded_regions(chosen.exclude, store)
    except InputError as error:
        raise JobError(error.what, where=job.locate("null_model", "markers", "exclude"), fix=error.fix) from error
    return MarkerRules(
        min_maf=chosen.min_maf,
        min_mac=chosen.min_mac,
        max_missing_rate=chosen.max_missing_rate,
        prune_r2=chosen.prune_r2,
        window_bp=chosen.window_kb * 1000,
        max_markers=chosen.max_markers,
        exclude=exclude,
    )
