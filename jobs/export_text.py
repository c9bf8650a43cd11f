"""Exports in the layout of REGENIE and of PLINK 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.columns import CASE_COLUMNS
from allscan.errors import InputError
from allscan.jobs.export_cells import Cells, joined, lines, p_value_text, text
from allscan.jobs.result_source import degrees_of_freedom, of_binary_traits, own_columns
from allscan.kernels.summary import chi_square

if TYPE_CHECKING:
    from collections.abc import Mapping

    from allscan.jobs.export_rows import Rows
    from allscan.jobs.result_source import ResultSource

REGENIE_COLUMNS = (
    *("CHROM", "GENPOS", "ID", "ALLELE0", "ALLELE1", "A1FREQ", "INFO", "N"),
    *("TEST", "BETA", "SE", "CHISQ", "LOG10P", "EXTRA"),
)
REGENIE_CASE_COLUMNS = (
    *("CHROM", "GENPOS", "ID", "ALLELE0", "ALLELE1", "A1FREQ", "A1FREQ_CASES", "A1FREQ_CONTROLS", "INFO"),
    *("N", "N_CASES", "N_CONTROLS", "TEST", "BETA", "SE", "CHISQ", "LOG10P", "EXTRA"),
)
"""With ``--af-cc``."""
PLINK_COLUMNS = (
    *("#CHROM", "POS", "ID", "REF", "ALT", "A1", "A1_FREQ"),
    *("TEST", "OBS_CT", "BETA", "SE", "T_STAT", "P", "ERRCODE"),
)
PLINK_CASE_COLUMNS = (
    *("#CHROM", "POS", "ID", "REF", "ALT", "A1", "A1_FREQ", "A1_CASE_FREQ", "A1_CTRL_FREQ", "FIRTH?"),
    *("TEST", "OBS_CT", "OR", "LOG(OR)_SE", "Z_STAT", "P", "ERRCODE"),
    *("METHOD", "CASE_CT", "CTRL_CT", "CASE_CARRIER_CT", "CTRL_CARRIER_CT"),
)
"""PLINK 2's of a logistic regression, then what it has no names for."""

TEST_LABELS = {"additive": "ADD", "dominant": "DOM", "recessive": "REC", "genotypic": "GENO_2DF"}
"""PLINK 2's and REGENIE's names of the genetic models."""

SPACE = ord(" ")

# Columns that both layouts have a place for; a test's other columns are written beside them.
_PLACED = frozenset({"beta", "standard_error", "neg_log10_p"})
_NEEDED = _PLACED | {"n", "effect_allele_frequency", "status"}
_OF_CASES = frozenset(column.name for column in CASE_COLUMNS)
_GENOTYPIC = frozenset({"beta_domdev", "standard_error_domdev"})


def test_label(source: ResultSource) -> str:
    """What stands under TEST."""
    model = str(source.attrs.get("model", "additive"))
    return TEST_LABELS.get(model, model.upper())


class RegenieText:
    """Lines as REGENIE's step 2 writes them; ALLELE1 is the effect allele.

    Columns that REGENIE has no place for stand under EXTRA as ``NAME=value``, and so do the method that gave a result
    (``METHOD=``), where it is not the test's first one, and the status of a row without a result. CHISQ is the χ²
    statistic of LOG10P, with 1 degree of freedom (2 for the genotypic model). Of a binary trait the columns are those
    of ``--af-cc``.
    """

    def __init__(self, source: ResultSource, separator: str) -> None:
        self.separator = separator
        self._cases = of_binary_traits(source)
        self.header = (separator.join(REGENIE_CASE_COLUMNS if self._cases else REGENIE_COLUMNS) + "\n").encode()
        self._label = test_label(source)
        self._df = degrees_of_freedom(source)
        self._others = [column.name for column in own_columns(source) if column.name not in _PLACED]
        self.needs = _NEEDED | frozenset(self._others) | (_OF_CASES if self._cases else frozenset())

    def body(self, rows: Rows) -> memoryview:
        """Lines of some variants.

        Raises
        ------
        InputError
            If spaces separate the columns, and a name holds one.
        """
        y = rows.column("neg_log10_p")
        if self.separator == " " and any(
            SPACE in names.data for names in (rows.contigs, rows.variant_ids, rows.refs, rows.alts)
        ):
            raise InputError(
                "a name of a contig, variant or allele holds a space, and spaces separate REGENIE's columns",
                fix="export to a name that ends in .gz, whose columns are separated by tabs",
            )
        columns = [
            rows.contigs,
            text(rows.table.position),
            rows.names,
            rows.refs,
            rows.alts,
            text(rows.column("effect_allele_frequency")),
            *(_frequencies(rows) if self._cases else ()),
            text(rows.table.info),
            text(rows.column("n")),
            *((text(rows.column("cases")), text(rows.controls)) if self._cases else ()),
            Cells.constant(self._label, len(rows)),
            text(rows.column("beta")),
            text(rows.column("standard_error")),
            text(chi_square(y, self._df).astype(np.float32)),
            text(y),
            self._extra(rows),
        ]
        return lines(columns, self.separator)

    def _extra(self, rows: Rows) -> Cells:
        named = [("METHOD", rows.methods)] if self._cases else []
        named += [(name.upper(), text(rows.column(name))) for name in self._others]
        entries = [rows.faults]
        for name, values in named:
            entry = joined([Cells.constant(f"{name}=", len(rows)), values], "")
            entries.append(Cells(entry.data, entry.starts, np.where(values.lengths < 0, values.lengths, entry.lengths)))
        return joined(entries, ";", skip_missing=True) if named else rows.faults


