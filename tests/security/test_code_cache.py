"""Compiled kernels and templates are code: they are loaded only from files that nobody else can have written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from allscan import code_cache
from allscan.code_cache import _is_trusted, _read_trusted

ME = os.geteuid()
OTHER = ME + 1000


def _found(path: Path, *, mode: int = 0o644, owner: int = ME, group: int | None = None) -> os.stat_result:
    real = list(path.stat())
    real[0] = (real[0] & ~0o777) | mode
    real[4] = owner
    real[5] = real[5] if group is None else group
    return os.stat_result(real)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "kernels"
    folder.mkdir(mode=0o755)
    file = folder / "linear.py"
    file.write_text("")
    folder.chmod(0o755)
    return file


@pytest.mark.parametrize(
    ("change", "trusted"),
    [
        ({}, True),
        ({"mode": 0o600}, True),
        ({"owner": 0}, True),
        ({"owner": OTHER}, False),
        ({"mode": 0o666}, False),
        ({"mode": 0o664}, False),
        ({"mode": 0o646}, False),
    ],
    ids=str,
)
def test_owner_and_mode_decide(change: dict[str, int], trusted: bool, source: Path) -> None:
    assert _is_trusted(_found(source, **change), source) is trusted


def test_a_group_that_writes_the_sources_may_write_what_is_made_of_them(source: Path) -> None:
    source.parent.chmod(0o775)
    assert _is_trusted(_found(source, mode=0o664), source)
    assert not _is_trusted(_found(source, mode=0o664, group=source.stat().st_gid + 1), source)
    assert not _is_trusted(_found(source, mode=0o666), source)


def test_a_file_in_a_folder_of_everybody_is_not_loaded(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    kept = folder / "a.kernel"
    kept.write_bytes(b"code")
    folder.chmod(0o755)
    kept.chmod(0o644)
    assert _read_trusted(kept, source) == b"code"
    for path, mode in ((folder, 0o777), (kept, 0o666)):
        before = path.stat().st_mode
        path.chmod(mode)
        with pytest.raises(PermissionError, match="others"):
            _read_trusted(kept, source)
        path.chmod(before)


def test_a_link_is_not_followed(source: Path, tmp_path: Path) -> None:
    real = tmp_path / "real.kernel"
    real.write_bytes(b"code")
    link = tmp_path / "a.kernel"
    link.symlink_to(real)
    with pytest.raises(OSError, match="symbolic links"):
        _read_trusted(link, source)


def test_what_is_kept_is_trusted_whatever_the_umask(source: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = tmp_path / "cache"
        folder.mkdir(0o755)
        code_cache._write(folder / "a.kernel", b"code")
    finally:
        os.umask(before)
    assert _read_trusted(folder / "a.kernel", source) == b"code"
