"""From tables to the analysed samples: who stays, who does not and why, and the traits as analysed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.errors import InputError
from allscan.phenotypes.covariates import CovariateDesign, design_matrix, missing_cells
from allscan.phenotypes.formula import CovariateFormula, parse_formula
from allscan.phenotypes.matching import SHOWN_IDS, guess, no_overlap, rows_of
from allscan.phenotypes.model import (
    AnalysisTable,
    CovariateTable,
    SampleCount,
    SampleList,
    TraitSpec,
    TraitStatus,
    TraitTable,
)
from allscan.phenotypes.names import listed
from allscan.phenotypes.sex import SexColumn, read_sex
from allscan.phenotypes.transforms import CovariateBasis, check_transform, transformed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

FIRST_VALUES = 16
"""Values of a trait that are looked at first for a third one."""

LOW_OVERLAP = 0.5
"""Share of a table's people who are in the genotypes, below which the overlap of the two is remarked on."""


class Among(NamedTuple):
    """A group of people that an analysis is confined to."""

    name: str
    members: NDArray[np.bool_]  # (store samples,)


def align(
    store_sample_ids: NDArray[np.object_] | Sequence[str],
    traits: TraitTable,
    covariates: CovariateTable | None = None,
    formula: str | None = None,
    *,
    keep: Sequence[SampleList] = (),
    exclude: Sequence[SampleList] = (),
    among: Among | None = None,
    sex_column: str | None = None,
    sex_codes: Mapping[str, int] | None = None,
    min_samples: int = 1,
    whole: str = "genotypes",
) -> AnalysisTable:
    """Align traits and covariates to the samples of a genotype store.

    Analysed is who has genotypes, is on every keep list and on no exclude list, has every covariate of the
    formula, and at least one trait. Nobody is left out without a line in the accounting: between the lines of the
    genotypes (or of the group that the analysis is confined to) and of the analysed, those of who is not kept add up.

    Covariates are evaluated before people without any trait leave, so that what a trait is adjusted for does
    not depend on the other traits. Transforms are applied last, to each trait among its own people.

    Parameters
    ----------
    store_sample_ids
        (store samples,) ids of the genotype store, unique.
    traits
        As read.
    covariates
        As read; None without covariates.
    formula
        See ``parse_formula``; None: the intercept alone.
    keep, exclude
        Lists of people.
    among
        Whom the analysis is confined to; None: nobody is left out.
    sex_column, sex_codes
        See ``read_sex``.
    min_samples
        Fewest people to analyse.
    whole
        What holds ``store_sample_ids``, in a word, for messages.

    Returns
    -------
    AnalysisTable
        Rows in store order. A trait that is not ``ok`` keeps its untransformed values.

    Raises
    ------
    InputError
        If fewer than ``min_samples`` people are left, a table shares nobody with the genotypes, the formula
        cannot be evaluated, or a transform does not fit a trait.
    """
    for spec in traits.specs:
        check_transform(spec.transform, spec.name, spec.kind)
    parsed = parse_formula(formula, covariates)
    ids = np.array([str(person) for person in store_sample_ids], dtype=object)
    people = _People(ids, whole, among)

    for people_list in exclude:
        people.drop(
            rows_of(ids, people_list.sample_ids) >= 0,
            people_list.reason or f"on the exclude list {_name(people_list.source)}",
            show=False,
        )
    for people_list in keep:
        people.drop(rows_of(ids, people_list.sample_ids) < 0, f"not on the keep list {_name(people_list.source)}")

    trait_rows = people.match(traits.sample_ids, "trait table", traits.source, traits.id_column)
    covariate_rows = _match_covariates(people, covariates, parsed)
    eligible = np.flatnonzero(people.stay)
    if not eligible.size:
        raise people.nobody_left()
    design = _covariate_design(covariates, parsed, covariate_rows, eligible)

    present_rows = trait_rows[eligible]
    has_trait = np.zeros(len(eligible), dtype=bool)
    for t in range(len(traits.specs)):
        if has_trait.all():
            break
        has_trait |= ~np.isnan(traits.values[:, t].take(present_rows))
    without_trait = np.zeros(len(ids), dtype=bool)
    without_trait[eligible[~has_trait]] = True
    people.drop(without_trait, "without a value of any trait")
    store_rows = np.flatnonzero(people.stay).astype(np.int64)
    if len(store_rows) < max(min_samples, 1):
        raise people.nobody_left(min_samples)

    matrix, names, emptied = _of_analysed(design, has_trait)
    values, status, trait_warnings = _analysed_traits(traits, present_rows[has_trait], matrix)
    sex = _sex(covariates, covariate_rows[store_rows], sex_column, sex_codes)
    people.count_strangers(traits, covariates, exclude=exclude, keep=keep)
    return AnalysisTable(
        store_rows=store_rows,
        traits=values,
        trait_names=tuple(spec.name for spec in traits.specs),
        covariates=matrix,
        covariate_names=names,
        sex=sex.values,
        eligible_rows=eligible.astype(np.int64),
        eligible_covariates=design.values,
        accounting=tuple(people.accounting()),
        left_out=tuple(people.lines),
        trait_status=status,
        warnings=(
            *people.warnings,
            *design.warnings,
            *emptied,
            *_trait_covariates(traits, parsed),
            *trait_warnings,
            *sex.warnings,
        ),
        notes=design.notes,
    )


