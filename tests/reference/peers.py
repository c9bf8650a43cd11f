"""Run the engine and other programs on the same data, read what they write, and compare number by number."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from operator import mul
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bed_reader import open_bed
from numpy.typing import NDArray
from scipy import stats

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.design import Design, Strata
from allscan.engine.ingest.pipeline import ingest
from allscan.engine.plan import ScanSpec, plan_scan
from allscan.engine.results import ResultsCube
from allscan.engine.scan import run_scan
from allscan.engine.store import GenotypeStore, open_store
from allscan.kernels.association import Status
from tests.engine.cohorts import strata_of

Floats = NDArray[np.float64]

EPSILON = float(np.finfo(np.float64).eps)
FLOAT32 = 6e-8
"""Relative rounding of results, which the cube keeps as float32."""


# ---- our side -------------------------------------------------------------------------------------------


def make_store(sources: Iterable[Path], out: Path, **options: Any) -> GenotypeStore:
    """Ingest files into a store."""
    ingest(list(sources), out, executor=EmbeddedExecutor(1), **options)
    return open_store(out)


def design(
    store: GenotypeStore,
    traits: pd.DataFrame,
    covariates: pd.DataFrame,
    *,
    intercept: bool = True,
) -> Design:
    """Align tables, indexed by sample, to a store by name; a sample without every covariate is not analysed."""
    order = pd.Index(store.sample_ids)
    y = traits.reindex(order)
    x = covariates.reindex(order).astype(float)
    rows = np.flatnonzero(x.notna().all(axis=1) & y.notna().any(axis=1))
    columns = x.to_numpy(float)[rows]
    names = [str(name) for name in covariates.columns]
    if intercept:
        columns = np.column_stack([np.ones(len(rows)), columns])
        names = ["intercept", *names]
    return Design(
        rows.astype(np.int64),
        y.to_numpy(float)[rows],
        tuple(str(name) for name in traits.columns),
        columns,
        tuple(names),
        store.sample_sex[rows],
    )


def scan(store: GenotypeStore, aligned: Design | Strata, output: Path, **options: Any) -> ResultsCube:
    """Run the engine."""
    spec = ScanSpec(**options)
    strata = strata_of(aligned)
    plan = plan_scan(store, strata, spec, workers=1, memory_bytes=4 << 30)
    run_scan(plan, store, strata, spec, EmbeddedExecutor(1), output)
    return ResultsCube.open(output)


def results(cube: ResultsCube, trait: str, stratum: str = "all") -> pd.DataFrame:
    """Results of a trait, one row a variant, indexed by ``contig:position:ref:alt``."""
    table = pd.DataFrame(cube.trait_table(trait, stratum))
    return table.set_index(keys(table.contig, table.position, table.ref, table.alt))


def keys(contig: Any, position: Any, ref: Any, alt: Any) -> pd.Index:
    """``contig:position:ref:alt`` of every variant; each must be there once."""
    parts = zip(contig, position, ref, alt, strict=True)
    index = pd.Index([f"{c}:{p}:{r}:{a}" for c, p, r, a in parts])
    assert index.is_unique
    return index


# ---- the other programs ---------------------------------------------------------------------------------


def run(*command: str | Path | float) -> None:
    """Run a program; a failure shows what it said."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def plink2(*arguments: str | Path | float, out: Path) -> None:
    """Run PLINK 2 on one thread. Where it is not installed, a developer's test is skipped and one of CI fails."""
    if shutil.which("plink2") is None:
        reason = "plink2 is not installed (Debian: apt-get install plink2)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    run("plink2", *arguments, "--threads", 1, "--memory", 2000, "--out", out)


GLM_COLUMNS = "cols=chrom,pos,ref,alt,a1count,totallele,a1freq,test,nobs,beta,se,tz,p,err"
GLM = ("omit-ref", "log10", "hide-covar", GLM_COLUMNS)
# PLINK 2 refuses a variant that the covariates explain to 98 % or that correlates 0.999 with one; these are
# conventions, not arithmetic, and are opened as far as its options allow.
OPEN_CHECKS = ("--vif", "1e8", "--max-corr", "1")


@dataclass(frozen=True)
class Printed:
    """Numbers that a program printed with a limited number of digits."""

    values: Floats
    half_unit: Floats  # half a unit of the last digit that was printed

    @classmethod
    def parse(cls, text: pd.Series[str], digits: int = 6) -> Printed:
        """Read numbers printed with up to ``digits`` significant digits; ``NA`` is NaN."""
        values = np.array(text.replace({"NA": "nan", "": "nan"}), dtype=float)
        with np.errstate(divide="ignore"):
            exponent = np.floor(np.log10(np.abs(values)))
        half = 0.5 * 10.0 ** (np.where(np.isfinite(exponent), exponent, -300) - (digits - 1))
        return cls(values, half)


