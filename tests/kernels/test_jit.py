"""Kernels are compiled when they are called; compiled code is kept, never outlives its sources, and is never a must."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from allscan.kernels.jit import Kernel, jit
from allscan.kernels.packing import count_ones
from allscan.kernels.student import t_neg_log10_p

CALLER = """
from allscan.kernels.jit import jit
from allscan.kernels.student import t_neg_log10_p


@jit
def twice(t: float) -> float:
    return 2.0 * t_neg_log10_p(t, 10.0)
"""

PROGRAM = """
import json, os, sys
unwritable = tuple(json.loads(os.environ["UNWRITABLE"]))

def refuse(event, arguments):
    writes = event == "os.mkdir" or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR))
    if writes and str(arguments[0]).startswith(unwritable):
        raise PermissionError(13, "Permission denied", str(arguments[0]))

# Not by the folders' modes: those do not stop root, who may be the one who runs the tests.
sys.addaudithook(refuse)
from allscan.kernels import caller
value = caller.twice(3.0)
stats = caller.twice.dispatcher.stats
print(json.dumps([value, sum(stats.cache_hits.values()), sum(stats.cache_misses.values())]))
"""


class Installation:
    """A copy of allscan, with a kernel that calls one of another file."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.kernels = folder / "src" / "allscan" / "kernels"
        self.home = folder / "home"
        shutil.copytree(
            repository / "src" / "allscan", self.kernels.parent, ignore=shutil.ignore_patterns("__pycache__")
        )
        (self.kernels / "caller.py").write_text(CALLER)
        self.home.mkdir()

    def run(self, unwritable: tuple[Path, ...] = (), shared: Path | None = None) -> tuple[float, int, int]:
        """Result, compiled kernels taken from the disk, kernels compiled."""
        environment = {
            key: value for key, value in os.environ.items() if key not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")
        }
        environment |= {
            "HOME": str(self.home),
            "PYTHONPATH": str(self.kernels.parents[1]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "UNWRITABLE": json.dumps([str(path) for path in unwritable]),
        }
        if shared is not None:
            environment["NUMBA_CACHE_DIR"] = str(shared)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=self.home, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        value, hits, misses = json.loads(done.stdout)
        return value, hits, misses

    def kept(self, folder: Path) -> list[Path]:
        return sorted(folder.rglob("*.kernel"))


@pytest.fixture
def installation(repository: Path, tmp_path: Path) -> Installation:
    return Installation(repository, tmp_path)


def test_a_change_in_one_file_reaches_kernels_kept_from_another(installation: Installation) -> None:
    first, hits, misses = installation.run()
    assert (hits, misses) == (0, 1)
    kept = installation.kept(installation.kernels)
    assert installation.run() == (first, 1, 0)
    student = installation.kernels / "student.py"
    text = student.read_text()
    student.write_text(text.replace("LOG10_E = math.log10(math.e)", "LOG10_E = 2 * math.log10(math.e)"))
    assert student.read_text() != text
    changed, hits, misses = installation.run()
    assert (hits, misses) == (0, 1)
    assert changed == pytest.approx(2 * first)
    # The older code is overwritten, not kept beside.
    assert installation.kept(installation.kernels) == kept


def test_kernels_are_kept_with_the_program_and_used_where_it_cannot_be_written(installation: Installation) -> None:
    value, _, _ = installation.run()
    beside = installation.kernels / "__pycache__"
    assert installation.kept(beside)
    assert not installation.kept(installation.home)
    assert installation.run(unwritable=(beside,)) == (value, 1, 0)


def test_without_write_access_to_the_program_kernels_are_kept_for_the_user(installation: Installation) -> None:
    value, _, misses = installation.run(unwritable=(installation.kernels,))
    assert misses == 1
    assert not installation.kept(installation.kernels)
    assert installation.kept(installation.home / ".cache" / "allscan")
    assert installation.run(unwritable=(installation.kernels, installation.home)) == (value, 1, 0)


def test_where_nothing_can_be_written_kernels_are_compiled_and_not_kept(installation: Installation) -> None:
    for _ in range(2):
        _, hits, misses = installation.run(unwritable=(installation.kernels, installation.home))
        assert (hits, misses) == (0, 1)


def test_a_shared_folder_is_used_alone_and_may_be_read_only(installation: Installation, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    value, _, _ = installation.run(shared=shared)
    assert installation.kept(shared)
    assert not installation.kept(installation.kernels)
    assert installation.run(shared=shared, unwritable=(shared,)) == (value, 1, 0)


@pytest.mark.parametrize("damage", ["truncated", "changed"])
def test_damaged_code_is_compiled_again(installation: Installation, damage: str) -> None:
    value, _, _ = installation.run()
    for path in installation.kept(installation.kernels):
        content = path.read_bytes()
        flipped = content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]
        path.write_bytes({"truncated": content[: len(content) // 2], "changed": flipped}[damage])
    assert installation.run() == (value, 0, 1)


def test_kept_code_runs_without_the_compiler_which_can_start_afterwards(installation: Installation) -> None:
    value, _, _ = installation.run()
    program = (
        "import sys, numpy as np, numba; from allscan.kernels import caller, student\n"
        "values = [caller.twice(3.0), 'numba.np.arraymath' in sys.modules]\n"
        "theirs = numba.njit(lambda x: np.sum(np.array([caller_twice(x), student_t(x, 10.0)])))\n"
        "caller_twice, student_t = caller.twice, student.t_neg_log10_p\n"
        "print(*values, theirs(3.0), 'numba.np.arraymath' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(installation.kernels.parents[1])}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    kept, before, compiled, after = done.stdout.split()
    assert (float(kept), before, after) == (value, "False", "True")
    assert float(compiled) == pytest.approx(1.5 * value, rel=1e-12)


def test_kernels_work_without_compilation(installation: Installation) -> None:
    program = "from allscan.kernels import caller; print(caller.twice(3.0))"
    environment = {**os.environ, "PYTHONPATH": str(installation.kernels.parents[1]), "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(2 * t_neg_log10_p(3.0, 10.0), rel=1e-12)


def test_importing_kernels_does_not_start_numba() -> None:
    program = "import sys; from allscan.kernels import student; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_calling_a_kernel_does_not_load_linear_algebra_and_leaves_it_to_kernels_that_use_it() -> None:
    program = (
        "import sys, numpy as np, numba; from allscan.kernels.student import t_neg_log10_p; t_neg_log10_p(3.0, 10.0)\n"
        "before = 'scipy.linalg' in sys.modules\n"
        "dot = numba.njit(lambda a, b: np.dot(a, b))\n"
        "print(before, dot(np.ones(3), np.full(3, 2.0)), 'scipy.linalg' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "6.0", "True"]


@jit
def plus_one(x: float) -> float:
    """One more."""
    return x + 1.0


@jit
def ones(words: Any) -> int:
    total = 0
    for word in words:
        total += count_ones(word)
    return total


def test_kernels_can_use_instructions() -> None:
    assert ones(np.array([7, 8, 2**64 - 1], np.uint64)) == 3 + 1 + 64


def test_compiled_functions_of_others_can_call_a_kernel() -> None:
    @numba.njit
    def theirs(x: float) -> float:
        return plus_one(x) * 2.0

    @numba.njit
    def applied(function: Any, x: float) -> Any:
        return function(x)

    assert theirs(1.0) == 4.0
    assert applied(plus_one, 1.0) == 2.0


def test_a_kernel_is_pickled_by_name_and_looks_like_its_function() -> None:
    assert pickle.loads(pickle.dumps(t_neg_log10_p)) is t_neg_log10_p
    kernel: Any = plus_one
    assert isinstance(kernel, Kernel)
    assert (kernel.__name__, kernel.__doc__, kernel.py_func(1.0)) == ("plus_one", "One more.", 2.0)
    assert "plus_one" in repr(kernel)


def test_a_kernel_with_values_of_its_own_is_not_mistaken_for_its_twin() -> None:
    def adding(amount: float) -> Any:
        @jit
        def add(x: float) -> float:
            return x + amount

        return add

    for amount in (1.0, 2.0, np.pi):
        assert adding(amount)(1.0) == 1.0 + amount
