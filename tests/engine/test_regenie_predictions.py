"""REGENIE's lists and files of predictions: read with every doubt told, written so that they are read alike."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from allscan.engine.design import Design
from allscan.engine.null_model_files import NullModelFiles
from allscan.engine.offsets import ALL, StoredOffsets
from allscan.engine.regenie_predictions import CHROMOSOMES, RegeniePredictions, write_regenie_predictions
from allscan.errors import FileFormatError, InputError
from tests.engine.null_models import draw_model

PEOPLE = [f"p{k}" for k in range(6)]


def write_loco(path: Path, values: NDArray[np.float64], labels: Sequence[str]) -> None:
    rows = [" ".join(["FID_IID", *labels])]
    rows += [
        " ".join([str(c), *(f"{x:g}" if np.isfinite(x) else "NA" for x in row)]) for c, row in enumerate(values, 1)
    ]
    path.write_text("\n".join(rows) + "\n")


def labels_of(people: Sequence[str], family: Callable[[str], str] = lambda person: person) -> list[str]:
    return [f"{family(person)}_{person}" for person in people]


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, NDArray[np.float64]]:
    """A list of two traits, and their predictions (traits, chromosomes, people)."""
    values = np.random.default_rng(0).normal(size=(2, 23, 6)).round(4)
    for k in range(2):
        write_loco(tmp_path / f"out_{k + 1}.loco", values[k], labels_of(PEOPLE))
    (tmp_path / "out_pred.list").write_text("height somewhere/out_1.loco\nldl somewhere/out_2.loco\n")
    return tmp_path / "out_pred.list", values


def ids(*people: str) -> NDArray[np.object_]:
    return np.array(people, object)


@pytest.mark.parametrize("compressed", [False, True])
def test_rows_are_those_of_the_chromosomes(study: tuple[Path, NDArray[np.float64]], compressed: bool) -> None:
    place, values = study
    plain = RegeniePredictions(place)
    if compressed:
        for k in (1, 2):
            file = place.with_name(f"out_{k}.loco")
            file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
            file.unlink()
    stored = RegeniePredictions(place)
    assert [(model.name, model.n, model.status) for model in stored.traits] == [("height", 6, "ok"), ("ldl", 6, "ok")]
    for k in range(2):
        for row, chromosome in enumerate(CHROMOSOMES):
            np.testing.assert_array_equal(stored.read(k, chromosome), values[k, row])
        # X has no markers, or they are left out: nothing else is of more chromosomes.
        np.testing.assert_array_equal(stored.read(k, ALL), values[k, 22])
        assert stored.digest(k) == plain.digest(k)
    assert stored.content_digest() == plain.content_digest()


def test_files_are_found_where_the_list_says_first(study: tuple[Path, NDArray[np.float64]]) -> None:
    place, values = study
    (place.parent / "somewhere").mkdir()
    write_loco(place.parent / "somewhere" / "out_1.loco", values[1], labels_of(PEOPLE))
    np.testing.assert_array_equal(RegeniePredictions(place).read(0, "1"), values[1, 0])


@pytest.mark.parametrize(
    ("labels", "asked", "rows", "by"),
    [
        (labels_of(PEOPLE), ["p4", "p0", "x"], [4, 0, -1], "IID"),
        (labels_of(PEOPLE, lambda _: "0"), ["p4", "p0"], [4, 0], "IID"),
        (labels_of(PEOPLE), ["p4_p4", "p0_p0"], [4, 0], "FID_IID"),
        (labels_of([f"a_{p}" for p in PEOPLE]), ["a_p4", "a_p0"], [4, 0], "IID"),
        (labels_of(PEOPLE, lambda _: "fam_1"), ["p4", "p0"], [4, 0], "IID"),
        (labels_of(PEOPLE), ["y", "x"], [-1, -1], "FID_IID"),
    ],
)
def test_people_are_found_by_label_or_by_iid(
    study: tuple[Path, NDArray[np.float64]], labels: list[str], asked: list[str], rows: list[int], by: str
) -> None:
    place, values = study
    for k in range(2):
        write_loco(place.with_name(f"out_{k + 1}.loco"), values[k], labels)
    stored = RegeniePredictions(place)
    assert stored.rows_of(1, ids(*asked)).tolist() == rows
    assert stored.matched == by


@pytest.mark.parametrize(
    ("labels", "asked", "match"),
    [
        (["f1_p0", "f2_p0", *labels_of(PEOPLE[2:])], ["p0", "p2"], "several people"),
        (["a_b_c", *labels_of(PEOPLE[1:])], ["b_c", "c", "p2"], "two ways"),
    ],
)
def test_iids_that_are_not_unique_are_refused(
    study: tuple[Path, NDArray[np.float64]], labels: list[str], asked: list[str], match: str
) -> None:
    place, values = study
    write_loco(place.with_name("out_1.loco"), values[0], labels)
    with pytest.raises(InputError, match=match) as refused:
        RegeniePredictions(place).rows_of(0, ids(*asked))
    assert not re.search(r"\bp\d\b|b_c|f1", str(refused.value).replace(str(place.parent), ""))


def test_a_missing_prediction_is_none_in_every_row(study: tuple[Path, NDArray[np.float64]]) -> None:
    place, values = study
    values[0, 7, 2] = np.nan
    write_loco(place.with_name("out_1.loco"), values[0], labels_of(PEOPLE))
    stored = RegeniePredictions(place)
    assert stored.has_prediction(0).tolist() == [True, True, False, True, True, True]
    assert stored.traits[0].n == 5


def swap(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (swap("FID_IID", "IID"), "first word is not FID_IID"),
        (swap("p1_p1", "p0_p0"), "names people twice"),
        (swap("p1_p1 ", ""), "row 1 has 6 predictions for 5 people"),
        (swap("\n2 ", "\n3 "), "row 2 begins with '3'"),
        (lambda text: text.rsplit("\n", 2)[0] + "\n", "row 23 begins with 'nothing'"),
        (lambda text: text + "24 1 2 3 4 5 6\n", "more than 23 rows"),
        (lambda text: text[: len(text) // 2], "row"),
        (lambda text: re.sub(r"\n5 \S+", "\n5 zero", text), "row 5 holds something that is no number"),
        (lambda text: re.sub(r"\n5 \S+", "\n5 inf", text), "row 5 holds an infinite prediction"),
        (lambda _: "", "first word"),
    ],
)
def test_a_file_that_is_not_regenies_is_refused(
    study: tuple[Path, NDArray[np.float64]], spoil: Callable[[str], str], match: str
) -> None:
    place, _ = study
    file = place.with_name("out_2.loco")
    file.write_text(spoil(file.read_text()))
    with pytest.raises(FileFormatError, match=match) as refused:
        RegeniePredictions(place)
    assert str(file) in str(refused.value)


def test_a_compressed_file_that_is_cut_short_is_refused(study: tuple[Path, NDArray[np.float64]]) -> None:
    place, _ = study
    file = place.with_name("out_1.loco")
    content = gzip.compress(file.read_bytes())
    file.unlink()
    for spoilt in (content[:-20], b"\x1f\x8b" + content[10:], b"nothing of gzip"):
        file.with_name("out_1.loco.gz").write_bytes(spoilt)
        with pytest.raises(FileFormatError):
            RegeniePredictions(place)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "empty"),
        ("height out_1.loco\nldl\n", "a line has 1 words"),
        ("height a b\n", "a line has 3 words"),
        ("height out_1.loco\nheight out_2.loco\n", "'height' is listed twice"),
        ("height out_9.loco\n", "there is no file 'out_9.loco'"),
        ("\xff\x00", "a line has 1 words"),
    ],
)
def test_a_list_that_is_none_is_refused(study: tuple[Path, NDArray[np.float64]], text: str, match: str) -> None:
    place, _ = study
    place.write_text(text)
    with pytest.raises(InputError, match=match):
        RegeniePredictions(place)


def test_a_list_that_is_no_text_is_refused(study: tuple[Path, NDArray[np.float64]]) -> None:
    study[0].write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileFormatError, match="not a list"):
        RegeniePredictions(study[0])


@pytest.mark.parametrize("family_ids", ["iid", "0", "included"])
def test_what_is_written_for_regenie_is_read_alike(tmp_path: Path, family_ids: str) -> None:
    people = [f"{p}_{p}" for p in PEOPLE] if family_ids == "included" else PEOPLE
    chromosomes = ("chr1", "chr2", "chr22")
    drawn = draw_model(tmp_path / "m", people, ["a", "bad", "b"], chromosomes=chromosomes, missing=0.6, failed=["bad"])
    model = NullModelFiles(tmp_path / "m")
    files = write_regenie_predictions(model, tmp_path / "out", family_ids)
    assert [file.name for file in files] == ["out_1.loco", "out_3.loco", "out_pred.list"]
    header, *rows = (tmp_path / "out_1.loco").read_text().splitlines()
    first = people[int(np.flatnonzero(np.isfinite(drawn["a"][0]))[0])]
    family = {"iid": f"{first}_{first}", "0": f"0_{first}", "included": first}[family_ids]
    assert header.split()[:2] == ["FID_IID", family]
    assert [row.split()[0] for row in rows] == [str(number) for number in range(1, 24)]
    stored = RegeniePredictions(tmp_path / "out_pred.list")
    assert [trait.name for trait in stored.traits] == ["a", "b"]
    for k, (name, unit) in enumerate((("a", 2.0), ("b", 4.0))):
        found = stored.rows_of(k, ids(*people))
        known = np.isfinite(drawn[name][0])
        assert ((found >= 0) == known).all()
        assert stored.traits[k].n == known.sum() < 6
        for chromosome, row in (("1", 0), ("2", 1), ("22", 2), ("7", 3), ("X", 3), (ALL, 3)):
            values = stored.read(k, chromosome)[found[known]]
            np.testing.assert_allclose(values * unit, drawn[name][row][known], rtol=2e-7)


def test_predictions_of_binary_traits_are_log_odds(study: tuple[Path, NDArray[np.float64]]) -> None:
    """Those of a quantitative trait are in units of its standard deviation."""
    place, values = study
    trait = np.array([0.0, 1.0, 1.0, 0.0, 1.0, 0.0])
    design = Design(np.arange(6), trait[:, None], ("ldl",), np.ones((6, 1)), ("intercept",), np.zeros(6, np.uint8))
    for binary, unit in ((True, 1.0), (False, np.std(trait, ddof=1))):
        offsets = StoredOffsets(RegeniePredictions(place), replace(design, binary=binary), ids(*PEOPLE))
        np.testing.assert_allclose(offsets.of("3", np.array([0]))[:, 0], values[1, 2] * unit, rtol=1e-12)


def test_log_odds_are_written_as_they_are(tmp_path: Path) -> None:
    drawn = draw_model(tmp_path / "m", PEOPLE, ["case"], kind="binary", residual_sd=None)
    write_regenie_predictions(NullModelFiles(tmp_path / "m"), tmp_path / "out")
    found = RegeniePredictions(tmp_path / "out_pred.list").read(0, "2")
    np.testing.assert_allclose(found, drawn["case"][1], rtol=1e-7)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"chromosomes": ["1", "Y"]}, "no rows for the chromosomes Y"),
        ({"chromosomes": ["scaffold"]}, "no rows for the chromosomes scaffold"),
        ({"residual_sd": None}, "REGENIE's unit"),
    ],
)
def test_what_regenie_cannot_hold_is_refused(tmp_path: Path, options: dict[str, object], match: str) -> None:
    draw_model(tmp_path / "m", PEOPLE, ["a"], **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=match):
        write_regenie_predictions(NullModelFiles(tmp_path / "m"), tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(("people", "trait"), [(["a b", "c"], "t"), (["a", "c"], "t u")])
def test_names_with_spaces_are_refused_without_telling_whose(tmp_path: Path, people: list[str], trait: str) -> None:
    draw_model(tmp_path / "m", people, [trait])
    with pytest.raises(InputError, match="has a space") as refused:
        write_regenie_predictions(NullModelFiles(tmp_path / "m"), tmp_path / "out")
    assert "a b" not in str(refused.value)
