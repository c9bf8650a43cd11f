"""Binary traits: who is a case is told from the cells, said, and never guessed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from allscan.errors import InputError
from allscan.phenotypes.alignment import align
from allscan.phenotypes.model import TraitSpec, TraitTable
from allscan.phenotypes.tables import read_trait_table

NA = float("nan")


def read(tmp_path: Path, cells: list[str], missing_values: list[str] | None = None) -> TraitTable:
    path = tmp_path / "traits.tsv"
    path.write_text("IID\tdm\n" + "".join(f"P{i}\t{cell}\n" for i, cell in enumerate(cells)))
    return read_trait_table(path, {"dm": TraitSpec("dm", "binary")}, missing_values=missing_values)


@pytest.mark.parametrize(
    ("cells", "values", "case"),
    [
        (["0", "1", "NA", "1"], [0, 1, NA, 1], "1"),
        (["1", "2", "", "2"], [0, 1, NA, 1], "2"),
        (["1.0", "2.0", ".", "2"], [0, 1, NA, 1], "2"),
        (["true", "FALSE", "NA", "True"], [1, 0, NA, 1], "true"),
        (["yes", "no", "no", "NA"], [1, 0, 0, NA], "yes"),
        (["control", "case", "Case", "NA"], [0, 1, 1, NA], "case"),
        (["0", "0", "NA", "0"], [0, 0, NA, 0], "1"),
        (["1", "1", "NA", "1"], [1, 1, NA, 1], "1"),
        (["2", "2", "NA", "2"], [1, 1, NA, 1], "2"),
    ],
)
def test_one_coding_per_trait_which_is_said(tmp_path: Path, cells: list[str], values: list[float], case: str) -> None:
    table = read(tmp_path, cells)
    np.testing.assert_array_equal(table.values[:, 0], values)
    assert table.specs[0].case == case
    assert table.notes == (f"{tmp_path / 'traits.tsv'}: cases are {case} in dm",)


def test_what_the_job_calls_missing_decides_the_coding(tmp_path: Path) -> None:
    table = read(tmp_path, ["0", "1", "2", "-9"], ["0", "-9"])
    np.testing.assert_array_equal(table.values[:, 0], [NA, 0, 1, NA])
    assert table.specs[0].case == "2"


@pytest.mark.parametrize(
    ("cells", "line", "what", "fix"),
    [
        (["0", "1", "3", "3"], 4, r"the value 3 is neither 0 \(control\) nor 1 \(case\) \(and 1 more", "missing"),
        (["1", "2", "-9", "2"], 4, r"the value -9 is neither 1 \(control\) nor 2 \(case\)", r'\["-9"\]'),
        (["0", "1", "2", "NA"], 4, "the values are 0, 1 and 2", "if 0 means missing, as in PLINK"),
        (["0.5", "1", "0", "NA"], 2, "the value 0.5 is neither", "0 and 1, or 1 and 2"),
        (["0", "maybe", "1", "NA"], 3, "the value 'maybe' says neither case nor control", "'maybe' means missing"),
        (["true", "0", "false", "NA"], 3, "the value '0' stands beside 'true'", "one|code controls"),
        (["yes", "false", "no", "NA"], 3, "the value 'false' stands beside 'yes'", "code controls"),
        (["0", "1", "inf", "NA"], 4, "the value 'inf' says neither", "missing"),
    ],
)
def test_anything_else_is_refused_with_its_line(
    tmp_path: Path, cells: list[str], line: int, what: str, fix: str
) -> None:
    with pytest.raises(InputError, match=what) as refused:
        read(tmp_path, cells)
    assert refused.value.where == f"{tmp_path / 'traits.tsv'}, line {line}, column 'dm'"
    assert re.search(fix, refused.value.fix or "")


def test_parquet_booleans_and_dictionaries(tmp_path: Path) -> None:
    columns = {
        "IID": ["a", "b", "c"],
        "flag": pa.array([True, None, False]),
        "word": pa.array(["case", None, "control"]).dictionary_encode(),
        "byte": pa.array([2, None, 1], pa.int8()),
        "empty": pa.array([None, None, None], pa.null()),
    }
    pq.write_table(pa.table(columns), tmp_path / "traits.parquet")
    names = ["flag", "word", "byte", "empty"]
    table = read_trait_table(tmp_path / "traits.parquet", {name: TraitSpec(name, "binary") for name in names})
    for t in range(3):
        np.testing.assert_array_equal(table.values[:, t], [1, NA, 0])
    assert np.isnan(table.values[:, 3]).all()
    assert [spec.case for spec in table.specs] == ["true", "case", "2", ""]
    source = tmp_path / "traits.parquet"
    assert table.notes == tuple(
        f"{source}: cases are {case} in {name}" for case, name in [("true", "flag"), ("case", "word"), ("2", "byte")]
    )


def test_a_pattern_of_names_gives_its_type_to_all(tmp_path: Path) -> None:
    path = tmp_path / "traits.tsv"
    path.write_text("IID\tphe_1\tphe_2\nA\t1\t0\nB\t2\t1\n")
    table = read_trait_table(path, {"phe_*": TraitSpec("phe_*", "binary")})
    np.testing.assert_array_equal(table.values, [[0, 0], [1, 1]])
    assert [spec.case for spec in table.specs] == ["2", "1"]


def aligned(values: list[float], transform: str = "none") -> tuple[object, ...]:
    ids = np.array([f"P{i}" for i in range(len(values))], object)
    table = TraitTable(ids, np.array(values)[:, None], (TraitSpec("dm", "binary", transform, "1"),), "traits.tsv")
    result = align(ids, table)
    status = result.trait_status[0]
    return status.status, status.message, status.cases, result.warnings


def test_a_trait_without_cases_or_controls_is_a_status_and_no_error() -> None:
    assert aligned([0, 1, 1, 0, 0]) == ("ok", "", 2, ())
    assert aligned([0, 0, 0, 0, NA]) == ("constant", "nobody is a case", 0, ())
    assert aligned([1, 1, 1, 1, NA]) == ("constant", "everybody is a case", 4, ())


def test_a_transform_of_a_binary_trait_is_refused() -> None:
    with pytest.raises(InputError, match="a binary trait has no transform, and 'log' is asked for"):
        aligned([0, 1, 1, 0, 0], "log")
