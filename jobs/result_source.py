"""What the report and the exports read of a results cube, a block at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from allscan.engine.columns import CASE_COLUMNS, COUNT_COLUMNS, STATUS_COLUMN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from allscan.engine.store import VariantTable
    from allscan.engine.variant_names import VariantNames, VariantPlaces
    from allscan.kernels.association import OutputColumn

BLOCK = 1 << 16
"""Variants read at a time."""

META_PREFIX = "meta:"
"""Before the name of a stratification, in the place of a stratum: the meta-analysis of its groups."""

BOOKKEEPING = frozenset(column.name for column in (*COUNT_COLUMNS, *CASE_COLUMNS, STATUS_COLUMN))
"""Columns that the scan writes beside the association test's own."""


class ResultSource(Protocol):
    """The part of :class:`allscan.engine.results.ResultsCube` that the report and the exports rely on."""

    @property
    def traits(self) -> tuple[str, ...]:
        """Trait names."""
        ...

    @property
    def strata(self) -> tuple[str, ...]:
        """Stratum names; ``("all",)`` when the scan has one."""
        ...

    @property
    def n_variants(self) -> int:
        """Rows of every trait's table."""
        ...

    @property
    def chunk_variants(self) -> int:
        """Variants of a chunk of results: what is read at a multiple of it is read once."""
        ...

    @property
    def columns(self) -> tuple[OutputColumn, ...]:
        """Every result column."""
        ...

    @property
    def kinds(self) -> Sequence[ResultSource]:
        """Results by kind of trait, each of one test: this alone where there is one kind; traits as ordered here."""
        ...

    @property
    def attrs(self) -> Mapping[str, Any]:
        """What the scan recorded of itself."""
        ...

    def variant_table(self, start: int = 0, stop: int | None = None) -> VariantTable:
        """Names and places of variants ``start:stop``."""
        ...

    def variant_names(self, start: int = 0, stop: int | None = None) -> VariantNames:
        """The same as Arrow columns."""
        ...

    def variant_places(self, start: int = 0, stop: int | None = None) -> VariantPlaces:
        """Places of variants ``start:stop`` alone, which are quickly read."""
        ...

    def block(self, column: str, stratum: int, traits: slice, variants: slice) -> NDArray[Any]:
        """One column of some traits and variants, shape (traits, variants)."""
        ...


def own_columns(source: ResultSource) -> tuple[OutputColumn, ...]:
    """The association test's own columns, in the order in which it declares them."""
    return tuple(column for column in source.columns if column.name not in BOOKKEEPING)


def of_binary_traits(source: ResultSource) -> bool:
    """Whether cases and controls were counted apart, of some traits at least: their betas are log odds ratios."""
    return any(column.name == "cases" for column in source.columns)


def degrees_of_freedom(source: ResultSource) -> int:
    """Degrees of freedom of the scan's p-values: 2 where the dominance deviation is tested as well."""
    return 2 if any(column.name == "beta_domdev" for column in source.columns) else 1


def blocks(n_variants: int) -> Iterator[slice]:
    """The variants, ``BLOCK`` at a time."""
    for start in range(0, n_variants, BLOCK):
        yield slice(start, min(start + BLOCK, n_variants))
