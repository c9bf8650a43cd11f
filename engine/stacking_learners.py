"""Find learners of level 1 by name: our own, and those of other packages.

A package of yours provides one in its ``pyproject.toml``::

    [project.entry-points."allscan.stacking_learners"]
    lasso = "my_package.lasso:LEARNER"
"""

from __future__ import annotations

from typing import cast

from allscan.engine.plugins import Plugins
from allscan.kernels.stacking import Learner

LEARNERS = Plugins(
    "allscan.stacking_learners",
    "stacking learner",
    "the protocol Learner",
    lambda found: isinstance(found, Learner) and not isinstance(found, type),
    (
        ("linear_folds", "allscan.kernels.stacking_linear:LINEAR_FOLDS"),
        ("linear_leave_one_out", "allscan.kernels.stacking_linear:LINEAR_LEAVE_ONE_OUT"),
        ("logistic_folds", "allscan.kernels.stacking_logistic:LOGISTIC_FOLDS"),
        ("logistic_leave_one_out", "allscan.kernels.stacking_logistic:LOGISTIC_LEAVE_ONE_OUT"),
    ),
)


def find_learner(name: str) -> Learner:
    """The learner called ``name``: ours, an installed one, or ``module:NAME``.

    Raises
    ------
    InputError
        If there is no such learner, or it fails to load.
    """
    return cast("Learner", LEARNERS.find(name))