def read_glm(path: Path) -> pd.DataFrame:
    """A PLINK 2 ``--glm`` table as text, indexed by ``contig:position:ref:alt`` (of each TEST).

    Without ``omit-ref`` PLINK 2 counts REF where that is the minor allele: effects are then turned round.
    """
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    table = table.rename(columns={"#CHROM": "CHROM"})
    turned = table.A1 == table.REF
    assert (turned | (table.A1 == table.ALT)).all()
    for column in ("BETA", "T_STAT"):
        if turned.any():
            values = table.loc[turned, column]
            table.loc[turned, column] = np.where(values.str.startswith("-"), values.str[1:], "-" + values)
    contig = table.CHROM.replace({"PAR1": "X", "PAR2": "X"})
    if table.TEST.nunique() == 1:
        table.index = keys(contig, table.POS, table.REF, table.ALT)
    else:
        parts = zip(contig, table.POS, table.REF, table.ALT, strict=True)
        table.index = pd.Index([f"{c}:{p}:{r}:{a}" for c, p, r, a in parts])
    return table


def read_table(path: Path) -> pd.DataFrame:
    """A whitespace-separated table as text (REGENIE, GCTA, R)."""
    return pd.read_csv(path, sep=r"\s+", dtype=str, keep_default_na=False)


# ---- comparison -----------------------------------------------------------------------------------------


def compare(
    name: str,
    ours: Any,
    theirs: Printed,
    *,
    relative: float,
    absolute: float | Floats = 0.0,
    excluded: Any = False,
) -> float:
    """Demand ``|ours − theirs| ≤ relative · |theirs| + half a printed unit + absolute`` wherever they have a number.

    Returns the largest difference beyond printing, relative to the number.
    """
    mine = np.asarray(ours, float)
    assert mine.shape == theirs.values.shape
    there = np.isfinite(theirs.values) & ~excluded
    difference = np.abs(mine - theirs.values)
    allowed = relative * np.abs(theirs.values) + theirs.half_unit + absolute
    bad = there & ~(difference <= allowed)
    if bad.any():
        rows = np.flatnonzero(bad)[:10]
        shown = "\n".join(f"  row {i}: ours {mine[i]!r}, theirs {theirs.values[i]!r}" for i in rows)
        raise AssertionError(f"{name}: {int(bad.sum())} of {int(there.sum())} differ\n{shown}")
    with np.errstate(invalid="ignore", divide="ignore"):
        beyond = np.maximum(difference - theirs.half_unit, 0.0) / np.abs(theirs.values)
    return float(np.nanmax(np.where(there & (theirs.values != 0), beyond, 0.0), initial=0.0))


# PLINK 2's reason for NA, and the codes of ours that say the same.
# A predictor that is the same for everybody (carriers only, say) is collinear with the intercept.
COLLINEAR = frozenset({Status.COLLINEAR, Status.PARTLY_COLLINEAR, Status.MONOMORPHIC})
SAME_REASON: Mapping[str, frozenset[int]] = {
    "CONST_OMITTED_ALLELE": frozenset({Status.MONOMORPHIC, Status.ALL_MISSING}),
    "CONST_ALLELE": frozenset({Status.MONOMORPHIC, Status.ALL_MISSING}),
    "CORR_TOO_HIGH": COLLINEAR,
    "VIF_INFINITE": COLLINEAR,
    "VIF_TOO_HIGH": COLLINEAR,
    "RANK_DEFICIENT": COLLINEAR,
    "TOO_FEW_SAMPLES": frozenset({Status.TOO_FEW_SAMPLES, Status.ALL_MISSING}),
}


