"""Environment variables in YAML files: named, or refused with the line, and no credential is ever repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from allscan.documents.yaml_source import YamlDocument, parse_yaml, read_yaml
from allscan.errors import JobError

PATH = Path("job.yaml")
ENVIRONMENT = {"CDR": "gs://bucket/v8", "HOME_2": "/data: here", "EMPTY": "", "LINES": "a\nb", "DEEP": "${CDR}"}


def parse(text: str) -> YamlDocument:
    return parse_yaml(text, PATH, ENVIRONMENT)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${CDR}/aux", "gs://bucket/v8/aux"),
        ("'${CDR}'", "gs://bucket/v8"),
        ('["${CDR}/a", b]', ["gs://bucket/v8/a", "b"]),
        ("{file: '${CDR}/${CDR}'}", {"file": "gs://bucket/v8/gs://bucket/v8"}),
        ("$CDR", "$CDR"),
        ("$(CDR) %CDR% {CDR}", "$(CDR) %CDR% {CDR}"),
        ("$${CDR}", "${CDR}"),
        ("${DEEP}", "${CDR}"),  # once
        ("12", 12),
    ],
)
def test_a_name_in_brackets_stands_for_its_value(text, value):
    assert parse(f"a: {text}\n").data == {"a": value}


def test_keys_and_comments_are_left_alone():
    document = parse("${CDR}: 1  # ${NOTHING}\n")
    assert document.data == {"${CDR}": 1}
    assert not document.variables


def test_without_an_environment_it_is_a_text():
    assert parse_yaml("a: ${CDR}", PATH).data == {"a": "${CDR}"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NOTHING}", "'NOTHING' is not set"),
        ("${EMPTY}", "'EMPTY' is empty"),
        ("${LINES}", "line break"),
        ("${CDR:-x}", "names no environment variable"),
        ("${}", "names no environment variable"),
        ("${CDR", "names no environment variable"),
        ("x ${9}", "names no environment variable"),
    ],
)
def test_what_cannot_be_replaced_is_refused_with_its_line(text, message):
    with pytest.raises(JobError, match=message) as caught:
        parse(f"b: 1\na: {text}\n")
    assert caught.value.where == "job.yaml:2:4"


SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "harmless",
    "MY_TOKEN": "harmless",
    "db_password": "harmless",
    "PLACE": "gs://user:hunter2@host/x",
    "BLOB": "az://container/key?sv=1&sig=hunter2",
    "WHO": "ya29.hunter2",
    "PEM": "-----BEGIN PRIVATE KEY-----hunter2",
}


@pytest.mark.parametrize("name", SECRETS)
def test_credentials_are_refused_and_not_repeated(name):
    with pytest.raises(JobError, match="credential") as caught:
        parse_yaml(f"a: ${{{name}}}\n", PATH, SECRETS)
    assert "hunter2" not in str(caught.value)
    assert "harmless" not in str(caught.value)
    assert "job.yaml:1:4" in str(caught.value)


def test_brackets_inside_brackets_need_quotes():
    with pytest.raises(JobError, match="comma") as caught:
        parse("a: {file: ${CDR}/x}\n")
    assert "${NAME} in quotes" in str(caught.value)


def test_a_file_is_read_with_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("ALLSCAN_TEST_PLACE", "/data")
    file = tmp_path / "job.yaml"
    file.write_text("a: ${ALLSCAN_TEST_PLACE}/x\n")
    assert read_yaml(file).data == {"a": "/data/x"}
    monkeypatch.delenv("ALLSCAN_TEST_PLACE")
    with pytest.raises(JobError, match="'ALLSCAN_TEST_PLACE' is not set"):
        read_yaml(file)


@pytest.mark.parametrize("text", ["a: ${CDR}/x\nb: ['${CDR}', \"$${CDR}\"] # ${CDR}\n", "a: 1\n"])
def test_the_expanded_text_says_the_same_anywhere(text):
    document = parse(text)
    assert parse_yaml(document.expanded_text(), PATH, {}).data == document.data


@pytest.mark.parametrize("name", ["HOME_2", "DEEP"])
def test_a_value_that_would_read_otherwise_stays_a_variable(name):
    document = parse(f"a: ${{{name}}}\n")
    assert document.expanded_text() == document.text
