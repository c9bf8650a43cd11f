"""A kind of definition for tests: one trait, made of the people's ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from allscan.phenotypes.definitions.loading import Definition
from allscan.phenotypes.definitions.spec import Header
from allscan.phenotypes.phenotype import BINARY, QUANTITATIVE, Phenotype, Step
from allscan.phenotypes.records.records import Records


class Coin(Header):
    kind: Literal["coin"]
    of: Literal["binary", "quantitative"] = BINARY
    every: int = 3
    transform: str = "none"


SPEC = Coin


def derive(records: Records, definition: Definition) -> Iterator[Phenotype]:
    spec = definition.spec
    assert isinstance(spec, Coin)
    ids = records.people.person_id
    values = ids % spec.every
    if spec.of == BINARY:
        made = np.where(values == 1, 1, np.where(values == 2, -1, 0)).astype(np.int8)
    else:
        made = np.where(values == 0, np.nan, np.sin(ids) * 10)
    yield Phenotype(
        spec.id, spec.of, made, units="heads", transform=spec.transform, steps=(Step("in the records", len(ids)),)
    )


assert QUANTITATIVE != BINARY
