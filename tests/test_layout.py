"""The folders at the top are the sub-packages of allscan, and each is imported once."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAP = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
ROOMS: dict[str, str] = MAP["package-dir"]


def test_every_source_folder_is_packaged() -> None:
    rooms = [p.parent for p in ROOT.glob("*/__init__.py")]
    inits = [init for room in rooms for init in room.rglob("__init__.py")]
    folders = {"allscan." + ".".join(p.parent.relative_to(ROOT).parts) for p in inits}
    folders |= {
        f"allscan.{p.parent.name}"
        for p in (ROOT / "src" / "allscan").glob("*/__init__.py")
        if not p.parent.is_symlink()
    }
    assert folders | {"allscan"} == set(MAP["packages"])


def test_every_module_stands_in_a_package() -> None:
    for room in set(ROOMS.values()) - {"src/allscan"}:
        for module in (ROOT / room).rglob("*.py"):
            assert (module.parent / "__init__.py").exists(), f"{module.relative_to(ROOT)} is not installed"


def test_links_match_the_build() -> None:
    assert set(MAP["packages"]) >= set(ROOMS)
    for name, folder in ROOMS.items():
        assert (ROOT / "src" / name.replace(".", "/")).resolve() == (ROOT / folder).resolve()


def test_files_beside_the_code_are_packaged() -> None:
    patterns = MAP["package-data"]["*"]
    for room in set(ROOMS.values()):
        for path in (ROOT / room).rglob("*"):
            if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts:
                assert any(path.match(pattern) for pattern in patterns), f"{path.relative_to(ROOT)} not packaged"


def test_no_folder_is_an_import_root() -> None:
    # In a process of its own: what other tests have imported does not count.
    code = "import sys, allscan.jobs.cli, allscan.engine.scan, allscan.engine.store; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "allscan.engine.scan" in loaded.split()
    assert not {name.split(".")[1] for name in ROOMS if "." in name} & set(loaded.split())