def same_absences(ours: pd.DataFrame, glm: pd.DataFrame) -> int:
    """A result is missing on both sides or on none, for the same reason; returns how many are missing.

    One difference is allowed. PLINK 2 does not always see that a predictor is constant: what it then prints is
    rounding, a standard error a million times too large. Ours says that it is constant.
    """
    absent = glm.ERRCODE.to_numpy() != "."
    status = ours.status.to_numpy()
    noise = np.isin(status, list(COLLINEAR)) & ~absent
    if noise.any():
        noise[noise] = np.abs(glm.T_STAT[noise].astype(float).to_numpy()) < 1e-5
    differs = np.flatnonzero(((status != Status.OK) != absent) & ~noise)
    rows = [(ours.index[i], Status(int(status[i])).name, glm.ERRCODE.iloc[i]) for i in differs[:10]]
    assert not rows, f"{len(differs)} variants have a result on one side only: {rows}"
    for i in np.flatnonzero(absent):
        reason = str(glm.ERRCODE.iloc[i])
        assert status[i] in SAME_REASON[reason], (ours.index[i], Status(int(status[i])).name, reason)
    assert np.isnan(ours.beta.to_numpy()[status != Status.OK]).all()
    assert np.isfinite(ours.beta.to_numpy()[status == Status.OK]).all()
    return int(absent.sum())


def compare_glm(
    ours: pd.DataFrame,
    glm: pd.DataFrame,
    *,
    counts: bool = True,
    log10_p: bool = True,
    relative: float = 2e-7,
    relative_p: float = 2e-7,
    size: float = 0.0,
) -> dict[str, float]:
    """Compare every variant of one trait and a test of one predictor with PLINK 2, both ways.

    ``size`` is the largest value of the trait: PLINK does not take the mean off, so that an effect has an error of some
    rounding units of it. With Debian's OpenBLAS, the effect -5.708307089e-06 of a trait around 1,000 (exact, in
    fractions; ours to 2e-14) is printed as -5.7083e-06, 7e-12 off, and with the reference BLAS as -5.70831e-06.
    """
    assert set(ours.index) == set(glm.index)
    glm = glm.loc[ours.index]
    largest = {"absent": float(same_absences(ours, glm))}
    untested = ours.status.to_numpy() != Status.OK
    columns = [("beta", "BETA", relative), ("standard_error", "SE", relative)]
    if log10_p:
        columns.append(("neg_log10_p", "LOG10_P", relative_p))
    for column, theirs, tolerance in columns:
        largest[column] = compare(
            column,
            ours[column],
            Printed.parse(glm[theirs]),
            relative=tolerance,
            absolute=0.0 if column == "neg_log10_p" else 64 * EPSILON * size,
            excluded=untested,
        )
    assert (ours.n.to_numpy() == glm.OBS_CT.astype(int).to_numpy()).all()
    if counts:
        compare("effect_allele_count", ours.effect_allele_count, Printed.parse(glm.A1_CT), relative=FLOAT32)
        compare("effect_allele_frequency", ours.effect_allele_frequency, Printed.parse(glm.A1_FREQ), relative=FLOAT32)
    return largest


def compare_genotypic(
    ours: pd.DataFrame,
    glm: pd.DataFrame,
    *,
    n_covariates: int,
    relative: float = 2e-7,
    relative_p: float = 2e-7,
    lost_digits: float | Floats = 0.0,
) -> dict[str, float]:
    """Compare every variant of one trait and the test of two predictors with PLINK 2, both ways.

    PLINK 2 takes the p-value of its F statistic on ``n`` denominator degrees of freedom, where the residual
    ones are ``n − n_covariates − 2`` (``n_covariates`` with the intercept). So its F statistic is compared with
    ours, and its p-value with the one that ours gives on its degrees of freedom. ``lost_digits`` (variants,) is
    allowed beside, as a fraction of the standard error and of F.
    """
    additive, deviation, joint = (glm[test == glm.TEST] for test in ("ADD", "DOMDEV", "GENO_2DF"))
    assert set(ours.index) == set(additive.index) == set(deviation.index) == set(joint.index)
    additive, deviation, joint = (part.loc[ours.index] for part in (additive, deviation, joint))
    n = joint.OBS_CT.astype(int).to_numpy()
    assert (ours.n.to_numpy() == n).all()
    df = n - n_covariates - 2
    statistic = 0.5 * df * np.expm1(ours.neg_log10_p.to_numpy(float) * np.log(10) * 2 / df)
    with np.errstate(invalid="ignore"):
        on_n = 0.5 * n * np.log1p(2 * statistic / n) / np.log(10)
    largest = {"absent": float(same_absences(ours, joint))}
    slack = lost_digits * ours.standard_error.to_numpy(float)
    slack_domdev = lost_digits * ours.standard_error_domdev.to_numpy(float)
    of_statistic = lost_digits * np.nan_to_num(statistic)
    for name, values, theirs, tolerance, absolute in (
        ("beta", ours.beta, additive.BETA, relative, slack),
        ("standard_error", ours.standard_error, additive.SE, relative, slack),
        ("beta_domdev", ours.beta_domdev, deviation.BETA, relative, slack_domdev),
        ("standard_error_domdev", ours.standard_error_domdev, deviation.SE, relative, slack_domdev),
        ("F", statistic, joint.T_OR_F_STAT, relative_p, of_statistic),
        ("p on n degrees of freedom", on_n, joint.LOG10_P, relative_p, of_statistic),
    ):
        largest[name] = compare(name, values, Printed.parse(theirs), relative=tolerance, absolute=absolute)
    return largest


