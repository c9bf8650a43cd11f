"""A whole simulated cohort in a folder: genotypes, traits, covariates, and the truth behind them."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.simulation.components import principal_components
from allscan.engine.simulation.demography import load_msprime
from allscan.engine.simulation.genome import plan_regions
from allscan.engine.simulation.genotype_files import FILES, open_writers
from allscan.engine.simulation.inheritance import inherit
from allscan.engine.simulation.options import SimulationOptions
from allscan.engine.simulation.ordered import in_order
from allscan.engine.simulation.pedigree import draw_pedigree
from allscan.engine.simulation.regions import RegionTask, simulate_region
from allscan.engine.simulation.summary import AncestryShares, CohortSummary, write_record
from allscan.engine.simulation.tables import (
    write_ancestry_job,
    write_binary_job,
    write_binary_truth,
    write_components,
    write_covariates,
    write_job,
    write_phenome_job,
    write_samples,
    write_structure,
    write_traits,
    write_truth,
)
from allscan.engine.simulation.traits import GeneticValues, draw_traits, plan_causal
from allscan.errors import InputError, OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from allscan.engine.simulation.genome import Region
    from allscan.engine.simulation.genotype_files import GenotypeWriter
    from allscan.engine.simulation.pedigree import Pedigree
    from allscan.engine.simulation.traits import CausalPlan, CohortTraits

RECORD = "simulation.json"
TABLES = (
    "traits.tsv",
    "covariates.tsv",
    "people.tsv",
    "truth.tsv",
    "samples.tsv",
    "job.yaml",
    "structure.yaml",
    "ancestry_job.yaml",
    RECORD,
)
RECORD_TABLES = (
    "records_truth.tsv",
    "records_people.parquet",
    "records.yaml",
    "phecode_map.csv",
    "components.tsv",
    "phenome_job.yaml",
)
BINARY_TABLES = ("binary_traits.tsv", "binary_truth.tsv", "binary_job.yaml")

_COMPONENT_VARIANTS = 5000


@dataclass(frozen=True)
class SimulationProgress:
    """How far a simulation is."""

    stage: str  # "genotypes", "components", "traits", "tables", "records"
    variants_done: int
    variants_total: int


@dataclass(frozen=True)
class SimulationReport:
    """What a simulation made."""

    folder: Path
    files: tuple[Path, ...]
    genotypes: Path  # the file to ingest
    job: Path
    n_samples: int
    n_variants: int
    n_regions: int
    group_counts: dict[str, int]
    n_families: int
    n_unrelated: int
    traits: tuple[str, ...]
    heritability: tuple[float, ...]  # (traits,) as it came out
    binary_job: Path | None  # of the binary traits, where there are some
    records: Path | None  # folder of the health records, where they were asked for
    rare_share: float  # variants whose minor allele count is at most 0.1 % of the number of samples
    f_st: dict[str, float]  # "EUR-AFR": Hudson's, over autosomal variants
    elapsed_seconds: float


def simulate_cohort(
    out: Path,
    options: SimulationOptions | None = None,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    on_progress: Callable[[SimulationProgress], None] | None = None,
) -> SimulationReport:
    """Simulate a cohort of many ancestries with families, and traits whose truth is known.

    Founders' haplotypes come from the coalescent with recombination, under a published history of human
    populations, one by one for everybody (``docs/guide/simulation.md`` says how and why). Files appear in
    ``out`` when everything is written: a run that was stopped leaves nothing that looks whole. The same
    options give the same bytes, whatever the number of workers.

    Parameters
    ----------
    out
        Folder to make.
    options
        What the cohort shall be like; without: the defaults of :class:`SimulationOptions`.
    workers
        Regions simulated at the same time; without: one per processor. Memory grows with it: about
        half a gigabyte each for 50,000 people.
    overwrite
        Replace the files of an earlier simulation in ``out``. Other files there are left alone.
    on_progress
        Called from time to time.

    Raises
    ------
    MissingDependencyError
        If msprime, or pgenlib for a pgen, is not installed.
    OutputError
        If ``out`` exists and is not an empty folder (unless ``overwrite``), or cannot be written.
    InputError
        If the chromosomes have no room for the variants, or ``workers`` is below 1.
    """
    from threadpoolctl import threadpool_limits

    options = options or SimulationOptions()
    workers = workers if workers is not None else os.cpu_count() or 1
    if workers < 1:
        raise InputError(f"{workers} workers cannot do any work", fix="give at least 1 worker")
    load_msprime()
    started = time.perf_counter()
    out = Path(out)
    existed = out.exists()
    partial = _prepare_folder(out, options, overwrite)
    try:
        # One BLAS thread: sums then do not depend on the number of processors.
        with threadpool_limits(limits=1):
            report = _simulate_into(partial, options, workers, on_progress or (lambda _progress: None))
        for path in report.files:
            os.replace(path, out / path.name)
        if report.records is not None:
            _replace_records(report.records, out / report.records.name)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"the simulated cohort cannot be written: {error.strerror or error}",
            where=str(out),
            fix="free some space or choose another folder",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if not existed and not any(out.iterdir()):
            out.rmdir()
    return _moved(report, out, time.perf_counter() - started)


def _simulate_into(
    folder: Path,
    options: SimulationOptions,
    workers: int,
    on_progress: Callable[[SimulationProgress], None],
) -> SimulationReport:
    seeds = _Seeds(options.seed)
    pedigree = draw_pedigree(seeds.generator("pedigree"), options.samples, options.groups, options.relatedness)
    if options.records:
        from allscan.engine.simulation.records.people import with_person_ids

        pedigree = with_person_ids(seeds.generator("person ids"), pedigree)
    n_founder_haplotypes = min(2 * pedigree.n_founders, options.haplotype_limit)
    regions = plan_regions(
        seeds.generator("genome"),
        options.chromosomes,
        options.variants,
        par=options.par,
        spectrum=options.spectrum,
        haplotypes=n_founder_haplotypes,
    )
    causal = plan_causal(seeds.generator("causal"), regions, options)
    genetic = GeneticValues(seeds.generator("effects"), options, pedigree.n_samples)
    ancestry = AncestryShares(pedigree)
    tasks = _region_tasks(seeds, options, pedigree, regions, causal, ancestry)
    summary = CohortSummary(pedigree)
    chromosomes = list(dict.fromkeys(region.chromosome for region in regions))
    writers = open_writers(folder, options.formats, pedigree, options.variants, chromosomes)
    component_calls = _write_genotypes(
        tasks, pedigree, options, workers, writers, genetic, causal, summary, on_progress
    )

    def report_stage(stage: str) -> None:
        on_progress(SimulationProgress(stage, options.variants, options.variants))

    report_stage("components")
    components = principal_components(
        seeds.generator("components"), component_calls, pedigree.unrelated_members(), options.components
    )
    report_stage("traits")
    traits = draw_traits(
        seeds.generator("traits"),
        genetic,
        pedigree.group[pedigree.member],
        len(pedigree.group_names),
        pedigree.age[pedigree.member],
        pedigree.sex[pedigree.member],
    )
    report_stage("tables")
    write_traits(folder / "traits.tsv", pedigree, options.names, traits.values[:, : options.traits])
    write_covariates(folder / "covariates.tsv", pedigree, components)
    write_covariates(folder / "people.tsv", pedigree, components[:, :0])
    write_samples(folder / "samples.tsv", pedigree, ancestry.of_members())
    write_truth(folder / "truth.tsv", options, traits)
    write_job(folder / "job.yaml", options)
    write_structure(folder / "structure.yaml", options)
    write_ancestry_job(folder / "ancestry_job.yaml", options)
    if options.binary_traits:
        binary = traits.values[:, options.traits :]
        write_traits(folder / "binary_traits.tsv", pedigree, options.binary_names, binary)
        write_binary_truth(folder / "binary_truth.tsv", options, traits)
        write_binary_job(folder / "binary_job.yaml", options)

    if options.records:
        report_stage("records")
        _write_records(folder, options, pedigree, traits, seeds, workers)
        write_components(folder / "components.tsv", pedigree, components)
        write_phenome_job(folder / "phenome_job.yaml", options)

    names = [name for kind in options.formats for name in FILES[kind]]
    if options.binary_traits:
        names += BINARY_TABLES
    if options.records:
        names += RECORD_TABLES
    report = SimulationReport(
        folder=folder,
        files=tuple(folder / name for name in (*names, *TABLES)),
        genotypes=folder / names[0],
        job=folder / "job.yaml",
        n_samples=pedigree.n_samples,
        n_variants=options.variants,
        n_regions=len(regions),
        group_counts=summary.group_counts(),
        n_families=int(pedigree.family.max(initial=0)),
        n_unrelated=len(pedigree.unrelated_members()),
        traits=(*options.names, *options.binary_names),
        binary_job=folder / "binary_job.yaml" if options.binary_traits else None,
        records=folder / "records" if options.records else None,
        heritability=tuple(float(value) for value in traits.heritability),
        rare_share=summary.rare_share(),
        f_st=summary.f_st(),
        elapsed_seconds=0.0,
    )
    numbers = {
        "samples": report.n_samples,
        "variants": report.n_variants,
        "regions": report.n_regions,
        "groups": report.group_counts,
        "families": report.n_families,
        "unrelated_members": report.n_unrelated,
        "individuals_outside_the_cohort": pedigree.n_individuals - pedigree.n_samples,
        "rare_share": report.rare_share,
        "singletons": summary.singletons,
        "common_variants": summary.common,
        "component_variants": len(component_calls),
        "f_st": report.f_st,
    }
    write_record(folder / RECORD, options, pedigree.group_names, traits, numbers)
    return report


def _write_genotypes(
    tasks: Iterator[RegionTask],
    pedigree: Pedigree,
    options: SimulationOptions,
    workers: int,
    writers: Sequence[GenotypeWriter],
    genetic: GeneticValues,
    causal: CausalPlan,
    summary: CohortSummary,
    on_progress: Callable[[SimulationProgress], None],
) -> NDArray[np.int8]:
    """Simulate and write all regions; return the calls of the components' variants."""
    component_calls = [np.empty((0, pedigree.n_samples), dtype=np.int8)]
    done = 0
    on_progress(SimulationProgress("genotypes", 0, options.variants))
    try:
        for region in in_order(lambda task: simulate_region(task, pedigree, options), tasks, workers):
            for writer in writers:
                writer.append(region)
            genetic.add(region, causal.large[region.region.index])
            summary.add(region)
            component_calls.append(region.component_calls)
            done += len(region.position)
            on_progress(SimulationProgress("genotypes", done, options.variants))
        for writer in writers:
            writer.close()
    except BaseException:
        for writer in writers:
            writer.abandon()
        raise
    return np.concatenate(component_calls)


