"""Job files as text: what YAML means here, and what is refused with line and column."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allscan.documents.yaml_source import MAX_BYTES, MAX_DEPTH, parse_yaml, read_yaml
from allscan.errors import JobError

PATH = Path("job.yaml")


def parse(text: str) -> dict[str, object]:
    return parse_yaml(text, PATH).data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-9", -9),
        ("012", 12),
        ("0x1f", 31),
        ("0o17", 15),
        ("1e-5", 1e-5),
        ("5E-8", 5e-8),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("22:30", "22:30"),
        ("22:16000000-17000000", "22:16000000-17000000"),
        ("2024-01-02", "2024-01-02"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("1_000", "1_000"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    assert parse(f"key: {text}\n") == {"key": value}


def test_keys_are_text_as_written() -> None:
    assert parse("2443: {no: 1, 01: 2, true: 3}") == {"2443": {"no": 1, "01": 2, "true": 3}}


def test_positions_name_every_key_and_item() -> None:
    document = parse_yaml("a: 1\nb:\n  c: [x, y]\n  d: {e: 2}\n", PATH)
    assert document.position(("b", "c", 1)).line == 3
    assert document.position(("b", "c", 1)).column == 10
    assert (document.position(("b", "d", "e")).line, document.position(("b", "d", "e")).column) == (4, 7)
    # A key that is not there is told by the nearest one above it.
    assert document.position(("b", "d", "missing")).line == 4
    assert document.position(("missing",)).line == 1


def test_byte_order_mark_and_windows_line_ends_are_plain_text(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_bytes(b"\xef\xbb\xbfname: x\r\nlist:\r\n  - a\r\n")
    assert read_yaml(file).data == {"name": "x", "list": ["a"]}


def test_an_anchor_may_be_used_again() -> None:
    assert parse("a: &o {type: q}\nb: *o\n") == {"a": {"type": "q"}, "b": {"type": "q"}}


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        pytest.param("a:\n\tb: 1\n", "job.yaml:2:1", "tab", id="tab"),
        pytest.param("a: 1\nb:\n  c: 2\n  c: 3\n", "job.yaml:4:3", "twice", id="duplicate key"),
        pytest.param("a: {b: 1, b: 2}\n", "job.yaml:1:11", "first in line 1", id="duplicate in braces"),
        pytest.param("a: [1, 2\nb: 3\n", "job.yaml:2:2", "bracket opened in line 1", id="bracket not closed"),
        pytest.param("a: 'x\n", "job.yaml:2:1", "ends inside a quote", id="quote not closed"),
        pytest.param("a: b: c\n", "job.yaml:1:5", "wrong indentation", id="two colons"),
        pytest.param("a: 1\n  b: 2\n", "job.yaml:2:4", "wrong indentation", id="indentation"),
        pytest.param("a: @x\n", "job.yaml:1:4", "cannot start", id="reserved character"),
        pytest.param("a: !!python/object/apply:os.system [ls]\n", "job.yaml:1:4", "tag", id="python tag"),
        pytest.param("a: !mine x\n", "job.yaml:1:4", "tag", id="own tag"),
        pytest.param("a: *b\n", "job.yaml:1:4", "no anchor", id="unknown alias"),
        pytest.param("a: &a [*a]\n", "job.yaml:1:8", "inside its own anchor", id="recursive alias"),
        pytest.param("- a\n- b\n", "job.yaml:1:1", "a list", id="list"),
        pytest.param("just words\n", "job.yaml:1:1", "single value", id="scalar"),
        pytest.param("", "job.yaml", "empty", id="empty"),
        pytest.param("# only words\n", "job.yaml", "empty", id="only a comment"),
        pytest.param("a: 1\n---\nb: 2\n", "job.yaml:3:1", "more than one document", id="two documents"),
        pytest.param("? [a]\n: 1\n", "job.yaml:1:3", "not plain text", id="list as key"),
        pytest.param(": 1\n", "job.yaml:1:1", "key is empty", id="empty key"),
        pytest.param("a: 1\nb: \x00\n", "job.yaml:2", "control character", id="control character"),
        pytest.param('a: "\\ud800"\n', "job.yaml:1:4", "half of a character", id="lone surrogate"),
        pytest.param("%YAML 3.0\n---\na: 1\n", "job.yaml:1:1", "not YAML", id="other version"),
    ],
)
def test_bad_yaml_is_refused_with_line_and_column(text: str, where: str, what: str) -> None:
    with pytest.raises(JobError) as error:
        parse(text)
    assert error.value.where == where
    assert what in error.value.what
    assert error.value.fix


def test_an_alias_bomb_is_refused_before_it_unfolds() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    began = time.monotonic()
    with pytest.raises(JobError, match="unfolds"):
        parse("\n".join(lines))
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_endless_nesting_is_refused(opening: str) -> None:
    with pytest.raises(JobError):
        parse("key:\n " + opening * 2000)


def test_nesting_up_to_the_limit_is_read() -> None:
    depth = MAX_DEPTH - 2
    value = parse("key: " + "[" * depth + "]" * depth)["key"]
    for _ in range(depth - 1):
        assert isinstance(value, list)
        value = value[0]
    assert value == []


def test_files_that_are_no_job_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="no such file"):
        read_yaml(tmp_path / "missing.yaml")
    with pytest.raises(JobError, match="folder"):
        read_yaml(tmp_path)
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"a: " + b"x" * MAX_BYTES)
    with pytest.raises(JobError, match="larger than 1024 KiB"):
        read_yaml(huge)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: 1\nb: \xff\xfe\n")
    with pytest.raises(JobError, match="not UTF-8") as error:
        read_yaml(binary)
    assert error.value.where == f"{binary}:2"


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(min_size=1, max_size=8), children, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), plain, min_size=1, max_size=4))
def test_plain_data_come_back_as_another_writer_wrote_them(data: dict[str, object]) -> None:
    # JSON is YAML 1.2: a writer that knows nothing of this parser.
    assert parse(json.dumps(data, ensure_ascii=True)) == data