def _name(source: str) -> str:
    """The file's name without its folder: enough in an account."""
    return PurePath(source).name


@dataclass
class _People:
    """The store's samples, who of them still stays, and why the others do not."""

    ids: NDArray[np.object_]
    whole: str
    among: Among | None = None
    lines: list[SampleCount] = field(default_factory=list)
    strangers: list[SampleCount] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stay = np.ones(len(self.ids), dtype=bool) if self.among is None else self.among.members.copy()

    def drop(self, who: NDArray[np.bool_], reason: str, *, show: bool = True, detail: str = "") -> None:
        """Leave out those of ``who`` (store samples,) who still stay."""
        dropped = self.stay & who
        # Withdrawn people are not shown, not even on the terminal.
        examples = tuple(self.ids[np.flatnonzero(dropped)[:SHOWN_IDS]]) if show else ()
        self.lines.append(SampleCount(reason, int(dropped.sum()), kept=False, examples=examples, detail=detail))
        self.stay &= ~who

    def match(self, table_ids: NDArray[np.object_], what: str, source: str, key: str) -> NDArray[np.int64]:
        """Rows of a table for all store samples (-1: none); those without one are left out."""
        rows = rows_of(self.ids, table_ids)
        found = int((rows >= 0).sum())
        if not found:
            raise no_overlap(self.ids, table_ids, what=what, source=source, key=key, whole=self.whole)
        if found < LOW_OVERLAP * len(table_ids) and found < LOW_OVERLAP * len(self.ids):
            reason = guess(self.ids, table_ids)
            self.warnings.append(
                f"only {found:,} of {len(table_ids):,} people in the {what} {_name(source)} have {self.whole}"
                + (f"; the ids seem to differ by {reason}" if reason else "")
            )
        self.drop(rows < 0, f"in the {self.whole}, not in the {what} {_name(source)}")
        return rows

    def count_strangers(
        self,
        traits: TraitTable,
        covariates: CovariateTable | None,
        *,
        exclude: Sequence[SampleList],
        keep: Sequence[SampleList],
    ) -> None:
        """Count the people of tables and lists who are not in the genotypes."""
        tables = [("trait table", traits.source, traits.sample_ids)]
        if covariates is not None:
            tables.append(("covariate table", covariates.source, covariates.sample_ids))
        lists = [("exclude list", people.source, people.sample_ids) for people in exclude if not people.reason]
        lists += [("keep list", people.source, people.sample_ids) for people in keep]
        for what, source, table_ids in tables + lists:
            absent = np.flatnonzero(rows_of(table_ids, self.ids) < 0)
            where = f"on the {what}" if what.endswith("list") else f"in the {what}"
            examples = () if what == "exclude list" else tuple(table_ids[absent[:SHOWN_IDS]])
            self.strangers.append(
                SampleCount(f"{where} {_name(source)}, not in the {self.whole}", len(absent), False, examples)
            )
        for what, source, list_ids in lists:
            if not len(list_ids):
                self.warnings.append(f"the {what} {_name(source)} is empty")
            elif not (rows_of(list_ids, self.ids) >= 0).any():
                reason = guess(self.ids, list_ids)
                self.warnings.append(
                    f"nobody on the {what} {_name(source)} is in the {self.whole}"
                    + (f"; the ids seem to differ by {reason}" if reason else "")
                )

    def accounting(self) -> list[SampleCount]:
        """All lines, in the order of the decisions."""
        return [
            SampleCount(f"in the {self.whole}", len(self.ids), kept=True),
            *([] if self.among is None else [SampleCount(self._first, self._n_first, kept=True)]),
            *self.lines,
            SampleCount("analysed", int(self.stay.sum()), kept=True),
            *self.strangers,
        ]

    @property
    def _first(self) -> str:
        """Whom people are left out of."""
        return f"in the {self.whole}" if self.among is None else f"in {self.among.name}"

    @property
    def _n_first(self) -> int:
        return len(self.ids) if self.among is None else int(self.among.members.sum())

    def nobody_left(self, min_samples: int = 1) -> InputError:
        """The error for an analysis without (enough) people, with the whole account."""
        account = "; ".join(f"{line.count:,} {line.text}" for line in self.lines if line.count)
        left = int(self.stay.sum())
        what = "nobody is left to analyse" if not left else f"only {left:,} people are left to analyse"
        need = f" (at least {min_samples:,} are asked for)" if min_samples > 1 else ""
        return InputError(
            f"{what}{need}: {self._n_first:,} {self._first}, of whom {account or 'none is left out'}",
            where="samples",
            fix="check the tables, the lists and the covariates that people lack",
        )