def _region_tasks(
    seeds: _Seeds,
    options: SimulationOptions,
    pedigree: Pedigree,
    regions: Sequence[Region],
    causal: CausalPlan,
    ancestry: AncestryShares,
) -> Iterator[RegionTask]:
    autosomal = [region for region in regions if region.chromosome != "X"]
    quota = -(-_COMPONENT_VARIANTS // max(len(autosomal), 1)) if options.components else 0
    linkages = 1 + max(region.linkage for region in regions)
    walks = [seeds.generator("inheritance", number) for number in range(linkages)]
    for region, inheritance in zip(regions, inherit(walks, pedigree, regions), strict=True):
        if region.chromosome != "X" or not autosomal:
            ancestry.add(inheritance, region.length)
        yield RegionTask(
            region=region,
            inheritance=inheritance,
            seed=seeds.sequence("region", region.index),
            causal=causal.small[region.index],
            n_large=len(causal.large[region.index]),
            n_components=quota if region.chromosome != "X" else 0,
        )


def _write_records(
    folder: Path, options: SimulationOptions, pedigree: Pedigree, traits: CohortTraits, seeds: _Seeds, workers: int
) -> None:
    """The health records and what is known of them. Their modules are imported by who asks for them only."""
    from allscan.engine.simulation.records.truth import write_records_file, write_records_truth
    from allscan.engine.simulation.records.vocabulary import write_phecode_map
    from allscan.engine.simulation.records.writing import write_records

    counts = write_records(folder, pedigree, traits, lambda chunk: seeds.generator("records", chunk), workers)
    write_records_truth(folder / "records_truth.tsv", options, counts)
    write_records_file(folder / "records.yaml")
    write_phecode_map(folder / "phecode_map.csv")


def _replace_records(made: Path, target: Path) -> None:
    """Put the new tables in the place of those of an earlier simulation; other files there are left alone."""
    from allscan.engine.simulation.records.tables import TABLES as RECORDS

    target.mkdir(exist_ok=True)
    for name in RECORDS:
        for old in (target / f"{name}.parquet", *(target / name).glob("part-*.parquet")):
            old.unlink(missing_ok=True)
    for new in sorted(made.rglob("*.parquet")):
        path = target / new.relative_to(made)
        path.parent.mkdir(exist_ok=True)
        os.replace(new, path)


class _Seeds:
    """An independent stream of random numbers for every purpose."""

    # The order decides the streams: what is new stands at the end.
    _PURPOSES = (
        *("pedigree", "genome", "causal", "effects", "components", "traits", "inheritance", "region"),
        *("person ids", "records"),
    )

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def sequence(self, purpose: str, index: int = 0) -> np.random.SeedSequence:
        return np.random.SeedSequence(self._seed, spawn_key=(self._PURPOSES.index(purpose), index))

    def generator(self, purpose: str, index: int = 0) -> np.random.Generator:
        return np.random.default_rng(self.sequence(purpose, index))


def _prepare_folder(out: Path, options: SimulationOptions, overwrite: bool) -> Path:
    """Check the output folder, and make the folder inside it where files grow."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out.name} exists and is not a folder", where=str(out), fix="choose another name")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise OutputError(
            "the output folder exists and is not empty",
            where=str(out),
            fix="choose another folder, or allow files to be overwritten",
        )
    existed = out.exists()
    partial = out / f".partial-{os.getpid()}"
    try:
        partial.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(partial).free
    except OSError as error:
        raise OutputError(
            f"the output folder cannot be made: {error.strerror}",
            where=str(out),
            fix="choose a folder that you may write to",
        ) from error
    # Only a .bed has a size that is known beforehand.
    needed = options.variants * -(-options.samples // 4) if "bed" in options.formats else 0
    if free < needed:
        shutil.rmtree(partial if existed else out, ignore_errors=True)
        raise OutputError(
            f"the .bed file needs {needed / 1e9:.1f} GB and the disk has {free / 1e9:.1f} GB free",
            where=str(out),
            fix="free some space, choose another folder, or write a .pgen only",
        )
    return partial


def _moved(report: SimulationReport, out: Path, seconds: float) -> SimulationReport:
    return replace(
        report,
        folder=out,
        files=tuple(out / path.name for path in report.files),
        genotypes=out / report.genotypes.name,
        job=out / report.job.name,
        binary_job=None if report.binary_job is None else out / report.binary_job.name,
        records=None if report.records is None else out / report.records.name,
        elapsed_seconds=seconds,
    )
