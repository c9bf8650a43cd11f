"""Exports in GWAS-SSF, the GWAS Catalog's standard: the table, its order, and its metadata.

The standard: Hayhurst J, et al. A community driven GWAS summary statistics standard. bioRxiv 2022.
https://doi.org/10.1101/2022.07.15.500230
"""

from __future__ import annotations

import io
from collections import Counter
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.engine.chromosomes import canonical_name
from allscan.engine.design import POOLED
from allscan.errors import InputError
from allscan.jobs.export_cells import Cells, Joined, Words, lines, text
from allscan.jobs.export_rows import Rows
from allscan.jobs.result_source import BLOCK, blocks, degrees_of_freedom, of_binary_traits
from allscan.kernels.association import Status
from allscan.kernels.text import MISSING, find_rs_numbers, find_sequences

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from allscan.engine.variant_names import VariantNames, VariantPlaces
    from allscan.jobs.export_cells import Column, Lines
    from allscan.jobs.export_rows import Selection
    from allscan.jobs.result_source import ResultSource

COLUMNS = (
    *("chromosome", "base_pair_location", "effect_allele", "other_allele"),
    *("beta", "standard_error", "effect_allele_frequency", "neg_log_10_p_value"),
    *("variant_id", "rsid", "ref_allele", "info", "n"),
)
CASE_COLUMNS = (
    "n_cases",
    "n_controls",
    "effect_allele_frequency_cases",
    "effect_allele_frequency_controls",
)
"""Beyond the standard, which leaves room for them; of binary traits."""
NO_VALUE = "#NA"
FILE_TYPE = "GWAS-SSF v1.0"

CHROMOSOME_CODES = {str(k): k for k in range(1, 23)} | {"X": 23, "XY": 23, "PAR1": 23, "PAR2": 23, "Y": 24, "MT": 25}

_NUMBERS = ("beta", "standard_error", "neg_log10_p", "effect_allele_frequency")

ANCESTRY_CATEGORIES = {
    "afr": "African unspecified",
    "amr": "Hispanic or Latin American",
    "eas": "East Asian",
    "eur": "European",
    "mid": "Greater Middle Eastern (Middle Eastern, North African or Persian)",
    "sas": "South Asian",
}
"""The GWAS Catalog's categories of the groups that All of Us and gnomAD tell apart (Morales J, et al. Genome Biol
2018;19:21, doi:10.1186/s13059-018-1396-2)."""

NO_CHROMOSOME = "the contig is none of the chromosomes 1 to 22, X, Y, MT"
ODD_ALLELE = "an allele is not a sequence of A, C, G, T"


MOST_PIECES = 64
"""Pieces of a chromosome, each in order, that are read as one."""
GAP = 1024
"""Variants that are read over rather than begin another stretch."""


class Run(NamedTuple):
    """Consecutive variants of one chromosome."""

    code: int
    start: int
    stop: int
    sorted: bool


