"""Alignment: who is analysed, who is not and why, and what the traits become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from allscan.errors import InputError
from allscan.phenotypes.alignment import Among, align
from allscan.phenotypes.model import (
    AnalysisTable,
    CovariateColumn,
    CovariateTable,
    SampleList,
    TraitSpec,
    TraitTable,
)
from allscan.phenotypes.tables import read_covariate_table, read_sample_list, read_trait_table


def people(*ids: str) -> NDArray[np.object_]:
    return np.array(ids, dtype=object)


def numbered(n: int, start: int = 0) -> NDArray[np.object_]:
    return people(*(f"p{i:04d}" for i in range(start, start + n)))


def trait_table(ids: NDArray[np.object_], source: str = "dir/traits.tsv", **traits: Any) -> TraitTable:
    values = np.column_stack([np.asarray(values, dtype=np.float64) for values in traits.values()])
    return TraitTable(ids, values, tuple(TraitSpec(name) for name in traits), source)


def with_transform(table: TraitTable, transform: str) -> TraitTable:
    specs = tuple(TraitSpec(spec.name, transform=transform) for spec in table.specs)
    return TraitTable(table.sample_ids, table.values, specs, table.source)


def covariate_table(ids: NDArray[np.object_], **columns: Any) -> CovariateTable:
    made = {}
    for name, cells in columns.items():
        if any(isinstance(cell, str) for cell in cells):
            levels = tuple(sorted({cell for cell in cells if cell}))
            codes = np.array([levels.index(cell) if cell else -1 for cell in cells], dtype=np.int32)
            made[name] = CovariateColumn(name, None, codes, levels)
        else:
            made[name] = CovariateColumn(name, np.asarray(cells, dtype=np.float64))
    return CovariateTable(ids, made, "dir/covs.tsv")


def a_list(*ids: str, source: str = "dir/list.txt") -> SampleList:
    return SampleList(people(*ids), source)


def counts(table: AnalysisTable) -> dict[str, int]:
    assert len({line.text for line in table.accounting}) == len(table.accounting)
    return {line.text: line.count for line in table.accounting}


def assert_accounted(table: AnalysisTable) -> None:
    """Everybody in the genotypes is in exactly one line: left out for one reason, or analysed."""
    reasons = [line.reason for line in table.accounting]
    end = reasons.index("analysed")
    assert reasons[0] == "in the genotypes"
    left_out = sum(line.count for line in table.accounting[1:end])
    assert left_out + table.accounting[end].count == table.accounting[0].count
    assert [line.kept for line in table.accounting[: end + 1]] == [True, *[False] * (end - 1), True]


def test_every_reason_is_counted_once_and_the_lines_add_up() -> None:
    store = numbered(20)
    ids = np.concatenate([numbered(16), people("stranger")])
    traits = trait_table(ids, y=[np.nan, np.nan, *range(15)], z=[np.nan, 5, *range(15)])
    covariates = covariate_table(
        numbered(15, start=1),
        age=[50, 51, np.nan, np.nan, *range(11)],
        sex=["m", "f", "f", "", *["m", "f", "m"] * 3, "f", "f"],
    )
    result = align(
        store,
        traits,
        covariates,
        "age + sex",
        exclude=[a_list("p0010", "p0011", "gone", source="x/withdrawn.txt")],
        keep=[a_list(*numbered(15)[1:], source="x/cohort.txt"), a_list(*numbered(20), "other")],
    )
    assert counts(result) == {
        "in the genotypes": 20,
        "on the exclude list withdrawn.txt": 2,
        "not on the keep list cohort.txt": 6,
        "not on the keep list list.txt": 0,
        "in the genotypes, not in the trait table traits.tsv": 0,
        "in the genotypes, not in the covariate table covs.tsv": 0,
        "without a value of a covariate (age: 2, sex: 1)": 2,
        "without a value of any trait": 0,
        "analysed": 10,
        "in the trait table traits.tsv, not in the genotypes": 1,
        "in the covariate table covs.tsv, not in the genotypes": 0,
        "on the exclude list withdrawn.txt, not in the genotypes": 1,
        "on the keep list cohort.txt, not in the genotypes": 0,
        "on the keep list list.txt, not in the genotypes": 1,
    }
    assert_accounted(result)
    assert list(store[result.store_rows]) == [f"p{i:04d}" for i in (1, 2, 5, 6, 7, 8, 9, 12, 13, 14)]
    examples = {line.reason: line.examples for line in result.accounting}
    assert examples["in the trait table traits.tsv, not in the genotypes"] == ("stranger",)
    assert examples["not on the keep list cohort.txt"] == ("p0000", "p0015", "p0016")
    # Withdrawn people are never shown.
    assert not any(examples[reason] for reason in examples if "exclude list" in reason)


def test_people_without_trait_or_covariate_rows_are_told_apart() -> None:
    traits = trait_table(numbered(8), y=[np.nan, *range(7)])
    result = align(numbered(10), traits, covariate_table(numbered(7), age=range(7)), "age")
    assert counts(result)["in the genotypes, not in the trait table traits.tsv"] == 2
    assert counts(result)["in the genotypes, not in the covariate table covs.tsv"] == 1
    assert counts(result)["without a value of any trait"] == 1
    assert_accounted(result)


def test_missing_covariates_are_counted_among_those_who_were_not_left_out_before() -> None:
    ids = numbered(6)
    covariates = covariate_table(ids, age=[np.nan, np.nan, 1, 2, 3, 4])
    result = align(ids, trait_table(ids, y=range(6)), covariates, "age", exclude=[a_list("p0000")])
    assert counts(result)["without a value of a covariate (age: 1)"] == 1
    assert_accounted(result)


def test_whom_an_analysis_is_confined_to_is_accounted_for_from_there_on() -> None:
    ids = numbered(10)
    traits = trait_table(ids, y=[np.nan, *range(9)])
    covariates = covariate_table(ids, age=[1, np.nan, 3, 4, 5, np.nan, 7, 8, 9, 10])
    first = Among("half=first", np.arange(10) < 5)
    result = align(ids, traits, covariates, "age", exclude=[a_list("p0002", "p0007")], among=first)
    assert [(line.reason, line.count, line.kept) for line in result.accounting if line.count][:2] == [
        ("in the genotypes", 10, True),
        ("in half=first", 5, True),
    ]
    assert {line.text: line.count for line in result.left_out if line.count} == {
        "on the exclude list list.txt": 1,
        "without a value of a covariate (age: 1)": 1,
        "without a value of any trait": 1,
    }
    assert len(result.store_rows) == 2
    with pytest.raises(InputError, match="5 in half=first, of whom 5 on the exclude list"):
        align(ids, traits, exclude=[a_list(*ids)], among=first)


def test_values_land_on_their_people() -> None:
    store = people("c", "x", "a", "b")
    traits = trait_table(people("a", "b", "c", "d"), y=[1, 2, 3, 4], z=[np.nan, 20, 30, 40])
    covariates = covariate_table(people("b", "d", "a", "c"), age=[12, 14, 11, 13], sex=["f", "m", "m", "f"])
    result = align(store, traits, covariates, "age")
    np.testing.assert_array_equal(result.store_rows, [0, 2, 3])
    np.testing.assert_array_equal(result.traits, [[3, 30], [1, np.nan], [2, 20]])
    np.testing.assert_array_equal(result.covariates, [[1, 13], [1, 11], [1, 12]])
    assert result.covariate_names == ("intercept", "age")
    assert result.trait_names == ("y", "z")
    assert result.sex is not None
    assert result.sex.tolist() == [2, 1, 2]


def test_without_covariates_there_is_an_intercept() -> None:
    result = align(["a", "b", "c"], trait_table(people("a", "b"), y=[1, 2]))
    np.testing.assert_array_equal(result.covariates, np.ones((2, 1)))
    assert result.covariate_names == ("intercept",)
    assert result.sex is None
    with pytest.raises(InputError, match="no covariate table"):
        align(["a", "b"], trait_table(people("a", "b"), y=[1, 2]), None, "age")


def test_a_covariate_table_that_the_formula_does_not_use_leaves_nobody_out() -> None:
    covariates = covariate_table(people("a"), sex=["m"])
    result = align(["a", "b", "c"], trait_table(people("a", "b", "c"), y=[1, 2, 4]), covariates, "")
    assert counts(result)["analysed"] == 3
    assert result.sex is not None
    assert result.sex.tolist() == [1, 0, 0]


def test_missing_sex_leaves_out_nobody_unless_the_formula_uses_it() -> None:
    ids = numbered(6)
    covariates = covariate_table(ids, sex=["m", "f", "", "m", "f", "f"], age=range(6))
    traits = trait_table(ids, y=range(6))
    assert counts(align(ids, traits, covariates, "age"))["analysed"] == 6
    assert counts(align(ids, traits, covariates, "sex"))["analysed"] == 5


def test_the_sex_column_is_checked() -> None:
    ids = numbered(6)
    covariates = covariate_table(ids, female=[0, 1, 0, 1, 0, 1])
    traits = trait_table(ids, y=range(6))
    with pytest.raises(InputError, match="holds only 0 and 1"):
        align(ids, traits, covariates, "", sex_column="female")
    result = align(ids, traits, covariates, "", sex_column="female", sex_codes={"0": 1, "1": 2})
    assert result.sex is not None
    assert result.sex.tolist() == [1, 2] * 3
    with pytest.raises(InputError, match="no covariate table"):
        align(ids, traits, sex_column="female")


HINTS = {
    "form": ((f"F{i}_p{i}" for i in range(20)), (f"p{i}" for i in range(20)), "FID_IID"),
    "form the other way": ((f"p{i}" for i in range(20)), (f"p{i}_p{i}" for i in range(20)), "FID_IID"),
    "padding": ((f"{i:05d}" for i in range(1, 20)), (str(i) for i in range(1, 20)), "leading zeros"),
    "float": ((str(i) for i in range(20)), (f"{i}.0" for i in range(20)), "'.0'"),
    "case": ((f"NA{i}" for i in range(20)), (f"na{i}" for i in range(20)), "upper and lower case"),
    "space": ((f"a{i} " for i in range(20)), (f"a{i}" for i in range(20)), "white space"),
    "nothing": ((f"a{i}" for i in range(20)), (f"b{i}" for i in range(20)), ""),
}


@pytest.mark.parametrize("name", HINTS)
def test_no_overlap_is_refused_with_ids_of_both_sides_and_a_guess(name: str) -> None:
    store, table, hint = (value if isinstance(value, str) else people(*value) for value in HINTS[name])
    with pytest.raises(InputError, match="no person of the trait table is in the genotypes") as caught:
        align(store, trait_table(table, y=np.arange(len(table))))
    assert f"like {', '.join(map(repr, store[:3]))}; here like {', '.join(map(repr, table[:3]))}" in caught.value.what
    assert hint in caught.value.what
    assert ("seem to differ" in caught.value.what) == bool(hint)
    assert "dir/traits.tsv, column 'IID'" in str(caught.value.where)


def test_covariates_without_overlap_are_refused() -> None:
    with pytest.raises(InputError, match="no person of the covariate table"):
        align(numbered(5), trait_table(numbered(5), y=range(5)), covariate_table(people("x"), age=[1]), "age")


def test_a_small_overlap_is_remarked_on() -> None:
    ids = np.concatenate([numbered(3), people(*(f"00{i}" for i in range(1, 18)))])
    store = np.concatenate([numbered(3), people(*(str(i) for i in range(1, 18)))])
    result = align(store, trait_table(ids, y=range(20)))
    assert result.warnings == (
        "only 3 of 20 people in the trait table traits.tsv have genotypes; the ids seem to differ by leading "
        "zeros (a spreadsheet drops them)",
    )
    # A biobank's table for a genotyped subset is nothing to remark on.
    assert align(numbered(10), trait_table(numbered(500), y=range(500))).warnings == ()


def test_nobody_left_is_refused_with_the_whole_account() -> None:
    ids = numbered(10)
    covariates = covariate_table(ids, age=[np.nan] * 4 + [1] * 6)
    traits = trait_table(ids, y=[1] * 4 + [np.nan] * 6)
    with pytest.raises(InputError, match="nobody is left to analyse") as caught:
        align(ids, traits, covariates, "age")
    assert "4 without a value of a covariate (age: 4); 6 without a value of any trait" in caught.value.what
    with pytest.raises(InputError, match="nobody is left to analyse: 10 in the genotypes, of whom 10 not on"):
        align(ids, traits, keep=[a_list("nobody")])
    with pytest.raises(InputError, match="nobody is left"):
        align(ids, traits, keep=[a_list()])
    with pytest.raises(InputError, match=r"only 4 people are left to analyse \(at least 5 are asked for\)"):
        align(ids, traits, min_samples=5)


def test_a_covariate_without_any_value_is_refused() -> None:
    ids = numbered(3)
    with pytest.raises(InputError, match="every cell of the covariate 'age' is missing"):
        align(ids, trait_table(ids, y=range(3)), covariate_table(ids, age=[np.nan] * 3), "age")


def test_lists_that_match_nobody_are_remarked_on() -> None:
    ids = numbered(5)
    traits = trait_table(ids, y=[1, 2, 3, 5, 8])
    result = align(ids, traits, exclude=[a_list(" P0001", source="w.txt"), a_list(source="empty.txt")])
    assert counts(result)["analysed"] == 5
    assert result.warnings == (
        "nobody on the exclude list w.txt is in the genotypes",
        "the exclude list empty.txt is empty",
    )
    padded = align(ids, traits, exclude=[SampleList(people(*(f"{person}.0" for person in ids)), "w.txt")])
    assert "differ by a trailing '.0'" in padded.warnings[0]


def test_every_trait_gets_a_status() -> None:
    ids = numbered(12)
    traits = trait_table(
        ids,
        good=np.arange(12.0) ** 2,
        constant=[np.nan, *[7.0] * 11],
        empty=[np.nan] * 12,
        few=[1, 2, 4, *[np.nan] * 9],
        explained=2 + 3 * np.arange(12.0),
    )
    traits = with_transform(traits, "residualise_rank_inverse_normal")
    result = align(ids, traits, covariate_table(ids, age=np.arange(12.0), twice=2 * np.arange(12.0)), "age + twice")
    status = {line.name: line for line in result.trait_status}
    assert {name: line.status for name, line in status.items()} == {
        "good": "ok",
        "constant": "constant",
        "empty": "all_missing",
        "few": "too_few_samples",
        "explained": "constant",
    }
    assert {name: line.n for name, line in status.items()} == {
        "good": 12,
        "constant": 11,
        "empty": 0,
        "few": 3,
        "explained": 12,
    }
    assert status["good"].mean == pytest.approx(np.mean(np.arange(12.0) ** 2))
    assert status["good"].sd == pytest.approx(np.std(np.arange(12.0) ** 2, ddof=1))
    assert "has the value 7" in status["constant"].message
    assert "covariates explain it completely" in status["explained"].message
    assert "too few for 2 covariates" in status["few"].message  # of three, one is collinear
    values = dict(zip(result.trait_names, result.traits.T, strict=True))
    np.testing.assert_array_equal(values["constant"], traits.values[:, 1])
    np.testing.assert_array_equal(values["few"], traits.values[:, 3])
    assert not values["explained"].any()


def test_n_one_more_than_the_rank_is_too_few_and_two_more_enough() -> None:
    ids = numbered(6)
    traits = trait_table(ids, three=[1, 2, 4, *[np.nan] * 3], four=[1, 2, 4, 5, np.nan, np.nan], six=range(6))
    result = align(ids, traits, covariate_table(ids, age=[1, 4, 2, 8, 5, 7]), "age")
    assert [line.status for line in result.trait_status] == ["too_few_samples", "ok", "ok"]


def test_transforms_see_the_final_people_of_their_own_trait() -> None:
    rng = np.random.default_rng(0)
    n = 80
    store, ids = numbered(n), numbered(n + 30)[rng.permutation(n + 30)]
    y, z = rng.exponential(size=(2, n + 30))
    y[rng.random(n + 30) < 0.3] = np.nan
    age = rng.uniform(20, 80, n + 30)
    age[:5] = np.nan
    covariates = covariate_table(ids, age=age)
    excluded = a_list(*store[:7])
    position = {person: row for row, person in enumerate(ids)}
    analysed = [person for person in store if person not in excluded.sample_ids and not np.isnan(age[position[person]])]
    rows = np.array([position[person] for person in analysed])
    for transform in ("rank_inverse_normal", "residualise_rank_inverse_normal", "standardise", "log"):
        traits = with_transform(trait_table(ids, y=y, z=z), transform)
        result = align(store, traits, covariates, "age", exclude=[excluded])
        assert list(store[result.store_rows]) == analysed
        for t, values in enumerate((y[rows], z[rows])):
            present = ~np.isnan(values)
            expected = values[present]
            if transform == "log":
                expected = np.log(expected)
            elif transform == "standardise":
                expected = stats.zscore(expected, ddof=1)
            else:
                if transform.startswith("residualise"):
                    expected = sm.OLS(expected, sm.add_constant(age[rows][present])).fit().resid
                ranks = stats.rankdata(expected)
                expected = stats.norm.ppf((ranks - 0.375) / (len(expected) + 0.25))
            np.testing.assert_allclose(result.traits[present, t], expected, rtol=1e-9, atol=1e-9)
            assert np.isnan(result.traits[~present, t]).all()
    np.testing.assert_array_equal(traits.values[:, 1], z)  # inputs are left as they were


def test_a_transform_that_does_not_fit_is_refused_before_anything_is_done() -> None:
    traits = trait_table(numbered(4), y=[1, 0, 2, 3])
    with pytest.raises(InputError, match="1 of 4 values have no logarithm"):
        align(numbered(4), with_transform(traits, "log"))
    with pytest.raises(InputError, match="no transform 'sqrt'"):
        align(numbered(4), with_transform(traits, "sqrt"))


def test_a_trait_does_not_depend_on_the_traits_beside_it() -> None:
    rng = np.random.default_rng(1)
    n = 60
    ids = numbered(n)
    y, z = rng.exponential(size=(2, n))
    y[:20], z[25:] = np.nan, np.nan
    columns = {"age": rng.uniform(20, 80, n), "site": ["A"] * 20 + ["B", "C"] * 20}
    formula = "0 + center(age) + bs(age, df=4) + site"
    alone = align(
        ids,
        with_transform(trait_table(ids, y=y), "residualise_rank_inverse_normal"),
        covariate_table(ids, **columns),
        formula,
    )
    beside = align(
        ids,
        with_transform(trait_table(ids, y=y, z=z), "residualise_rank_inverse_normal"),
        covariate_table(ids, **columns),
        formula,
    )
    shared = np.isin(beside.store_rows, alone.store_rows)
    np.testing.assert_allclose(beside.traits[shared, 0], alone.traits[:, 0], rtol=1e-11, atol=1e-12)
    assert alone.covariate_names == tuple(name for name in beside.covariate_names if name != "site[A]")
    kept = [name != "site[A]" for name in beside.covariate_names]
    np.testing.assert_array_equal(beside.covariates[np.ix_(shared, kept)], alone.covariates)
    assert "left out: site[A]" in alone.warnings[0]


def test_traits_with_two_values_and_traits_that_are_covariates_are_remarked_on() -> None:
    ids = numbered(10)
    traits = trait_table(ids, case=[1, 2] * 5, age=np.arange(10.0) ** 2)
    result = align(ids, traits, covariate_table(ids, age=range(10)), "age")
    assert result.warnings == (
        "traits are also covariates: age",
        "1 quantitative traits have only two values: case; linear regression is an approximation for them; "
        "`type: binary` in the section `traits` is for cases and controls",
    )


@given(st.data())
def test_order_of_rows_and_columns_never_matters(data: st.DataObject) -> None:
    n = data.draw(st.integers(8, 25))
    seed = data.draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    store = rng.permutation(numbered(n + 4))[:n].astype(object)
    ids = numbered(n + 4)
    values = rng.exponential(size=(n + 4, 3))
    values[rng.random(values.shape) < 0.2] = np.nan
    values[:, 0] = rng.integers(0, 3, n + 4)
    age = np.where(rng.random(n + 4) < 0.1, np.nan, rng.uniform(20, 80, n + 4))
    sex = rng.choice(["m", "f"], n + 4)
    names = ("a", "b", "c")

    def aligned(rows: NDArray[np.int64], order: list[int], covariate_rows: NDArray[np.int64]) -> AnalysisTable:
        specs = tuple(TraitSpec(names[t], transform="rank_inverse_normal") for t in order)
        traits = TraitTable(ids[rows], values[rows][:, order], specs, "t")
        columns = {"age": age[covariate_rows], "sex": list(sex[covariate_rows])}
        if order[0] > 0:
            columns = dict(reversed(columns.items()))
        return align(store, traits, covariate_table(ids[covariate_rows], **columns), "age*sex")

    every = np.arange(n + 4)
    first = aligned(every, [0, 1, 2], every)
    order = data.draw(st.permutations([0, 1, 2]))
    second = aligned(rng.permutation(n + 4), order, rng.permutation(n + 4))
    np.testing.assert_array_equal(first.store_rows, second.store_rows)
    np.testing.assert_array_equal(first.traits[:, order], second.traits)
    np.testing.assert_array_equal(first.covariates, second.covariates)
    assert first.covariate_names == second.covariate_names
    assert [first.trait_status[t] for t in order] == list(second.trait_status)
    assert_accounted(first)


ID_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters='"'), min_size=1, max_size=12
)


@given(
    st.lists(ID_TEXT, min_size=1, max_size=20, unique=True),
    st.sampled_from([("\t", "tsv"), (" ", "txt"), (",", "csv")]),
)
def test_ids_survive_the_way_through_a_file(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str], form: tuple[str, str]
) -> None:
    delimiter, suffix = form
    missing = {"NA", ".", "na", "nan", "NaN", "NAN", "N/A", "n/a", "#N/A", "NULL", "null", "Null"}
    ids = [person for person in ids if not set(person) & {delimiter, ";", ","} and person not in missing] or ["x"]
    path = tmp_path_factory.mktemp("ids") / f"t.{suffix}"
    path.write_text(
        delimiter.join(["IID", "y"]) + "\n" + "".join(f"{person}{delimiter}1\n" for person in ids), encoding="utf-8"
    )
    table = read_trait_table(path, ["y"])
    assert list(table.sample_ids) == ids
    assert align(people(*reversed(ids)), table).store_rows.tolist() == list(range(len(ids)))


@pytest.mark.reference
def test_files_of_the_regenie_example(reference: Any) -> None:
    folder: Path = reference("regenie_example")
    store = [str(i) for i in range(1, 501)]
    traits = read_trait_table(folder / "phenotype.txt", ["Y1", "Y2"])
    covariates = read_covariate_table(folder / "covariates_wBin.txt")
    removed = read_sample_list(folder / "fid_iid_to_remove.txt")
    result = align(store, traits, covariates, "V[1:3] + C(V4) + V5", exclude=[removed])
    lines = (folder / "fid_iid_to_remove.txt").read_text().split("\n")
    gone = {line.split()[1] for line in lines if line}
    assert len(result.store_rows) == 500 - len(gone)
    assert not gone & {store[row] for row in result.store_rows}
    text = np.loadtxt(folder / "phenotype.txt", skiprows=1)
    np.testing.assert_array_equal(result.traits, text[result.store_rows, 2:])
    assert result.covariate_names[:4] == ("intercept", "V1", "V2", "V3")
    assert {name.split("[")[0] for name in result.covariate_names[4:]} == {"V4", "V5"}
    gz = read_covariate_table(folder / "covariates.txt.gz")
    plain = read_covariate_table(folder / "covariates.txt")
    np.testing.assert_array_equal(gz.columns["V2"].values, plain.columns["V2"].values)


@pytest.mark.reference
def test_samples_of_1000_genomes(reference: Any) -> None:
    path = reference("kg_phase1_chr22") / "samples.tsv"
    traits = read_trait_table(path, ["phenotype"], id_column="sample")
    covariates = read_covariate_table(path, id_column="sample")
    result = align(traits.sample_ids, traits, covariates, "age + age**2 + sex + age:sex + population")
    assert counts(result)["analysed"] == 1092
    assert len(result.covariate_names) == 5 + 13
    assert result.sex is not None
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    column = rows[0].index("sex")
    assert result.sex.tolist() == [{"male": 1, "female": 2}[row[column]] for row in rows[1:]]
