"""Tables as files: what is read, and what is refused with file and line."""

from __future__ import annotations

import bz2
import gzip
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allscan.errors import AllscanError, FileFormatError, InputError
from allscan.phenotypes import lines
from allscan.phenotypes.cells import MISSING_WORDS, MissingValues
from allscan.phenotypes.files import FIRST_ROWS, TextTable, open_table
from allscan.phenotypes.tables import read_covariate_table, read_sample_list, read_trait_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from allscan.phenotypes.model import CovariateTable, TraitTable

PLAIN = b"IID\tldl\nann\t1.5\nbob\t-2\n"


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def read(path: Path) -> dict[str, list[object]]:
    table = open_table(path)
    return {name: column.to_pylist() for name, column in table.columns(table.names)}


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        PLAIN.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + PLAIN,
        b"\xef\xbb\xbf" + PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b"\t", b","),
        PLAIN.replace(b"\t", b";"),
        PLAIN.replace(b"\t", b" "),
        b"  IID   ldl \n\n ann  1.5\n\n\n   bob -2  ",
        PLAIN.rstrip(b"\n"),
        PLAIN.replace(b"bob\t", b"\n\r\nbob\t"),
        b"## a comment\n\n" + PLAIN,
        b'"IID","ldl"\n"ann","1.5"\n"bob",-2\n',
        gzip.compress(PLAIN, mtime=0),
        gzip.compress(PLAIN[:10], mtime=0) + gzip.compress(PLAIN[10:], mtime=0),
        bz2.compress(PLAIN),
        pa.compress(PLAIN, codec="zstd", asbytes=True),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_every_spelling_of_a_text_table_reads_the_same(tmp_path: Path, data: bytes) -> None:
    # The name promises nothing: formats are told by content.
    assert read(write(tmp_path / "table.dat", data)) == {"IID": ["ann", "bob"], "ldl": ["1.5", "-2"]}


def test_quotes_protect_delimiters_and_may_stand_inside_cells(tmp_path: Path) -> None:
    data = b'IID,height,note\nann,5\'10",x\nbob,"6,1","say ""hi"""\n'
    assert read(write(tmp_path / "t.csv", data)) == {
        "IID": ["ann", "bob"],
        "height": ["5'10\"", "6,1"],
        "note": ["x", 'say "hi"'],
    }


def test_parquet_files_and_folders_of_part_files(tmp_path: Path) -> None:
    part = pa.table({"IID": ["a", "b"], "x.y": [1.0, 2.0], "x": [{"y": 1}, {"y": 2}]})
    pq.write_table(part, tmp_path / "one.dat")
    assert read(tmp_path / "one.dat")["x.y"] == [1.0, 2.0]
    folder = tmp_path / "parts.parquet"
    folder.mkdir()
    (folder / "_SUCCESS").touch()
    for number in range(3):
        pq.write_table(pa.table({"IID": [f"p{number}"], "y": [float(number)]}), folder / f"part-{number}.parquet")
    assert read(folder) == {"IID": ["p0", "p1", "p2"], "y": [0.0, 1.0, 2.0]}


def test_parquet_columns_come_in_order_whatever_the_batch(tmp_path: Path) -> None:
    values = np.arange(300.0).reshape(2, 150)
    names = [f"y{t}" for t in range(150)]
    pq.write_table(
        pa.table({"s": ["a", "b"], **{name: values[:, t] for t, name in enumerate(names)}}), tmp_path / "t.parquet"
    )
    table = read_trait_table(tmp_path / "t.parquet", names[::-1])
    np.testing.assert_array_equal(table.values, values[:, ::-1])


@dataclass(frozen=True)
class Refusal:
    data: bytes
    what: str
    where: str = ""
    kind: type[AllscanError] = FileFormatError
    fix: str = ""


