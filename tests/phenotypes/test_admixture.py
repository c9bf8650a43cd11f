"""Shares of ancestry, as Rye and ADMIXTURE write them."""

from __future__ import annotations

import gzip

import pytest

from allscan.errors import FileFormatError, InputError
from allscan.phenotypes.tables import read_covariate_table

SHARES = {"eur": [0.7, 0.0, 0.25], "eas": [0.1, 1.0, 0.5], "afr": [0.2, 0.0, 0.249]}
PEOPLE = ["1000001", "HG00096", "1000003"]
ROWS = list(zip(*SHARES.values(), strict=True))
LAYOUTS = {
    "rye": ("\t".join(SHARES), "\t", True),
    "table": ("research_id\t" + "\t".join(SHARES), "\t", True),
    "ids alone": (None, " ", True),
    "admixture": (None, " ", False),
}


def text_of(layout: str) -> str:
    header, mark, with_ids = LAYOUTS[layout]
    rows = [mark.join([*([who] if with_ids else []), *map(str, row)]) for who, row in zip(PEOPLE, ROWS, strict=True)]
    return "\n".join([*([header] if header else []), *rows]) + "\n"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compressed", [False, True])
def test_every_layout_gives_the_same_covariates(tmp_path, layout, compressed):
    path = tmp_path / ("cohort.3.Q" + (".gz" if compressed else ""))
    path.write_bytes(gzip.compress(text_of(layout).encode()) if compressed else text_of(layout).encode())
    (tmp_path / "cohort.fam").write_text("".join(f"f {who} 0 0 1 -9\n" for who in PEOPLE))
    found = read_covariate_table(path)
    names = list(SHARES) if LAYOUTS[layout][0] else ["1", "2", "3"]
    assert list(found.columns) == [f"admixture_{name}" for name in names]
    assert found.sample_ids.tolist() == PEOPLE
    assert [column.values.tolist() for column in found.columns.values()] == list(SHARES.values())
    assert "leave one out" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("eur\tafr\na\t0.5\t0.6\n", "add up to 1", 2),
        ("eur\tafr\na\t1\t0\nb\t-0.5\t1.5\n", "add up to 1", 3),
        ("eur\tafr\na\t1\t0\nb\tnan\t1\n", "add up to 1", 3),
        ("eur\tafr\na\tmost\t0\n", "no number", 2),
        ("eur\tafr\na\t1\t0\na\t0\t1\n", "repeat the id", None),
        ("IID\teur\tafr\n", "shares of anybody", None),
        ("0.5 0.5\n0.25 0.75\n", "no x.fam or cohort.fam beside it", None),
    ],
)
def test_files_that_are_refused(tmp_path, text, message, line):
    path = tmp_path / "x.Q"
    path.write_text(text)
    message = message.replace("x.fam or cohort.fam", "x.fam")
    with pytest.raises(InputError, match=message) as caught:
        read_covariate_table(path)
    assert line is None or caught.value.where.endswith(f"line {line}")


def test_ragged_rows_and_other_people_are_refused(tmp_path):
    path = tmp_path / "x.2.Q"
    path.write_text("eur\tafr\na\t1\t0\nb\t1\n")
    with pytest.raises(FileFormatError, match="2 cells, not 3"):
        read_covariate_table(path)
    path.write_text("0.5 0.5\n")
    (tmp_path / "x.fam").write_text("f a 0 0 1 -9\nf b 0 0 1 -9\n")
    with pytest.raises(InputError, match="1 rows of shares, and 2 people"):
        read_covariate_table(path)