def _match_covariates(people: _People, table: CovariateTable | None, formula: CovariateFormula) -> NDArray[np.int64]:
    """Rows of the covariate table for all store samples; who lacks a covariate of the formula is left out."""
    if table is None:
        return np.full(len(people.ids), -1, dtype=np.int64)
    if not formula.variables:
        return rows_of(people.ids, table.sample_ids)
    rows = people.match(table.sample_ids, "covariate table", table.source, table.id_column)
    missing = missing_cells(table, formula)
    lacking = np.zeros(len(people.ids), dtype=bool)
    counts = []
    for name, cells in missing.items():
        here = cells[rows] & people.stay
        if here.any():
            counts.append(f"{name}: {int(here.sum()):,}")
        lacking |= here
    people.drop(lacking, "without a value of a covariate", detail=listed(counts) if counts else "")
    return rows


def _covariate_design(
    table: CovariateTable | None,
    formula: CovariateFormula,
    rows: NDArray[np.int64],
    eligible: NDArray[np.int64],
) -> CovariateDesign:
    return design_matrix(formula, {} if table is None else table.columns, rows[eligible])


def _of_analysed(
    design: CovariateDesign, analysed: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], tuple[str, ...], tuple[str, ...]]:
    """The covariates of the analysed people, without indicators of levels that none of them has."""
    matrix = design.values if analysed.all() else design.values[analysed]
    used = [bool(column.any()) for column in matrix.T]
    if all(used):
        return matrix, design.names, ()
    names = tuple(name for name, is_used in zip(design.names, used, strict=True) if is_used)
    unused = [name for name, is_used in zip(design.names, used, strict=True) if not is_used]
    warning = f"covariates are zero for everybody who is analysed, and left out: {listed(unused)}"
    return matrix[:, used], names, (warning,)