def gz(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


LONG = b"IID\tldl\n" + b"".join(b"p%d\t%d\n" % (i, i * i) for i in range(20_000))

REFUSALS = {
    "ragged": Refusal(b"IID\ta\tb\nx\t1\t2\n\ny\t3\n", "2 cells, the header has 3", "line 4"),
    "too wide": Refusal(b"IID\ta\nx\t1\ny\t3\t4\n", "3 cells, the header has 2", "line 3"),
    "row names of R": Refusal(b"IID\ta\n1\tx\t1\n2\ty\t3\n", "3 cells, the header has 2", "line 2", fix="row.names"),
    "space inside a cell": Refusal(b"IID a\nx 1\ny 3 4\n", "3 cells, the header has 2", "line 3", fix="white space"),
    "open quote": Refusal(b'IID\ta\nx\t1\ny\t"2\nz\t3\n', "not closed", "line 3"),
    "line break in a quote": Refusal(b'IID\ta\nx\t1\ny\t"2\n3"\n', "not closed", "line 3"),
    "open quote among spaces": Refusal(b'IID a\nx 1\ny "2\nz 3\n', "not closed", "line 3"),
    "not UTF-8": Refusal(b"IID\ta\nx\t1\n\xff\t2\n", r"b'\xff' is not UTF-8", "line 3"),
    "header not UTF-8": Refusal(b"IID\t\xe4\nx\t1\n", r"b'\xe4' is not UTF-8", "line 1"),
    "NUL": Refusal(b"IID\ta\nx\t1\ny\t\0\n", "NUL", "line 3"),
    "NUL in the header": Refusal(b"\x6c\x1b\x01\0\0", "NUL", "line 1"),
    "bare carriage return": Refusal(b"IID\ta\nx\t1\ry\t2\n", "carriage return", "line 2"),
    "old Macintosh": Refusal(b"IID\ta\rx\t1\r", "carriage return", "line 1"),
    "UTF-16": Refusal("IID\ta\n".encode("utf-16"), "UTF-16"),
    "Excel": Refusal(b"PK\x03\x04" + b"x" * 50, "Excel"),
    "xz": Refusal(b"\xfd7zXZ\0", "xz"),
    "truncated gzip": Refusal(gz(LONG)[:-9000], "truncated"),
    "truncated gzip header": Refusal(gz(LONG)[:12], "truncated"),
    "damaged gzip": Refusal(gz(LONG)[:3000] + b"????" + gz(LONG)[3004:], "damaged"),
    "truncated bzip2": Refusal(bz2.compress(LONG)[:-100], "truncated"),
    "truncated zstd": Refusal(pa.compress(LONG, codec="zstd", asbytes=True)[:-100], "truncated"),
    "not Parquet": Refusal(b"PAR1" + b"x" * 100, "Parquet"),
    "empty": Refusal(b"", "empty", kind=InputError),
    "only blank lines": Refusal(b"\n\r\n \n", "empty", kind=InputError),
    "header only": Refusal(b"IID\ta\n", "no rows", kind=InputError),
    "header only, blank lines": Refusal(b"IID\ta\n\n\n", "no rows", kind=InputError),
    "duplicate headers": Refusal(b"IID\ta\tb\ta\nx\t1\t2\t3\n", "two columns are called 'a'", "line 1", InputError),
    "duplicate after trimming": Refusal(b"IID\ta\ta \nx\t1\t2\n", "called 'a'", "line 1", InputError),
    "unnamed column": Refusal(b"IID,a,\nx,1,2\n", "column 3 of 3 has no name", "line 1", InputError),
    "unnamed index": Refusal(b",IID,a\n0,x,1\n", "column 1 of 3 has no name", "line 1", InputError),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS.keys())
def test_unusable_files_are_refused(tmp_path: Path, refusal: Refusal) -> None:
    path = write(tmp_path / "table.tsv", refusal.data)
    with pytest.raises(refusal.kind) as caught:
        read(path)
    assert refusal.what in caught.value.what
    assert str(path) in str(caught.value.where)
    assert refusal.where in str(caught.value.where)
    assert refusal.fix in str(caught.value.fix)
    assert caught.value.fix
    assert caught.value.exit_code == 2


def test_truncated_parquet_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"IID": ["a", "b"], "y": [1.0, 2.0]}), tmp_path / "whole.parquet")
    data = (tmp_path / "whole.parquet").read_bytes()
    with pytest.raises(FileFormatError, match="truncated or damaged"):
        read(write(tmp_path / "cut.parquet", data[:-10]))
    with pytest.raises(FileFormatError, match="damaged"):
        read(write(tmp_path / "flipped.parquet", data[:10] + b"z" * 50 + data[60:]))