def exact_least_squares(predictors: Floats, trait: Floats, number: int) -> list[tuple[float, float]]:
    """Coefficient and standard error of the first ``number`` columns, computed in rational numbers.

    ``predictors`` has shape (samples, columns), ``trait`` (samples,). Only the last square root rounds.
    """
    products = _exact_products(predictors, trait)
    p = len(products) - 1
    unit = [[Fraction(int(i == k)) for k in range(number)] for i in range(p)]
    rows = [products[i] + unit[i] for i in range(p)]
    for i in range(p):
        pivot = rows[i][i]
        rows[i] = [value / pivot for value in rows[i]]
        for k in range(p):
            if k != i:
                factor = rows[k][i]
                rows[k] = [a - factor * b for a, b in zip(rows[k], rows[i], strict=True)]
    beta = [row[p] for row in rows]
    residual = products[p][p] - sum(map(mul, beta, products[p][:p]))
    variance = residual / (len(trait) - p)
    return [(float(beta[i]), float(variance * rows[i][p + 1 + i]) ** 0.5) for i in range(number)]


def exact_f(predictors: Floats, trait: Floats, number: int) -> float:
    """F statistic of the first ``number`` columns together, computed in rational numbers."""
    n, p = predictors.shape
    whole = _exact_residual(_exact_products(predictors, trait))
    without = _exact_residual(_exact_products(predictors[:, number:], trait))
    return float((without - whole) / whole * (n - p) / number)


def _exact_products(predictors: Floats, trait: Floats) -> list[list[Fraction]]:
    columns = [[Fraction(value) for value in column] for column in [*predictors.T.tolist(), trait.tolist()]]
    return [[sum(map(mul, one, other), Fraction()) for other in columns] for one in columns]


def _exact_residual(products: list[list[Fraction]]) -> Fraction:
    """Sum of squares of the last column that the others leave."""
    rows = [list(row) for row in products]
    for i in range(len(rows) - 1):
        for k in range(i + 1, len(rows)):
            factor = rows[k][i] / rows[i][i]
            rows[k] = [a - factor * b for a, b in zip(rows[k], rows[i], strict=True)]
    return rows[-1][-1]


# ---- data -----------------------------------------------------------------------------------------------


def read_bed(prefix: Path) -> NDArray[np.int8]:
    """Calls of a fileset, (samples, variants): copies of the .bim's first allele (ALT), -1 missing."""
    with open_bed(f"{prefix}.bed", num_threads=1) as bed:
        calls = bed.read(dtype="int8", order="F")
    calls[calls == -127] = -1
    return calls


def read_bim(prefix: Path) -> pd.DataFrame:
    """Variants of a fileset: chromosome, id, position, alt (first allele), ref."""
    names = ["chromosome", "id", "cm", "position", "alt", "ref"]
    return pd.read_csv(f"{prefix}.bim", sep=r"\s+", names=names, dtype={"chromosome": str})