class SsfText:
    """Lines of GWAS-SSF; counts what the format cannot hold.

    Raises
    ------
    InputError
        If the test has no single effect per variant, which the format needs.
    """

    def __init__(self, source: ResultSource, separator: str) -> None:
        names = {column.name for column in source.columns}
        if degrees_of_freedom(source) != 1 or not {"beta", "standard_error", "neg_log10_p"} <= names:
            raise InputError(
                f"GWAS-SSF holds one effect per variant, and the {source.attrs.get('model')} model has more",
                where="--format gwas-ssf",
                fix="export to regenie, plink or parquet",
            )
        self.separator = separator
        self.of_cases = of_binary_traits(source)
        columns = (*COLUMNS, *CASE_COLUMNS) if self.of_cases else COLUMNS
        self.header = (separator.join(columns) + "\n").encode()
        self.needs = frozenset({*_NUMBERS, "n", "status", *(("cases", *CASE_COLUMNS) if self.of_cases else ())})
        self.left_out: Counter[str] = Counter()
        self.lowest_frequency = float("inf")
        self.most_samples = self.most_cases = self.most_controls = 0

    def body(self, rows: Rows) -> Lines:
        """Lines of the variants that the format can hold."""
        kept = self._holdable(rows)
        values, frequency = rows.values, rows.values["effect_allele_frequency"]
        if kept.any():
            self.lowest_frequency = min(self.lowest_frequency, _least(np.minimum(frequency, 1 - frequency), kept))
            self.most_samples = max(self.most_samples, _most(values["n"], kept))
        code, position = Words(rows.table.contig, self.sequence_names(rows)), rows.positions
        ref, alt = _upper(rows.refs), _upper(rows.alts)
        columns: list[Column] = [
            code,
            position,
            alt,
            ref,
            text(values["beta"]),
            text(values["standard_error"]),
            text(frequency),
            text(values["neg_log10_p"]),
            Joined((code, position, ref, alt), "_"),
            _rs_numbers(rows.variant_ids),
            # The reference allele is the other allele.
            Words.constant("OA", len(rows)),
            # Some imputation programs report qualities a little above 1; the format ends there.
            text(np.minimum(rows.table.info, np.float32(1.0))),
            text(values["n"]),
        ]
        if self.of_cases:
            cases, controls = values["cases"], rows.controls
            if kept.any():
                self.most_cases = max(self.most_cases, _most(cases, kept))
                self.most_controls = max(self.most_controls, _most(controls, kept))
            columns += [text(cases), text(controls), *(text(values[name]) for name in CASE_COLUMNS[2:])]
        return lines([columns], self.separator, NO_VALUE, kept)

    def sequence_names(self, rows: Rows) -> tuple[str, ...]:
        """Chromosome numbers, by the contigs of the rows."""
        return tuple(str(code) for code in _codes_of_contigs(rows.table))

    def _holdable(self, rows: Rows) -> NDArray[np.bool_]:
        result = np.logical_and.reduce([np.isfinite(rows.values[name]) for name in _NUMBERS])
        placed = chromosome_codes(rows.table) > 0
        plain = np.ones(len(rows), np.bool_)
        for cells in (rows.refs, rows.alts):
            sequence = np.empty(len(rows), np.bool_)
            find_sequences(cells.data, cells.starts, cells.lengths, sequence)
            plain &= sequence
        # One reason per row, the first that applies.
        for code, count in enumerate(np.bincount(rows.values["status"][~result], minlength=len(Status))):
            if count:
                self.left_out[f"no result: {Status(code).name}"] += int(count)
        self._count(NO_CHROMOSOME, result & ~placed)
        self._count(ODD_ALLELE, result & placed & ~plain)
        return np.asarray(result & placed & plain)

    def _count(self, reason: str, rows: NDArray[np.bool_]) -> None:
        if rows.any():
            self.left_out[reason] += int(np.count_nonzero(rows))


def _least(values: NDArray[Any], kept: NDArray[np.bool_]) -> float:
    return float(values.min(where=kept, initial=np.inf))


def _most(values: NDArray[Any], kept: NDArray[np.bool_]) -> int:
    return int(values.max(where=kept, initial=0))


def _upper(sequences: Cells) -> Cells:
    """Sequences of letters in upper case."""
    return Cells(sequences.data & np.uint8(0xDF), sequences.starts, sequences.lengths)


def _rs_numbers(ids: Cells) -> Cells:
    """Identifiers that are rs numbers; the others are missing."""
    found = np.empty(len(ids), np.bool_)
    find_rs_numbers(ids.data, ids.starts, ids.lengths, found)
    return Cells(ids.data, ids.starts, np.where(found, ids.lengths, np.int32(MISSING)))


def chromosome_codes(names: VariantNames | VariantPlaces) -> NDArray[np.int64]:
    """GWAS-SSF's chromosome numbers, shape (rows,): X 23, Y 24, MT 25; 0 for other contigs."""
    return np.asarray(np.array(_codes_of_contigs(names), dtype=np.int64)[names.contig])