class PlinkText:
    """Lines as PLINK 2's ``--glm`` writes them; A1 is the effect allele, ALT.

    Of a binary trait they are those of its logistic regression: odds ratios, FIRTH?, frequencies in cases and in
    controls; METHOD and counts of people follow ERRCODE.

    The genotypic model takes three lines of a variant, as in PLINK 2: ADD, DOMDEV, and GENO_2DF with the
    p-value of both. A row without a result has NA and its status under ERRCODE. Columns of another test
    that PLINK 2 has no place for follow ERRCODE.
    """

    def __init__(self, source: ResultSource, separator: str) -> None:
        self.separator = separator
        self._label = test_label(source)
        self._genotypic = degrees_of_freedom(source) == 2
        placed = _PLACED | (_GENOTYPIC if self._genotypic else frozenset())
        self._others = [column.name for column in own_columns(source) if column.name not in placed]
        self.needs = _NEEDED | frozenset(column.name for column in own_columns(source))
        self._cases = of_binary_traits(source)
        self.needs |= _OF_CASES if self._cases else frozenset()
        names = [*(PLINK_CASE_COLUMNS if self._cases else PLINK_COLUMNS), *(name.upper() for name in self._others)]
        self.header = (separator.join(names) + "\n").encode()

    def body(self, rows: Rows) -> memoryview:
        """Lines of some variants."""
        nothing = Cells.of_codes(np.zeros(len(rows), np.int8), [None])
        p = p_value_text(rows.column("neg_log10_p"))
        if not self._genotypic:
            columns = self._columns(rows, self._label, *self._effect(rows, ""), p)
            return lines(columns, self.separator)
        tests = [
            self._columns(rows, "ADD", *self._effect(rows, ""), nothing),
            self._columns(rows, "DOMDEV", *self._effect(rows, "_domdev"), nothing),
            self._columns(rows, self._label, nothing, nothing, nothing, p),
        ]
        return lines([Cells.interleave(parts) for parts in zip(*tests, strict=True)], self.separator)

    def _effect(self, rows: Rows, suffix: str) -> tuple[Cells, Cells, Cells]:
        beta = rows.column(f"beta{suffix}")
        error = rows.column(f"standard_error{suffix}")
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            statistic = (beta.astype(np.float64) / error).astype(np.float32)
            effect = np.exp(beta.astype(np.float64)).astype(np.float32) if self._cases else beta
        return text(effect), text(error), text(statistic)

    def _columns(
        self,
        rows: Rows,
        label: str,
        beta: Cells,
        error: Cells,
        statistic: Cells,
        p: Cells,
    ) -> list[Cells]:
        alt = rows.alts
        return [
            rows.contigs,
            text(rows.table.position),
            rows.names,
            rows.refs,
            alt,
            alt,
            text(rows.column("effect_allele_frequency")),
            *((*_frequencies(rows), rows.by_firth) if self._cases else ()),
            Cells.constant(label, len(rows)),
            text(rows.column("n")),
            beta,
            error,
            statistic,
            p,
            rows.error_codes,
            *(_method_and_people(rows) if self._cases else ()),
            *(text(rows.column(name)) for name in self._others),
        ]


def _frequencies(rows: Rows) -> list[Cells]:
    """Frequencies of the effect allele in cases and in controls."""
    return [text(rows.column(f"effect_allele_frequency_{who}")) for who in ("cases", "controls")]


def _method_and_people(rows: Rows) -> list[Cells]:
    counts = (rows.column("cases"), rows.controls, rows.column("carriers_cases"), rows.column("carriers_controls"))
    return [rows.methods, *(text(count) for count in counts)]


def tabix_columns(format_name: str) -> Mapping[str, int | str]:
    """Arguments of ``pysam.tabix_index`` for a text export (columns counted from 0)."""
    if format_name == "plink":
        return {"seq_col": 0, "start_col": 1, "end_col": 1, "meta_char": "#"}
    return {"seq_col": 0, "start_col": 1, "end_col": 1, "meta_char": "#", "line_skip": 1}
