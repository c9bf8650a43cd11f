"""Keys of allele pairs, against one that reads and complements strings."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from allscan.kernels.alleles import (
    OTHER_STRAND,
    PALINDROME,
    REFUSED,
    SEQUENCE,
    SNV,
    SWAPPED,
    allele_keys,
    rs_numbers,
    same_sequences,
)

COMPLEMENT = str.maketrans("ACGT", "TGCA")


def encoded(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    ends = np.concatenate([[0], np.cumsum([len(text.encode()) for text in texts])]).astype(np.int32)
    return ends, np.frombuffer("".join(texts).encode(), np.uint8)


def keys_of(rows: list[tuple[int, str, str]]) -> tuple[np.ndarray, ...]:
    """Key, side, kind, position and shared bases of rows (position, other, effect)."""
    n = len(rows)
    out = (np.zeros(n, np.int64), np.zeros(n, np.uint8), np.zeros(n, np.uint8), np.zeros(n, np.int64))
    cut = np.zeros((n, 2), np.int32)
    position = np.array([row[0] for row in rows], np.int64)
    allele_keys(position, *encoded([row[1] for row in rows]), *encoded([row[2] for row in rows]), *out, cut)
    return (*out, cut)


def naive(position: int, other: str, effect: str) -> tuple[object, int, int] | None:
    """What is the same for all spellings of a variant, its side, and its kind; None for what is refused."""
    other, effect = other.upper(), effect.upper()
    if not other or not effect or (set(other) | set(effect)) - set("ACGT"):
        return None
    while len(other) > 1 and len(effect) > 1 and other[-1] == effect[-1]:
        other, effect = other[:-1], effect[:-1]
    while len(other) > 1 and len(effect) > 1 and other[0] == effect[0]:
        other, effect, position = other[1:], effect[1:], position + 1
    if len(other) == len(effect) == 1:
        if other == effect:
            return None
        if other.translate(COMPLEMENT) == effect:
            pair = min(other, effect) + max(other, effect)
            return (position, pair), SWAPPED * (other > effect), PALINDROME
        spellings = [(other, effect), (other.translate(COMPLEMENT), effect.translate(COMPLEMENT))]
        strand = 0 if "A" in (other, effect) else 1
        first, second = spellings[strand]
        pair = min(first, second) + max(first, second)
        return (position, pair), OTHER_STRAND * strand + SWAPPED * (first > second), SNV
    ordered = sorted([other, effect], key=lambda text: (len(text), text))
    return (position, *ordered), SWAPPED * (ordered[0] != other), SEQUENCE


alleles = st.one_of(
    st.sampled_from("ACGTacgt"),
    st.text("ACGT", min_size=1, max_size=5),
    st.text("ACGTNa*<>0", min_size=0, max_size=3),
)


@given(st.lists(st.tuples(st.integers(1, 4), alleles, alleles), min_size=1, max_size=60))
def test_keys_are_equal_where_the_strings_say_so(rows: list[tuple[int, str, str]]) -> None:
    key, side, kind, trimmed, cut = keys_of(rows)
    expected = [naive(*row) for row in rows]
    by_key: dict[int, object] = {}
    by_variant: dict[object, int] = {}
    for k, one in enumerate(expected):
        if one is None:
            assert kind[k] == REFUSED
            continue
        variant, on_side, of_kind = one
        assert (side[k], kind[k]) == (on_side, of_kind)
        assert trimmed[k] == variant[0]  # type: ignore[index]
        assert cut[k].sum() == len(rows[k][1]) - (len(rows[k][1]) - cut[k].sum())
        assert by_key.setdefault(int(key[k]), variant) == variant
        assert by_variant.setdefault(variant, int(key[k])) == key[k]


def test_keys_rise_with_the_position() -> None:
    rows = [(p, "A", "C") for p in (1, 5, 2**25 - 1)]
    assert (np.diff(keys_of(rows)[0]) > 0).all()
    # The next region begins anew.
    assert keys_of([(2**25 + 5, "A", "C")])[0][0] == keys_of([(5, "A", "C")])[0][0]


def test_rs_numbers() -> None:
    names = ["rs123", "rs", "1:5:A:C", "rs12x", "", "RS7", "rs4294967296"]
    out = np.zeros(len(names), np.int64)
    rs_numbers(*encoded(names), out)
    assert out.tolist() == [123, 0, 0, 0, 0, 0, 4294967296]


def test_same_sequences() -> None:
    ends, letters = encoded(["ACG", "acg", "AC", "ACT"])
    start, size = ends[:-1].astype(np.int64), np.diff(ends).astype(np.int64)
    one, two = np.array([0, 0, 0, 2]), np.array([1, 2, 3, 2])
    out = np.zeros(4, np.bool_)
    same_sequences(letters, start[one], size[one], start[two], size[two], out)
    assert out.tolist() == [True, False, False, True]
