"""What a check found, as values and as text."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from allscan.printable import printable

if TYPE_CHECKING:
    from allscan.jobs.strata import Group, Stratification
    from allscan.phenotypes.model import SampleCount, TraitSpec, TraitStatus

MAX_TRAITS_SHOWN = 40
MAX_REASONS_SHOWN = 3

NOT_RUN = "not_run"
"""Status of a trait that the job does not scan among some people: there are too few."""


@dataclass(frozen=True)
class TraitLine:
    """What is known of one trait before the scan."""

    name: str
    transform: str
    n: int  # samples analysed
    mean: float  # of the untransformed values
    sd: float
    status: str
    message: str
    kind: str = "quantitative"
    case: str = ""  # of a binary trait: the cell that means case
    cases: int | None = None  # and those analysed
    label: str = ""  # what a reader calls it, and
    category: str = ""  # the group it stands in

    def not_run(self, why: str) -> TraitLine:
        """The same of a trait that is not scanned."""
        return replace(self, status=NOT_RUN, message=why)

    @property
    def told(self) -> str:
        """Its values in a few words."""
        if self.cases is not None:
            return f"  cases {self.cases:<8,} controls {self.n - self.cases:<9,}"
        return "" if math.isnan(self.mean) else f"  mean {self.mean:<10.5g} sd {self.sd:<10.5g}"


def trait_line(status: TraitStatus, spec: TraitSpec) -> TraitLine:
    """What the report of the check says of a trait."""
    return TraitLine(
        status.name,
        spec.transform,
        status.n,
        status.mean,
        status.sd,
        status.status,
        status.message,
        kind=spec.kind,
        case=spec.case,
        cases=status.cases,
        label=spec.label,
        category=spec.category,
    )


@dataclass(frozen=True, repr=False)
class CheckReport:
    """What a job would analyse. Prints as text; holds counts of people, and no arrays."""

    name: str
    genotypes: str
    n_samples: int
    n_variants: int
    reference_build: str | None
    contigs: tuple[str, ...]
    accounting: tuple[SampleCount, ...]
    n_analysed: int
    sex: dict[str, int]  # male, female, unknown among the analysed
    traits: tuple[TraitLine, ...]
    formula: str | None
    covariates: tuple[str, ...]
    dropped_covariates: tuple[tuple[str, str], ...]  # (name, reason)
    null_model: tuple[str, ...]  # in words; nothing where the job names none
    filters: tuple[str, ...]
    n_in_regions: int
    n_sex_linked: int  # variants on X and Y outside the pseudo-autosomal regions
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    strata: tuple[Stratification, ...] = ()

    def __repr__(self) -> str:
        return self.text()

    def text(self, *, examples: bool = False) -> str:
        """The report as lines of text.

        Parameters
        ----------
        examples
            Show the first few ids of people who were left out. For the eyes of the analyst only.
        """
        lines = [
            f"job         {self.name}",
            *self._subject_lines(),
            *_labelled("samples", self._sample_lines(examples)),
            *_labelled("traits", self._trait_lines()),
            *_labelled("covariates", self._covariate_lines()),
            *_labelled("strata", self._strata_lines()),
            *_labelled("null model", list(self.null_model)),
            *_labelled("variants", self._variant_lines()),
            *_labelled("notes", list(self.notes)),
            *_labelled("warnings", list(self.warnings)),
        ]
        return printable("\n".join(lines))

    def _subject_lines(self) -> list[str]:
        build = f", {self.reference_build}" if self.reference_build else ""
        return [f"genotypes   {self.genotypes}: {self.n_variants:,} variants × {self.n_samples:,} samples{build}"]

    def _sample_lines(self, examples: bool) -> list[str]:
        lines = []
        for line in self.accounting:
            if not line.count:
                continue
            shown = f" ({', '.join(line.examples)}{', …' if line.count > len(line.examples) else ''})"
            lines.append(f"{line.count:>9,}  {line.text}{shown if examples and line.examples else ''}")
        known = [f"{count:,} {name}" for name, count in self.sex.items() if count and name != "unknown"]
        if known:
            unknown = f", {self.sex['unknown']:,} of unknown sex" if self.sex["unknown"] else ""
            lines.append(f"{'':>9}  sex of the analysed: {', '.join(known)}{unknown}")
        return lines

    def _trait_lines(self) -> list[str]:
        order = sorted(self.traits, key=lambda trait: trait.status == "ok")
        shown = {trait.name for trait in order[:MAX_TRAITS_SHOWN]}
        width = max(len(trait.name) for trait in self.traits if trait.name in shown)
        lines = []
        for trait in self.traits:
            if trait.name not in shown:
                continue
            transform = "" if trait.transform == "none" else f"  {trait.transform}"
            status = "" if trait.status == "ok" else f"  {trait.status.upper()}: {trait.message}"
            lines.append(f"{trait.name:<{width}}  n {trait.n:<9,}{trait.told}{transform}{status}".rstrip())
        if len(self.traits) > len(lines):
            rest = len(self.traits) - len(lines)
            lines.append(f"… and {rest:,} more traits" + (", all ok" if self._n_bad() <= len(lines) else ""))
        return lines

    def _n_bad(self) -> int:
        return sum(trait.status != "ok" for trait in self.traits)

    def _covariate_lines(self) -> list[str]:
        dropped = [name for name, _ in self.dropped_covariates]
        used = [name for name in self.covariates if name not in dropped]
        lines = [", ".join(used) or "none, not even an intercept"]
        lines += [f"dropped: {name}: {reason}" for name, reason in self.dropped_covariates]
        return lines

    def _strata_lines(self) -> list[str]:
        lines = []
        for one in self.strata:
            lines.append(f"by {one.name}: {', '.join(one.analyses)}")
            if not one.is_known:
                lines.append(f"{'':>9}  groups are known when the structure is built")
                continue
            width = max((len(group.name) for group in one.groups), default=0)
            for group in one.groups:
                count = f"{group.n:>9,}  {group.name:<{width}}"
                if group.stratum is None:
                    lines += [f"{count}  NOT SCANNED: {group.reason}", *_left_out(group)]
                    continue
                left_out = [trait for trait in group.traits if trait.status == NOT_RUN]
                lines += [f"{count}  {group.n_scanned:,} of {len(group.traits):,} traits", *_left_out(group)]
                lines += [f"{'':>11}not {trait.name}: {trait.message}" for trait in left_out[:MAX_REASONS_SHOWN]]
                if len(left_out) > MAX_REASONS_SHOWN:
                    lines.append(f"{'':>11}… nor {len(left_out) - MAX_REASONS_SHOWN:,} other traits")
            if one.n_outside:
                lines.append(f"{one.n_outside:>9,}  in no group: in the pooled scan only")
        return lines

    def _variant_lines(self) -> list[str]:
        lines = [
            f"{self.n_in_regions:,} of {self.n_variants:,} to be tested" if self.filters else f"{self.n_variants:,}"
        ]
        lines += self.filters
        return lines


def _left_out(group: Group) -> list[str]:
    """Who of a group is not analysed, and why."""
    if group.n == group.n_members:
        return []
    indent = " " * 11
    why = [f"{indent}{line.count:>9,}  {line.text}" for line in group.left_out]
    return [f"{indent}of {group.n_members:,} in the group" + (", less" if why else ""), *why]


def _labelled(label: str, lines: list[str]) -> list[str]:
    return [f"{label if i == 0 else '':<12}{line}" for i, line in enumerate(lines)]
