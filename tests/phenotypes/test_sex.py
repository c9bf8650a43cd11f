"""Sex from a column of the covariate table."""

from __future__ import annotations

import numpy as np
import pytest

from allscan.errors import InputError
from allscan.phenotypes.model import CovariateColumn, CovariateTable
from allscan.phenotypes.sex import read_sex


def table(**columns: list[float] | list[str]) -> CovariateTable:
    made = {}
    for name, cells in columns.items():
        if isinstance(cells[0], str):
            levels = tuple(sorted({str(cell) for cell in cells} - {""}))
            codes = np.array([levels.index(str(cell)) if cell else -1 for cell in cells], dtype=np.int32)
            made[name] = CovariateColumn(name, None, codes, levels)
        else:
            made[name] = CovariateColumn(name, np.array(cells, dtype=np.float64))
    n = len(next(iter(columns.values())))
    return CovariateTable(np.array([f"p{i}" for i in range(n)], dtype=object), made, "covs.tsv")


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["male", "female", ""], [1, 2, 0]),
        (["M", "F", "M"], [1, 2, 1]),
        (["Male", "FEMALE", "male"], [1, 2, 1]),
        ([1, 2, np.nan], [1, 2, 0]),
        ([1, 2, 0], [1, 2, 0]),
        ([2, 2, 2], [2, 2, 2]),
        ([2, 2, 0], [2, 2, 0]),
    ],
)
def test_usual_codes_are_understood(cells: list[float] | list[str], expected: list[int]) -> None:
    for column in (None, "sex"):
        sex = read_sex(table(age=[1.0, 2, 3], sex=cells), column)
        assert sex.values is not None
        assert sex.values.dtype == np.int8
        assert sex.values.tolist() == expected
        assert sex.warnings == ()


@pytest.mark.parametrize("cells", [[0, 1, 1], [0, 0, 0], ["a", "b", "c"], [1, 2, 3], [1.5, 2, 1], [-9, 1, 2]])
def test_what_is_not_understood_is_left_alone_or_refused_when_the_job_names_it(cells: list[float]) -> None:
    sex = read_sex(table(sex=cells))
    assert sex.values is None
    assert "not used to tell men from women" in sex.warnings[0]
    with pytest.raises(InputError, match="the sex column 'sex'") as caught:
        read_sex(table(sex=cells), "sex")
    assert "male/female" in str(caught.value.fix)


def test_all_ones_are_ambiguous() -> None:
    # Men in PLINK's code, women where 1 says female.
    assert read_sex(table(sex=[1, 1, 1])).values is None


def test_the_job_can_say_what_the_codes_mean() -> None:
    sex = read_sex(table(is_female=[0, 1, np.nan]), "is_female", {"0": 1, "1": 2})
    assert sex.values is not None
    assert sex.values.tolist() == [1, 2, 0]


def test_other_entries_count_as_unknown_and_are_counted() -> None:
    sex = read_sex(table(sex_at_birth=["Male", "Female", "No answer", "Intersex", ""]))
    assert sex.values is not None
    assert sex.values.tolist() == [1, 2, 0, 0, 0]
    assert sex.warnings == (
        "2 people have another entry than male or female in the column 'sex_at_birth'; their sex counts as unknown",
    )


def test_columns_are_found_by_name_in_any_case_and_sex_comes_before_gender() -> None:
    assert read_sex(table(age=[1.0, 2])).values is None
    both = read_sex(table(Gender=["F", "F"], SEX=["M", "F"]))
    assert both.values is not None
    assert both.values.tolist() == [1, 2]


def test_a_sex_column_that_is_not_there_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="no sex column 'sexx'") as caught:
        read_sex(table(sex=[1, 2]), "sexx")
    assert caught.value.fix == "did you mean 'sex'?"
