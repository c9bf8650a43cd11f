"""Find association tests by name: our own, and those of other packages, through one entry point group."""

from __future__ import annotations

from typing import cast

from allscan.engine.plugins import Plugins
from allscan.kernels.association import AssociationTest

TESTS = Plugins(
    "allscan.association_tests",
    "association test",
    "class AssociationTest",
    lambda found: isinstance(found, AssociationTest),
    (
        ("linear", "allscan.kernels.linear:LINEAR"),
        ("mixed", "allscan.kernels.mixed:MIXED"),
        ("logistic_wald", "allscan.kernels.logistic_full:LOGISTIC_WALD"),
        ("logistic_lrt", "allscan.kernels.logistic_full:LOGISTIC_LRT"),
        ("firth", "allscan.kernels.logistic_full:LOGISTIC_FIRTH"),
        ("logistic", "allscan.kernels.binary:LOGISTIC"),
        ("local_ancestry_linear", "allscan.kernels.local_ancestry:LOCAL_ANCESTRY_LINEAR"),
        ("local_ancestry_logistic", "allscan.kernels.local_ancestry_logistic:LOCAL_ANCESTRY_LOGISTIC"),
    ),
)


def find_test(name: str) -> AssociationTest:
    """The test called ``name``: an installed one, or ``module:NAME``.

    Raises
    ------
    InputError
        If there is no such test, or it fails to load.
    """
    return cast("AssociationTest", TESTS.find(name))
