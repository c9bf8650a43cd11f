"""Quality of variants and people, written from the definitions: a loop over variants and people."""

from __future__ import annotations

from fractions import Fraction
from math import comb, factorial, log10, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

Calls = NDArray[np.int8]


def hwe_neg_log10_p(n_hom_ref: int, n_het: int, n_hom_alt: int) -> float:
    """In whole numbers: every ordered assignment of the alleles to people counts once."""
    n, n_alt = n_hom_ref + n_het + n_hom_alt, 2 * n_hom_alt + n_het
    if n == 0:
        return nan
    ways = {}
    for het in range(n_alt % 2, min(n_alt, 2 * n - n_alt) + 1, 2):
        hom_alt = (n_alt - het) // 2
        people = factorial(n) // factorial(het) // factorial(hom_alt) // factorial(n - het - hom_alt)
        ways[het] = people * 2**het
    p = Fraction(sum(w for w in ways.values() if w <= ways[n_het]), comb(2 * n, n_alt))
    return log10(p.denominator) - log10(p.numerator)


def count(calls: Calls, kind: str, sex: NDArray[np.int8]) -> dict[str, Any]:
    """One variant in some people; ``kind`` is autosome, x, y, mt."""
    men_known = (sex == 1).any()
    people = called = het = hom_alt = 0
    copies = number = 0
    by_call = [0, 0, 0]
    haploid = haploid_het = 0
    for call, s in zip(calls.tolist(), sex.tolist(), strict=True):
        if kind in "xy" and s == 1 and call >= 0:
            haploid += 1
            haploid_het += call == 1
        if kind == "y" and men_known and s != 1:
            continue
        people += 1
        if call < 0:
            continue
        called += 1
        het += call == 1
        hom_alt += call == 2
        one = kind in ("y", "mt") or (kind == "x" and s == 1)
        copies += call / 2 if one else call
        number += 1 if one else 2
        if kind == "autosome" or (kind == "x" and s == 2):
            by_call[call] += 1
    return {
        "people": people,
        "called": called,
        "het": het,
        "hom_alt": hom_alt,
        "copies": copies,
        "number": number,
        "by_call": by_call,
        "haploid": haploid,
        "haploid_het": haploid_het,
    }


def fate(whole: dict[str, Any], of_groups: list[dict[str, Any]], rules: Any, info: float, groups_known: bool) -> str:
    """The first rule that a variant breaks."""
    minor = min(whole["copies"], whole["number"] - whole["copies"])
    if not whole["called"] or whole["called"] / whole["people"] < rules.min_call_rate:
        return "call_rate"
    if minor == 0:
        return "monomorphic"
    if minor < rules.min_mac or minor / whole["number"] < rules.min_maf:
        return "rare"
    if info < rules.min_info:
        return "info"
    large = [g for g in of_groups if groups_known and g["people"] >= rules.group_people]
    if len(large) > 1:
        rates = [g["called"] / g["people"] for g in large]
        share = 1 - sum(g["called"] for g in large) / sum(g["people"] for g in large)
        if max(rates) - min(rates) > rules.max_call_rate_difference:
            from scipy.stats import chi2

            expected = [share * g["people"] for g in large]
            statistic = sum(
                (g["people"] - g["called"] - e) ** 2 / (e * (1 - share)) for g, e in zip(large, expected, strict=True)
            )
            if chi2.sf(statistic, len(large) - 1) < rules.difference_p:
                return "differential_missingness"
    judged = of_groups if not groups_known else [g for g in of_groups if sum(g["by_call"]) >= rules.group_people]
    worst, excess = 0.0, 0.0
    for g in judged:
        p = hwe_neg_log10_p(*g["by_call"])
        n, alt = sum(g["by_call"]), 2 * g["by_call"][2] + g["by_call"][1]
        if n and groups_known:
            worst = max(worst, p)
        if n and g["by_call"][1] > Fraction(alt * (2 * n - alt), 2 * n - 1):
            excess = max(excess, p)
    if excess > -log10(rules.min_hwe_excess_p):
        return "hwe_excess"
    if worst > -log10(rules.min_hwe_p):
        return "hwe"
    if whole["haploid"] and whole["haploid_het"] / whole["haploid"] > rules.max_haploid_het:
        return "haploid_heterozygous"
    return "passes"


def expected_het(of: dict[str, Any]) -> float:
    """Chance of two different alleles of two drawn from those seen, without putting the first back."""
    k, n = of["copies"], of["number"]
    return 2 * k * (n - k) / (n * (n - 1)) if n > 1 else 0.0