def test_absent_files_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file 'absent'"):
        open_table(tmp_path / "absent")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileFormatError, match="no Parquet files"):
        open_table(tmp_path / "folder")


def test_parquet_without_rows_or_with_doubled_names_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"IID": pa.array([], pa.string()), "y": pa.array([], pa.float64())}), tmp_path / "0")
    with pytest.raises(InputError, match="no rows"):
        read(tmp_path / "0")
    doubled = pa.Table.from_arrays([pa.array(["a"]), pa.array([1.0]), pa.array([2.0])], names=["IID", "y", "y"])
    pq.write_table(doubled, tmp_path / "doubled")
    with pytest.raises(InputError, match="two columns are called 'y'"):
        open_table(tmp_path / "doubled")


@pytest.mark.parametrize("delimiter", ["\t", " ", ","])
def test_line_numbers_hold_beyond_the_first_block(
    tmp_path: Path, delimiter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BLOCK_BYTES", 64)
    rows = [f"p{i}{delimiter}{i}" for i in range(400)]
    rows[150:150] = ["", ""]
    good = f"IID{delimiter}y\n" + "\n".join(rows) + "\n"
    path = write(tmp_path / "t.txt", good.encode())
    table = read_trait_table(path, ["y"])
    np.testing.assert_array_equal(table.values[:, 0], np.arange(400))
    assert list(table.sample_ids) == [f"p{i}" for i in range(400)]

    at = {"number": "p300", "byte": "p301"}
    line = good.splitlines().index(f"{at['number']}{delimiter}300") + 1
    wrong = good.replace(f"p300{delimiter}300", f"p300{delimiter}3oo")
    with pytest.raises(InputError, match="'3oo' is not a number") as caught:
        read_trait_table(write(path, wrong.encode()), ["y"])
    assert caught.value.where == f"{path}, line {line}, column 'y'"
    broken = good.encode().replace(b"p301", b"p\xfe1")
    with pytest.raises(FileFormatError) as damaged:
        read_trait_table(write(path, broken), ["y"])
    assert damaged.value.where == f"{path}, line {line + 1}"


def types(path: Path, *, extra: tuple[object, ...] = ()) -> dict[str, str]:
    table = open_table(path)
    columns = table.columns(table.names, numeric=table.names[1:], missing=MissingValues.with_extra(extra))
    return {name: str(column.type) for name, column in columns}


NUMBERS = {
    "1": 1.0,
    "-2.50": -2.5,
    "1e-3": 0.001,
    "007": 7.0,
    '"8"': 8.0,
    " 9": 9.0,
    "NA ": np.nan,
    "": np.nan,
    "-nan": np.nan,
}


def test_numbers_are_converted_while_the_text_is_read(tmp_path: Path) -> None:
    rows = "".join(f"{row:03}\t{cell}\t0\n" for row, cell in enumerate(NUMBERS))
    path = write(tmp_path / "t", b"IID\ty\tz\n" + rows.encode())
    assert types(path) == {"IID": "string", "y": "double", "z": "double"}
    table = read_trait_table(path, ["y"])
    np.testing.assert_array_equal(table.values[:, 0], list(NUMBERS.values()))
    assert list(table.sample_ids) == [f"{row:03}" for row in range(len(NUMBERS))]


def test_columns_of_text_do_not_keep_the_others_from_being_converted(tmp_path: Path) -> None:
    path = write(tmp_path / "t", b"IID\ty\tsite\nann\t1\tX\nbob\t-9\t7\n")
    assert types(path) == {"IID": "string", "y": "double", "site": "string"}
    table = read_covariate_table(path, missing_values=[-9])
    np.testing.assert_array_equal(table.columns["y"].values, [1.0, np.nan])
    assert table.columns["site"].levels == ("7", "X")


def test_a_late_word_leaves_the_columns_as_text(tmp_path: Path) -> None:
    rows = "".join(f"p{row}\t{row}\tX\n" for row in range(FIRST_ROWS))
    path = write(tmp_path / "t", f"IID\ty\tsite\n{rows}last\tlow\tX\n".encode())
    assert set(types(path).values()) == {"string"}
    with pytest.raises(InputError, match="'low' is not a number") as caught:
        read_trait_table(path, ["y"])
    assert caught.value.where == f"{path}, line {FIRST_ROWS + 2}, column 'y'"


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "1e400", "-1E0101"])
def test_a_number_beyond_the_limits_is_shown_as_written(tmp_path: Path, cell: str) -> None:
    path = write(tmp_path / "t", f"IID\ty\tz\nann\t{cell}\t1\n".encode())
    assert types(path) == {"IID": "string", "y": "string", "z": "double"}
    with pytest.raises(InputError, match=f"the value '{cell}' is"):
        read_trait_table(path, ["y"])


