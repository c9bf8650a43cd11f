"""Phenotypes of the HDR UK Phenotype Library: a YAML header and lists of codes in CSV files.

Two layouts are read: that of the library's template (``concept_information`` or ``concepts``, each with ``type: csv``,
``filepath``, ``code_column``), and that of its repository (``codelists``, whose names end in the terminology:
``…_ICD10.csv``), there with the header on top of a Markdown file.

References
----------
https://phenotypes.healthdatagateway.org/about/hdruk_about_technical_details/
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from allscan.documents.yaml_source import parse_yaml
from allscan.errors import FileFormatError, InputError, writing
from allscan.phenotypes.definitions.loading import Definition, load_definition
from allscan.phenotypes.names import listed
from allscan.phenotypes.records.codes import CODE_COLUMNS, VOCABULARY_COLUMNS, known_vocabulary
from allscan.storage import write_files

if TYPE_CHECKING:
    from collections.abc import Iterator

CONCEPT_KEYS = ("concept_information", "concepts")
TERMINOLOGIES = {"read2": "Read", "readv2": "Read", "readversion2": "Read"}
"""What the library calls terminologies, in small letters without blanks, and OMOP otherwise."""

_HEADER = re.compile(r"\A---\s*\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)
_DOI = re.compile(r"10\.\d{4,9}/[^\s\"<>,;]+")


@dataclass(frozen=True)
class _List:
    """One list of codes of a phenotype."""

    name: str
    path: Path
    code_column: str | None
    name_column: str | None
    terminology: str | None
    where: str


def import_hdruk(path: str | Path, folder: str | Path) -> Definition:
    """Write a phenotype of the library as a definition of kind ``case_control``, and read it.

    A case has one of the codes, as the library means it; which of the lists makes a case, on how many dates, and who is
    a control, is for the user to say in the file that is written.

    Parameters
    ----------
    path
        YAML file, or Markdown file with a YAML header. Lists of codes stand beside it, or where it says.
    folder
        For ``ID.yaml`` and the lists of codes, ``ID_NAME.csv``; made if it is not there.

    Raises
    ------
    FileFormatError
        If the header or a list is not what the library has.
    InputError
        If a list is only named by a number of the library, or of an unknown terminology.
    """
    path, folder = Path(path), Path(folder)
    header = _header(path)
    title = " ".join(str(header.get("title") or header.get("name") or path.stem).split())
    plain = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")
    name = plain if plain[:1].isalpha() else f"phenotype_{plain}"
    codes: dict[str, Any] = {}
    files: list[tuple[Path, list[bytes]]] = []
    for one in _lists(header, path):
        key = _free(re.sub(r"[^a-z0-9]+", "_", one.name.lower()).strip("_") or "codes", codes)
        codes[key] = {"file": f"{name}_{key}.csv"}
        files.append((folder / f"{name}_{key}.csv", [_codes(one)]))
    if not codes:
        raise FileFormatError(
            "the header names no list of codes",
            where=str(path),
            fix=f"it stands under {listed(CONCEPT_KEYS)} or codelists",
        )
    told = header.get("phenotype_uuid") or header.get("phenotype_id")
    definition = {
        "kind": "case_control",
        "id": name,
        "version": str(header.get("version") or "1"),
        "title": title,
        "description": f"From the HDR UK Phenotype Library{f', {told}' if told else ''}, file {path.name}.",
        **({"category": str(header["group"])} if header.get("group") else {}),
        "authors": _texts(header.get("author")),
        "references": list(dict.fromkeys(_dois(header))),
        "sex": _sex(header.get("sex")),
        "codes": codes,
        "cases": {"any": [{"codes": key} for key in codes]},
    }
    written = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style, yaml.sort_base_mapping_type_on_output, yaml.width = False, False, 110  # type: ignore[assignment]
    yaml.dump(definition, written)
    files.append((folder / f"{name}.yaml", [written.getvalue().encode()]))
    with writing(folder, again="import again", elsewhere="name another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        write_files(files)
    return load_definition(f"{name}.yaml", folder)


def _header(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"the file cannot be read: {error}", where=str(path), fix="check the path") from error
    found = _HEADER.match(text)
    return parse_yaml(found[1] if found else text, path).data


def _lists(header: dict[str, Any], path: Path) -> Iterator[_List]:
    for key in CONCEPT_KEYS:
        for number, concept in enumerate(_items(header.get(key), key, path)):
            where = f"{path}, key {key}[{number}]"
            if not isinstance(concept, dict) or concept.get("type") != "csv" or not concept.get("filepath"):
                kind = concept.get("type") if isinstance(concept, dict) else concept
                raise InputError(
                    f"a list of codes is not in a file: its type is {kind!r}",
                    where=where,
                    fix="export its codes from the library as CSV, and write type: csv and filepath",
                )
            file = _beside(path, str(concept["filepath"]))
            name = str(concept.get("name") or file.stem)
            yield _List(
                name,
                file,
                concept.get("code_column"),
                concept.get("description_column"),
                concept.get("coding_system"),
                where,
            )
    single = _texts(header.get("clinical_terminologies"))
    for number, listed_file in enumerate(_texts(header.get("codelists"))):
        file = _beside(path, listed_file)
        ending = file.stem.rpartition("_")[2]
        terminology = ending if _terminology(ending) else single[0] if len(single) == 1 else None
        name = ending if _terminology(ending) else file.stem
        yield _List(name, file, None, None, terminology, f"{path}, key codelists[{number}]")


def _items(value: Any, key: str, path: Path) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise FileFormatError(f"{key!r} is no list", where=str(path), fix="write its items as - name: …")
    return value


def _beside(path: Path, named: str) -> Path:
    """A file that the header names: where it says, in the folder of lists, or else by its name beside the header."""
    places = [path.parent / named, path.parent / "codelists" / named, path.parent / re.split(r"[\\/]", named)[-1]]
    return next((place for place in places if place.is_file()), places[0])


def _codes(one: _List) -> bytes:
    """A list of codes as sets of codes are read: ``vocabulary``, ``code``, ``name``."""
    try:
        text = one.path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(
            f"the list of codes cannot be read: {error}", where=one.where, fix="check the path"
        ) from error
    rows = csv.DictReader(io.StringIO(text))
    names = {str(name).strip().lower(): name for name in rows.fieldnames or []}
    code = names.get(one.code_column.lower()) if one.code_column else _first(names, CODE_COLUMNS)
    if code is None:
        raise FileFormatError(
            f"the list of codes has no column {one.code_column or 'code'!r}",
            where=f"{one.path}, header: {listed(names)}",
            fix="say which it is: code_column",
        )
    system = _first(names, VOCABULARY_COLUMNS)
    described = _first(names, ((one.name_column or "description").lower(), "description", "term", "name"))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("vocabulary", "code", "name"))
    for number, row in enumerate(rows, 2):
        where = f"{one.path}, line {number}"
        if (row[code] or "").strip():
            terminology = str(row[system] or "") if system is not None else one.terminology
            vocabulary = _terminology(terminology) or known_vocabulary(terminology, where)
            writer.writerow((vocabulary, row[code].strip(), (row[described] or "").strip() if described else ""))
    return out.getvalue().encode()


def _terminology(text: str | None) -> str | None:
    """What OMOP calls a terminology; None if it is not known."""
    plain = re.sub(r"[ _-]|codes?", "", (text or "").lower())
    if plain in TERMINOLOGIES:
        return TERMINOLOGIES[plain]
    try:
        return known_vocabulary(text)
    except InputError:
        return None


def _first(names: dict[str, str], wanted: tuple[str, ...]) -> str | None:
    return next((names[one] for one in wanted if one in names), None)


def _texts(value: Any) -> list[str]:
    items = value if isinstance(value, list) else re.split(r"\s*,\s*", value) if isinstance(value, str) else []
    return [" ".join(str(item).split()) for item in items if item is not None and str(item).strip()]


def _sex(value: Any) -> str:
    found = {text.lower() for text in _texts(value)}
    return found.pop() if len(found) == 1 and found <= {"male", "female"} else "both"


def _dois(header: dict[str, Any]) -> Iterator[str]:
    for key in ("publication_doi", "publications", "secondary_publication_links"):
        value = header.get(key)
        text = " ".join(map(str, value)) if isinstance(value, list) else str(value or "")
        yield from (found.rstrip(".)") for found in _DOI.findall(text))


def _free(name: str, taken: dict[str, Any]) -> str:
    return next(one for one in (name, *(f"{name}_{i}" for i in range(2, 10_000))) if one not in taken)
