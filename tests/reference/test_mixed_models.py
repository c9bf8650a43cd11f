"""Mixed models of relatives against GEMMA, run here, and GCTA's stored results, on the same people and matrix.

GEMMA's score test (``-lmm 3``) is ours but for three conventions: it takes the ratio of variances at the maximum of
the full likelihood, not of the restricted one; p is that of ``n r²`` on 1 and ``n − c − 1`` degrees of freedom, where
``r² = t² / (t² + n − c − 1)``; and it centres the matrix, which changes nothing beside an intercept but the full
likelihood. (Its Wald test, ``-lmm 1``, estimates the ratio anew for each variant.)

GCTA's ``--fastGWA-mlm`` takes the covariates out of the trait first, by plain least squares. ``Vg`` is where the
restricted likelihood is highest with ``Vg + Ve`` held at the trait's variance; the score is ``T = gᵀV⁻¹y`` with ``g``
centred only, and its variance ``γ gᵀg`` with one ``γ`` for all variants, so that ``BETA / SE² = T``. Its ``γ`` is the
mean of ``gᵀPg / gᵀg`` over 1,000 variants drawn at random; ours differs from variant to variant.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from peers import Printed, compare, keys, read_bim, read_table
from scipy import stats
from scipy.optimize import minimize_scalar

from allscan.kernels.association import NullData, ScanOptions, Status
from allscan.kernels.basis import orthonormal_basis
from allscan.kernels.block import encode_block
from allscan.kernels.counts import count_genotypes, sample_sets
from allscan.kernels.missingness import missingness_patterns
from allscan.kernels.mixed import MIXED
from allscan.kernels.relatedness import families_of, make_relatedness
from allscan.kernels.reml import estimate, rotate
from tests import naive

pytestmark = pytest.mark.reference

N = 2000


@pytest.fixture(scope="module")
def related(reference):
    """GCTA's sparse relationship matrix, cut off at 0.25."""
    table = pd.read_csv(reference("peer_results") / "gcta" / "fam_sparse.grm.sp.gz", sep=r"\s+", header=None)
    first, second, value = table[0].to_numpy(), table[1].to_numpy(), table[2].to_numpy()
    itself = first == second
    diagonal = np.empty(N)
    diagonal[first[itself]] = value[itself]
    return make_relatedness(first[~itself], second[~itself], value[~itself], N, cutoff=0.25, diagonal=diagonal)


def score(families, related, heritability=None):
    """Our results of all variants, and the null model."""
    traits = families.traits.to_numpy(float)
    covariates = np.column_stack([np.ones(N), families.covariates.to_numpy(float)])
    member, set_of_trait = missingness_patterns(traits)
    data = NullData(traits, covariates, ("intercept", "x1", "sex"), np.ones(N), member, set_of_trait, related)
    null, _ = MIXED.fit_null(data, ScanOptions(), {"heritability": heritability})
    block = encode_block(np.ascontiguousarray(families.calls.T))
    out = {name: np.empty((block.n_variants, 1)) for name in ("beta", "standard_error", "neg_log10_p")}
    out["status"] = np.empty((block.n_variants, 1), np.uint8)
    MIXED.score_block(block, count_genotypes(block, sample_sets(member)), null, ScanOptions(), out)
    bim = read_bim(families.prefix)
    index = keys(bim.chromosome, bim.position, bim.ref, bim.alt)
    return pd.DataFrame({name: values[:, 0] for name, values in out.items()}, index=index), null


def centred(calls) -> np.ndarray:
    """Genotypes about their means, missing ones at it, (samples, variants)."""
    g = calls.astype(float)
    g[g < 0] = np.nan
    return np.nan_to_num(g - np.nanmean(g, axis=0))


