"""The arrays of the results cube: the test's own, and what the engine counts beside every result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allscan.engine.association_tests import find_test
from allscan.kernels.association import OutputColumn

if TYPE_CHECKING:
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
    """Every (stratum, trait, variant) array of a scan's cube."""
    test = find_test(spec.test)
    of_cases = CASE_COLUMNS if counts_cases(test) else ()
    return (*test.columns(spec.options), *COUNT_COLUMNS, *of_cases, STATUS_COLUMN)


def counts_cases(test: AssociationTest) -> bool:
    """Whether cases and controls are counted apart: the test is for binary traits and no others."""
    return test.trait_kinds == {"binary"}
