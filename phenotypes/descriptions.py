"""What traits are called, and in which group they stand: a table of trait, label, category."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from allscan.errors import InputError
from allscan.phenotypes.files import open_table
from allscan.phenotypes.names import did_you_mean, listed

if TYPE_CHECKING:
    from allscan.phenotypes.files import RawTable
    from allscan.phenotypes.model import TraitTable
    from allscan.storage import Place

TRAIT, LABEL, CATEGORY = "trait", "label", "category"


class Descriptions(NamedTuple):
    """Labels and categories by trait."""

    by_trait: dict[str, tuple[str, str]]
    source: str


def read_descriptions(path: str | Place) -> Descriptions:
    """Read a table with the columns ``trait``, and ``label`` or ``category`` or both; other columns are not used.

    Raises
    ------
    InputError
        If a column is missing, or a trait is empty or described twice.
    FileFormatError
        If the file is damaged, ragged or not a table.
    """
    table = open_table(path)
    by_lower = {name.lower(): name for name in table.names}
    if TRAIT not in by_lower or not {LABEL, CATEGORY} & by_lower.keys():
        absent = TRAIT if TRAIT not in by_lower else f"{LABEL!r} or {CATEGORY}"
        raise InputError(
            f"there is no column {absent!r} in the table that describes the traits",
            where=f"{table.source}, header: {listed(table.names)}",
            fix=did_you_mean(TRAIT, table.names, otherwise="give it the columns trait, label, category"),
        )
    texts = {key: _texts(table, by_lower[key]) for key in (TRAIT, LABEL, CATEGORY) if key in by_lower}
    nothing = [""] * len(texts[TRAIT])
    found: dict[str, tuple[str, str]] = {}
    rows = zip(texts[TRAIT], texts.get(LABEL, nothing), texts.get(CATEGORY, nothing), strict=True)
    for row, (trait, label, category) in enumerate(rows):
        if not trait or trait in found:
            raise InputError(
                f"the trait {trait!r} is described twice" if trait else "the trait's name is empty",
                where=table.where(row, by_lower[TRAIT]),
                fix="describe every trait on one line",
            )
        found[trait] = (label, category)
    return Descriptions(found, table.source)


def described(table: TraitTable, descriptions: Descriptions) -> TraitTable:
    """Traits with the labels and categories that a table gives them; a warning where it gives none to any."""
    specs = tuple(
        replace(spec, label=of_trait[0] or spec.label, category=of_trait[1] or spec.category)
        if (of_trait := descriptions.by_trait.get(spec.name)) is not None
        else spec
        for spec in table.specs
    )
    absent = [spec.name for spec in specs if spec.name not in descriptions.by_trait]
    if not absent:
        return replace(table, specs=specs)
    warning = f"{descriptions.source}: {len(absent):,} traits are not described: {listed(absent)}"
    return replace(table, specs=specs, warnings=(*table.warnings, warning))


def _texts(table: RawTable, name: str) -> list[str]:
    import pyarrow as pa

    _, column = next(iter(table.columns([name])))
    return [(text or "").strip() for text in column.cast(pa.string()).to_pylist()]