def test_gemma(families, related, tmp_path):
    if shutil.which("gemma") is None:
        reason = "gemma is not installed (Debian: apt-get install gemma)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    people = families.traits.join(families.covariates)
    for suffix in (".bed", ".bim"):
        (tmp_path / f"study{suffix}").symlink_to(families.prefix.with_suffix(suffix).resolve())
    order = pd.read_csv(families.prefix.with_suffix(".fam"), sep=r"\s+", header=None, dtype=str)[1]
    lines = [f"{i} {i} 0 0 0 {people.QT[i]:.17g}\n" for i in order]
    (tmp_path / "study.fam").write_text("".join(lines))
    columns = np.column_stack([np.ones(N), people.loc[order, ["x1", "sex"]]])
    np.savetxt(tmp_path / "covariates.txt", columns, fmt="%.17g")
    whole = families_of(related, np.ones(N, bool))
    # GEMMA takes negative eigenvalues as zero too, but of the centred matrix: it is given one that has none.
    matrix = np.eye(N)
    for group in whole.groups:
        for people_of, block in zip(group.samples, group.matrices(group.values), strict=True):
            matrix[np.ix_(people_of, people_of)] = block
    np.savetxt(tmp_path / "matrix.txt", matrix, fmt="%.10g")
    command = ["gemma", "-bfile", "study", "-k", "matrix.txt", "-c", "covariates.txt", "-lmm", "3", "-o", "score"]
    # Every fourth variant: GEMMA rotates each by all eigenvectors.
    read_bim(families.prefix).id[::4].to_csv(tmp_path / "snps.txt", index=False, header=False)
    limits = ["-snps", "snps.txt", "-maf", "0", "-miss", "1", "-r2", "1", "-hwe", "0"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *limits], cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    log = (tmp_path / "output" / "score.log.txt").read_text()
    said = dict(line[3:].split(" = ", 1) for line in log.splitlines() if line.startswith("## ") and " = " in line)
    basis, _ = orthonormal_basis(columns)
    trait = people.loc[order, "QT"].to_numpy(float)
    residuals = trait - basis @ (basis.T @ trait)
    ours = estimate(rotate(whole, basis, residuals[:, None]))
    # These estimates are of restricted likelihood.
    genetic, residual = float(said["vg estimate in the null model"]), float(said["ve estimate in the null model"])
    assert ours.genetic_variance[0] == pytest.approx(genetic, rel=2e-6)
    assert ours.residual_variance[0] == pytest.approx(residual, rel=2e-6)
    likelihood = float(said["REMLE log-likelihood in the null model"])
    assert ours.log_likelihood[0] == pytest.approx(likelihood, abs=0.006)

    matrix -= matrix.mean(axis=0)
    matrix -= matrix.mean(axis=1)[:, None]
    values, vectors = np.linalg.eigh(matrix)
    y, x = vectors.T @ trait, vectors.T @ columns

    def minus_full(h2: float) -> float:
        """The full likelihood, which GEMMA's score test is at the maximum of."""
        w = 1.0 / (1.0 + h2 * (values - 1.0))
        weighted = x * w[:, None]
        left = y - x @ np.linalg.solve(weighted.T @ x, weighted.T @ y)
        return 0.5 * (N * math.log(left @ (w * left)) - np.log(w).sum())

    full = minimize_scalar(minus_full, bounds=(0.0, 0.99), method="bounded", options={"xatol": 1e-10}).x
    mine, _ = score(families, related, float(full))
    table = read_table(tmp_path / "output" / "score.assoc.txt")
    # rs is chromosome:position:G:A, allele1 the one that is counted.
    table.index = keys(table.chr, table.ps, table.allele0, table.allele1)
    assert len(table) == 1098
    rows = table.index
    assert (mine.status.loc[rows] == Status.OK).all()
    df = N - 4
    t2 = (mine.beta / mine.standard_error).loc[rows].to_numpy() ** 2
    p = stats.f.sf(N * t2 / (t2 + df), 1, df)
    for column, values in (("beta", mine.beta.loc[rows]), ("se", mine.standard_error.loc[rows]), ("p_score", p)):
        compare(column, values, Printed.parse(table[column], 7), relative=1e-4, absolute=1e-9)


@pytest.fixture(scope="module")
def fastgwa(reference):
    table = read_table(reference("peer_results") / "gcta" / "fam_mlm.fastGWA.gz")
    return table.set_index(keys(table.CHR, table.POS, table.A2, table.A1))


