"""The text of exports, cell by cell in Python."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np

from allscan.kernels.association import HAS_RESULT, Status
from allscan.kernels.summary import chi_square
from tests.jobs.synthetic_results import ArrayResults

Row = dict[str, Any]

_CODES = {**{str(k): k for k in range(1, 23)}, "X": 23, "Y": 24, "MT": 25}


def naive_export(results: ArrayResults, format_name: str, trait: int, label: str) -> str:
    """The lines of one trait of results that stand in order."""
    table, make = results.table, _MAKERS[format_name]
    lines = []
    for v in range(results.n_variants):
        row = {name: values[0, trait, v] for name, values in results.values.items()}
        names = zip(("contig", "position", "id", "ref", "alt", "info"), _names_of(table, v), strict=True)
        lines += [sep.join(cells) for sep, cells in make({**row, **dict(names)}, label)]
    return "".join(f"{line}\n" for line in lines)


def _names_of(table: Any, v: int) -> list[Any]:
    return [column[v] for column in (table.contig, table.position, table.variant_id, table.ref, table.alt, table.info)]


def number(value: Any, missing: str = "NA") -> str:
    """The shortest decimal of a float32, or an integer."""
    if not math.isfinite(value):
        return missing
    if isinstance(value, np.integer):
        return str(value)
    sign = "-" if np.signbit(value) else ""
    return sign + _decimal(abs(Decimal(str(np.float32(value)))), -6, 10)


def p_value(y: float) -> str:
    """p of −log10 p with seven digits."""
    if not math.isfinite(y):
        return "NA"
    power = math.floor(-y)
    digits = np.rint(10.0 ** (-float(y) - power) * 1e6)
    return _decimal(Decimal(int(digits)).scaleb(power - 6), -4, 1)


def _decimal(size: Decimal, lowest: int, highest: int) -> str:
    if not size:
        return "0"
    power = size.adjusted()
    if lowest <= power < highest:
        plain = f"{size:f}"
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    digits = "".join(map(str, size.as_tuple().digits)).rstrip("0")
    return digits[0] + ("." + digits[1:] if digits[1:] else "") + f"e{power:+d}"


def _key(row: Row) -> str:
    return row["id"] if row["id"] not in ("", ".") else f"{row['contig']}:{row['position']}:{row['ref']}:{row['alt']}"


def _status(row: Row) -> str:
    return "" if row["status"] in HAS_RESULT else Status(int(row["status"])).name


def _method(row: Row) -> str:
    status = Status(int(row["status"]))
    return status.name if status in HAS_RESULT - {Status.OK} else ""


def _regenie(row: Row, label: str) -> list[tuple[str, list[str]]]:
    of_cases, y = "cases" in row, row["neg_log10_p"]
    extra = [_status(row)]
    if of_cases and _method(row):
        extra.append(f"METHOD={_method(row)}")
    others = [name for name in ("beta_domdev", "standard_error_domdev") if math.isfinite(row.get(name, math.nan))]
    extra += [f"{name.upper()}={number(row[name])}" for name in others]
    chi = np.float32(chi_square(np.array([y]), 2 if "beta_domdev" in row else 1)[0])
    cells = [row["contig"], str(row["position"]), _key(row), row["ref"], row["alt"]]
    cells += [number(row["effect_allele_frequency"])]
    if of_cases:
        cells += [number(row[f"effect_allele_frequency_{who}"]) for who in ("cases", "controls")]
    cells += [number(row["info"]), str(row["n"])]
    if of_cases:
        cells += [str(row["cases"]), str(row["n"] - row["cases"])]
    cells += [label, *(number(value) for value in (row["beta"], row["standard_error"], chi, y))]
    return [(" ", [*cells, ";".join(word for word in extra if word) or "NA"])]


def _plink(row: Row, label: str) -> list[tuple[str, list[str]]]:
    of_cases = "cases" in row
    before = [row["contig"], str(row["position"]), _key(row), row["ref"], row["alt"], row["alt"]]
    before += [number(row["effect_allele_frequency"])]
    after = [_status(row) or "."]
    if of_cases:
        before += [number(row[f"effect_allele_frequency_{who}"]) for who in ("cases", "controls")]
        before += ["Y" if row["status"] == Status.FIRTH else "N"]
        after += [_method(row) or "NA", str(row["cases"]), str(row["n"] - row["cases"])]
        after += [str(row[f"carriers_{who}"]) for who in ("cases", "controls")]

    def effect(suffix: str) -> list[str]:
        beta, error = row[f"beta{suffix}"], row[f"standard_error{suffix}"]
        with np.errstate(over="ignore"):
            shown = np.float32(np.exp(np.float64(beta))) if of_cases else beta
            return [number(shown), number(error), number(np.float32(np.float64(beta) / error))]

    p = p_value(row["neg_log10_p"])
    tests = [(label, [*effect(""), p])]
    if "beta_domdev" in row:
        tests = [("ADD", [*effect(""), "NA"]), ("DOMDEV", [*effect("_domdev"), "NA"]), (label, ["NA", "NA", "NA", p])]
    return [("\t", [*before, name, str(row["n"]), *values, *after]) for name, values in tests]


def _gwas_ssf(row: Row, _label: str) -> list[tuple[str, list[str]]]:
    needed = ("beta", "standard_error", "neg_log10_p", "effect_allele_frequency")
    if not all(math.isfinite(row[name]) for name in needed):
        return []
    code, position = str(_CODES[row["contig"]]), str(row["position"])
    cells = [code, position, row["alt"], row["ref"]]
    cells += [number(row[name]) for name in ("beta", "standard_error", "effect_allele_frequency", "neg_log10_p")]
    rs = row["id"] if row["id"].startswith("rs") and row["id"][2:].isdigit() else "#NA"
    cells += ["_".join([code, position, row["ref"], row["alt"]]), rs, "OA"]
    cells += [number(min(row["info"], np.float32(1.0)), "#NA"), str(row["n"])]
    if "cases" in row:
        cells += [str(row["cases"]), str(row["n"] - row["cases"])]
        cells += [number(row[f"effect_allele_frequency_{who}"], "#NA") for who in ("cases", "controls")]
    return [("\t", cells)]


_MAKERS: dict[str, Callable[[Row, str], list[tuple[str, list[str]]]]] = {
    "regenie": _regenie,
    "plink": _plink,
    "gwas-ssf": _gwas_ssf,
}
