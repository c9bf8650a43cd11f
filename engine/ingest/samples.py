"""Which samples a store holds: the same ones of every source, in the order of the first, filtered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from allscan.engine.ingest.batch import SourceHeader


@dataclass(frozen=True)
class SampleSelection:
    """The samples of a store, and where each source has them."""

    sample_ids: NDArray[np.object_]  # (samples,) str
    sample_sex: NDArray[np.int8]  # (samples,) 1 male, 2 female, 0 unknown
    rows: tuple[NDArray[np.int64] | None, ...]  # per source, (samples,) columns of it; None: all as they are
    counts: dict[str, int]  # samples by what became of them
    notes: tuple[str, ...]


def select_samples(
    headers: Sequence[SourceHeader],
    keep: Iterable[str] | None = None,
    exclude: Iterable[str] | None = None,
) -> SampleSelection:
    """Align the samples of all sources and apply keep and exclude lists.

    Parameters
    ----------
    headers
        Of the sources, at least one.
    keep
        Sample ids to keep; None keeps everybody.
    exclude
        Sample ids to leave out, also if they are in ``keep``.

    Raises
    ------
    InputError
        If the sources do not hold the same samples or contradict each other on a sample's sex, or nobody
        is left. Messages count people and give row numbers, not ids.
    """
    first = headers[0]
    in_order = list(first.sample_ids)
    everybody = {sample: row for row, sample in enumerate(in_order)}
    for header in headers[1:]:
        _check_same_samples(first, header, everybody)

    counts = {"in the sources": len(in_order)}
    notes = []
    chosen = np.ones(len(in_order), dtype=bool)
    if keep is not None:
        wanted = set(keep)
        chosen = np.fromiter((sample in wanted for sample in in_order), dtype=bool, count=len(in_order))
        counts["left out: not in the keep list"] = int((~chosen).sum())
        notes += _unmatched("keep", wanted, everybody)
    if exclude is not None:
        unwanted = set(exclude)
        excluded = np.fromiter((sample in unwanted for sample in in_order), dtype=bool, count=len(in_order))
        counts["left out: in the exclude list"] = int((chosen & excluded).sum())
        chosen &= ~excluded
        notes += _unmatched("exclude", unwanted, everybody)
    counts["kept"] = int(chosen.sum())
    if not chosen.any():
        raise InputError(
            f"none of the {len(in_order)} samples is left: {_describe(counts)}",
            where=first.path,
            fix="check that the lists use the same sample ids as the genotype files (the second column of a "
            ".fam file, IID of a .psam file, the header line of a VCF)",
        )

    ids = first.sample_ids[chosen]
    sex = np.zeros(len(ids), dtype=np.int8)
    rows = []
    for header in headers:
        source_rows = _rows(header, ids)
        rows.append(None if np.array_equal(source_rows, np.arange(len(header.sample_ids))) else source_rows)
        sex = _merge_sex(sex, header.sample_sex[source_rows], header)
    return SampleSelection(ids, sex, tuple(rows), counts, tuple(notes))


def _rows(header: SourceHeader, ids: NDArray[np.object_]) -> NDArray[np.int64]:
    place = {sample: row for row, sample in enumerate(header.sample_ids)}
    return np.fromiter((place[sample] for sample in ids), dtype=np.int64, count=len(ids))


def _check_same_samples(first: SourceHeader, other: SourceHeader, everybody: dict[str, int]) -> None:
    extra = [row for row, sample in enumerate(other.sample_ids, start=1) if sample not in everybody]
    lacking = len(everybody) - (len(other.sample_ids) - len(extra))
    if not extra and not lacking:
        return
    differences = []
    if extra:
        differences.append(f"has {len(extra)} that the first file lacks (the first is its sample {extra[0]})")
    if lacking:
        there = set(other.sample_ids)
        row = next(row for row, sample in enumerate(first.sample_ids, start=1) if sample not in there)
        differences.append(f"lacks {lacking} of the first file (the first is that file's sample {row})")
    raise InputError(
        f"the sources do not hold the same samples: of {len(other.sample_ids)} samples, the second "
        + " and ".join(differences),
        where=f"{first.path} and {other.path}",
        fix="give files of the same people; plink2 --keep or bcftools view -S brings them to one set",
    )


def _merge_sex(sex: NDArray[np.int8], more: NDArray[np.int8], header: SourceHeader) -> NDArray[np.int8]:
    contradicted = (sex != 0) & (more != 0) & (sex != more)
    if contradicted.any():
        raise InputError(
            f"{int(contradicted.sum())} samples are male in one source and female in another",
            where=header.path,
            fix="correct the sex column of the .fam or .psam file that is wrong",
        )
    return np.where(sex != 0, sex, more).astype(np.int8)


def _unmatched(name: str, wanted: set[str], everybody: dict[str, int]) -> list[str]:
    missing = sum(sample not in everybody for sample in wanted)
    return [f"{missing} of {len(wanted)} ids of the {name} list are not in the sources"] if missing else []


def _describe(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in counts.items())
