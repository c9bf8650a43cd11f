"""Traits, covariates and lists of people: ids, missing values, numbers and categories."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from allscan.errors import InputError
from allscan.phenotypes.model import TraitSpec
from allscan.phenotypes.tables import read_covariate_table, read_sample_list, read_trait_table


@pytest.fixture
def text(tmp_path: Path) -> Any:
    def write(content: str, name: str = "table.tsv") -> Path:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return path

    return write


@pytest.fixture
def parquet(tmp_path: Path) -> Any:
    def write(columns: dict[str, Any]) -> Path:
        path = tmp_path / "table.parquet"
        pq.write_table(pa.table(columns), path)
        return path

    return write


# Ids


@pytest.mark.parametrize(
    "header",
    [
        "IID\tFID",
        "FID\tIID",
        "#FID\tIID",
        "#IID\tSID",
        "sample_id\tx",
        "person_id\tx",
        "research_id\tx",
        "s\tx",
        "iid\tx",
    ],
)
def test_known_keys_are_found(text: Any, header: str) -> None:
    names = header.split("\t")
    key = next(name for name in names if name.lstrip("#").lower() not in ("fid", "x", "sid"))
    row = ["person" if name == key else "0" for name in names]
    table = read_trait_table(text(f"{header}\ty\n" + "\t".join(row) + "\t1\n"), ["y"])
    assert list(table.sample_ids) == ["person"]
    assert table.id_column == key.lstrip("#")


def test_family_ids_are_set_aside_and_that_is_said(text: Any) -> None:
    table = read_trait_table(text("#FID IID y\nf1 a 1\nf1 b 2\n0 c 3\n"), ["y"])
    assert list(table.sample_ids) == ["a", "b", "c"]
    assert "matched by IID; FID is not used" in table.notes[0]


def test_the_job_can_name_the_id_column(text: Any) -> None:
    path = text("sample\tIID\ty\nann\tx\t1\nbob\ty\t2\n")
    assert list(read_trait_table(path, ["y"], id_column="sample").sample_ids) == ["ann", "bob"]
    with pytest.raises(InputError, match="no column 'sampel'") as caught:
        read_trait_table(path, ["y"], id_column="sampel")
    assert caught.value.fix == "did you mean 'sample'?"


def test_no_id_column_and_two_id_columns_are_refused(text: Any) -> None:
    with pytest.raises(InputError, match="no column holds the people's ids") as caught:
        read_trait_table(text("name\ty\na\t1\n"), ["y"])
    assert "id_column: name" in str(caught.value.fix)
    with pytest.raises(InputError, match="more than one column could hold the people's ids: IID, person_id"):
        read_trait_table(text("IID\tperson_id\ty\na\t1\t1\n"), ["y"])


def test_s_is_an_id_column_only_in_the_first_place(text: Any) -> None:
    table = read_trait_table(text("IID\ts\na\t1.5\n"), ["s"])
    assert (table.id_column, table.values[0, 0]) == ("IID", 1.5)
    with pytest.raises(InputError, match="no column holds"):
        read_trait_table(text("y\ts\n1\ta\n"), ["y"])


def test_ids_that_look_like_numbers_are_not_touched(text: Any) -> None:
    ids = ["00123", "123", "1000000000000000001", "1e5", "1E+15", "123.0", "-5", "NA12878", "TRUE", "0x10"]
    path = text("IID\ty\n" + "".join(f"{person}\t1\n" for person in ids))
    assert list(read_trait_table(path, ["y"]).sample_ids) == ids


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1000004, 2**62 + 1], pa.int64()), ["1000004", "4611686018427387905"]),
        (pa.array([1000004.0, 7.0], pa.float64()), ["1000004", "7"]),
        (pa.array(["00123", "123"], pa.large_string()), ["00123", "123"]),
        (pa.array(["00123", "123"]).dictionary_encode(), ["00123", "123"]),
        (pa.array([Decimal(12345678901234567890), Decimal(1)], pa.decimal128(38, 0)), ["12345678901234567890", "1"]),
        (pa.array([255, 3], pa.uint8()), ["255", "3"]),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_parquet_ids_of_every_exact_type(parquet: Any, column: Any, expected: list[str]) -> None:
    table = read_trait_table(parquet({"person_id": column, "y": [1.0, 2.0]}), ["y"])
    assert list(table.sample_ids) == expected
    assert all(type(person) is str for person in table.sample_ids)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([1.5, 2.0]), "1 of them are not whole numbers"),
        (pa.array([1.0, 2.0**53]), "too large to be exact"),
        (pa.array([1.0, float("inf")]), "too large to be exact"),
        (pa.array([1.0, None]), "1 rows have no id"),
        (pa.array(["a", None]), "1 rows have no id"),
        (pa.array(["a", " "]), "1 rows have no id"),
        (pa.array([dt.date(2020, 1, 1)] * 2), "cannot hold ids"),
        (pa.array([True, False]), "cannot hold ids"),
        (pa.array([Decimal("1.50"), Decimal("2.50")]), "cannot hold ids"),
    ],
    ids=str,
)
def test_parquet_ids_that_may_be_mangled_are_refused(parquet: Any, column: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_trait_table(parquet({"person_id": column, "y": [1.0, 2.0]}), ["y"])
    assert "column 'person_id'" in str(caught.value.where)


@pytest.mark.parametrize("rows", ["a\t1\nb\t2\n\na\t3\n", " a\t1\nb\t2\n\na \t3\n"])
def test_repeated_ids_are_refused_by_line_and_not_named(text: Any, rows: str) -> None:
    path = text("IID\ty\n" + rows)
    with pytest.raises(InputError, match="1 rows repeat the id of an earlier row") as caught:
        read_trait_table(path, ["y"])
    assert caught.value.where == f"{path}, line 2, column 'IID' and line 5"


def test_one_iid_in_two_families_is_a_repeated_id(text: Any) -> None:
    with pytest.raises(InputError, match="told apart by IID alone"):
        read_trait_table(text("FID\tIID\ty\nf1\ta\t1\nf2\ta\t2\n"), ["y"])


def test_an_empty_id_is_refused(text: Any) -> None:
    path = text("IID\ty\na\t1\n\t2\nNA\t3\n")
    with pytest.raises(InputError, match="2 rows have no id") as caught:
        read_trait_table(path, ["y"])
    assert caught.value.where == f"first: {path}, line 3, column 'IID'"


# Which columns


def test_columns_as_list_pattern_or_mapping(text: Any) -> None:
    path = text("FID IID phe_1 bmi phe_2 a*c\n0 x 1 2 3 4\n")
    assert [spec.name for spec in read_trait_table(path, ["bmi", "phe_1"]).specs] == ["bmi", "phe_1"]
    assert [spec.name for spec in read_trait_table(path, ["phe_*"]).specs] == ["phe_1", "phe_2"]
    assert [spec.name for spec in read_trait_table(path, ["*"]).specs] == ["phe_1", "bmi", "phe_2", "a*c"]
    assert [spec.name for spec in read_trait_table(path, ["a*c"]).specs] == ["a*c"]
    both = read_trait_table(path, ["bmi", "*"])
    assert [spec.name for spec in both.specs] == ["bmi", "phe_1", "phe_2", "a*c"]
    table = read_trait_table(path, {"phe_*": TraitSpec("phe_*", transform="log"), "bmi": TraitSpec("bmi")})
    assert [(spec.name, spec.transform) for spec in table.specs] == [
        ("phe_1", "log"),
        ("phe_2", "log"),
        ("bmi", "none"),
    ]
    np.testing.assert_array_equal(table.values, [[1, 3, 2]])


@pytest.mark.parametrize("wanted", ["hdll", "HDL"])
def test_an_unknown_trait_is_refused_with_the_nearest_name(text: Any, wanted: str) -> None:
    with pytest.raises(InputError, match=f"no trait column '{wanted}'") as caught:
        read_trait_table(text("IID\tldl\thdl\na\t1\t2\n"), [wanted])
    assert caught.value.fix == "did you mean 'hdl'?"


@pytest.mark.parametrize("wanted", [["IID"], ["FID"], ["nothing*"], []])
def test_ids_and_nothing_are_no_traits(text: Any, wanted: list[str]) -> None:
    with pytest.raises(InputError, match="no trait"):
        read_trait_table(text("FID IID ldl\n0 a 1\n"), wanted)


def test_a_trait_asked_for_twice_is_refused(text: Any) -> None:
    with pytest.raises(InputError, match="asked for twice: y"):
        read_trait_table(text("IID\ty\na\t1\n"), ["y", "y"])


# Values


def test_every_usual_spelling_of_missing(text: Any) -> None:
    words = ["", ".", "NA", "na", "N/A", "n/a", "#N/A", "NaN", "nan", "NAN", "NULL", "null", " NA ", "  "]
    path = text("IID\ty\nfirst\t1\n" + "".join(f"p{i}\t{word}\n" for i, word in enumerate(words)))
    values = read_trait_table(path, ["y"]).values[:, 0]
    assert values[0] == 1
    assert np.isnan(values[1:]).all()


def test_every_usual_spelling_of_a_number(text: Any) -> None:
    cells = {"1": 1, "-1.5": -1.5, "+2": 2, ".5": 0.5, "5.": 5, "1e3": 1000, "-1E-3": -0.001, " 7 ": 7, "007": 7}
    path = text("IID\ty\n" + "".join(f"p{i}\t{cell}\n" for i, cell in enumerate(cells)))
    np.testing.assert_array_equal(read_trait_table(path, ["y"]).values[:, 0], list(cells.values()))


@pytest.mark.parametrize(
    ("cell", "what", "fix"),
    [
        ("high", "'high' is not a number", "missing_values"),
        ("1,5", "'1,5' is not a number", "decimal point"),
        ("1,234.5", "'1,234.5' is not a number", "thousands"),
        ("TRUE", "'TRUE' is not a number", "1 and 0"),
        ("0x10", "'0x10' is not a number", "correct"),
        ("1_000", "'1_000' is not a number", "correct"),
        ("1 2", "'1 2' is not a number", "correct"),
        ("--1", "'--1' is not a number", "correct"),
        ("1e", "'1e' is not a number", "correct"),
        ("None", "'None' is not a number", "missing_values"),
        ("<0.5", "'<0.5' is not a number", "correct"),
        ("inf", "'inf' is infinite", "missing"),
        ("-Infinity", "'-Infinity' is infinite", "missing"),
        ("1e999", "'1e999' is infinite", "missing"),
        ("1e101", "'1e101' is too large", "missing"),
        ("x" * 500, "…' is not a number", "correct"),
    ],
)
def test_bad_cells_are_named_by_line_column_and_value(text: Any, cell: str, what: str, fix: str) -> None:
    path = text(f"IID\tx\ty\na\t1\t1\n\nb\t1\tNA\nc\t1\t{cell}\nd\t1\t2\n")
    with pytest.raises(InputError) as caught:
        read_trait_table(path, ["x", "y"])
    assert what in caught.value.what
    assert caught.value.where == f"{path}, line 5, column 'y'"
    assert fix in str(caught.value.fix)
    assert len(str(caught.value)) < 500


def test_the_first_of_several_bad_cells_is_named_and_the_rest_counted(text: Any) -> None:
    with pytest.raises(InputError, match=r"'u' is not a number \(and 2 more in this column\)") as caught:
        read_trait_table(text("IID\ty\na\t1\nb\tu\nc\tv\nd\tw\n"), ["y"])
    assert "line 3" in str(caught.value.where)


def test_bad_cells_of_other_columns_do_not_matter(text: Any) -> None:
    assert read_trait_table(text("IID\ty\tnote\na\t1\thigh\n"), ["y"]).values[0, 0] == 1


def test_parquet_values_of_every_type(parquet: Any) -> None:
    path = parquet(
        {
            "IID": ["a", "b", "c"],
            "f32": pa.array([1.5, None, float("nan")], pa.float32()),
            "i64": pa.array([1, None, 3], pa.int64()),
            "bool": pa.array([True, None, False]),
            "text": ["1.5", "NA", "-2"],
            "dict": pa.array(["1.5", None, "-2"]).dictionary_encode(),
            "decimal": pa.array([Decimal("1.25"), None, Decimal("3.00")]),
            "null": pa.nulls(3),
        }
    )
    table = read_trait_table(path, ["*"])
    nan = np.nan
    expected = [
        [1.5, nan, nan], [1, nan, 3], [1, nan, 0], [1.5, nan, -2], [1.5, nan, -2], [1.25, nan, 3], [nan] * 3
    ]  # fmt: skip
    np.testing.assert_array_equal(table.values.T, expected)
    assert table.values.dtype == np.float64


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([1.0, float("inf")]), "inf is infinite"),
        (pa.array([dt.date(2020, 1, 1)] * 2), "type date32"),
        (pa.array([[1.0], [2.0]]), "type list"),
        (pa.array(["1", "x"]), "'x' is not a number"),
    ],
    ids=str,
)
def test_parquet_values_that_are_no_numbers_are_refused(parquet: Any, column: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_trait_table(parquet({"IID": ["a", "b"], "y": column}), ["y"])
    assert "column 'y'" in str(caught.value.where)


def test_minus_nine_is_a_number_unless_the_job_says_otherwise(text: Any) -> None:
    path = text("IID\ty\na\t-9\nb\t2\nc\t-9.0\nd\t3\n")
    table = read_trait_table(path, ["y"])
    np.testing.assert_array_equal(table.values[:, 0], [-9, 2, -9, 3])
    assert "-9 is the only negative value in y (2 cells)" in table.warnings[0]
    assert 'missing_values: ["-9"]' in table.warnings[0]
    table = read_trait_table(path, ["y"], missing_values=["-9"])
    np.testing.assert_array_equal(table.values[:, 0], [np.nan, 2, np.nan, 3])
    assert table.warnings == ()


def test_missing_values_may_be_words_and_hold_for_parquet(text: Any, parquet: Any) -> None:
    table = read_trait_table(text("IID\ty\na\tunknown\nb\t2\n"), ["y"], missing_values=["unknown"])
    np.testing.assert_array_equal(table.values[:, 0], [np.nan, 2])
    table = read_trait_table(parquet({"IID": ["a", "b"], "y": [-9.0, 2.0]}), ["y"], missing_values=[-9])
    np.testing.assert_array_equal(table.values[:, 0], [np.nan, 2])


@pytest.mark.parametrize(
    ("values", "warns"),
    [
        ([-9, 1, 2], True),
        ([-99, 1, 2], True),
        ([-9, -3, 1], False),
        ([-3, 1, 2], False),
        ([-9, -9, -9], False),
        ([999, 999, 20], True),
        ([999, 30, 20], False),
        ([999, 999, 800], False),
        ([9999, 9999, 9999], False),
        ([1, 2, 3], False),
    ],
)
def test_codes_for_missing_are_suspected(text: Any, values: list[float], warns: bool) -> None:
    rows = "".join(f"p{i}\t{value}\n" for i, value in enumerate(values))
    table = read_trait_table(text("IID\ty\n" + rows), ["y"])
    assert bool(table.warnings) is warns
    np.testing.assert_array_equal(table.values[:, 0], values)


def test_one_empty_trait_is_remarked_on_and_only_empty_traits_are_refused(text: Any) -> None:
    path = text("IID\tx\ty\na\tNA\t1\nb\t\t2\n")
    table = read_trait_table(path, ["x", "y"])
    assert "no value at all in 1 trait columns: x" in table.warnings[0]
    with pytest.raises(InputError, match="every cell of the trait columns is missing: x"):
        read_trait_table(path, ["x"])


# Covariates


def test_covariates_are_numbers_or_categories(text: Any) -> None:
    table = read_covariate_table(text("IID,age,sex,batch\na,50,male,b10\nb,,female,b2\nc,60,NA,b10\n"))
    assert list(table.columns) == ["age", "sex", "batch"]
    np.testing.assert_array_equal(table.columns["age"].values, [50, np.nan, 60])
    assert table.columns["sex"].levels == ("female", "male")
    np.testing.assert_array_equal(table.columns["sex"].codes, [1, 0, -1])
    assert table.columns["batch"].levels == ("b2", "b10")
    assert all(not column.problem for column in table.columns.values())


def test_a_stray_word_among_numbers_is_a_problem_and_not_a_category(text: Any) -> None:
    path = text("IID\tage\na\t50\nb\t6o\nc\t60\n")
    column = read_covariate_table(path).columns["age"]
    assert "'6o' is not a number" in column.problem
    assert column.problem_where == f"{path}, line 3, column 'age'"
    assert column.levels == ("6o", "50", "60") or set(column.levels) == {"50", "60", "6o"}


def test_infinite_covariates_and_dates_are_problems(text: Any, parquet: Any) -> None:
    column = read_covariate_table(text("IID\tx\na\t1\nb\tinf\n")).columns["x"]
    assert "'inf' is infinite" in column.problem
    assert "line 3" in column.problem_where
    table = read_covariate_table(parquet({"IID": ["a"], "day": [dt.date(2020, 1, 1)], "ok": [True]}))
    assert "type date32" in table.columns["day"].problem
    np.testing.assert_array_equal(table.columns["ok"].values, [1.0])


def test_covariate_tables_without_covariates_are_refused(text: Any) -> None:
    with pytest.raises(InputError, match="ids and nothing else"):
        read_covariate_table(text("FID IID\n0 a\n"))


# Lists


@pytest.mark.parametrize(
    "content",
    [
        "a\nb\nc\n",
        "a\nb\n\nc",
        "IID\na\nb\nc\n",
        "#IID\na\nb\nc\n",
        "FID IID\n0 a\n0 b\n0 c\n",
        "#FID\tIID\nf\ta\nf\tb\nf\tc\n",
        "f a\nf b\nf c\n",
        "f\ta\nf\tb\nf\tc\n",
        "f,a\nf,b\nf,c\n",
        "person_id,why\na,withdrawn\nb,withdrawn\nc,moved\n",
        "\ufeffa\r\nb\r\nc\r\n",
        "a\nb\na\nc\n",
        "IID\na\nb\na\nc\n",
    ],
)
def test_lists_of_people(text: Any, content: str) -> None:
    path = text(content, "people.txt")
    assert (people := read_sample_list(path)).sample_ids.tolist() == ["a", "b", "c"]
    assert people.source == str(path)


def test_lists_may_be_parquet_or_empty(text: Any, parquet: Any) -> None:
    assert read_sample_list(parquet({"person_id": [7, 8, 7]})).sample_ids.tolist() == ["7", "8"]
    assert read_sample_list(text("")).sample_ids.tolist() == []
    assert read_sample_list(text("IID\n")).sample_ids.tolist() == []


@pytest.mark.parametrize(
    ("content", "message", "where"),
    [
        ("a b c\nd e f\n", "3 columns and no header", "line 1"),
        ("f a\nb\n", "1 cells, the first one has 2", "line 2"),
        ("a\n\nf b\n", "2 cells, the first one has 1", "line 3"),
        ("f\ta\nf\t\n", "the id is empty", "line 2"),
        ("FID\nf\n", "no column holds the people's ids", "FID"),
    ],
)
def test_unclear_lists_are_refused(text: Any, content: str, message: str, where: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_sample_list(text(content))
    assert where in str(caught.value.where)
