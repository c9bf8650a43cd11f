"""Exports in the layout of REGENIE and of PLINK 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.columns import CASE_COLUMNS
from allscan.errors import InputError
from allscan.jobs.export_cells import PValues, Words, entries, lines, text
from allscan.jobs.result_source import degrees_of_freedom, of_binary_traits, own_columns
from allscan.kernels.summary import chi_square

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allscan.jobs.export_cells import Column, Lines
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

_SPACE = ord(" ")

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

    def body(self, rows: Rows) -> Lines:
        """Lines of some variants.

        Raises
        ------
        InputError
            If spaces separate the columns, and a name holds one.
        """
        y = rows.column("neg_log10_p")
        if self.separator == " " and _holds_space(rows):
            raise InputError(
                "a name of a contig, variant or allele holds a space, and spaces separate REGENIE's columns",
                fix="export to a name that ends in .gz, whose columns are separated by tabs",
            )
        columns = [
            rows.contigs,
            rows.positions,
            rows.names,
            rows.refs,
            rows.alts,
            text(rows.column("effect_allele_frequency")),
            *(_frequencies(rows) if self._cases else ()),
            text(rows.table.info),
            text(rows.column("n")),
            *((text(rows.column("cases")), text(rows.controls)) if self._cases else ()),
            Words.constant(self._label, len(rows)),
            text(rows.column("beta")),
            text(rows.column("standard_error")),
            text(chi_square(y, self._df).astype(np.float32)),
            text(y),
            self._extra(rows),
        ]
        return lines([columns], self.separator)

    def sequence_names(self, rows: Rows) -> Sequence[str]:
        """What stands in the column of the contig, by the contigs of the rows."""
        return rows.table.contigs

    def _extra(self, rows: Rows) -> Column:
        named: list[tuple[str, Column]] = [("METHOD=", rows.methods)] if self._cases else []
        named += [(f"{name.upper()}=", text(rows.column(name))) for name in self._others]
        return entries([("", rows.faults), *named], ";") if named else rows.faults


def _holds_space(rows: Rows) -> bool:
    names = (rows.variant_ids, rows.refs, rows.alts)
    return any(" " in contig for contig in rows.table.contigs) or any(_SPACE in cells.data for cells in names)


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

    def body(self, rows: Rows) -> Lines:
        """Lines of some variants."""
        nothing = Words.constant(None, len(rows))
        p = PValues(rows.column("neg_log10_p"))
        tests: list[tuple[str, list[Column]]] = [(self._label, [*self._effect(rows, ""), p])]
        if self._genotypic:
            tests = [
                ("ADD", [*self._effect(rows, ""), nothing]),
                ("DOMDEV", [*self._effect(rows, "_domdev"), nothing]),
                (self._label, [nothing, nothing, nothing, p]),
            ]
        before, after = self._before(rows), self._after(rows)
        people = text(rows.column("n"))
        found = [[*before, Words.constant(label, len(rows)), people, *values, *after] for label, values in tests]
        return lines(found, self.separator)

    def sequence_names(self, rows: Rows) -> Sequence[str]:
        """What stands in the column of the contig, by the contigs of the rows."""
        return rows.table.contigs

    def _effect(self, rows: Rows, suffix: str) -> list[Column]:
        beta = rows.column(f"beta{suffix}")
        error = rows.column(f"standard_error{suffix}")
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            statistic = (beta.astype(np.float64) / error).astype(np.float32)
            effect = np.exp(beta.astype(np.float64)).astype(np.float32) if self._cases else beta
        return [text(effect), text(error), text(statistic)]

    def _before(self, rows: Rows) -> list[Column]:
        """Columns up to the name of the test."""
        alt = rows.alts
        found: list[Column] = [rows.contigs, rows.positions, rows.names, rows.refs, alt, alt]
        found.append(text(rows.column("effect_allele_frequency")))
        return [*found, *_frequencies(rows), rows.by_firth] if self._cases else found

    def _after(self, rows: Rows) -> list[Column]:
        """Columns from ERRCODE on."""
        people: list[Column] = _method_and_people(rows) if self._cases else []
        return [rows.error_codes, *people, *(text(rows.column(name)) for name in self._others)]


def _frequencies(rows: Rows) -> list[Column]:
    """Frequencies of the effect allele in cases and in controls."""
    return [text(rows.column(f"effect_allele_frequency_{who}")) for who in ("cases", "controls")]


def _method_and_people(rows: Rows) -> list[Column]:
    counts = (rows.column("cases"), rows.controls, rows.column("carriers_cases"), rows.column("carriers_controls"))
    return [rows.methods, *(text(count) for count in counts)]
