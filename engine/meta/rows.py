"""Rows of summary statistics in one form, and what is wrong with those that are left out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from allscan.engine.chromosomes import canonical_name
from allscan.engine.meta.formats import ADDITIVE
from allscan.engine.variant_names import buffers
from allscan.errors import FileFormatError, InputError
from allscan.kernels.alleles import PALINDROME, REFUSED, SEQUENCE, allele_keys, rs_numbers
from allscan.kernels.meta import signed_deviates, weighted_deviates

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from allscan.engine.meta.formats import Layout

ROW = np.dtype(
    [
        ("key", "<i8"),
        ("rs", "<i8"),
        ("beta", "<f4"),
        ("standard_error", "<f4"),
        ("neg_log10_p", "<f4"),
        ("frequency", "<f4"),
        ("n", "<f4"),
        ("cases", "<f4"),
        ("info", "<f4"),
        ("side", "u1"),
        ("kind", "u1"),
        ("ref", "i1"),  # 1: the other allele is the reference, -1: the effect allele, 0: not told
        ("other_size", "<u2"),  # letters of the alleles, of kind SEQUENCE only
        ("effect_size", "<u2"),
    ]
)
"""A row on its way from a file to its variant; its position is that of the region and of the key."""

OTHER_TEST = "row of another test than the additive one"
NO_PLACE = "no chromosome or position"
ODD_ALLELE = "an allele is no sequence of A, C, G, T, or both are the same"
NO_EFFECT = "no effect, or none with a standard error or p value"
BAD_ERROR = "standard error of zero or less"
BAD_P = "p value outside 0 to 1"
BAD_FREQUENCY = "allele frequency outside 0 to 1"
BAD_RATIO = "odds ratio of zero or less"
LOW_INFO = "imputation quality below the limit"
WORST = "an effect or standard error beyond all reason (over 1e30)"
ZERO_P = "p of zero: taken from effect and standard error"
FROM_P = "standard error taken from effect and p value"

_MOST = 1e30
_Z_975 = 1.959963984540054
_LOG10_05 = -math.log10(0.05)

ErrorsFrom = Literal["given", "p"]


@dataclass(frozen=True)
class StudyFacts:
    """What is said of a study beside its table."""

    n: float | None = None
    cases: float | None = None
    controls: float | None = None
    min_info: float = 0.0
    errors_from: ErrorsFrom = "given"
    """``p``: where p <= 0.05, the standard error is the effect over the deviate of p."""


class RawRows(NamedTuple):
    """Some rows as they stand in a table."""

    texts: dict[str, pa.StringArray]
    numbers: dict[str, NDArray[np.float64]]


@dataclass
class Fit:
    """Whether effects, standard errors and p values of a table say the same; rows with z between 0.5 and 20."""

    compared: int = 0
    disagree: int = 0
    """−log10 p further from that of the effect than a tenth of it and 0.1."""
    logarithm_fits: int = 0
    """Of these: the logarithm of the effect over the error would agree."""
    positive: int = 0
    """Effects above zero, of those compared."""
    as_p_fits: int = 0
    """Of those that disagree: the −log10 p would agree if it were a p, or the p if it were a −log10 p."""

    def __add__(self, other: Fit) -> Fit:
        return Fit(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def refuse(self, where: str) -> None:
        """Refuse a table whose columns cannot be what they are taken for.

        Raises
        ------
        FileFormatError
            Most of its p values are not those of its effects.
        """
        if self.compared < LEAST_COMPARED or self.disagree <= 0.5 * self.compared:
            return
        what = f"of {self.compared:,} rows, {self.disagree:,} have a p value that is not that of effect and error"
        if self.logarithm_fits > 0.5 * self.disagree and self.positive == self.compared:
            raise FileFormatError(
                f"{what}: the effects look like odds ratios",
                where=where,
                fix="name the column as what it is: `columns: {odds_ratio: NAME}`",
            )
        if self.as_p_fits > 0.5 * self.disagree:
            raise FileFormatError(
                f"{what}: p and −log10 p look exchanged",
                where=where,
                fix="name the column as what it is: `columns: {p: NAME}` or `columns: {neg_log10_p: NAME}`",
            )
        raise FileFormatError(
            what,
            where=where,
            fix="name the columns under `columns`; where p is of another test than effect and error, and you know why, "
            "write `check_p: false`",
        )


LEAST_COMPARED = 50
"""Rows below which nothing is concluded from p values."""


@dataclass
class Parsed:
    """Rows of one chromosome each, with what goes with them."""

    contig: NDArray[np.int32]  # (rows,) index into the names
    position: NDArray[np.int64]
    rows: NDArray[np.void]  # of type ROW
    letters: NDArray[np.uint8]  # of the alleles of kind SEQUENCE: other, effect of each in turn


@dataclass
class RowParser:
    """From tables of one layout to rows, counting what is left out.

    Parameters
    ----------
    layout
        The columns.
    facts
        What is said of the study.
    left_out, noted
        Rows by reason, counted up.
    """

    layout: Layout
    facts: StudyFacts
    left_out: Counter[str]
    noted: Counter[str]
    contigs: list[str] = field(default_factory=list)
    fit: Fit = field(default_factory=Fit)
    total: int = 0

    def parse(self, raw: RawRows) -> Parsed:
        """Rows that can be used."""
        n = len(next(iter(raw.texts.values())))
        self.total += n
        kept = np.ones(n, np.bool_)
        if "test" in raw.texts:
            self._drop(kept, ~_among(raw.texts["test"], ADDITIVE), OTHER_TEST)
        contig = self._contigs(raw.texts["chromosome"])
        position = raw.numbers["position"]
        with np.errstate(invalid="ignore"):
            placed = (contig >= 0) & (position >= 1) & (position < 2**31) & (position == np.floor(position))
        self._drop(kept, ~placed, NO_PLACE)
        effect, other, ref = self._alleles(raw)
        key, trimmed, cut = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros((n, 2), np.int32)
        side, kind = np.zeros(n, np.uint8), np.zeros(n, np.uint8)
        (other_ends, other_letters), (effect_ends, effect_letters) = buffers(other), buffers(effect)
        place = np.where(placed, position, 1).astype(np.int64)
        allele_keys(place, other_ends, other_letters, effect_ends, effect_letters, key, side, kind, trimmed, cut)
        self._drop(kept, kind == REFUSED, ODD_ALLELE)
        out = np.zeros(n, ROW)
        out["key"], out["side"], out["kind"], out["ref"] = key, side, kind, ref
        if "id" in raw.texts:
            numbers = np.zeros(n, np.int64)
            rs_numbers(*buffers(raw.texts["id"]), numbers)
            out["rs"] = numbers
        self._numbers(raw.numbers, kept, out)
        sequences = np.flatnonzero(kept & (kind == SEQUENCE))
        letters = _letters(sequences, cut, (other_ends, other_letters), (effect_ends, effect_letters), out)
        chosen = np.flatnonzero(kept)
        return Parsed(contig[chosen], trimmed[chosen], out[chosen], letters)

    def _drop(self, kept: NDArray[np.bool_], wrong: NDArray[np.bool_], reason: str) -> None:
        """Count each row by the first thing that is wrong with it."""
        now = kept & wrong
        count = int(np.count_nonzero(now))
        if count:
            self.left_out[reason] += count
            kept[now] = False

    def _contigs(self, names: pa.StringArray) -> NDArray[np.int32]:
        encoded = names.dictionary_encode()
        codes = []
        for text in encoded.dictionary.to_pylist():
            name = contig_name(text, self.layout.format.mitochondrial)
            if name and name not in self.contigs:
                self.contigs.append(name)
            codes.append(self.contigs.index(name) if name else -1)
        index = encoded.indices.to_numpy(zero_copy_only=False)
        return np.asarray(np.array([*codes, -1], np.int32)[index])

    def _alleles(self, raw: RawRows) -> tuple[pa.StringArray, pa.StringArray, NDArray[np.int8]]:
        """Effect allele, other allele, and which of them is the reference."""
        import pyarrow.compute as pc

        texts = raw.texts
        effect, n = texts["effect_allele"], len(texts["effect_allele"])
        if "ref" in texts:
            is_ref = pc.equal(effect, texts["ref"])
            other = pc.if_else(is_ref, texts["alt"], texts["ref"])
            return effect, other, np.where(is_ref.to_numpy(zero_copy_only=False), -1, 1).astype(np.int8)
        other = texts["other_allele"]
        if "ref_allele" in texts:
            told = texts["ref_allele"]
            return effect, other, (_among(told, ("OA",)).astype(np.int8) - _among(told, ("EA",)).astype(np.int8))
        return effect, other, np.full(n, 1 if self.layout.format.ref_first else 0, np.int8)

    def _numbers(self, given: Mapping[str, NDArray[np.float64]], kept: NDArray[np.bool_], out: NDArray[Any]) -> None:
        n = len(kept)
        nothing = np.full(n, np.nan)
        beta, error, y = self._effects(given, kept)
        frequency = given.get("frequency", nothing)
        with np.errstate(invalid="ignore"):
            self._drop(kept, (frequency < 0.0) | (frequency > 1.0), BAD_FREQUENCY)
            self._drop(kept, given.get("info", nothing) < self.facts.min_info, LOW_INFO)
        cases, size = self._people(given, n)
        out["beta"], out["standard_error"], out["neg_log10_p"] = beta, error, y
        out["frequency"], out["n"], out["cases"] = frequency, size, cases
        out["info"] = given.get("info", nothing)

    def _people(self, given: Mapping[str, NDArray[np.float64]], n: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Cases and people of each row: as the table has them, else as the study is said to have them."""
        facts, nothing = self.facts, np.full(n, np.nan)

        def column(name: str, constant: float | None) -> NDArray[np.float64]:
            values = given.get(name, nothing)
            return values if constant is None else np.where(np.isnan(values), constant, values)

        cases, controls = column("cases", facts.cases), column("controls", facts.controls)
        size = column("n", facts.n)
        size = np.where(np.isnan(size), cases + controls, size)
        return cases, size

    def _effects(
        self, given: Mapping[str, NDArray[np.float64]], kept: NDArray[np.bool_]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Effect, its standard error, and −log10 p."""
        n = len(kept)
        nothing = np.full(n, np.nan)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            y = self._neg_log10_p(given, kept)
            beta, error = given.get("beta", nothing), given.get("standard_error", nothing)
            if "beta" not in given and "odds_ratio" in given:
                self._drop(kept, given["odds_ratio"] <= 0.0, BAD_RATIO)
                beta = np.log(given["odds_ratio"])
                if "standard_error" not in given and "ci_lower" in given:
                    error = (np.log(given["ci_upper"]) - np.log(given["ci_lower"])) / (2.0 * _Z_975)
            z = given.get("z", nothing)
            self._drop(kept, error <= 0.0, BAD_ERROR)
            # Before p is made of the effect: this is what a table says twice.
            self.fit += fit_of(beta[kept], error[kept], y[kept], exchanged=self._exchanged(given, kept))
            absent = np.isnan(y)
            if absent.any():
                y = np.where(absent, _of_deviates(np.where(np.isfinite(beta / error), beta / error, z)), y)
            need = np.isfinite(beta) & np.isfinite(y) & (y > 0.0)
            need &= ~np.isfinite(error) | ((y >= _LOG10_05) & (self.facts.errors_from == "p"))
            rows = np.flatnonzero(need)
            if len(rows):
                of_p = np.abs(beta[rows]) / np.abs(signed_deviates(y[rows], np.ones(len(rows))))
                told = (of_p > 0.0) & np.isfinite(of_p)
                error = error.copy()
                error[rows[told]] = of_p[told]
                if count := int(np.count_nonzero(kept[rows[told]])):
                    self.noted[FROM_P] += count
            # Without an effect the sign of a deviate goes into the sum by sample size, as an effect without error.
            beta = np.where(np.isfinite(beta), beta, np.where(np.isfinite(z), np.sign(z), np.nan))
            told = np.isfinite(beta) & (np.isfinite(error) | np.isfinite(y))
            self._drop(kept, ~told, NO_EFFECT)
            self._drop(kept, (np.abs(beta) > _MOST) | (error > _MOST), WORST)
        return beta, error, y

    def _neg_log10_p(self, given: Mapping[str, NDArray[np.float64]], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
        if "neg_log10_p" in given:
            y = given["neg_log10_p"]
            self._drop(kept, y < 0.0, BAD_P)
            return np.where(np.isinf(y), np.nan, y)
        if "p" not in given:
            return np.full(len(kept), np.nan)
        p = given["p"]
        self._drop(kept, (p < 0.0) | (p > 1.0), BAD_P)
        zero = p == 0.0
        if zero.any():
            self.noted[ZERO_P] += int(np.count_nonzero(zero & kept))
        return np.where(zero, np.nan, -np.log10(p) + 0.0)

    def _exchanged(self, given: Mapping[str, NDArray[np.float64]], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
        """−log10 p if the column were the other of p and −log10 p."""
        if "neg_log10_p" in given:
            y = given["neg_log10_p"]
            return np.where((y > 0.0) & (y <= 1.0), -np.log10(y), np.nan)[kept]
        return given.get("p", np.full(len(kept), np.nan))[kept]


def fit_of(
    beta: NDArray[np.float64],
    error: NDArray[np.float64],
    neg_log10_p: NDArray[np.float64],
    *,
    exchanged: NDArray[np.float64],
) -> Fit:
    """Compare p values with effects over errors; all (rows,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.abs(beta / error)
        told = np.isfinite(z) & np.isfinite(neg_log10_p) & (z > 0.5) & (z < 20.0)
        other = np.abs(np.log(beta) / error)
    found = np.flatnonzero(told)
    if not len(found):
        return Fit()
    y, expected = neg_log10_p[found], _of_deviates(z[found])
    disagree = ~_agree(y, expected)
    as_logarithm = _agree(y, _of_deviates(other[found]))
    as_exchanged = _agree(exchanged[found], expected)
    return Fit(
        len(found),
        int(disagree.sum()),
        int((disagree & as_logarithm).sum()),
        int((beta[found] > 0.0).sum()),
        int((disagree & as_exchanged).sum()),
    )


def _agree(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(one - other) <= np.maximum(0.1, 0.1 * other))


def _of_deviates(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """−log10 p of normal deviates."""
    return weighted_deviates(z[None], np.ones((1, 1))).neg_log10_p


def contig_name(text: str | None, mitochondrial: str = "26") -> str:
    """Plain name of a chromosome as a table spells it; another contig as it is, and nothing for none.

    >>> contig_name("chr01"), contig_name("23"), contig_name("25", "25"), contig_name("GL000009.2")
    ('1', 'X', 'MT', 'GL000009.2')
    """
    if text is None or text.strip() in ("", ".", "0", "NA"):
        return ""
    name = text.strip()
    bare = name[3:] if name[:3].lower() == "chr" else name
    bare = bare.removesuffix(".0")
    if bare == mitochondrial:
        return "MT"
    numbers = {"23": "X", "24": "Y", "25": "X", "26": "MT", "XY": "X", "PAR1": "X", "PAR2": "X"}
    return numbers.get(bare.upper()) or canonical_name(bare) or name


def _among(texts: pa.StringArray, words: tuple[str, ...]) -> NDArray[np.bool_]:
    import pyarrow.compute as pc

    found: NDArray[np.bool_] = pc.is_in(texts, pa.array(words)).to_numpy(zero_copy_only=False)
    return found


def _letters(
    sequences: NDArray[np.int64],
    cut: NDArray[np.int32],
    other: tuple[NDArray[np.int32], NDArray[np.uint8]],
    effect: tuple[NDArray[np.int32], NDArray[np.uint8]],
    out: NDArray[Any],
) -> NDArray[np.uint8]:
    """Alleles of some rows without shared bases, one after another; their sizes are written to ``out``."""
    starts, sizes = [], []
    for name, (ends, _) in (("other_size", other), ("effect_size", effect)):
        start = ends[sequences] + cut[sequences, 0]
        size = ends[sequences + 1] - cut[sequences, 1] - start
        out[name][sequences] = size
        starts.append(start.astype(np.int64))
        sizes.append(size.astype(np.int64))
    # Other and effect in turn: both stand in one array, one behind the other.
    both = np.concatenate([other[1], effect[1]])
    start = np.stack([starts[0], starts[1] + len(other[1])], axis=1).ravel()
    size = np.stack(sizes, axis=1).ravel()
    ends = np.cumsum(size)
    index = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(start - (ends - size), size)
    return np.asarray(both[index] & np.uint8(0xDF))


def refuse_no_rows(total: int, kept: int, left_out: Counter[str], where: str) -> None:
    """Refuse a table of which nothing is left.

    Raises
    ------
    InputError
        There are no rows, or all were left out.
    """
    if kept:
        return
    why = "; ".join(f"{count:,} rows: {reason}" for reason, count in left_out.most_common(3))
    raise InputError(
        "the table has no rows" if not total else f"none of {total:,} rows can be used ({why})",
        where=where,
        fix="check the columns, and name them under `columns` where they are taken for something else",
    )


__all__ = ["PALINDROME", "ROW", "Fit", "Parsed", "RawRows", "RowParser", "StudyFacts", "contig_name", "fit_of"]
