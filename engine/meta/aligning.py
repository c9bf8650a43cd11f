"""From tables of several studies to aligned ones: read, joined by region, compared with each other, described."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.engine.chromosomes import normalise_build, sort_contigs
from allscan.engine.hashing import content_hash
from allscan.engine.meta.aligned import READ_VARIANTS, AlignedStudies, Palindromes, Region, write_region
from allscan.engine.meta.joining import FLIPPED, TURNED, join_region
from allscan.engine.meta.reading import Study, StudyRead, read_study
from allscan.engine.meta.run import z_histogram
from allscan.errors import InputError
from allscan.kernels import summary
from allscan.storage import remove_tree, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from allscan.engine.scan import TaskRunner

JOINED = "joined.json"
VERSION = 1

STRAND_SHARE = 0.01
"""Two studies are on one strand if no more of their common variants, palindromes aside, stand on opposite ones."""
LEAST_SHARED = 0.05
"""Share of the smaller study's variants that two studies of one build have in common, at least."""
LEAST_AGREEMENT = 0.6
"""Share of common places where their alleles are the same, at least."""
LEAST_COMPARED = 1000
"""Variants (or places) of a study below which nothing is concluded."""
FAR_FREQUENCY = 0.2
"""Difference to the mean of the other studies that is counted."""


@dataclass(frozen=True)
class AlignOptions:
    """How studies are aligned."""

    palindromes: Palindromes = "infer"
    window: float = 0.1
    check_overlap: bool = True
    """Whether studies that have hardly a variant in common with others, or other alleles, are refused."""


@dataclass(frozen=True)
class StudyAccount:
    """What became of a study, row by row and variant by variant."""

    name: str
    format: str
    rows: int
    variants: int
    """Aligned: all that is read of it."""
    alone: int
    """Variants that no other study has."""
    turned: int
    """Variants whose effect was told of REF."""
    flipped: int
    """Variants told on the other strand, palindromes included."""
    left_out: dict[str, int]
    noted: dict[str, int]
    same_strand: bool
    palindromes_dropped: int
    far_frequencies: int
    frequency_correlation: float | None
    """With the mean of the other studies."""
    inflation: float | None
    """λ."""
    most_n: float | None
    most_cases: float | None
    p_disagrees: float | None
    """Share of p values that are not those of effect and error."""
    build: str | None
    columns: dict[str, str]
    sha256: dict[str, str]


PALINDROME_DROPPED = "palindrome (A/T or C/G) whose strand cannot be told"


class _ReadShared(NamedTuple):
    studies: tuple[Study, ...]
    folder: Path


class _JoinShared(NamedTuple):
    folders: tuple[Path, ...]
    folder: Path


