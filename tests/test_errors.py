"""What a failed write says."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from allscan.errors import InputError, OutputError, free_space, output_error, size_text, writing

ADVICE = {"again": "do it again", "elsewhere": "write elsewhere"}


@pytest.mark.parametrize(
    ("code", "what", "fix"),
    [
        (errno.ENOSPC, r"the disk is full \(No space left on device\); .* are free", "make room and do it again"),
        (errno.EDQUOT, "the disk is full", "make room and do it again"),
        (errno.EFBIG, "refuses a file of this size", "raise the limit (ulimit -f) and do it again"),
        (errno.EROFS, "cannot be written: Read-only file system", "write elsewhere"),
        (errno.ENOTDIR, "a file is in the way", "write elsewhere"),
        (errno.EIO, "cannot be written: Input/output error", "write elsewhere"),
    ],
)
def test_a_failed_write_says_what_where_and_what_to_do(code: int, what: str, fix: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=what) as caught, writing(tmp_path / "out", **ADVICE):
        raise OSError(code, os.strerror(code))
    assert caught.value.fix == fix
    assert caught.value.where == str(tmp_path / "out")


def test_the_file_that_failed_is_named_but_not_a_temporary_one(tmp_path: Path) -> None:
    other = OSError(errno.EACCES, "Permission denied", str(tmp_path / "other"))
    assert output_error(other, tmp_path / "out", **ADVICE).where == str(tmp_path / "other")
    temporary = OSError(errno.EACCES, "Permission denied", str(tmp_path / ".out.12ab.partial"))
    assert output_error(temporary, tmp_path / "out", **ADVICE).where == str(tmp_path / "out")


def test_an_error_that_is_understood_already_passes(tmp_path: Path) -> None:
    for known in (OutputError("full", where="there", fix="wait"), InputError("no")):
        with pytest.raises(type(known)) as caught, writing(tmp_path, **ADVICE):
            raise known
        assert caught.value is known
    full = OutputError("full")
    assert output_error(full, tmp_path, **ADVICE) is full


def test_free_space_of_a_folder_to_come_is_that_of_its_disk(tmp_path: Path) -> None:
    assert free_space(tmp_path / "not" / "yet") == pytest.approx(free_space(tmp_path), rel=0.2)
    assert (size_text(3 * 2**30), size_text(2**19)) == ("3.0 GiB", "0.5 MiB")
