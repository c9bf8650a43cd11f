"""Groups of people, from predictions as All of Us releases them and from tables of other people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from allscan.errors import FileFormatError, InputError
from allscan.phenotypes.ancestry import align_groups, count_groups, read_groups
from allscan.phenotypes.tables import read_covariate_table

HEADER = "research_id\tancestry_pred\tprobabilities\tpca_features\tancestry_pred_other\n"
PEOPLE = [
    ("1000001", "eur", [0.0, 0.1, 0.0, 0.9, 0.0, 0.0], [0.5, -1e-5, 3.25], "eur"),
    ("1000002", "afr", [0.97, 0.0, 0.0, 0.03, 0.0, 0.0], [-2.0, 0.0, 1e3], "afr"),
    ("1000003", "amr", [0.2, 0.5, 0.0, 0.3, 0.0, 0.0], [0.125, 7.0, -3.0], "oth"),
    ("1000004", "eas", [0.0, 0.0, 0.8, 0.2, 0.0, 0.0], [1.0, 2.0, 3.0], "eas"),
]


def predictions(folder: Path, listed=str, name: str = "echo_v4_r2.ancestry_preds.tsv") -> Path:
    rows = ("\t".join([who, best, listed(p), listed(pcs), label]) for who, best, p, pcs, label in PEOPLE)
    (folder / name).write_text(HEADER + "\n".join(rows) + "\n")
    return folder / name


def table(folder: Path, text: str, name: str = "groups.tsv") -> Path:
    (folder / name).write_text(text)
    return folder / name


WRITERS = {
    "python": str,
    "json": lambda values: "[" + ",".join(map(repr, values)) + "]",
    "numpy 2": lambda values: "[" + ", ".join(f"np.float64({value!r})" for value in values) + "]",
    "numpy": lambda values: "[" + "  ".join(map(repr, values)) + " ]",
    "tuple": lambda values: str(tuple(values)),
    "quoted": lambda values: f'"{values}"',
}


@pytest.mark.parametrize("writer", WRITERS)
def test_predictions_of_all_of_us(tmp_path, writer):
    found = read_groups(predictions(tmp_path, WRITERS[writer]))
    assert found.ids.tolist() == ["1000001", "1000002", "1000003", "1000004"]
    assert found.label.tolist() == ["eur", "afr", None, "eas"]
    assert found.labels == ("afr", "eas", "eur")
    assert found.codes.tolist() == [2, 0, -1, 1]
    assert found.counts == {"afr": 1, "eas": 1, "eur": 1}
    assert found.outside == {"labelled 'oth'": 1}
    assert found.classes == ("afr", "amr", "eas", "eur", "mid", "sas")
    assert found.probabilities.tolist() == [person[2] for person in PEOPLE]
    assert found.components.tolist() == [person[3] for person in PEOPLE]
    assert found.column == "ancestry_pred_other"
    assert "ancestry_pred could be named" in found.notes[0]
    assert not found.warnings


def test_the_same_from_parquet(tmp_path):
    names = HEADER.split()
    columns = dict(zip(names, map(list, zip(*PEOPLE, strict=True)), strict=True))
    columns["research_id"] = [int(person) for person in columns["research_id"]]
    pq.write_table(pa.table(columns), tmp_path / "groups.parquet")
    found, text = read_groups(tmp_path / "groups.parquet"), read_groups(predictions(tmp_path))
    assert found.label.tolist() == text.label.tolist()
    assert found.ids.tolist() == text.ids.tolist()
    np.testing.assert_array_equal(found.probabilities, text.probabilities)
    np.testing.assert_array_equal(found.components, text.components)


def test_nobody_is_dropped_silently(tmp_path):
    found = read_groups(predictions(tmp_path), column="ancestry_pred", min_probability=0.9)
    assert found.counts == {"afr": 1, "amr": 0, "eas": 0, "eur": 1}
    assert found.outside == {"probability below 0.9": 2}
    store = np.array(["5", "1000003", "1000001"], dtype=object)
    assert align_groups(found, store).tolist() == [-1, -1, 3]
    assert align_groups(found, store).dtype == np.int16
    assert [(line.reason, line.count, line.kept) for line in count_groups(found, store)] == [
        ("in the group 'eur'", 1, True),
        ("in no group: probability below 0.9", 1, True),
        ("in no group: not in the table of groups", 1, True),
    ]
    with pytest.raises(InputError, match="no person of the table of groups is in the genotypes"):
        align_groups(found, np.array(["A", "B"], dtype=object))


def test_somebody_without_lists(tmp_path):
    path = predictions(tmp_path)
    path.write_text(path.read_text() + "1000005\tsas\tNA\t\tsas\n")
    found = read_groups(path, min_probability=0.5)
    assert np.isnan(found.probabilities[4]).all()
    assert np.isnan(found.components[4]).all()
    assert found.label.tolist() == ["eur", "afr", None, "eas", None]
    assert found.outside == {"labelled 'oth'": 1, "probability below 0.5": 1}


@pytest.mark.parametrize("name", ["ancestry_pred_other", "group", "Ancestry", "population", "SuperPop"])
def test_any_table_with_a_known_column(tmp_path, name):
    found = read_groups(table(tmp_path, f"#IID\tage\t{name}\na\t5\tX\nb\t6\tOther\nc\t7\t\nd\t7\tY 1\n"))
    assert found.label.tolist() == ["X", None, None, "Y 1"]
    assert found.outside == {"labelled 'Other'": 1, "without a label": 1}
    assert found.probabilities is None
    assert found.components is None
    assert found.id_column == "IID"


def test_a_named_column_and_other_words_for_missing(tmp_path):
    path = table(tmp_path, "person,sex,site\na,F,1\nb,M,-9\nc,M,2\n", "people.csv")
    found = read_groups(path, column="site", id_column="person", missing_values=["-9"])
    assert found.label.tolist() == ["1", None, "2"]
    with pytest.raises(InputError, match="there is no column 'sit'") as caught:
        read_groups(path, column="sit", id_column="person")
    assert "did you mean 'site'" in str(caught.value)
    with pytest.raises(InputError, match="not clear which column names the groups"):
        read_groups(path, id_column="person")


def test_columns_of_probabilities_and_components(tmp_path):
    path = table(
        tmp_path,
        "person_id\tgroup\tprobability_b\tprobability_a\tpc2\tpc1\npa\ta\t0.2\t0.8\t1\t2\npb\tb\t0.6\t0.4\t3\tNA\n",
    )
    found = read_groups(path, min_probability=0.7)
    assert found.classes == ("a", "b")
    assert found.probabilities.tolist() == [[0.8, 0.2], [0.4, 0.6]]
    assert found.components[0].tolist() == [2, 1]
    assert np.isnan(found.components[1, 0])
    assert found.label.tolist() == ["a", None]


def test_probabilities_in_an_unknown_order_have_no_names(tmp_path):
    rows = [f"{k}\t{'xyz'[k % 3]}\t{[float(k % 3 == 2 - c) for c in range(3)]}" for k in range(30)]
    found = read_groups(table(tmp_path, "IID\tancestry_pred\tprobabilities\n" + "\n".join(rows) + "\n"))
    assert found.classes == ()
    assert "not known" in found.warnings[0]
    assert found.counts == {"x": 10, "y": 10, "z": 10}


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("[0.1, 0.9", "no list of numbers"),
        ("__import__('os').system('touch /tmp/x')", "no list of numbers"),
        ("[0.1, [0.9]]", "no list of numbers"),
        ("[0.1, open('x')]", "no list of numbers"),
        ("[0.1, x]", "'x' is not a number"),
        ("[0.1, nan]", "missing"),
        ("[0.1, 1e999]", "infinite"),
        ("[1,]", "not a number"),
        ("[0.5, 0.25, 0.25]", "3 numbers, the first one 2"),
        ("[]", "numbers, the first one 2"),
        ("[0.5, 0.6]", "do not add up to 1"),
        ("[-0.5, 1.5]", "not between 0 and 1"),
    ],
)
def test_lists_that_are_none_are_refused_with_their_line(tmp_path, cell, message):
    path = table(tmp_path, f"IID\tgroup\tprobabilities\na\tx\t[1, 0]\n\nb\ty\t{cell}\n")
    with pytest.raises(InputError, match="line 4, column 'probabilities'") as caught:
        read_groups(path)
    assert message in caught.value.what


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("IID\tgroup\na\tx\na\ty\n", {}, "repeat the id"),
        ("IID\tgroup\na\toth\nb\t\n", {}, "nobody is in a group"),
        ("IID\tgroup\na\tEUR\nb\teur\n", {}, "two groups are called"),
        ("IID\tgroup\na\tx\n", {"min_probability": 0.5}, "holds no probabilities"),
        ("IID\tgroup\tprob_x\na\tx\t1\n", {"min_probability": 1.5}, "is no probability"),
        ("IID\tgroup\tprob_x\na\tx\tmany\n", {}, "not a number"),
        ("IID\tgroup\n" + "".join(f"p{k}\tg{k}\n" for k in range(101)), {}, "101 different labels"),
        ("IID\tgroup\n", {}, "no rows"),
    ],
)
def test_tables_that_are_refused(tmp_path, text, options, message):
    with pytest.raises(InputError, match=message):
        read_groups(table(tmp_path, text), **options)


def test_a_ragged_table_is_refused(tmp_path):
    with pytest.raises(FileFormatError):
        read_groups(table(tmp_path, "IID\tgroup\na\tx\ty\n"))


def test_released_components_are_covariates(tmp_path):
    found = read_covariate_table(predictions(tmp_path))
    values = np.column_stack([found.columns[f"pc{k}"].values for k in (1, 2, 3)])
    assert values.tolist() == [person[3] for person in PEOPLE]
    assert found.columns["ancestry_pred_other"].levels == ("afr", "eas", "eur", "oth")
    assert "pc1 to pc3" in found.notes[-1]
