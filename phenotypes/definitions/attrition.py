"""From everybody in the records to a trait's people, counted step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.phenotypes.definitions.spec import sections
from allscan.phenotypes.definitions.telling import words
from allscan.phenotypes.phenotype import Step
from allscan.phenotypes.quantities.spec import Ages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.documents.yaml_source import KeyPath
    from allscan.phenotypes.definitions.compiling import Compiler
    from allscan.phenotypes.definitions.criteria import Criterion, People

_SEXES = {1: "men", 2: "women"}


@dataclass
class Attrition:
    """Who is left, and the steps that led there."""

    compiler: Compiler
    left: NDArray[np.bool_]  # (people,)
    steps: list[Step]
    kind: str = "filter"

    @classmethod
    def of_everybody(cls, compiler: Compiler, *, needs_birth: bool = False) -> Attrition:
        """Begin with everybody in the records, and keep those who are as the definition asks of all.

        Parameters
        ----------
        compiler
            Of the definition.
        needs_birth
            Whether who has no plausible year of birth is missing, even where the definition has no ages.
        """
        people = compiler.records.people
        out = cls(compiler, np.ones(len(people), dtype=np.bool_), [Step("in the records", len(people))])
        spec: Any = compiler.definition.spec
        if spec.only_sex:
            out.keep(_SEXES[spec.only_sex], people.sex == spec.only_sex)
        # Who has no age fulfils no criterion with ages, and would be a control for that.
        if needs_birth or any(isinstance(section, Ages) for _, section in sections(spec)):
            out.keep("with a year of birth, for there are ages in the definition", ~np.isnat(people.birth))
        out.ask(spec.people)
        return out

    def fork(self, what: str, mask: NDArray[np.bool_]) -> Attrition:
        """A group among those who are left, such as the cases; what happens to it are remarks here."""
        out = Attrition(self.compiler, self.left, self.steps, "count")
        out.keep(what, mask)
        return out

    def keep(self, what: str, mask: NDArray[np.bool_]) -> None:
        """Only those of whom something is true stay."""
        self.left = self.left & mask
        self.steps.append(Step(what, int(self.left.sum()), self.kind))

    def drop(self, what: str, mask: NDArray[np.bool_], of: str = "") -> None:
        """Those of whom something is true go."""
        self.keep(f"{of}without: {what}", ~mask)

    def count(self, what: str, mask: NDArray[np.bool_]) -> None:
        """A remark about people; nobody goes."""
        self.steps.append(Step(what, int(mask.sum()), "count"))

    def ask(self, people: People, of: str = "") -> None:
        """Only people stay who have what is asked of people."""
        for what, mask in self.compiler.asked_of_people(people):
            self.keep(f"{of}{what}", mask)

    def exclude(self, criteria: list[Criterion], key_path: KeyPath, of: str = "") -> None:
        """Those go who fulfil one of some criteria."""
        for number, criterion in enumerate(criteria):
            self.drop(words(criterion), self.compiler.mask(self.compiler.relation(criterion, (*key_path, number))), of)

    def count_parts(self, criterion: Criterion, key_path: KeyPath, depth: int = 0) -> None:
        """Of those who are left, how many fulfil a criterion, and each that it is put together of."""
        mask = self.compiler.mask(self.compiler.relation(criterion, key_path))
        what = f"{criterion.head} of these:" if criterion.parts else words(criterion)
        self.count(f"{'  ' * depth}{what}", mask & self.left)
        for number, part in enumerate(criterion.parts):
            self.count_parts(part, (*key_path, criterion.head, number), depth + 1)
