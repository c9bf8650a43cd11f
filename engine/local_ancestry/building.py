"""Making a store of local ancestry: files of ancestries and phased genotypes, matched to a genotype store.

Each file is a task, and its chromosomes are written apart; a build that was stopped goes on with the files that are not
done. People are matched by id, variants by contig, position, REF and ALT.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from allscan import __version__
from allscan.engine.arrays import write_group
from allscan.engine.hashing import content_hash
from allscan.engine.ingest.fingerprints import digest
from allscan.engine.ingest.publishing import is_there, publish, staging_folder
from allscan.engine.ingest.staging import exclusive
from allscan.engine.local_ancestry.matching import PHASED, MatchingShared, SourceMatch, SourceSummary
from allscan.engine.local_ancestry.sources import open_sources
from allscan.engine.local_ancestry.store import FORMAT, FORMAT_VERSION, LocalAncestryStore
from allscan.engine.local_ancestry.writing import GrowingArray
from allscan.engine.store import open_store
from allscan.errors import AllscanError, InputError, OutputError, StorageError
from allscan.kernels.haplotypes import MOST_ANCESTRIES
from allscan.storage import place_of, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from allscan.engine.local_ancestry.sources import LocalSource
    from allscan.engine.scan import TaskRunner
    from allscan.engine.store import GenotypeStore
    from allscan.storage import Place


@dataclass(frozen=True)
class LocalReport:
    """What a store of local ancestry holds."""

    path: Place
    ancestries: tuple[str, ...]
    n_people: int
    n_without: int  # people of the genotype store without local ancestry
    contigs: tuple[str, ...]
    n_variants: int  # of the genotype store
    counts: dict[str, int]
    resumed: int  # files that were done before
    elapsed_seconds: float


def build_local_ancestry(
    genotypes: str | Place,
    out: str | Place,
    paths: Sequence[Path],
    *,
    executor: TaskRunner,
    phased: Sequence[Path] = (),
    ancestries: tuple[str, ...] | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> LocalReport:
    """Make a store of local ancestry for the people and variants of a genotype store.

    Parameters
    ----------
    genotypes
        The genotype store.
    out
        The store of local ancestry. Appears only when it is whole.
    paths
        FLARE's VCF files, MSP tables, or .lanc files; each chromosome in one of them.
    executor
        Runs a task for each file.
    phased
        Phased genotypes (VCF, BCF, .pgen) for each MSP table or .lanc file.
    ancestries
        Names of the ancestries of .lanc files.
    overwrite
        Replace a store that is there.
    on_progress
        Called with files done and files in all.

    Raises
    ------
    InputError, FileFormatError
        If a file is damaged, unsorted, of other people or other genotypes, or nothing matches.
    OutputError
        If the store cannot be written or exists already.
    """
    began = time.monotonic()
    target = place_of(out)
    store = open_store(genotypes)
    sources = open_sources(paths, phased, ancestries)
    if len(sources[0].ancestries) > MOST_ANCESTRIES:
        raise InputError(
            f"there are {len(sources[0].ancestries)} ancestries; at most {MOST_ANCESTRIES} can be told apart",
            where=str(sources[0].path),
            fix="infer local ancestry with fewer reference populations",
        )
    people = _people(store, sources)
    key = content_hash(
        json.dumps([store.fingerprint(), list(sources[0].ancestries), __version__, FORMAT_VERSION]),
        people,
        *(_state(path) for source in sources for path in (source.path, source.phased)),
    )
    if is_there(target) and not overwrite:
        return _finished(target, store, key, began)
    partial = staging_folder(target, None)
    with exclusive(partial, target):
        _settle(partial, key)
        shared = MatchingShared(store, sources, partial, people)
        done = {k: summary for k in range(len(sources)) if (summary := _load(partial, k)) is not None}
        resumed = len(done)
        if on_progress:
            on_progress(len(done), len(sources))
        waiting = [k for k in range(len(sources)) if k not in done]
        memory = (64 << 20) + 64 * store.n_samples + (256 << 20)
        for k, summary in executor.run(_build_one, shared, waiting, memory_bytes=memory):
            done[k] = summary
            if on_progress:
                on_progress(len(done), len(sources))
        try:
            _finish(shared, [done[k] for k in range(len(sources))], target, key)
        except AllscanError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return _report(target, store, resumed, began)


def _state(path: Path) -> str:
    state = path.stat()
    return json.dumps([str(path.absolute()), state.st_size, state.st_mtime_ns])


def _people(store: GenotypeStore, sources: Sequence[LocalSource]) -> NDArray[np.int64]:
    """Samples of the store that all files have, increasing."""
    rows: NDArray[np.bool_] | None = None
    for source in sources:
        known = set(source.samples).intersection(source.phased_samples)
        for names in (source.samples, source.phased_samples):
            if len(set(names)) < len(names):
                raise InputError(
                    "a sample id occurs more than once", where=str(source.path), fix="give each its own id"
                )
        here = np.fromiter((sample in known for sample in store.sample_ids), bool, store.n_samples)
        if rows is not None and not np.array_equal(rows, here):
            raise InputError(
                f"the files hold different people: {int(here.sum()):,} of the store in the second, "
                f"{int(rows.sum()):,} in the first",
                where=f"{sources[0].path} and {source.path}",
                fix="give files of the same people; bcftools view -S brings them to one set",
            )
        rows = here
    assert rows is not None
    if not rows.any():
        raise InputError(
            f"none of the {store.n_samples:,} people of the genotypes is in the files of local ancestry",
            where=str(sources[0].path),
            fix="check that both use the same sample ids",
        )
    return np.flatnonzero(rows)


def _finished(target: Place, store: GenotypeStore, key: str, began: float) -> LocalReport:
    try:
        there = LocalAncestryStore(target)
    except StorageError:
        raise
    except AllscanError:
        there = None
    if there is None or there.attrs.get("key") != key:
        raise OutputError(
            f"{target.name} exists already",
            where=str(target),
            fix="give another output path, or replace it: --overwrite",
        )
    return _report(target, store, there.attrs["files"], began)


def _settle(partial: Path, key: str) -> None:
    """Begin anew where an earlier build was of something else."""
    mark = partial / "key"
    if mark.exists() and mark.read_text() != key:
        for folder in partial.iterdir():
            if folder.is_dir():
                shutil.rmtree(folder)
    shutil.rmtree(partial / "store", ignore_errors=True)
    write_atomically(mark, key.encode())


def _load(partial: Path, k: int) -> SourceSummary | None:
    path = partial / str(k) / "summary.json"
    return SourceSummary(**json.loads(path.read_bytes())) if path.exists() else None


def _build_one(shared: MatchingShared, k: int) -> SourceSummary:
    folder = shared.folder / str(k)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    summary = SourceMatch(shared, shared.sources[k], folder).run()
    write_atomically(folder / "summary.json", json.dumps(asdict(summary)).encode())
    return summary


def _finish(shared: MatchingShared, summaries: Sequence[SourceSummary], target: Place, key: str) -> None:
    counts: Counter[str] = Counter()
    contents: dict[str, str] = {}
    store = shared.store
    root = shared.folder / "store"
    root.mkdir()
    for k, summary in enumerate(summaries):
        counts.update(summary.counts)
        for contig, content in summary.contigs.items():
            if contig in contents:
                raise InputError(
                    f"contig {store.contigs[int(contig)]} is in two files",
                    where=str(shared.sources[k].path),
                    fix="give each chromosome in one file (bcftools concat joins them)",
                )
            contents[contig] = content
    if not counts[PHASED]:
        raise InputError(
            "no variant of the genotypes is in the files: " + ", ".join(f"{n:,} {what}" for what, n in counts.items()),
            where=str(shared.sources[0].path),
            fix="check the reference build, and that REF and ALT are the same alleles in both",
        )
    for k, summary in enumerate(summaries):
        for contig in summary.contigs:
            (shared.folder / str(k) / contig).rename(root / contig)
    rows = GrowingArray(root / "sample_row", "int64", "Samples of the genotype store that have local ancestry")
    rows.add(shared.people)
    rows.close()
    write_group(
        root,
        {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "allscan_version": __version__,
            "ancestries": list(shared.sources[0].ancestries),
            "genotypes": store.fingerprint(),
            "contigs": sorted(contents, key=int),
            "contents": digest([contents, rows.digest]),
            "counts": dict(counts),
            "people": len(shared.people),
            "sources": [{"name": source.path.name, "kind": source.kind} for source in shared.sources],
            "files": len(shared.sources),
            "key": key,
        },
    )
    publish(root, target, shared.folder, key)


def _report(target: Place, store: GenotypeStore, resumed: int, began: float) -> LocalReport:
    there = LocalAncestryStore(target)
    return LocalReport(
        target,
        there.ancestries,
        len(there.store_rows),
        store.n_samples - len(there.store_rows),
        tuple(store.contigs[int(contig)] for contig in there.attrs["contigs"]),
        store.n_variants,
        there.attrs["counts"],
        resumed,
        time.monotonic() - began,
    )
