"""The Python calls that need an executor: the same as the commands of the same names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from allscan.jobs.executors import ExecutorName, ingest_executors
from allscan.storage import ObjectPlace, local_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from allscan.engine.ingest.pipeline import IngestProgress, IngestReport
    from allscan.engine.ingest.sources import DosageField
    from allscan.engine.ingest.variants import OnDuplicate
    from allscan.engine.local_ancestry.building import LocalReport
    from allscan.engine.simulation.cohort import SimulationProgress, SimulationReport
    from allscan.engine.simulation.options import SimulationOptions
    from allscan.storage import Place


def ingest(
    sources: str | Path | Sequence[str | Path],
    out: str | Place,
    *,
    regions: Iterable[str] | None = None,
    keep_samples: str | Place | Iterable[str] | None = None,
    exclude_samples: str | Place | Iterable[str] | None = None,
    min_allele_count: float | None = None,
    max_allele_count: float | None = None,
    build: str | None = None,
    contigs: Literal["human", "any"] = "human",
    field: DosageField = "auto",
    pass_only: bool = False,
    ref_first: bool = True,
    sample_file: str | Path | None = None,
    on_duplicate: OnDuplicate = "error",
    workers: int | None = None,
    executor: ExecutorName | None = None,
    address: str | None = None,
    overwrite: bool = False,
    staging: str | Path | None = None,
    on_progress: Callable[[IngestProgress], None] | None = None,
) -> IngestReport:
    """Make a genotype store of PLINK, BGEN, VCF or VCF Zarr files of the same people.

    A store that was begun goes on where it stopped when the call is made again.

    Parameters
    ----------
    sources
        One file, or several (usually one for each chromosome).
    out
        The store to make: a folder, or a place in object storage.
    regions
        ``"22"`` or ``"22:16000000-17000000"`` (bp, 1-based, both ends included); None: everything.
    keep_samples, exclude_samples
        Ids, or the path of a list of them.
    min_allele_count, max_allele_count
        Bounds on the copies of the rarer allele among the kept samples, both included.
    build
        Reference build, where the files do not tell.
    contigs
        ``"any"`` takes contig names that are not human and that no header declares.
    field, pass_only
        VCF, BCF, VCF Zarr: where genotypes stand, and whether only sites that passed their filters count.
    ref_first, sample_file
        BGEN: whether the first allele is REF, and the ``.sample`` file.
    on_duplicate
        ``"error"``, ``"first"`` or ``"keep"`` for variants of the same place and alleles.
    workers
        Tasks at the same time; None: one per CPU, or on Ray as many as the cluster has room for.
    executor, address
        ``"ray"`` reads and writes on the Ray cluster at ``address``, as in a job file (``runtime``); files and store
        must be visible to its nodes under the same paths. None: ``"ray"`` where there is an address, else in this
        machine's processes.
    overwrite
        Replace a store that is there.
    staging
        Folder of this machine in which a store for object storage is made before it is put there; None: the working
        directory.
    on_progress
        Called after each task.

    Raises
    ------
    InputError, FileFormatError
        The files are refused; the message names file, place and what to do.
    OutputError
        The store cannot be written, or is there already.
    ClusterError
        The Ray cluster cannot be reached, or was lost.
    """
    from allscan.engine.ingest import pipeline

    given = [sources] if isinstance(sources, str | Path) else list(sources)
    files: list[str | Path] = [local_path(source, "copy the genotype files to a disk first") for source in given]
    name = executor or ("ray" if address else "embedded")
    with ingest_executors(name, address, workers, files) as (reader, assembler):
        return pipeline.ingest(
            files,
            out,
            executor=reader,
            assembler=assembler,
            regions=list(regions) if regions else None,
            keep_samples=_sample_ids(keep_samples),
            exclude_samples=_sample_ids(exclude_samples),
            min_allele_count=min_allele_count,
            max_allele_count=max_allele_count,
            build=build,
            contigs=contigs,
            on_duplicate=on_duplicate,
            reader_options={
                "field": field,
                "pass_only": pass_only,
                "ref_first": ref_first,
                "sample_file": sample_file,
            },
            overwrite=overwrite,
            staging=None if staging is None else Path(staging),
            on_progress=on_progress,
        )


def _sample_ids(given: str | Place | Iterable[str] | None) -> list[str] | None:
    if given is None:
        return None
    if not isinstance(given, str | Path | ObjectPlace):
        return list(given)
    from allscan.phenotypes.tables import read_sample_list

    return list(read_sample_list(given).sample_ids)


def build_local_ancestry(
    genotypes: str | Place,
    out: str | Place,
    files: Sequence[str | Path],
    *,
    phased: Sequence[str | Path] = (),
    ancestries: Sequence[str] | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> LocalReport:
    """Make a store of local ancestry for the people and variants of a genotype store.

    Parameters
    ----------
    genotypes, out
        The genotype store, and the store to make.
    files
        FLARE's VCF files, MSP tables of RFMix or Gnomix, or .lanc files; each chromosome in one of them.
    phased
        Phased genotypes (VCF, BCF, .pgen) of each MSP table or .lanc file.
    ancestries
        Names of the ancestries of .lanc files, in the order of their numbers.
    workers
        Files at the same time; None: one per CPU.
    overwrite
        Replace a store that is there.
    on_progress
        Called with files done and files in all.

    Raises
    ------
    InputError, FileFormatError
        A file is damaged, unsorted, of other people or other genotypes, or nothing matches.
    OutputError
        The store cannot be written, or is there already.
    """
    from allscan.engine.local_ancestry import building

    paths = [local_path(file, "copy the files to a disk first") for file in files]
    partners = [local_path(file, "copy the files to a disk first") for file in phased]
    with ingest_executors("embedded", None, workers, paths) as (reader, _):
        return building.build_local_ancestry(
            genotypes,
            out,
            [Path(path) for path in paths],
            executor=reader,
            phased=[Path(path) for path in partners],
            ancestries=None if ancestries is None else tuple(ancestries),
            overwrite=overwrite,
            on_progress=on_progress,
        )


def simulate(
    out: str | Path,
    options: SimulationOptions | None = None,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    on_progress: Callable[[SimulationProgress], None] | None = None,
) -> SimulationReport:
    """Make a cohort of many ancestries with traits whose truth is known.

    Parameters
    ----------
    out
        Folder to make.
    options
        What the cohort shall be like (``allscan.engine.simulation.options.SimulationOptions``).
    workers
        Regions simulated at the same time; None: one per CPU.
    overwrite
        Replace the files of an earlier simulation.
    on_progress
        Called from time to time.

    Raises
    ------
    MissingDependencyError
        msprime is not installed.
    OutputError
        ``out`` is in use or cannot be written.
    """
    from allscan.engine.simulation.cohort import simulate_cohort

    return simulate_cohort(Path(out), options, workers=workers, overwrite=overwrite, on_progress=on_progress)
