"""Tables of summary statistics: which columns they have, by the program that wrote them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from allscan.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROLES = {
    "chromosome": "Chromosome, in any usual spelling",
    "position": "1-based position",
    "effect_allele": "Allele that the effect is of",
    "other_allele": "The other allele",
    "ref": "Reference allele, where the effect allele may be either",
    "alt": "Alternate allele or alleles, likewise",
    "ref_allele": "Which allele is the reference: EA or OA",
    "beta": "Effect, of a binary trait the logarithm of the odds ratio",
    "odds_ratio": "Odds ratio (or hazard ratio)",
    "standard_error": "Of the effect, or of the logarithm of the ratio",
    "ci_lower": "Lower end of the 95 % interval of the ratio",
    "ci_upper": "Upper end",
    "p": "p value",
    "neg_log10_p": "−log10 of the p value",
    "z": "Deviate with the sign of the effect",
    "frequency": "Frequency of the effect allele",
    "n": "People",
    "cases": "Cases",
    "controls": "Controls",
    "info": "Imputation quality",
    "id": "Identifier, of which rs numbers are kept",
    "test": "Which test a row is of; rows of others than ADD are left out",
}
"""What a column may be, and what that means."""

TEXTS = frozenset({"chromosome", "effect_allele", "other_allele", "ref", "alt", "ref_allele", "id", "test"})
"""Roles whose values are no numbers."""

ADDITIVE = ("ADD", "ADDITIVE")
"""Names of the additive test."""


@dataclass(frozen=True)
class Format:
    """A table as a program writes it."""

    name: str
    columns: Mapping[str, tuple[str, ...]]
    """Role: names of the column, the first that is there."""
    signature: frozenset[str]
    """Columns by which it is known."""
    mitochondrial: str = "26"
    """The number that means mtDNA; PLINK's 25 is the pseudoautosomal region, the GWAS Catalog's is mtDNA."""
    ref_first: bool = False
    """Whether the other allele is the reference."""


GWAS_SSF = Format(
    "gwas-ssf",
    {
        "chromosome": ("chromosome",),
        "position": ("base_pair_location",),
        "effect_allele": ("effect_allele",),
        "other_allele": ("other_allele",),
        "ref_allele": ("ref_allele",),
        "beta": ("beta",),
        "odds_ratio": ("odds_ratio", "hazard_ratio"),
        "standard_error": ("standard_error",),
        "ci_lower": ("ci_lower",),
        "ci_upper": ("ci_upper",),
        "p": ("p_value",),
        "neg_log10_p": ("neg_log_10_p_value",),
        "frequency": ("effect_allele_frequency",),
        "n": ("n",),
        "cases": ("n_cases",),
        "controls": ("n_controls",),
        "info": ("info",),
        "id": ("rsid", "variant_id"),
    },
    frozenset({"chromosome", "base_pair_location", "effect_allele", "other_allele"}),
    mitochondrial="25",
)
REGENIE = Format(
    "regenie",
    {
        "chromosome": ("CHROM",),
        "position": ("GENPOS",),
        "effect_allele": ("ALLELE1",),
        "other_allele": ("ALLELE0",),
        "beta": ("BETA",),
        "standard_error": ("SE",),
        "neg_log10_p": ("LOG10P",),
        "frequency": ("A1FREQ",),
        "n": ("N",),
        "cases": ("N_CASES",),
        "controls": ("N_CONTROLS",),
        "info": ("INFO",),
        "id": ("ID",),
        "test": ("TEST",),
    },
    frozenset({"CHROM", "GENPOS", "ALLELE0", "ALLELE1", "BETA", "LOG10P"}),
)
SAIGE = Format(
    "saige",
    {
        "chromosome": ("CHR",),
        "position": ("POS",),
        "effect_allele": ("Allele2",),
        "other_allele": ("Allele1",),
        "beta": ("BETA",),
        "standard_error": ("SE",),
        "p": ("p.value", "Pvalue"),
        "frequency": ("AF_Allele2",),
        "n": ("N",),
        "cases": ("N_case", "N.Cases"),
        "controls": ("N_ctrl", "N.Controls"),
        "info": ("imputationInfo",),
        "id": ("MarkerID", "SNPID"),
    },
    frozenset({"CHR", "POS", "Allele1", "Allele2", "BETA", "SE"}),
)
PLINK2 = Format(
    "plink2",
    {
        "chromosome": ("#CHROM", "CHROM"),
        "position": ("POS",),
        "effect_allele": ("A1",),
        "other_allele": ("OMITTED", "AX"),
        "ref": ("REF",),
        "alt": ("ALT",),
        "beta": ("BETA", "LOG(OR)"),
        "odds_ratio": ("OR",),
        "standard_error": ("SE", "LOG(OR)_SE"),
        "p": ("P",),
        "neg_log10_p": ("LOG10_P", "NEG_LOG10_P"),
        "z": ("Z_STAT",),
        "frequency": ("A1_FREQ",),
        "n": ("OBS_CT",),
        "cases": ("CASE_CT",),
        "controls": ("CTRL_CT",),
        "info": ("MACH_R2",),
        "id": ("ID",),
        "test": ("TEST",),
    },
    frozenset({"POS", "REF", "ALT", "A1"}),
)
GCTA = Format(
    "gcta",
    {
        "chromosome": ("CHR",),
        "position": ("POS",),
        "effect_allele": ("A1",),
        "other_allele": ("A2",),
        "beta": ("BETA",),
        "standard_error": ("SE",),
        "p": ("P",),
        "frequency": ("AF1",),
        "n": ("N",),
        "info": ("INFO",),
        "id": ("SNP",),
    },
    frozenset({"CHR", "SNP", "POS", "A1", "A2", "AF1", "BETA", "SE", "P"}),
)
ALLSCAN = Format(
    "allscan",
    {
        "chromosome": ("contig",),
        "position": ("position",),
        "effect_allele": ("alt", "effect_allele"),
        "other_allele": ("ref",),
        "beta": ("beta",),
        "standard_error": ("standard_error",),
        "neg_log10_p": ("neg_log10_p",),
        "frequency": ("effect_allele_frequency",),
        "n": ("n",),
        "cases": ("cases",),
        "info": ("info",),
        "id": ("variant_id",),
    },
    frozenset({"contig", "position", "ref", "beta", "standard_error", "neg_log10_p"}),
    ref_first=True,
)
GENERIC = Format(
    "generic",
    {
        "chromosome": ("chromosome", "chrom", "#chrom", "chr", "#chr", "hm_chrom"),
        "position": ("position", "pos", "bp", "base_pair_location", "genpos", "hm_pos"),
        "effect_allele": ("effect_allele", "ea", "allele1", "a1", "alt", "tested_allele", "effectallele"),
        "other_allele": ("other_allele", "oa", "nea", "non_effect_allele", "allele2", "a2", "ref", "noneffect_allele"),
        "beta": ("beta", "effect", "b", "log_odds", "logor", "log_or"),
        "odds_ratio": ("or", "odds_ratio", "hazard_ratio", "hr"),
        "standard_error": ("standard_error", "se", "stderr", "sebeta", "logor_se"),
        "ci_lower": ("ci_lower", "l95", "or_95l"),
        "ci_upper": ("ci_upper", "u95", "or_95u"),
        "p": ("p", "pval", "pvalue", "p_value", "p-value", "p.value"),
        "neg_log10_p": ("neg_log10_p", "neg_log_10_p_value", "log10p", "mlogp", "neglog10_pval", "nlog10p"),
        "z": ("z", "zscore", "z_score"),
        "frequency": ("effect_allele_frequency", "eaf", "freq1", "af", "frq", "a1freq", "af_alt", "freq"),
        "n": ("n", "n_total", "neff", "samplesize", "n_samples"),
        "cases": ("n_cases", "cases", "ncase", "n_case"),
        "controls": ("n_controls", "controls", "ncontrol", "n_control"),
        "info": ("info", "imputation_quality", "r2"),
        "id": ("rsid", "snp", "snpid", "markername", "variant_id", "id", "rs_number"),
    },
    frozenset(),
)
FORMATS: Mapping[str, Format] = {one.name: one for one in (GWAS_SSF, REGENIE, SAIGE, PLINK2, GCTA, ALLSCAN, GENERIC)}
"""In the order in which a header is compared with them."""


@dataclass(frozen=True)
class Layout:
    """The columns of one file."""

    format: Format
    columns: Mapping[str, str]
    """Role: column."""


def lay_out(header: Sequence[str], where: str, *, format_name: str | None, columns: Mapping[str, str]) -> Layout:
    """Find out which column is what.

    Parameters
    ----------
    header
        Names of the file's columns.
    where
        The file, for messages.
    format_name
        As in ``FORMATS``; None: known by its header.
    columns
        Role: column, as the user says; goes before all else.

    Raises
    ------
    InputError
        A column that the user names is not there, or what is needed is not.
    """
    for role, name in columns.items():
        if name not in header:
            raise InputError(
                f"there is no column {name!r} for {role}", where=where, fix=f"there are {', '.join(map(repr, header))}"
            )
    format_ = FORMATS[format_name] if format_name else _known_by(header)
    found = dict(columns)
    spelled = {name.lower(): name for name in reversed(header)} if format_ is GENERIC else {n: n for n in header}
    for role, names in format_.columns.items():
        known = next((spelled[name] for name in names if name in spelled), None)
        if role not in found and known is not None and known not in columns.values():
            found[role] = known
    _check(found, header, where)
    return Layout(format_, found)


def _known_by(header: Sequence[str]) -> Format:
    there = set(header)
    return next(one for one in FORMATS.values() if one.signature <= there)


def _check(found: dict[str, str], header: Sequence[str], where: str) -> None:
    """Refuse a table that does not tell place, alleles or effect."""
    if "effect_allele" in found and "other_allele" not in found and {"ref", "alt"} <= found.keys():
        found["other_allele"] = found["ref"]  # or ALT, where the effect allele is REF
    elif found.get("other_allele") is not None:
        found.pop("ref", None)
        found.pop("alt", None)
    absent = [role for role in ("chromosome", "position", "effect_allele", "other_allele") if role not in found]
    sure = {"standard_error", "p", "neg_log10_p"} & found.keys() or {"ci_lower", "ci_upper"} <= found.keys()
    if "z" not in found and not ({"beta", "odds_ratio"} & found.keys() and sure):
        absent.append("beta with standard_error (or odds_ratio, or z)")
    if not absent:
        return
    fix = f"say which columns they are: `columns: {{{absent[0].split()[0]}: NAME}}`; there are {', '.join(header)}"
    if {"CHR", "SNP", "BP", "A1"} <= set(header) and absent == ["other_allele"]:
        fix = "PLINK 1 does not write the other allele: use `plink2 --glm`, or add the column"
    raise FileFormatError(f"the table has no column for {', '.join(absent)}", where=where, fix=fix)
