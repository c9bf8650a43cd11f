"""One trait's results in the formats that other programs read."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, get_args

import numpy as np

from allscan.errors import InputError, OutputError, writing
from allscan.jobs.result_source import META_PREFIX
from allscan.storage import local_path, place_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from allscan.jobs.export_cells import Lines
    from allscan.jobs.export_rows import Rows, Selection
    from allscan.jobs.result_source import ResultSource
    from allscan.storage import Place

Format = Literal["regenie", "plink", "gwas-ssf", "parquet"]
FORMATS: tuple[str, ...] = get_args(Format)

LINES = 1 << 13
"""Lines made at a time: their text stays in the processor's cache."""


@dataclass(frozen=True)
class ExportSummary:
    """What an export wrote."""

    path: Path
    rows: int  # lines of variants
    left_out: dict[str, int] = field(default_factory=dict)  # reason: variants that are not in the file
    index: Path | None = None
    metadata: Path | None = None

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.rows:,} variants"]
        lines += [f"  left out: {count:,} variants ({reason})" for reason, count in self.left_out.items()]
        lines += [f"  and {path}" for path in (self.index, self.metadata) if path is not None]
        return "\n".join(lines)


class TextFormat(Protocol):
    """A format whose rows are lines."""

    header: bytes
    needs: frozenset[str]  # result columns

    def body(self, rows: Rows) -> Lines:
        """Lines of some variants."""
        ...

    def sequence_names(self, rows: Rows) -> Sequence[str]:
        """What stands in the column of the contig, by the contigs of the rows."""
        ...


def export(
    run_folder: str | Place,
    trait: str,
    format: Format | str,  # noqa: A002 - the name of the option
    out: str | Path,
    *,
    stratum: str = "all",
    min_neg_log10_p: float | None = None,
    overwrite: bool = False,
    cube: ResultSource | None = None,
) -> ExportSummary:
    """Write the results of one trait to a file: whole, or not at all.

    Variants are read and written by blocks; memory does not grow with their number.

    Parameters
    ----------
    run_folder
        Output folder of a run, or of a meta-analysis.
    trait, stratum
        What to export: ``all``, a group as ``ancestry=eur``, or the meta-analysis of groups as ``meta:ancestry``; of
        a meta-analysis of studies a set of them.
    format
        ``regenie``, ``plink``, ``gwas-ssf`` or ``parquet``. A text file whose name ends in ``.gz`` or
        ``.bgz`` is compressed by blocks (BGZF) and indexed for tabix; its columns are then separated by
        tabs in every format, because tabix reads no others.
    out
        The file. ``gwas-ssf`` writes its metadata beside it, to ``OUT-meta.yaml``.
    min_neg_log10_p
        Only variants with at least this −log10 p.
    overwrite
        Replace files that are there.
    cube
        The results; opened when left out.

    Raises
    ------
    InputError
        If the run is not complete, the trait, stratum or format is not known, the format cannot hold the
        results, or a compressed file is asked for of variants that are not in order.
    OutputError
        If a file is in the way or cannot be written.
    """
    target = local_path(out, "an export is written to a disk; copy it from there")
    if format not in FORMATS:
        raise InputError(
            f"{format!r} is not an export format", where="--format", fix=f"use one of {', '.join(FORMATS)}"
        )
    compressed = target.suffix.lower() in (".gz", ".bgz")
    if compressed and format == "parquet":
        raise InputError(
            "a Parquet file is compressed inside", where=str(target), fix="give a name without .gz or .bgz"
        )
    selection = _select(cube or _open_complete(place_of(run_folder), stratum), trait, stratum)
    _refuse_overwriting(target, overwrite)
    kept = _Filter(selection, min_neg_log10_p)
    with writing(target, again="export again", elsewhere="check the folder and its rights"):
        if format == "parquet":
            return _export_parquet(selection, kept, target)
        if format == "gwas-ssf":
            return _export_ssf(selection, kept, target, compressed, _provenance(place_of(run_folder)))
        return _export_lines(selection, kept, str(format), target, compressed)


