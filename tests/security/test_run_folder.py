"""Run folders that somebody else prepared: links in them lead nowhere, and a damaged file is told, not a bug."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from allscan.storage import write_files
from tests.jobs.conftest import Cohort, CommandLine


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file of the user's outside the run folder."""
    path = tmp_path / "precious"
    path.write_text("years of work\n")
    return path


@pytest.mark.parametrize("name", ["run.log.jsonl", "run.lock", ".hits.parquet.partial"])
def test_nothing_is_written_through_a_planted_link(
    name: str, precious: Path, cohort: Cohort, allscan_cli: CommandLine
) -> None:
    run = cohort.folder / "run"
    run.mkdir()
    (run / name).symlink_to(precious)
    result = allscan_cli("run", cohort.job())
    assert result.exit_code in (0, 2), result.output
    assert precious.read_text() == "years of work\n"


@pytest.mark.parametrize("name", ["report.html", "hits.parquet", "job.yaml"])
def test_a_link_in_the_place_of_an_output_is_replaced(
    name: str, precious: Path, done: Cohort, allscan_cli: CommandLine
) -> None:
    run = done.folder / "run"
    (run / "provenance.json").unlink()  # so that everything is written again
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(precious)
    result = allscan_cli("run", done.job())
    assert result.exit_code == 0, result.output
    assert precious.read_text() == "years of work\n"
    assert not (run / name).is_symlink()


def test_chunks_are_not_written_through_links(precious: Path, tmp_path: Path) -> None:
    (tmp_path / ".0.partial").symlink_to(precious)
    with pytest.raises(OSError, match="symbolic links"):
        write_files([(tmp_path / "0", [b"chunk"])])
    assert precious.read_text() == "years of work\n"


@pytest.mark.parametrize(
    "change",
    [
        {"tasks_done": "many"},
        {"tasks_total": None},
        {"state": "owned"},
        {"state": []},
        {"name": {}},
        {"science": 3},
        {"session": []},
        {"earlier_sessions": {}},
    ],
    ids=str,
)
@pytest.mark.parametrize("command", ["status", "run", "report"])
def test_a_state_of_other_types_is_refused(
    command: str, change: dict[str, object], done: Cohort, allscan_cli: CommandLine
) -> None:
    run = done.folder / "run"
    state = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**state, **change}))
    result = allscan_cli(command, done.job() if command == "run" else run)
    (run / "run.json").write_text(json.dumps(state))
    assert result.exit_code == 2, result.output
    assert "damaged" in result.output


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"{", b'{"digest": 1}', b'"x"', b"\xff\xfe"], ids=repr)
def test_a_damaged_commit_is_no_commit(content: bytes, done: Cohort, allscan_cli: CommandLine) -> None:
    commits = done.folder / "run" / "commits"
    first = sorted(commits.iterdir())[0]
    right = first.read_bytes()
    first.write_bytes(content)
    (commits / "s-b-vx.json").write_bytes(content)
    (commits / "b0-v99999999999999.json").write_bytes(b"{}")
    (done.folder / "run" / "provenance.json").unlink()
    result = allscan_cli("run", done.job())
    assert result.exit_code == 0, result.output
    assert first.read_bytes() == right


@pytest.fixture
def done(cohort: Cohort, allscan_cli: CommandLine) -> Cohort:
    """A cohort whose job is complete."""
    assert allscan_cli("run", cohort.job()).exit_code == 0
    return cohort
