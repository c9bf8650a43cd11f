"""Who may import whom, and how soon."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import allscan

HEAVY = {"numba", "scipy", "zarr", "xarray", "dask", "pandas", "pyarrow", "formulaic", "msprime", "ray"}


def run(*arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_import_contracts_hold(repository: Path) -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    said = run(str(lint_imports), "--no-cache", cwd=repository)
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", said)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["ingest", "--help"]])
def test_help_does_not_wait_for_heavy_libraries(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['allscan', *{arguments!r}]\n"
        "from allscan.jobs.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print('loaded', *sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    loaded = run(sys.executable, "-c", code).splitlines()[-1].split()
    assert loaded[0] == "loaded"
    assert not HEAVY & set(loaded)


def test_importing_allscan_is_light() -> None:
    loaded = run(sys.executable, "-c", "import allscan, sys; print(*{n.split('.')[0] for n in sys.modules})").split()
    assert not (HEAVY | {"numpy"}) & set(loaded)


def test_every_public_name_can_be_imported() -> None:
    for name in allscan.__all__:
        assert getattr(allscan, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        allscan.nonsense  # noqa: B018 - the access is the test