def _codes_of_contigs(names: VariantNames | VariantPlaces) -> list[int]:
    return [CHROMOSOME_CODES.get(canonical_name(contig) or "", 0) for contig in names.contigs]


def chromosome_runs(source: ResultSource) -> list[Run]:
    """Consecutive variants of one chromosome, in the format's order."""
    runs: list[Run] = []
    before = -1
    for variants in blocks(source.n_variants):
        table = source.variant_places(variants.start, variants.stop)
        codes = chromosome_codes(table)
        edges = np.flatnonzero(np.diff(codes)) + 1
        for first, last in zip([0, *edges], [*edges, len(codes)], strict=True):
            code = int(codes[first])
            position = table.position[first:last]
            ordered = bool(np.all(np.diff(position) >= 0))
            start, stop = variants.start + int(first), variants.start + int(last)
            if runs and runs[-1].code == code and runs[-1].stop == start:
                whole = runs[-1].sorted and ordered and before <= int(position[0])
                runs[-1] = Run(code, runs[-1].start, stop, whole)
            else:
                runs.append(Run(code, start, stop, ordered))
            before = int(position[-1])
    return sorted(runs, key=lambda run: run.code)


def ordered_rows(selection: Selection, columns: Collection[str]) -> Iterator[Rows]:
    """Rows by chromosome number and position.

    Blocks are passed on as they are read where chromosomes stand in order. One of several pieces that do each (X and
    its pseudoautosomal regions) is read in the order of its positions; one in no order at all is held and sorted.
    """
    runs = chromosome_runs(selection.source)
    straight = slice(0, 0)  # variants that stand in order, not yet read
    for code in dict.fromkeys(run.code for run in runs):
        here = [run for run in runs if run.code == code]
        if len(here) == 1 and here[0].sorted:
            if here[0].start != straight.stop:
                yield from _read_straight(selection, straight, columns)
                straight = slice(here[0].start, here[0].start)
            straight = slice(straight.start, here[0].stop)
            continue
        yield from _read_straight(selection, straight, columns)
        straight = slice(0, 0)
        pieces = [piece for run in here for piece in _pieces(run.start, run.stop)]
        position = np.concatenate([selection.source.variant_places(p.start, p.stop).position for p in pieces])
        variant = np.concatenate([np.arange(run.start, run.stop) for run in here])
        ordered = variant[np.argsort(position, kind="stable")]
        if np.count_nonzero(np.diff(position) < 0) < MOST_PIECES:
            for start in range(0, len(ordered), BLOCK):
                yield _read_in_order(selection, ordered[start : start + BLOCK], columns)
        else:
            whole = Rows.concatenate([selection.read(piece, columns) for piece in pieces])
            yield whole.take(np.argsort(position, kind="stable"))
    yield from _read_straight(selection, straight, columns)