CELLS = st.sampled_from(
    [
        *NUMBERS,
        *MISSING_WORDS,
        *("-9", "-9.0", "+1", "1.", ".5", "1e5", "1E+5", "1e-400", "0.1000000000000000055511151231257827"),
        *("1e400", "-1e101", "inf", "-INF", "Infinity", "nAn"),
        *("1_000", "0x10", "1,5", "1 000", "1d5", "1f", "--1", "- 1", "\u0661", "1\u00a0"),
        *("true", "FALSE", "low", "2020-01-01", "12:30", "5'10\""),
        *("  ", " NA", " NA ", "NA  ", "\u00a0NA", '"1"', '" 1"', '"NA"', '""', '"a,b"'),
    ]
)
PLAIN_CELLS = st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.integers(-(10**30), 10**30).map(str)


def outcome(read: Callable[[], TraitTable | CovariateTable]) -> object:
    try:
        table = read()
    except AllscanError as error:
        return type(error), error.what, error.where, error.fix
    return pickle.dumps(table)


@given(st.data())
def test_converted_while_read_or_afterwards_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    delimiter = data.draw(st.sampled_from(["\t", ",", ";", " "]))
    end = data.draw(st.sampled_from(["\n", "\r\n", "\n\n"]))
    width = data.draw(st.integers(1, 3))
    kinds = [data.draw(st.sampled_from([PLAIN_CELLS, PLAIN_CELLS | CELLS, CELLS])) for _ in range(width)]
    rows = [
        delimiter.join([f"{row:03}", *(data.draw(kind) for kind in kinds)])
        for row in range(data.draw(st.integers(1, 6)))
    ]
    header = delimiter.join(["IID", *(f"y{t}" for t in range(width))])
    path = write(tmp_path_factory.getbasetemp() / "either", end.join([header, *rows, ""]).encode())
    extra = data.draw(st.sampled_from([(), (-9,), ("-9", "low", "inf"), ("1e400", "0x10")]))

    def both() -> list[object]:
        return [
            outcome(lambda: read_trait_table(path, ["y*"], missing_values=extra)),
            outcome(lambda: read_covariate_table(path, missing_values=extra)),
        ]

    found = both()
    with patch.object(TextTable, "_converted", return_value=None):
        assert found == both()


BYTES = st.binary(max_size=60) | st.lists(
    st.sampled_from([b"IID", b"y", b"\t", b"\n", b"\r\n", b" ", b",", b'"', b"1", b"NA", b"a", b"##", b"\0", b"\xff"]),
    max_size=40,
).map(b"".join)


@given(BYTES, st.sampled_from([b"", b"IID\ty\n", b"IID y\n", b"\xef\xbb\xbfIID,y\n", b"\x1f\x8b", b"PAR1", b"BZh"]))
def test_any_bytes_are_a_table_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, start: bytes
) -> None:
    path = write(tmp_path_factory.mktemp("bytes") / "t", start + data)
    for reader in (
        lambda: read_trait_table(path, ["*"]),
        lambda: read_covariate_table(path),
        lambda: read_sample_list(path),
    ):
        try:
            reader()
        except InputError as error:
            assert error.exit_code == 2  # noqa: PT017 - most bytes are refused, some are tables
