"""Tables of relatives, as the programs that make them write them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from allscan.errors import FileFormatError, InputError
from allscan.phenotypes.relatedness import align_relatedness, read_relatedness

PAIRS = [("A", "B", 0.25), ("B", "C", 0.125), ("X", "A", 0.5)]
STORE = np.array(["C", "B", "Z", "A"], dtype=object)

FORMATS = {
    "king.kin0": "FID1\tID1\tFID2\tID2\tN_SNP\tHetHet\tIBS0\tKinship\n"
    + "".join(f"f\t{a}\tg\t{b}\t99\t0.1\t0.01\t{k}\n" for a, b, k in PAIRS),
    "ukb.dat": "ID1 ID2 HetHet IBS0 Kinship\n" + "".join(f"{a} {b} 0.1 0.01 {k}\n" for a, b, k in PAIRS),
    "plink.kin0": "#FID1\tIID1\tFID2\tIID2\tNSNP\tHETHET\tIBS0\tKINSHIP\n"
    + "".join(f"f\t{a}\tg\t{b}\t99\t0.1\t0.01\t{k}\n" for a, b, k in PAIRS),
    "plink_short.kin0": "#IID1\tIID2\tNSNP\tHETHET\tIBS0\tKINSHIP\n"
    + "".join(f"{a}\t{b}\t99\t0.1\t0.01\t{k}\n" for a, b, k in PAIRS),
    "relatedness.tsv": "i.s\tj.s\tkin\n" + "".join(f"{a}\t{b}\t{k}\n" for a, b, k in PAIRS),
    "hail.tsv": "i\tj\tkin\tibd0\n" + "".join(f'{{"s":"{a}"}}\t{{"s":"{b}"}}\t{k}\tNA\n' for a, b, k in PAIRS),
    "relatedness.csv": "i.s,j.s,kin\n" + "".join(f"{a},{b},{k}\n" for a, b, k in PAIRS),
}


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def sparse(folder: Path, text: str, ids: str = "0 A\n0 B\n0 C\n0 X\n", name: str = "m.grm.sp") -> Path:
    (folder / "m.grm.id").write_text(ids)
    return written(folder, name, text)


SPARSE = "0\t0\t1.01\n1\t0\t0.49\n1\t1\t0.98\n2\t1\t0.26\n2\t2\t1\n3\t0\t1\n3\t3\t1\n"


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("compressed", [False, True])
def test_kinship_of_every_program_is_doubled(tmp_path: Path, name: str, compressed: bool) -> None:
    path = written(tmp_path, name, FORMATS[name])
    if compressed:
        path = tmp_path / (name + ".gz")
        path.write_bytes(gzip.compress(FORMATS[name].encode()))
    table = read_relatedness(path)
    assert list(zip(table.first, table.second, table.value, strict=True)) == [(a, b, 2 * k) for a, b, k in PAIRS]
    assert set(table.people) == {"A", "B", "C", "X"}
    assert table.diagonal is None


def test_structs_of_ids_in_parquet(tmp_path: Path) -> None:
    first, second, kin = ([pair[k] for pair in PAIRS] for k in range(3))
    columns = {"i": [{"s": a} for a in first], "j": [{"s": b} for b in second], "kin": kin}
    pq.write_table(pa.table(columns), tmp_path / "relatedness.parquet")
    table = read_relatedness(tmp_path / "relatedness.parquet")
    assert list(zip(table.first, table.second, table.value, strict=True)) == [(a, b, 2 * k) for a, b, k in PAIRS]


def test_pairs_are_those_among_the_analysed(tmp_path: Path) -> None:
    table = read_relatedness(written(tmp_path, "r.tsv", FORMATS["relatedness.tsv"]))
    everybody = align_relatedness(table, STORE, np.arange(4))
    assert everybody.first.tolist() == [3, 1]
    assert everybody.second.tolist() == [1, 0]
    assert everybody.value.tolist() == [0.5, 0.25]
    assert everybody.n_absent == 1
    some = align_relatedness(table, STORE, np.array([1, 3]))
    assert (some.first.tolist(), some.second.tolist()) == ([1], [0])
    assert some.n_absent == 1
    assert not some.warnings


@pytest.mark.parametrize("name", ["m.grm.sp", "m.grm.sp.gz"])
def test_a_sparse_matrix_has_its_diagonal(tmp_path: Path, name: str) -> None:
    path = sparse(tmp_path, SPARSE)
    if name.endswith(".gz"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(SPARSE.encode()))
    pairs = align_relatedness(read_relatedness(path), STORE, np.arange(4))
    assert sorted(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.value.tolist(), strict=True)) == [
        (0, 1, 0.26),
        (1, 3, 0.49),
    ]
    assert pairs.diagonal is not None
    assert pairs.diagonal.tolist() == [1.0, 0.98, 1.0, 1.01]  # C, B, Z who is not in the matrix, A


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ID1\tID2\tPhi\nA\tB\t0.25\n", "not clear which columns"),
        ("ID1\tIID2\tKinship\nA\tB\t0.25\n", "not clear which columns"),
        ("ID1\tID2\tIID1\tIID2\tKinship\nA\tB\tA\tB\t0.25\n", "not clear which columns"),
        ("ID1\tID2\tKinship\nA\tB\t0.25\nA\tC\t1.0\n", r"1 is no kinship.*line 3"),
        ("ID1\tID2\tKinship\nA\tB\tnan\n", r"no kinship.*line 2"),
        ("ID1\tID2\tKinship\nA\tB\tclose\n", r"'close' is not a number.*line 2"),
        ("ID1\tID2\tKinship\nA\t\t0.25\n", r"1 rows have no id.*line 2"),
        ("ID1\tID2\tKinship\n", "no rows"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=f"(?s){message}"):
        read_relatedness(written(tmp_path, "r.tsv", text))


@pytest.mark.parametrize(
    ("text", "ids", "message"),
    [
        (SPARSE, "0 A\n0 B\n0 A\n0 X\n", "1 rows repeat the IID"),
        (SPARSE, "A\nB\nC\nX\n", r"m.grm.id, line 1"),
        (SPARSE, "0 A\n0 B\n", r"row 2, and m.grm.id has 2 people.*line 4"),
        (SPARSE.replace("0.26", "2.6"), "0 A\n0 B\n0 C\n0 X\n", r"2.6 is no relatedness.*line 4"),
        (SPARSE.replace("0.26", "inf"), "0 A\n0 B\n0 C\n0 X\n", r"inf is no relatedness.*line 4"),
        (SPARSE.replace("0.26", "x"), "0 A\n0 B\n0 C\n0 X\n", r"not two row numbers.*line 4"),
        (SPARSE.replace("2\t2\t1\n", ""), "0 A\n0 B\n0 C\n0 X\n", "1 people have no number on the diagonal"),
        (SPARSE + "2\t2\t1\n", "0 A\n0 B\n0 C\n0 X\n", "more than one number"),
    ],
)
def test_matrices_that_cannot_be_used(tmp_path: Path, text: str, ids: str, message: str) -> None:
    with pytest.raises((InputError, FileFormatError), match=f"(?s){message}"):
        read_relatedness(sparse(tmp_path, text, ids))


def test_a_matrix_without_its_people(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file 'm\.grm\.id'"):
        read_relatedness(written(tmp_path, "m.grm.sp", SPARSE))


def test_ids_that_match_nobody_or_few(tmp_path: Path) -> None:
    table = read_relatedness(written(tmp_path, "r.tsv", "ID1\tID2\tKinship\n07\t08\t0.25\n09\t7\t0.25\n"))
    with pytest.raises(InputError, match="no person of the table of relatives"):
        align_relatedness(table, STORE, np.arange(4))
    few = align_relatedness(table, np.array(["7", "8", "9"], dtype=object), np.arange(3))
    assert few.n_absent == 3
    assert "only 1 of 4 people" in few.warnings[0]
    assert "leading zeros" in few.warnings[0]
