"""Find association tests by name: built-in and from other packages, through one entry point group."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from allscan.errors import InputError
from allscan.kernels.association import AssociationTest

GROUP = "allscan.association_tests"


@cache  # every task asks, and the answer is in the metadata files of all installed packages
def available_tests() -> dict[str, str]:
    """Names of the installed tests and where each lives.

    Raises
    ------
    InputError
        If two packages claim one name.
    """
    homes: dict[str, str] = {}
    for point in entry_points(group=GROUP):
        if point.name in homes and homes[point.name] != point.value:
            raise InputError(
                f"two packages provide an association test named {point.name!r}",
                where=f"{homes[point.name]} and {point.value}",
                fix="uninstall one of them, or name the test as module:NAME",
            )
        homes[point.name] = point.value
    return homes


def find_test(name: str) -> AssociationTest:
    """The test called ``name``: an installed one, or ``module:NAME``.

    Raises
    ------
    InputError
        If there is no such test, or it fails to load.
    """
    home = name if ":" in name else available_tests().get(name)
    if home is None:
        known = sorted(available_tests())
        near = get_close_matches(name, known, n=1)
        raise InputError(
            f"there is no association test {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
            fix=f"installed tests: {', '.join(known)}; a test of your own is module:NAME",
        )
    module, _, attribute = home.partition(":")
    try:
        test = getattr(import_module(module), attribute)
    except Exception as error:  # whatever the package raises as it is imported
        why = f"{type(error).__name__}: {error}"
        raise InputError(f"the association test {name!r} cannot be loaded: {why}", where=home) from error
    if not isinstance(test, AssociationTest):
        raise InputError(f"{home} is not an AssociationTest but a {type(test).__name__}", where=home)
    return test
