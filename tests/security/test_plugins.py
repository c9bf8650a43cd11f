"""Association tests are found by the names of installed packages; a job file cannot have a module imported."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from allscan.engine import plugins
from allscan.engine.association_tests import TESTS, find_test
from allscan.errors import InputError
from allscan.jobs.job import Job
from tests.jobs.conftest import Cohort, CommandLine
from tests.security.conftest import Refusal


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module on the Python path that leaves a mark where it is imported."""
    mark = tmp_path / "it-ran"
    (tmp_path / "allscan_trap.py").write_text(
        f"open({str(mark)!r}, 'w').close()\nfrom allscan.kernels.linear import LINEAR as TEST\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "allscan_trap", raising=False)
    return mark


@pytest.mark.parametrize("written", ["allscan_trap:TEST", {"name": "allscan_trap:TEST"}], ids=["name", "section"])
@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_a_job_file_imports_no_module(
    command: str, written: object, trap: Path, cohort: Cohort, allscan_cli: CommandLine
) -> None:
    result = allscan_cli(command, cohort.job(test=written))
    assert result.exit_code == 2
    assert "installed tests only" in result.output
    assert not trap.exists()


@pytest.mark.parametrize("name", ["allscan_trap", "allscan_trap.TEST", "os", "os.system", "../allscan_trap", "linear "])
def test_other_spellings_import_nothing_either(name: str, trap: Path, cohort: Cohort, allscan_cli: CommandLine) -> None:
    result = allscan_cli("check", cohort.job(test=name))
    assert result.exit_code == 2
    assert "there is no association test" in result.output
    assert not trap.exists()


def test_who_writes_python_may_name_a_module(trap: Path, cohort: Cohort) -> None:
    job = {
        "name": "notebook",
        "genotypes": "cohort.zarr",
        "traits": {"file": "traits.tsv", "columns": ["height"]},
        "output": "run",
        "test": "allscan_trap:TEST",
    }
    Job.from_dict(job, base=cohort.folder).check()
    assert trap.exists()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    """Other packages with tests."""

    def install(**homes: str) -> None:
        points = EntryPoints(EntryPoint(name.rstrip("_"), home, TESTS.group) for name, home in homes.items())
        monkeypatch.setattr(plugins, "entry_points", lambda: points)
        plugins.forget_installed()

    yield install
    plugins.forget_installed()


def test_two_packages_of_one_name_are_refused(installed, refusal: Refusal) -> None:
    installed(score="allscan.kernels.linear:LINEAR", score_="elsewhere:SCORE")
    error = refusal(lambda: find_test("score"))
    assert "two packages" in error.what
    assert "elsewhere:SCORE" in str(error.where)


def test_to_list_tests_or_to_use_one_imports_no_other(installed, trap: Path) -> None:
    installed(linear="allscan.kernels.linear:LINEAR", other="allscan_trap:TEST")
    assert set(TESTS.available()) == {name for name, _ in TESTS.built_in} | {"other"}
    find_test("linear")
    with pytest.raises(InputError):
        find_test("third")
    assert not trap.exists()


def test_a_package_that_fails_as_it_is_imported_is_told(installed, tmp_path: Path, monkeypatch, refusal) -> None:
    (tmp_path / "allscan_broken.py").write_text("raise RuntimeError('no licence')\n")
    monkeypatch.syspath_prepend(tmp_path)
    installed(broken="allscan_broken:TEST")
    assert "RuntimeError: no licence" in refusal(lambda: find_test("broken")).what
