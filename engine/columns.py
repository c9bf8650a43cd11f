"""The arrays of the results cube: the test's own, and what the engine counts beside every result."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.association_tests import find_test
from allscan.errors import InputError
from allscan.kernels.association import OutputColumn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from allscan.engine.plan import ScanSpec
    from allscan.kernels.association import AssociationTest

COUNT_COLUMNS = (
    OutputColumn("n", "Samples the variant was tested in", "people", "int32"),
    OutputColumn("effect_allele_count", "Copies of the effect allele; a male's allele on X counts one", "alleles"),
    OutputColumn("effect_allele_frequency", "Frequency of the effect allele among called alleles"),
    OutputColumn("missing_rate", "Fraction of the trait's samples without a call"),
)
CASE_COLUMNS = (
    OutputColumn("cases", "Cases among the samples the variant was tested in", "people", "int32"),
    OutputColumn("effect_allele_frequency_cases", "Frequency of the effect allele among called alleles of cases"),
    OutputColumn("effect_allele_frequency_controls", "Frequency of the effect allele among called alleles of controls"),
    OutputColumn("carriers_cases", "Cases who carry the effect allele, by the nearest call", "people", "int32"),
    OutputColumn("carriers_controls", "Controls who carry the effect allele, by the nearest call", "people", "int32"),
)
"""Of tests of binary traits."""
STATUS_COLUMN = OutputColumn("status", "Code of allscan.kernels.association.Status; 0: tested", dtype="uint8")


def cube_columns(spec: ScanSpec) -> tuple[OutputColumn, ...]:
    """Every (stratum, trait, variant) array that a test makes; of a scan of several kinds, all of them."""
    if spec.tests:
        return joined_columns({kind: cube_columns(spec.of_kind(kind)) for kind in spec.tests})
    test = find_test(spec.test)
    of_cases = CASE_COLUMNS if counts_cases(test) else ()
    return (*test.columns(spec.options), *COUNT_COLUMNS, *of_cases, STATUS_COLUMN)


def counts_cases(test: AssociationTest) -> bool:
    """Whether cases and controls are counted apart: the test is for binary traits and no others."""
    return test.trait_kinds == {"binary"}


def joined_columns(of_kinds: Mapping[str, Iterable[OutputColumn]]) -> tuple[OutputColumn, ...]:
    """Columns of several kinds of traits: each once, and told of each kind where it means something else there.

    Raises
    ------
    InputError
        If tests of two kinds have a column of one name in two types.
    """
    found: dict[str, OutputColumn] = {}
    for kind, columns in of_kinds.items():
        for column in columns:
            known = found.setdefault(column.name, column)
            if known.dtype != column.dtype:
                raise InputError(
                    f"the tests of the job's kinds of traits have a column {column.name!r} of two types",
                    fix="make a job for each kind",
                )
            found[column.name] = replace(
                known,
                description=_also(known.description, column.description, kind),
                unit=_also(known.unit, column.unit, kind),
            )
    bookkeeping = {column.name: place for place, column in enumerate((*COUNT_COLUMNS, *CASE_COLUMNS, STATUS_COLUMN))}
    # The tests' own come first, in their order.
    return tuple(sorted(found.values(), key=lambda column: bookkeeping.get(column.name, -1)))


def _also(known: str, other: str, kind: str) -> str:
    return known if known == other else f"{known}; of {kind} traits: {other}"


def blank(column: OutputColumn) -> float | int:
    """What stands where a trait has no such column: NaN, or no people."""
    return float("nan") if np.dtype(column.dtype).kind == "f" else 0