def _open_complete(folder: Place, stratum: str) -> ResultSource:
    # Of a run that is not complete, the rows still to come would look like results that are missing.
    from allscan.engine.meta.cube import MetaCube
    from allscan.engine.meta.files import META
    from allscan.engine.results import CUBE, ResultsCube
    from allscan.jobs.meta.state import refuse_incomplete
    from allscan.jobs.run_folder import open_complete_run, refuse_predictors

    if (folder / META).exists() and not (folder / CUBE).exists():
        refuse_incomplete(folder)
        return MetaCube(folder)
    run = open_complete_run(folder)
    refuse_predictors(run)
    cube = ResultsCube.open(run.path)
    if stratum not in cube.strata and (folder / META).exists():
        meta = MetaCube(folder)
        return meta if stratum.removeprefix(META_PREFIX) in meta.strata else cube
    return cube


def _select(cube: ResultSource, trait: str, stratum: str) -> Selection:
    from allscan.jobs.export_rows import Selection

    if stratum.removeprefix(META_PREFIX) in cube.strata:
        stratum = stratum.removeprefix(META_PREFIX)
    for kind, name, known in (("trait", trait, cube.traits), ("stratum", stratum, cube.strata)):
        if name not in known:
            from difflib import get_close_matches

            near = get_close_matches(name, known, n=1)
            raise InputError(
                f"the results have no {kind} {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
                where=f"--{kind}",
                fix=f"they have {', '.join(known[:20])}" + (" …" if len(known) > 20 else ""),
            )
    of_kind = next(kind for kind in cube.kinds if trait in kind.traits)
    return Selection(of_kind, cube.strata.index(stratum), of_kind.traits.index(trait))


def companions(target: Path) -> tuple[Path, ...]:
    """Files that an export may write beside ``target``."""
    return tuple(target.with_name(target.name + suffix) for suffix in (".tbi", ".csi", "-meta.yaml"))


def _refuse_overwriting(target: Path, overwrite: bool) -> None:
    if overwrite:
        return
    for path in (target, *companions(target)):
        if path.exists():
            raise OutputError(
                "the file is already there, and was left as it is",
                where=str(path),
                fix="choose another name, or allow overwriting (--overwrite)",
            )


@dataclass
class _Filter:
    """Rows of a selection; those that were not asked for are counted."""

    selection: Selection
    least: float | None
    left_out: Counter[str] = field(default_factory=Counter)

    def store_order(self, columns: Iterable[str]) -> Iterator[Rows]:
        """Rows as the cube holds them."""
        from allscan.jobs.result_source import blocks

        needed = {*columns, "neg_log10_p"}
        for variants in blocks(self.selection.source.n_variants):
            yield self.apply(self.selection.read(variants, needed))

    def by_chromosome(self, columns: Iterable[str]) -> Iterator[Rows]:
        """Rows by chromosome number and position."""
        from allscan.jobs.gwas_ssf import ordered_rows

        for rows in ordered_rows(self.selection, {*columns, "neg_log10_p"}):
            yield self.apply(rows)

    def apply(self, rows: Rows) -> Rows:
        """Rows that were asked for."""
        if self.least is None:
            return rows
        # NaN compares false: a row without a result is below every threshold.
        enough = rows.column("neg_log10_p") >= self.least
        below = len(rows) - int(enough.sum())
        if below:
            self.left_out[f"−log10 p below {self.least:g}, or no result"] += below
        return rows.take(enough)