def _pieces(start: int, stop: int) -> Iterator[slice]:
    """Variants ``start:stop`` by the blocks of the cube, so that no chunk is read twice."""
    while start < stop:
        end = min(start // BLOCK * BLOCK + BLOCK, stop)
        yield slice(start, end)
        start = end


def _read_straight(selection: Selection, variants: slice, columns: Collection[str]) -> Iterator[Rows]:
    for piece in _pieces(variants.start, variants.stop):
        yield selection.read(piece, columns)


def _read_in_order(selection: Selection, wanted: NDArray[np.int64], columns: Collection[str]) -> Rows:
    """Variants of a few stretches of the cube, in the order given."""
    sorted_ = np.sort(wanted)
    stretches = np.split(sorted_, np.flatnonzero(np.diff(sorted_) > GAP) + 1)
    parts = [selection.read(slice(int(part[0]), int(part[-1]) + 1), columns) for part in stretches]
    held = np.concatenate([np.arange(part[0], part[-1] + 1) for part in stretches])
    return Rows.concatenate(parts).take(np.searchsorted(held, wanted))


def metadata_text(
    selection: Selection,
    lines_of: SsfText,
    data_file_name: str,
    md5: str,
    provenance: Mapping[str, Any],
) -> str:
    """The metadata that goes with a GWAS-SSF table, as YAML.

    Left out is what allscan cannot know: the accession, genotyping technology, ontology terms.
    """
    from ruamel.yaml import YAML

    sample: dict[str, Any] = {"sample_size": lines_of.most_samples}
    if lines_of.of_cases:
        sample |= {
            "case_control_study": True,
            "case_count": lines_of.most_cases,
            "control_count": lines_of.most_controls,
        }
    sample["sample_ancestry_category"] = ancestry_categories(selection)
    if not sample["sample_ancestry_category"]:
        del sample["sample_ancestry_category"]
    document: dict[str, Any] = {
        "author_notes": _notes(lines_of.left_out),
        "date_metadata_last_modified": datetime.now(UTC).date(),
        "trait_description": [selection.trait_name],
        "genome_assembly": str(selection.source.attrs.get("reference_build") or "unknown"),
        "coordinate_system": "1-based",
        "samples": [sample],
        "sex": _sex(selection.stratum_name, provenance),
        "data_file_name": data_file_name,
        "file_type": FILE_TYPE,
        "data_file_md5sum": md5,
        "analysis_software": f"allscan {metadata.version('allscan')}",
        "adjusted_covariates": [name for name in _covariates(selection, provenance) if name != "intercept"],
        "minor_allele_freq_lower_limit": _limit(lines_of.lowest_frequency),
        "is_harmonised": False,
        "is_sorted": True,
    }
    document = {key: value for key, value in document.items() if value not in (None, [], "")}
    yaml = YAML(typ="safe")
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()


def _notes(left_out: Counter[str]) -> str:
    if not left_out:
        return ""
    parts: Sequence[str] = [f"{count} variants ({reason})" for reason, count in left_out.items()]
    return f"Not in the table: {'; '.join(parts)}."


def ancestry_categories(selection: Selection) -> list[str]:
    """Ancestry of a stratum, or of the groups of a meta-analysis, in the catalog's words where it has one.

    Empty where people are not grouped by ancestry.
    """
    stratum, combined = selection.stratum_name, selection.source.attrs.get("studies", {})
    if stratum in combined:
        names = [str(name) for name in combined[stratum] if str(name).startswith("ancestry=")]
    else:
        # A name without a key is that of a group of ancestry: so were strata named at first.
        names = [stratum] if stratum.startswith("ancestry=") or ("=" not in stratum and stratum != POOLED) else []
    groups = [name.removeprefix("ancestry=") for name in names]
    return [ANCESTRY_CATEGORIES.get(group.lower(), group) for group in groups]


def _covariates(selection: Selection, provenance: Mapping[str, Any]) -> list[str]:
    """What the stratum was adjusted for: a group has components of its own, and covariates may drop out."""
    groups = [group for one in provenance.get("stratifications", ()) for group in one["groups"]]
    of_group = next((group["covariates"] for group in groups if group["stratum"] == selection.stratum_name), None)
    names = (provenance.get("covariates") or {}).get("names", ()) if of_group is None else of_group
    return [str(name) for name in names]


def _sex(stratum: str, provenance: Mapping[str, Any]) -> str:
    told = {"sex=male": "M", "sex=female": "F"}.get(stratum)
    if told is not None:
        return told
    counts = provenance.get("samples", {}).get("sex", {})
    male, female = counts.get("male", 0), counts.get("female", 0)
    if counts.get("unknown", 0) or not (male or female):
        return "NR"
    if male and female:
        return "combined"
    return "M" if male else "F"


def _limit(frequency: float) -> float | None:
    return float(f"{frequency:.6g}") if np.isfinite(frequency) else None