def test_fastgwa(families, related, fastgwa):
    """Its variance components and scores are found again, by its conventions; the exact test is about the same."""
    matrix = naive.dense(related.first, related.second, related.value, related.diagonal)
    covariates = np.column_stack([np.ones(N), families.covariates.to_numpy(float)])
    basis, _ = orthonormal_basis(covariates)
    trait = families.traits.QT.to_numpy(float)
    y = trait - basis @ (basis.T @ trait)
    variance = float(y @ y) / (N - 1)
    values, vectors = np.linalg.eigh(matrix)
    rotated, ones = vectors.T @ y, vectors.T @ np.ones(N)

    def minus_likelihood(genetic: float) -> float:
        w = 1.0 / (genetic * values + variance - genetic)
        constant, mean = float(w @ ones**2), float(w @ (ones * rotated))
        return 0.5 * (math.log(constant) - np.log(w).sum() + float(w @ rotated**2) - mean**2 / constant)

    found = minimize_scalar(minus_likelihood, bounds=(0.0, 0.99 * variance), method="bounded", options={"xatol": 1e-9})
    genetic = float(found.x)
    assert genetic == pytest.approx(0.696513, rel=1e-5)
    assert variance - genetic == pytest.approx(0.532036, rel=1e-5)
    assert -found.fun == pytest.approx(-1138.48, abs=0.005)

    g = centred(families.calls)
    expected = g.T @ (vectors @ (rotated / (genetic * values + variance - genetic)))
    bim = read_bim(families.prefix)
    place = pd.Series(np.arange(len(bim)), index=keys(bim.chromosome, bim.position, bim.ref, bim.alt))
    rows = place.loc[fastgwa.index].to_numpy()
    assert len(rows) == 4392
    beta, se = fastgwa.BETA.astype(float).to_numpy(), fastgwa.SE.astype(float).to_numpy()
    theirs = beta / se**2
    scale = np.abs(theirs).std()
    assert np.abs(theirs - expected[rows]).max() < 1e-4 * scale

    ours, _ = score(families, related)
    ours = ours.iloc[rows]
    # The exact variance of the score over gᵀg: their factor is its mean over common variants.
    x = 1.0 / ours.standard_error.to_numpy() ** 2
    ratio = x / (g[:, rows] ** 2).sum(axis=0)
    common = fastgwa.AF1.astype(float).between(0.05, 0.95).to_numpy()
    assert ratio[common].mean() == pytest.approx(0.718333, rel=0.02)
    z = (ours.beta / ours.standard_error).to_numpy()
    assert np.corrcoef(z, beta / se)[0, 1] > 0.999


def test_reml_with_the_dense_matrix(families, reference):
    """GCTA ``--reml`` with the matrix of all common markers: one family of 2,000."""
    frequency = np.nanmean(np.where(families.calls < 0, np.nan, families.calls), axis=0) / 2
    common = np.minimum(frequency, 1 - frequency) >= 0.02
    called = (families.calls[:, common] >= 0).astype(float)
    z = centred(families.calls[:, common]) / np.sqrt(2 * frequency[common] * (1 - frequency[common]))
    matrix = (z @ z.T) / (called @ called.T)
    # Shifted so that every pair is above the cut-off: beside an intercept a constant changes nothing.
    shift = 1e-6 - matrix.min()
    i, j = np.triu_indices(N, 1)
    related = make_relatedness(i, j, matrix[i, j] + shift, N, cutoff=1e-9, diagonal=np.diag(matrix) + shift)
    basis, _ = orthonormal_basis(np.column_stack([np.ones(N), families.covariates.to_numpy(float)]))
    trait = families.traits.QT.to_numpy(float)
    y = trait - basis @ (basis.T @ trait)
    found = estimate(rotate(families_of(related, np.ones(N, bool)), basis, y[:, None]))
    table = pd.read_csv(
        reference("peer_results") / "gcta" / "fam_reml.hsq", sep="\t", names=["source", "value", "error"], skiprows=1
    ).set_index("source")
    assert found.genetic_variance[0] == pytest.approx(float(table.value["V(G)"]), rel=2e-4)
    assert found.residual_variance[0] == pytest.approx(float(table.value["V(e)"]), rel=2e-4)
    assert found.heritability[0] == pytest.approx(float(table.value["V(G)/Vp"]), rel=2e-4)
    # Theirs is of the average information, ours of the curvature (0.0349).
    assert found.heritability_error[0] == pytest.approx(float(table.error["V(G)/Vp"]), rel=0.06)