def write_bed(prefix: Path, calls: NDArray[np.int8], bim: pd.DataFrame, samples: pd.DataFrame) -> None:
    """Write a fileset; ``bim`` has chromosome, id, position, alt, ref; ``samples`` is indexed by id, with sex."""
    n, v = calls.shape
    code = np.zeros((v, -(-n // 4) * 4), np.uint8)
    code[:, :n] = np.array([3, 2, 0, 1], np.uint8)[calls].T  # copies 0, 1, 2, and -1 for missing
    packed = (code.reshape(v, -1, 4) << np.array([0, 2, 4, 6], np.uint8)).sum(axis=2, dtype=np.uint8)
    Path(f"{prefix}.bed").write_bytes(b"\x6c\x1b\x01" + packed.tobytes())
    columns = bim.assign(cm=0)[["chromosome", "id", "cm", "position", "alt", "ref"]]
    columns.to_csv(f"{prefix}.bim", sep="\t", header=False, index=False)
    fam = pd.DataFrame({"fid": samples.index, "iid": samples.index, "f": 0, "m": 0, "sex": samples.sex, "y": -9})
    fam.to_csv(f"{prefix}.fam", sep="\t", header=False, index=False)


def write_dosages(prefix: Path, dosages: Floats, bim: pd.DataFrame, samples: pd.DataFrame) -> None:
    """Write a PLINK 2 fileset of dosages, (samples, variants), NaN missing; it keeps steps of 1/16384."""
    import pgenlib

    n, v = dosages.shape
    values = np.where(np.isnan(dosages), -9.0, dosages).T
    writer = pgenlib.PgenWriter(
        str(f"{prefix}.pgen").encode(), n, variant_ct=v, nonref_flags=False, dosage_present=True
    )
    with writer:
        for row in np.ascontiguousarray(values):
            writer.append_dosages(row)
    pvar = bim.rename(columns={"chromosome": "#CHROM", "position": "POS", "id": "ID", "ref": "REF", "alt": "ALT"})
    pvar[["#CHROM", "POS", "ID", "REF", "ALT"]].to_csv(f"{prefix}.pvar", sep="\t", index=False)
    psam = pd.DataFrame({"#FID": samples.index, "IID": samples.index, "SEX": samples.sex.to_numpy()})
    psam.to_csv(f"{prefix}.psam", sep="\t", index=False)


def write_people(path: Path, table: pd.DataFrame) -> Path:
    """Write a table indexed by sample as PLINK reads it; floats in full."""
    out = table.copy()
    out.insert(0, "IID", out.index)
    out.insert(0, "FID", out.index)
    out.to_csv(path, sep="\t", index=False, na_rep="NA", float_format="%.17g")
    return path


def read_people(path: Path) -> pd.DataFrame:
    """Read a FID IID table, indexed by IID."""
    table = pd.read_csv(path, sep=r"\s+", dtype={"FID": str, "IID": str}, na_values=["NA"])
    return table.drop(columns="FID").set_index("IID")


# ---- REGENIE --------------------------------------------------------------------------------------------

# Six digits are printed; what is left is our float32, twice in CHISQ, a ratio of squares.
RELATIVE = 5e-7


def read_regenie(path: Path) -> pd.DataFrame:
    """Read results of REGENIE's step 2, indexed by ``contig:position:ref:alt``."""
    table = read_table(path)
    return table.set_index(keys(table.CHROM, table.GENPOS, table.ALLELE0, table.ALLELE1))


def score_test(ours: pd.DataFrame, n_covariates: int, explained: float) -> pd.DataFrame:
    """CHISQ, SE and LOG10P of the score test that belong to our t tests.

    With ``r`` the partial correlation of genotype and trait and ``k`` columns of covariates (the intercept among them)
    REGENIE gives ``CHISQ = (n − k) r²`` on one degree of freedom. From the t test, ``r² = t² / (t² + n − k − 1)``. So
    they follow from ours without any other input, but for ``explained``: see test_regenie_loco.py.
    """
    t = ours.beta.to_numpy(float) / ours.standard_error.to_numpy(float)
    n = ours.n.to_numpy(float)
    chisq = explained * (n - n_covariates) * t**2 / (t**2 + n - n_covariates - 1)
    return pd.DataFrame(
        {
            "CHISQ": chisq,
            "SE": np.abs(ours.beta.to_numpy(float)) / np.sqrt(chisq),
            "LOG10P": -stats.chi2.logsf(chisq, 1) / np.log(10),
        },
        index=ours.index,
    )


def compare_regenie(
    ours: pd.DataFrame, regenie: pd.DataFrame, n_covariates: int, explained: float = 1.0
) -> dict[str, float]:
    """Hold our results against REGENIE's; ``explained`` is what :func:`score_test` asks for."""
    tested = regenie[regenie.LOG10P != "NA"]
    ours = ours.loc[tested.index]
    assert (ours.status == Status.OK).all()
    score = score_test(ours, n_covariates, explained)
    largest = {
        name: compare(name, values, Printed.parse(tested[name]), relative=RELATIVE)
        for name, values in (
            ("BETA", ours.beta),
            ("SE", score.SE),
            ("CHISQ", score.CHISQ),
            ("LOG10P", score.LOG10P),
        )
    }
    assert (ours.n.to_numpy() == tested.N.astype(int).to_numpy()).all()
    compare("A1FREQ", ours.effect_allele_frequency, Printed.parse(tested.A1FREQ), relative=1e-7)
    return largest
