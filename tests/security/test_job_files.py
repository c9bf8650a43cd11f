"""A job file is data: nothing in it is executed, and none makes the program work or grow without bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from allscan.documents.yaml_source import MAX_BYTES, parse_yaml, read_yaml
from allscan.jobs.spec import validate_job
from tests.security.conftest import Refusal, soon

ROOM = MAX_BYTES - 100
JOB = "name: x\ngenotypes: g\noutput: o\ntraits:\n  file: f\n  columns: [a]\n"


def _filled(piece: str) -> str:
    return piece * (ROOM // len(piece))


def _job(text: str) -> object:
    document = parse_yaml(text, Path("job.yaml"))
    return validate_job(document.data, document)


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['touch /tmp/x']",
        "a: !!python/name:os.system ''",
        "a: !!python/module:os ''",
        "!!python/object/new:subprocess.Popen [[id]]",
        "%TAG ! tag:yaml.org,2002:python/object/apply:\n---\na: !os.system [id]",
        "a: !!binary aWQ=",
        "a: !include /etc/passwd",
        "? !!python/name:os.system x\n: 1",
    ],
)
def test_tags_are_refused(text: str, refusal: Refusal) -> None:
    assert "tag" in refusal(lambda: parse_yaml(text, Path("job.yaml"))).what


def test_merge_keys_are_keys_like_others(refusal: Refusal) -> None:
    assert parse_yaml("a: &a {b: 1}\nc: {<<: *a}", Path("job.yaml")).data["c"] == {"<<": {"b": 1}}
    refusal(lambda: _job(JOB + "runtime: &r {workers: 1}\nreport: {<<: *r}\n"))


def test_a_billion_laughs_are_refused(refusal: Refusal) -> None:
    lines = ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 30)]
    assert "unfolds" in refusal(lambda: parse_yaml("\n".join(lines), Path("job.yaml"))).what


def test_an_alias_inside_its_own_anchor_is_refused(refusal: Refusal) -> None:
    refusal(lambda: parse_yaml("a: &a [*a]", Path("job.yaml")))


@pytest.mark.parametrize(
    "piece",
    [
        "[",
        "{",
        "? ",
        "- ",
        "a: ",
        "*a ",
        "&a ",
        "[a,",
        "[?",
        "%TAG ! tag:x,2000:\n",
        "\t",
        "---\n",
        "{? ",
        "'a\n",
        '"a\\n',
    ],
    ids=repr,
)
def test_a_file_full_of_one_mark_is_refused_soon(piece: str, refusal: Refusal) -> None:
    refusal(lambda: parse_yaml(_filled(piece), Path("job.yaml")))


def test_deep_nesting_is_refused(refusal: Refusal) -> None:
    text = "\n".join(" " * k + "a:" for k in range(1400))
    assert "levels" in refusal(lambda: parse_yaml(text, Path("job.yaml"))).what


def test_a_file_of_50_megabytes_is_not_read(tmp_path: Path, refusal: Refusal) -> None:
    path = tmp_path / "job.yaml"
    with path.open("wb") as file:
        file.truncate(50 << 20)
    assert "larger than" in refusal(lambda: read_yaml(path)).what


@pytest.mark.parametrize(
    "line",
    [
        "runtime: {workers: 0x" + "f" * 9000 + "}",
        "runtime: {workers: 0o" + "7" * 9000 + "}",
        "runtime: {workers: " + "9" * 9000 + "}",
        "runtime: {memory: " + "9" * 400 + "TB}",
        "runtime: {memory: " + "9" * 900_000 + "}",
        "variants: {min_mac: 0x" + "f" * 9000 + "}",
        "variants: {min_mac: 1" + "0" * 900_000 + ".0}",
        "variants: {regions: '22:" + "9" * 9000 + "'}",
        "variants: {regions: '22" + ":1-" * 300_000 + "x'}",
        "? " + "k" * 900_000 + "\n: x",
        "\n".join(f"k{k}: x" for k in range(50_000)),
        "results: {hits_neg_log10_p: 1e999}",
    ],
    ids=lambda line: line[:24],
)
def test_huge_values_are_refused(line: str, refusal: Refusal) -> None:
    refusal(lambda: _job(JOB + line + "\n"))


def test_thousands_of_problems_are_counted_and_a_few_told(refusal: Refusal) -> None:
    columns = "".join(f"    t{k}: {{tpye: x}}\n" for k in range(20_000))
    error = refusal(lambda: _job("name: x\ngenotypes: g\noutput: o\ntraits:\n  file: f\n  columns:\n" + columns))
    assert "20000 problems" in error.what
    assert "… and 19992 more" in error.what


def test_as_many_traits_as_a_phenome_has_are_welcome() -> None:
    with soon():
        _job(
            "name: x\ngenotypes: g\noutput: o\ntraits:\n  file: f\n  columns:\n"
            + "".join(f"  - phe_{k}\n" for k in range(5000))
        )


@pytest.mark.parametrize("text", ["a\x1b[31mb", "line\nbreak", "nul\0", "right\u202eleft", "\u2028"], ids=ascii)
def test_texts_of_a_job_hold_no_control_characters(text: str, refusal: Refusal) -> None:
    escaped = "".join(f"\\u{ord(c):04x}" for c in text)
    for key in ("name", "genotypes", "output"):
        refusal(lambda key=key: _job(JOB.replace(f"{key}: ", f'{key}: "{escaped}" # ', 1)))  # type: ignore[misc]


def test_a_job_that_names_a_device_as_its_table_is_refused(cohort, allscan_cli) -> None:
    for device in ("/dev/zero", "/dev/random"):
        result = allscan_cli("check", cohort.job(traits={"file": device, "columns": ["a"]}))
        assert result.exit_code == 2, result.output
        assert "neither a file nor a folder" in result.output