def _export_lines(
    selection: Selection, kept: _Filter, format_name: str, target: Path, compressed: bool
) -> ExportSummary:
    from allscan.jobs.export_text import PlinkText, RegenieText

    layout: TextFormat
    if format_name == "regenie":
        layout = RegenieText(selection.source, "\t" if compressed else " ")
    else:
        layout = PlinkText(selection.source, "\t")
    with _temporary(target) as temporary:
        written = _write_text(temporary, layout, kept.store_order(layout.needs), compressed)
        index = _put_in_place(temporary, target, written.index_file)
    return ExportSummary(target, written.rows, dict(kept.left_out), index)


def _export_ssf(
    selection: Selection, kept: _Filter, target: Path, compressed: bool, provenance: dict[str, Any]
) -> ExportSummary:
    from allscan.jobs.gwas_ssf import SsfText, metadata_text

    layout = SsfText(selection.source, "\t")
    meta = target.with_name(target.name + "-meta.yaml")
    with _temporary(target) as temporary, _temporary(meta) as temporary_meta:
        digest = hashlib.md5(usedforsecurity=False)
        written = _write_text(temporary, layout, kept.by_chromosome(layout.needs), compressed, digest)
        layout.left_out.update(kept.left_out)
        document = metadata_text(selection, layout, target.name, digest.hexdigest(), provenance)
        _write_synced(temporary_meta, document.encode())
        index = _put_in_place(temporary, target, written.index_file)
        temporary_meta.replace(meta)
    return ExportSummary(target, written.rows, dict(layout.left_out), index, meta)


def _export_parquet(selection: Selection, kept: _Filter, target: Path) -> ExportSummary:
    from allscan.jobs.export_parquet import write_parquet

    with _temporary(target) as temporary:
        rows = write_parquet(temporary, selection, kept.store_order(column.name for column in selection.source.columns))
        _put_in_place(temporary, target, None)
    return ExportSummary(target, rows, dict(kept.left_out))


class _Written(NamedTuple):
    rows: int
    index_file: Path | None


def _write_text(
    path: Path, layout: TextFormat, parts: Iterable[Rows], compressed: bool, digest: hashlib._Hash | None = None
) -> _Written:
    """Write a text file, and an index beside it if it is compressed; ``digest`` is given the file's bytes."""
    from allscan.jobs.bgzf import BgzfWriter, TabixIndex

    count = 0
    with path.open("wb") as file:

        def write(content: bytes | memoryview) -> None:
            if digest is not None:
                digest.update(content)
            file.write(content)

        text = BgzfWriter(write) if compressed else None
        put = write if text is None else text.write
        index = TabixIndex(0 if layout.header.startswith(b"#") else 1, len(layout.header))
        put(layout.header)
        for rows in parts:
            for piece in rows.pieces(LINES):
                content, ends = layout.body(piece)
                put(content.data)
                written = np.diff(ends, prepend=0) > 0
                count += int(np.count_nonzero(written))
                if text is not None:
                    table = piece.table
                    index.add(
                        layout.sequence_names(piece), table.contig[written], table.position[written], ends[written]
                    )
        if text is not None:
            text.close()
        file.flush()
        os.fsync(file.fileno())
    if text is None:
        return _Written(count, None)
    place = path.with_name(path.name + index.suffix)
    with place.open("wb") as file_of_index:
        packed = BgzfWriter(file_of_index.write)
        packed.write(index.content(text))
        packed.close()
    return _Written(count, place)


def _put_in_place(temporary: Path, target: Path, index: Path | None) -> Path | None:
    """Give the files their names; an index of an older file never stands beside a newer one."""
    for old in companions(target):
        old.unlink(missing_ok=True)
    temporary.replace(target)
    if index is None:
        return None
    placed = target.with_name(target.name + index.suffix)
    index.replace(placed)
    return placed


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """A name beside ``target`` whose files are gone at the end, if they have not got another name."""
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    try:
        yield temporary
    finally:
        for path in (temporary, *companions(temporary)):
            path.unlink(missing_ok=True)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _provenance(folder: Place) -> dict[str, Any]:
    """The run's provenance; empty where there is none, as when a cube stands alone."""
    try:
        document = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
