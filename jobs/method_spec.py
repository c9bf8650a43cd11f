"""The section `test` of the job file: one association test, or one for each kind of traits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from allscan.documents.sections import FilePath, Section, Text
from allscan.jobs.null_model_spec import AVERAGE, MIXED, SPARSE_GRM, WHOLE_GENOME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allscan.jobs.null_model_spec import NullModelSection

TraitType = Literal["quantitative", "binary"]
TRAIT_TYPES: tuple[TraitType, ...] = ("quantitative", "binary")

DEFAULT_TESTS = {"quantitative": "linear", "binary": "logistic"}
"""The test of a kind of trait, where the job names none."""
LOCAL_TESTS = {"quantitative": "local_ancestry_linear", "binary": "local_ancestry_logistic"}
"""The same with local ancestry."""

LocalAncestry = Annotated[
    FilePath | None,
    Field(
        description=(
            "Store of local ancestry, made by `allscan local-ancestry build`: variants are tested by the ancestry of "
            "the haplotypes that carry the allele, in the people of the store."
        ),
    ),
]


def method_of(value: Any) -> Any:
    """One form for both ways of writing a test."""
    return {"name": value} if isinstance(value, str) else value


class MethodSection(Section):
    """An association test."""

    name: Text | None = Field(
        default=None, description="Name of an installed association test. Left out: the one that goes with the traits."
    )
    options: dict[str, Any] = Field(default={}, description="The test's own options.")


OfKind = Annotated[MethodSection | None, BeforeValidator(method_of, json_schema_input_type=str | MethodSection | None)]


class MethodsSection(MethodSection):
    """Which association test: of all traits, or of each kind where there are several."""

    quantitative: OfKind = Field(
        default=None,
        description="Test of the quantitative traits: its name, or a section with `name` and `options`.",
    )
    binary: OfKind = Field(default=None, description="Test of the binary traits, in the same way.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.name or self.options) and (self.quantitative or self.binary):
            raise ValueError("write one test (`name`, `options`), or one for each kind (`quantitative`, `binary`)")
        return self

    def of_kind(self, kind: str) -> MethodSection:
        """The test of a kind of traits."""
        found: MethodSection | None = getattr(self, kind)
        return self if found is None else found


def chosen_methods(
    given: MethodsSection,
    kinds: Sequence[str],
    null_model: NullModelSection | None,
    model: str,
    *,
    local: bool,
) -> MethodsSection:
    """The tests of a job: where it names none, those that go with its traits and relatives.

    Parameters
    ----------
    given
        What the job says.
    kinds
        Kinds of traits that it has.
    null_model, model
        Its sections of these names.
    local
        Whether it names local ancestry.
    """
    defaults = LOCAL_TESTS if local else DEFAULT_TESTS
    if local:
        null_model = None  # which has no say in the test
    if len(kinds) == 1:
        (kind,) = kinds
        own = given.of_kind(kind)
        named = own if own.name else _default(own, defaults[kind], null_model, model)
        update: dict[str, Any] = {} if own is given and named is own else {"name": named.name, "options": named.options}
        # The test of a kind that the job does not have stays, to be refused.
        return given.model_copy(update=update | ({} if own is given else {kind: None}))
    if given.name or given.options:
        return given  # one test of both kinds, or a mistake
    of_kinds = {kind: getattr(given, kind) or MethodSection() for kind in kinds}
    return given.model_copy(
        update={
            kind: own if own.name else _default(own, defaults[kind], null_model, model)
            for kind, own in of_kinds.items()
        }
    )


def _default(own: MethodSection, name: str, null_model: NullModelSection | None, model: str) -> MethodSection:
    update: dict[str, Any] = {"name": name}
    method = None if null_model is None else null_model.method
    # Cases and two predictors are not for the mixed model.
    possible = name == DEFAULT_TESTS["quantitative"] and model != "genotypic"
    if method == SPARSE_GRM:
        update["name"] = MIXED
    elif possible and method == WHOLE_GENOME and null_model is not None and null_model.relatedness is not None:
        update = {"name": MIXED, "options": {"variance": AVERAGE, **own.options}}
    return own.model_copy(update=update)
