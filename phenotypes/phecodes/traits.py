"""The phecodes of a phenotype file, each as a trait."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from allscan.errors import InputError
from allscan.phenotypes.names import fits, listed
from allscan.phenotypes.phecodes.events import find_diagnoses, unmapped
from allscan.phenotypes.phecodes.map_files import read_map
from allscan.phenotypes.phecodes.maps import ANY_SEX, MEN
from allscan.phenotypes.phecodes.matrix import case_control, count_dates
from allscan.phenotypes.phenotype import BINARY, Phenotype, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from allscan.phenotypes.phecodes.maps import Phecode, PhecodeMap
    from allscan.phenotypes.phecodes.matrix import CaseControl
    from allscan.phenotypes.phecodes.spec import PhecodesSection
    from allscan.phenotypes.records.records import Records
    from allscan.storage import Place

MEMORY = 1 << 30
"""Bytes that the counting of dates takes beside its result, unless it is told otherwise."""

PREFIX = "phecode_"
"""What the names of traits begin with where the phecode is a number: phecode_250.2, but CV_401."""


def section_map(section: PhecodesSection, locate: Callable[[str], str | Path | Place] = Path) -> PhecodeMap:
    """Read the map that a section names.

    Parameters
    ----------
    section
        Of the phenotype file.
    locate
        From the spelling of a file to where it stands.

    Raises
    ------
    InputError
        If there is no such map, it is damaged, or does not say what the section asks of it.
    MissingDependencyError
        If no installed package carries it.
    """
    found = read_map(section.map, [locate(file) for file in section.files])
    for asked, what, key, file in (
        (section.roll_up, "roll-up", "roll_up", "phecode_rollup_map"),
        (section.exclusions, "exclusions", "exclusions", "phecode_exclude"),
        (section.sex_restriction, "sexes", "sex_restriction", "sex_restriction"),
    ):
        if asked and what in found.lacks:
            raise InputError(
                f"the files of the phecode map do not tell its {what}",
                where=listed([name for name, _ in found.sources]),
                fix=f"name the file that does (in the R package PheWAS: {file}), or write `{key}: false`",
            )
    return found


def phecode_phenotypes(
    records: Records,
    section: PhecodesSection,
    phecode_map: PhecodeMap,
    *,
    memory: int = MEMORY,
    on_left_out: Callable[[str, str], None] | None = None,
) -> Iterator[Phenotype]:
    """Find the phecodes of everybody in the records.

    Parameters
    ----------
    records
        Of people; what is to be told of their rows is added to their quality.
    section
        What counts, and which phecodes are wanted.
    phecode_map
        As :func:`section_map` reads it.
    memory
        Bytes that the counting may take beside its result (five bytes for each phecode that a person has).
    on_left_out
        Called with the name of each phecode that has too few cases or controls, and why.

    Returns
    -------
    One trait after the other, in order of their phecodes.

    Raises
    ------
    InputError
        If the records have no diagnoses, or no phecode is wanted.
    """
    wanted = _wanted(section, phecode_map)
    diagnoses = find_diagnoses(records, section, phecode_map)
    codes = phecode_map.table(diagnoses.codes, roll_up=section.roll_up)
    rows, shown = unmapped(diagnoses, codes.counts.tolist())
    most = f"; most often {shown}" if shown else ""
    records.note_quality(diagnoses.tables, f"diagnoses without a phecode{most}", rows)
    people = len(records.people)
    dates = count_dates(diagnoses.batches, codes, people=people, phecodes=len(phecode_map.phecodes), memory=memory)
    recipe = _recipe(section, phecode_map)
    for at in wanted:
        phecode = phecode_map.phecodes[at]
        only_sex = phecode.only_sex if section.sex_restriction else ANY_SEX
        found = case_control(
            dates,
            at,
            min_dates=section.min_dates,
            excluded=phecode_map.exclusions[at] if section.exclusions else (),
            sex=records.people.sex,
            only_sex=only_sex,
        )
        name = phecode.code if phecode.code[0].isalpha() else PREFIX + phecode.code
        why = _too_few(found, section)
        if why:
            if on_left_out is not None:
                on_left_out(name, why)
            continue
        yield Phenotype(
            name,
            BINARY,
            found.values,
            label=phecode.label,
            category=phecode.category,
            only_sex=only_sex,
            recipe={"phecode": phecode.code, **recipe},
            steps=_steps(found, section, phecode, people),
        )


def _wanted(section: PhecodesSection, phecode_map: PhecodeMap) -> list[int]:
    def named(phecode: Phecode, patterns: list[str]) -> bool:
        return any(fits(text, one) for one in patterns for text in (phecode.code, phecode.category))

    for key in ("only", "without"):
        for pattern in getattr(section, key):
            if not any(named(phecode, [pattern]) for phecode in phecode_map.phecodes):
                categories = sorted({phecode.category for phecode in phecode_map.phecodes})
                raise InputError(
                    f"{pattern!r} is no phecode and no category of the map {phecode_map.name}",
                    where=f"phecodes.{key}",
                    fix=f"write phecodes ('{phecode_map.phecodes[0].code}'; '*' for any text), or categories: "
                    f"{listed(categories, limit=20)}",
                )
    wanted = [
        at
        for at, phecode in enumerate(phecode_map.phecodes)
        if (not section.only or named(phecode, section.only)) and not named(phecode, section.without)
    ]
    if not wanted:
        raise InputError("no phecode is left", where="phecodes", fix="ask for more in `only`, or for less in `without`")
    return wanted


def _too_few(found: CaseControl, section: PhecodesSection) -> str:
    if found.cases < section.min_cases:
        return f"fewer than {section.min_cases} cases"
    return f"fewer than {section.least_controls} controls" if found.controls < section.least_controls else ""


def _steps(found: CaseControl, section: PhecodesSection, phecode: Phecode, people: int) -> tuple[Step, ...]:
    left = people
    steps = [Step("in the records", left)]
    if found.other_sex:
        left -= found.other_sex
        steps.append(Step("men" if phecode.only_sex == MEN else "women", left))
    if section.min_dates > 1:
        left -= found.too_few_dates
        steps.append(Step(f"without a code on fewer than {section.min_dates} days", left))
    if section.exclusions:
        left -= found.excluded
        steps.append(Step("case, or without a phecode that this one excludes", left))
    return tuple(steps)


def _recipe(section: PhecodesSection, phecode_map: PhecodeMap) -> dict[str, Any]:
    """What made the traits, the same for all of them; the rest stands once in what the table is made of."""
    keys = section.model_dump(mode="json", include={"min_dates", "exclusions", "sex_restriction", "roll_up"})
    return {"map": phecode_map.name, "map_sha256": phecode_map.digest, **keys}
