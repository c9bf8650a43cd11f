"""What a meta-analysis is asked for, and which studies go together."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from allscan.errors import InputError

Method = Literal["random", "re2", "sample_size", "regression"]
METHODS: tuple[Method, ...] = get_args(Method)
"""Beside fixed effects, which are always computed."""

SPARE_STUDIES = 3
"""So many studies more than axes a meta-regression has at least, as MR-MEGA asks."""
MOST_AXES = 2
"""Axes that are chosen where the number is left open; more say little with the studies that there are."""


@dataclass(frozen=True)
class MetaSpec:
    """Methods and thresholds.

    Raises
    ------
    InputError
        An unknown method, or a threshold that nothing can meet.
    """

    methods: tuple[Method, ...] = METHODS
    min_studies: int = 2
    """Studies that a variant needs for a result."""
    min_n: float = 0.0
    """People of a study at a variant, below which the study does not count there."""
    min_mac: float = 0.0
    """The same of the minor allele count, ``2 n min(f, 1 − f)``."""
    min_maf: float = 0.0
    """The same of the minor allele frequency."""
    genomic_control: bool = False
    """Whether each study's standard errors are multiplied by the root of its λ, where that is above 1."""
    axes: int | None = None
    """Axes of a meta-regression; None: as many as the studies allow, two at most."""
    hits_neg_log10_p: float = 5.0
    """A variant is a hit where one of the tests of association reaches this."""

    def __post_init__(self) -> None:
        for method in self.methods:
            if method not in METHODS:
                raise InputError(
                    f"{method!r} is no method of meta-analysis",
                    fix=f"use some of {', '.join(METHODS)}; fixed is always",
                )
        if self.min_studies < 1:
            raise InputError(f"a result from {self.min_studies} studies is none", fix="give `min_studies` of 1 or more")
        if self.axes is not None and self.axes < 1:
            raise InputError(
                f"a meta-regression on {self.axes} axes is none", fix="leave `regression` out of the methods"
            )

    def to_json(self) -> str:
        """All of it, in one spelling."""
        return json.dumps(asdict(self), sort_keys=True)

    def n_axes(self, n_studies: int) -> int:
        """Axes of a meta-regression of so many studies; 0: there is none."""
        if "regression" not in self.methods:
            return 0
        return max(0, min(n_studies - SPARE_STUDIES, MOST_AXES if self.axes is None else self.axes))


@dataclass(frozen=True)
class StudySet:
    """Studies that are combined, under a name."""

    name: str
    members: tuple[int, ...]
    """Indices of the studies."""