def align(
    studies: Sequence[Study],
    trait: str,
    folder: Path,
    executor: TaskRunner,
    options: AlignOptions,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> tuple[AlignedStudies, list[StudyAccount]]:
    """Read and join studies; what is done of the same files is not done again.

    Parameters
    ----------
    studies
        At least one.
    trait
        What all are of.
    folder
        For what is kept between stages and sessions.
    executor
        What runs the tasks, on this machine.
    options
        See there.
    on_progress
        Told of a stage, of tasks done, and of all.

    Raises
    ------
    InputError
        A table is refused, or studies do not fit each other.
    OutputError
        The disk is full.
    """

    def tell(stage: str, done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(stage, done, total)

    studies = tuple(studies)
    tell("reading", 0, len(studies))
    reads: dict[int, StudyRead] = {}
    for k, read in executor.run(_read, _ReadShared(studies, folder), range(len(studies))):
        reads[k] = read
        tell("reading", len(reads), len(studies))
    in_order = [reads[k] for k in range(len(studies))]
    build = _common_build(studies, in_order)
    contigs = tuple(sort_contigs({name.rsplit(".", 1)[0] for read in in_order for name in read.regions}))
    names = sorted({name for read in in_order for name in read.regions}, key=lambda name: _place(name, contigs))
    digest = content_hash(json.dumps([VERSION, [read.digest for read in in_order]]))
    joined = _joined(folder, digest)
    if joined is None:
        joined = _join(studies, names, folder, digest, executor, tell)
    regions = tuple(Region(name, _place(name, contigs)[0], joined[name]["variants"]) for name in names)
    if options.check_overlap:
        refuse_strangers([study.name for study in studies], _total(joined, "places"), _total(joined, "shared"))
    same_strand = common_strand(*_total(joined, "strands"))
    decided = [options.palindromes, options.window, [study.name for study in studies]]
    aligned = AlignedStudies(
        folder=folder / "aligned",
        names=tuple(study.name for study in studies),
        trait=trait,
        is_binary=any(read.binary for read in in_order),
        contigs=contigs,
        regions=regions,
        digest=content_hash(digest, json.dumps(decided)),
        reference_build=build,
        same_strand=same_strand,
        palindromes=options.palindromes,
        window=options.window,
    )
    described = _describe(aligned, executor, tell)
    accounts = [
        _account(k, study, read, joined, described, same_strand=same_strand[k])
        for k, (study, read) in enumerate(zip(studies, in_order, strict=True))
    ]
    if options.check_overlap:
        _refuse_other_alleles(accounts, described)
    return aligned, accounts


def _read(shared: _ReadShared, number: int) -> StudyRead:
    return read_study(shared.studies[number], study_folder(shared.folder, number))


def study_folder(folder: Path, number: int) -> Path:
    """Where the rows of a study are kept."""
    return folder / f"study{number}"


def _place(region: str, contigs: Sequence[str]) -> tuple[int, int]:
    contig, number = region.rsplit(".", 1)
    return contigs.index(contig), int(number)


def _common_build(studies: Sequence[Study], reads: Sequence[StudyRead]) -> str | None:
    """The reference build of all; None where nobody tells.

    Raises
    ------
    InputError
        Two studies tell of different ones.
    """
    found = ((study.name, study.build or read.build) for study, read in zip(studies, reads, strict=True))
    told = {name: normalise_build(build) for name, build in found if build}
    if len(set(told.values())) > 1:
        raise InputError(
            "the studies are on different reference builds: " + ", ".join(f"{k} on {v}" for k, v in told.items()),
            fix="lift them over to one build first, as with `bcftools +liftover`; where a build is declared wrongly, "
            "write `build:` for the study",
        )
    return next(iter(told.values()), None)


def _joined(folder: Path, digest: str) -> dict[str, Any] | None:
    """What a join of before says of its regions; None where there is none of the same."""
    try:
        document = json.loads((folder / JOINED).read_bytes())
    except (OSError, ValueError):
        return None
    return document["regions"] if document["digest"] == digest else None


def _join(
    studies: Sequence[Study],
    names: Sequence[str],
    folder: Path,
    digest: str,
    executor: TaskRunner,
    tell: Callable[[str, int, int], None],
) -> dict[str, Any]:
    (folder / JOINED).unlink(missing_ok=True)
    remove_tree(folder / "aligned")
    (folder / "aligned").mkdir()
    shared = _JoinShared(tuple(study_folder(folder, k) for k in range(len(studies))), folder / "aligned")
    regions: dict[str, Any] = {}
    for name, told in executor.run(_join_one, shared, names):
        regions[name] = told
        tell("joining", len(regions), len(names))
    # In the order of the genome: the same bytes whichever was done first.
    regions = {name: regions[name] for name in names}
    write_atomically(folder / JOINED, json.dumps({"digest": digest, "regions": regions}).encode())
    return regions


def _join_one(shared: _JoinShared, region: str) -> dict[str, Any]:
    joined = join_region(shared.folders, region)
    write_region(shared.folder, region, joined)
    return {
        "variants": len(joined.position),
        "left_out": joined.left_out,
        "noted": joined.noted,
        "strands": joined.strands.tolist(),
        "places": joined.shared_places.tolist(),
        "shared": joined.shared_variants.tolist(),
    }


def _total(joined: dict[str, Any], key: str) -> NDArray[np.int64]:
    return np.asarray(np.sum([region[key] for region in joined.values()], axis=0), np.int64)


def common_strand(told: NDArray[np.int64], opposite: NDArray[np.int64]) -> tuple[bool, ...]:
    """Which studies stand on the strand that most of them do; none where as many stand on each.

    Parameters
    ----------
    told, opposite : (studies, studies)
        Variants that tell the strands of two studies, and of these those with opposite ones.
    """
    n = len(told)
    agree = opposite <= STRAND_SHARE * told
    # Studies that agree in a chain, whether or not they share a variant.
    groups: list[set[int]] = []
    for s in range(n):
        near = [group for group in groups if any(agree[s, k] and told[s, k] for k in group)]
        groups = [group for group in groups if group not in near] + [set().union({s}, *near)]
    # One that shares nothing with any other contradicts nobody.
    alone = {s for s in range(n) if not told[s].any()}
    groups = sorted((group - alone for group in groups if group - alone), key=len, reverse=True)
    tied = len(groups) > 1 and len(groups[0]) == len(groups[1])
    common = alone | (groups[0] if groups and not tied else set())
    return tuple(s in common for s in range(n))


def refuse_strangers(names: Sequence[str], places: NDArray[np.int64], shared: NDArray[np.int64]) -> None:
    """Refuse studies that are not of the same genome as any other.

    Parameters
    ----------
    names
        Of the studies.
    places, shared : (studies, studies)
        Places, and variants, that two studies both have; of one study on the diagonal.

    Raises
    ------
    InputError
        A study has hardly a variant in common with any other, or other alleles at the same places.
    """
    n = len(names)
    for s in range(n):
        others = [k for k in range(n) if k != s and min(places[s, s], places[k, k]) >= LEAST_COMPARED]
        if not others:
            continue
        overlap = max(shared[s, k] / min(shared[s, s], shared[k, k]) for k in others)
        agreement = max(shared[s, k] / max(1, places[s, k]) for k in others)
        if overlap >= LEAST_SHARED and agreement >= LEAST_AGREEMENT:
            continue
        if overlap < LEAST_SHARED:
            what = f"{100 * overlap:.1f} % of its variants, or of theirs, are in any other study"
        else:
            what = f"at only {100 * agreement:.0f} % of the places that it shares with another are the alleles the same"
        raise InputError(
            f"{names[s]!r} does not fit the other studies: {what}",
            fix="check its reference build (GRCh37 against GRCh38 looks like this) and lift it over; check its columns "
            "of position and alleles; where studies are of different variants by design, write `check_overlap: false`",
        )


class _Described(NamedTuple):
    """Sums over variants, for each study."""

    counts: NDArray[np.int64]  # (studies, 5): variants, alone, palindromes dropped, palindromes turned, far frequencies
    histogram: NDArray[np.uint32]  # (studies, bins) of −log10 p
    moments: NDArray[np.float64]  # (studies, 6) of frequencies here and elsewhere
    most: NDArray[np.float64]  # (studies, 2) people and cases


def _describe(aligned: AlignedStudies, executor: TaskRunner, tell: Callable[[str, int, int], None]) -> _Described:
    n = aligned.n_variants
    tasks = [slice(start, min(start + READ_VARIANTS, n)) for start in range(0, n, READ_VARIANTS)]
    studies = len(aligned.names)
    counts = np.zeros((studies, 5), np.int64)
    histogram = np.zeros((studies, summary.N_BINS), np.uint32)
    most = np.full((studies, 2), np.nan)
    moments: dict[int, NDArray[np.float64]] = {}
    for done, (task, part) in enumerate(executor.run(_describe_some, aligned, tasks)):
        counts += part.counts
        histogram += part.histogram
        most = np.fmax(most, part.most)
        moments[task.start] = part.moments
        tell("comparing", done + 1, len(tasks))
    # Added in the order of the genome: the last digits follow no order of tasks.
    total = np.zeros((studies, 6))
    for start in sorted(moments):
        total += moments[start]
    return _Described(counts, histogram, total, most)


def _describe_some(aligned: AlignedStudies, variants: slice) -> _Described:
    held, kind = aligned.values(variants)
    resolved = aligned.resolve(held, kind)
    (block,) = aligned.read(range(len(aligned.names)), slice(0, 1), variants)
    present = np.isfinite(block.beta)
    together = present.sum(axis=0)
    known = present & np.isfinite(block.frequency)
    told = known.sum(axis=0)
    elsewhere = np.where(known, block.frequency, 0.0).sum(axis=0)[None] - np.where(known, block.frequency, 0.0)
    compared = known & (told > 1)[None]
    with np.errstate(divide="ignore", invalid="ignore"):
        elsewhere = elsewhere / np.maximum(told - 1, 1)[None]
    x, y = np.where(compared, block.frequency, 0.0), np.where(compared, elsewhere, 0.0)
    far = compared & (np.abs(x - y) > FAR_FREQUENCY)
    counted = [present, present & (together == 1)[None], resolved.dropped, resolved.turned, far]
    sums = [compared.astype(np.float64), x, y, x * x, y * y, x * y]
    people = [block.n] if block.cases is None else [block.n, block.cases]
    most = np.full((len(present), 2), np.nan)
    for column, values in enumerate(people):
        most[:, column] = np.where(np.isnan(values), -np.inf, values).max(axis=1, initial=-np.inf)
    return _Described(
        np.stack([which.sum(axis=1) for which in counted], axis=1),
        z_histogram(block.z),
        np.stack([values.sum(axis=1) for values in sums], axis=1),
        np.where(np.isinf(most), np.nan, most),
    )


def _correlation(moments: NDArray[np.float64]) -> float | None:
    n, x, y, xx, yy, xy = moments.tolist()
    if n < 2:
        return None
    spread = (xx - x * x / n) * (yy - y * y / n)
    return float((xy - x * y / n) / np.sqrt(spread)) if spread > 0.0 else None


def _account(
    k: int, study: Study, read: StudyRead, joined: dict[str, Any], described: _Described, *, same_strand: bool
) -> StudyAccount:
    left_out, noted = Counter(read.left_out), Counter(read.noted)
    for region in joined.values():
        left_out.update(region["left_out"][k])
        noted.update(region["noted"][k])
    variants, alone, dropped, turned, far = described.counts[k].tolist()
    if dropped:
        left_out[PALINDROME_DROPPED] = dropped
    inflation = float(summary.inflation_of_median(summary.median_of_histogram(described.histogram[k])))
    people, cases = (None if np.isnan(value) else float(value) for value in described.most[k])
    return StudyAccount(
        name=study.name,
        format=read.format,
        rows=read.total,
        variants=variants,
        alone=alone,
        turned=noted.pop(TURNED, 0),
        flipped=noted.pop(FLIPPED, 0) + turned,
        left_out=dict(left_out),
        noted=dict(noted),
        same_strand=same_strand,
        palindromes_dropped=dropped,
        far_frequencies=far,
        frequency_correlation=_correlation(described.moments[k]),
        inflation=None if np.isnan(inflation) else round(inflation, 6),
        most_n=people,
        most_cases=cases,
        p_disagrees=round(read.fit.disagree / read.fit.compared, 6) if read.fit.compared else None,
        build=study.build or read.build,
        columns=read.columns,
        sha256=read.sha256,
    )


def _refuse_other_alleles(accounts: Sequence[StudyAccount], described: _Described) -> None:
    """Refuse a study whose frequencies are those of the other allele: its effects are, too.

    Raises
    ------
    InputError
        Its frequencies fall where those of the others rise.
    """
    for account, moments in zip(accounts, described.moments, strict=True):
        r = account.frequency_correlation
        if r is not None and r < 0.0 and moments[0] >= LEAST_COMPARED:
            raise InputError(
                f"the allele frequencies of {account.name!r} are those of the other allele (correlation {r:.2f} with "
                "the other studies)",
                fix="check which column is the effect allele, and which allele the frequency is of: name them under "
                "`columns`",
            )


def account_json(account: StudyAccount) -> dict[str, Any]:
    """As in the provenance document."""
    return asdict(account)