def _analysed_traits(
    traits: TraitTable, rows: NDArray[np.int64], covariates: NDArray[np.float64]
) -> tuple[NDArray[np.float64], tuple[TraitStatus, ...], tuple[str, ...]]:
    """Values (samples, traits) of the analysed people, transformed, and what became of each trait."""
    basis = CovariateBasis.of(covariates)
    values = np.empty((len(rows), len(traits.specs)), dtype=np.float64, order="F")
    status = []
    two_valued = []
    for t, spec in enumerate(traits.specs):
        column = traits.values[:, t].take(rows)
        present = ~np.isnan(column)
        observed = column if present.all() else column[present]
        of_trait = _trait_status(spec, observed, basis.rank)
        if of_trait.status == "ok":
            analysed = transformed(spec.transform, observed, present, basis, trait=spec.name)
            if not analysed.any():
                message = "the covariates explain it completely: nothing is left to analyse"
                of_trait = replace(of_trait, status="constant", message=message)
            if spec.kind == "quantitative" and _has_two_values(observed):
                two_valued.append(spec.name)
            if analysed is not observed:
                column[present] = analysed
        values[:, t] = column
        status.append(of_trait)
    warnings: tuple[str, ...] = ()
    if two_valued:
        warnings = (
            f"{len(two_valued)} quantitative traits have only two values: {listed(two_valued)}; "
            "linear regression is an approximation for them; `type: binary` in the section `traits` is for cases and "
            "controls",
        )
    return values, tuple(status), warnings


def _trait_status(spec: TraitSpec, values: NDArray[np.float64], rank: int) -> TraitStatus:
    n, name = len(values), spec.name
    cases = int(values.sum()) if spec.kind == "binary" else None
    if n == 0:
        return TraitStatus(name, 0, np.nan, np.nan, "all_missing", "nobody who is analysed has a value", cases)
    mean = float(values.mean())
    sd = float(values.std(ddof=1)) if n > 1 else np.nan
    if n < rank + 2:
        message = f"{n} people are too few for {rank} covariates (intercept included) and a genotype"
        return TraitStatus(name, n, mean, sd, "too_few_samples", message, cases)
    if values.min() == values.max():
        same = f"everybody has the value {values[0]:g}"
        if cases is not None:
            same = "everybody is a case" if cases else "nobody is a case"
        return TraitStatus(name, n, mean, 0.0, "constant", same, cases)
    return TraitStatus(name, n, mean, sd, cases=cases)


def _has_two_values(values: NDArray[np.float64]) -> bool:
    # Most traits show a third value at once.
    if len(set(values[:FIRST_VALUES].tolist())) > 2:
        return False
    low, high = values.min(), values.max()
    return bool(((values == low) | (values == high)).all())


def _trait_covariates(traits: TraitTable, formula: CovariateFormula) -> tuple[str, ...]:
    both = [spec.name for spec in traits.specs if spec.name in formula.variables]
    return (f"traits are also covariates: {listed(both)}",) if both else ()


def _sex(
    table: CovariateTable | None,
    rows: NDArray[np.int64],
    column: str | None,
    codes: Mapping[str, int] | None,
) -> SexColumn:
    """Sex of the analysed people, unknown for those whom the covariate table does not have."""
    if table is None:
        if column is not None:
            raise InputError(
                f"the job names a sex column {column!r}, but no covariate table",
                where="samples.sex",
                fix="give the covariate table that has it, or take the key out",
            )
        return SexColumn(None)
    sex = read_sex(table, column, codes)
    if sex.values is None:
        return sex
    values = np.where(rows >= 0, sex.values[rows], 0).astype(np.int8)
    return SexColumn(values, sex.warnings)
