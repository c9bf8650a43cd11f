"""Meta-analysis against GWAMA's example and R's metafor, both stored."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allscan.kernels.meta import fixed_effects, random_effects
from allscan.kernels.meta_re2 import re2
from tests.engine.meta import tables

pytestmark = pytest.mark.reference

HALF_A_DIGIT = 0.5000001e-6
"""GWAMA prints six decimals."""


@pytest.fixture(scope="module")
def gwama(reference):
    """Effects and standard errors (studies, variants) of the allele that the output names, and the two outputs."""
    folder = reference("gwama_sample")
    outputs = {name: pd.read_table(folder / f"{name}.out").set_index("rs_number") for name in ("fixed", "random")}
    variants = outputs["fixed"]
    beta, error = [], []
    for name in (folder / "gwama.in").read_text().split():
        study = pd.read_table(folder / name).set_index("SNP").reindex(variants.index)
        swapped = variants.other_allele == study.EFFECT_ALLELE
        # Another variant of that name in one study (T/A), which GWAMA left out.
        same = swapped | (variants.reference_allele == study.EFFECT_ALLELE)
        beta.append(np.where(swapped, -study.BETA, study.BETA.where(same)))
        error.append(study.SE.to_numpy())
    return np.array(beta), np.array(error), outputs


def compare_deviates(z, neg_log10_p, theirs):
    """Its normal tail is an approximation: 1e-3 of −log10 p; from its own z SciPy gets what we do."""
    np.testing.assert_allclose(z, theirs.z, rtol=0, atol=1e-5)
    np.testing.assert_allclose(neg_log10_p, theirs["_-log10_p-value"], rtol=1.1e-3)


def test_gwama_fixed(gwama):
    beta, error, outputs = gwama
    theirs, ours = outputs["fixed"], fixed_effects(beta, error)
    assert len(theirs) == 12
    np.testing.assert_array_equal(ours.n_studies, theirs.n_studies)
    np.testing.assert_allclose(ours.beta, theirs.beta, rtol=0, atol=HALF_A_DIGIT)
    np.testing.assert_allclose(ours.standard_error, theirs.se, rtol=0, atol=HALF_A_DIGIT)
    compare_deviates(ours.beta / ours.standard_error, ours.neg_log10_p, theirs)
    np.testing.assert_allclose(ours.q, theirs.q_statistic, rtol=0, atol=HALF_A_DIGIT)
    np.testing.assert_allclose(10.0**-ours.q_neg_log10_p, theirs["q_p-value"], rtol=0, atol=HALF_A_DIGIT)
    np.testing.assert_allclose(ours.i_squared, theirs.i2, rtol=0, atol=HALF_A_DIGIT)


def test_gwama_random(gwama):
    beta, error, outputs = gwama
    theirs, ours = outputs["random"], random_effects(beta, error)
    np.testing.assert_allclose(ours.beta, theirs.beta, rtol=0, atol=HALF_A_DIGIT)
    np.testing.assert_allclose(ours.standard_error, theirs.se, rtol=0, atol=HALF_A_DIGIT)
    compare_deviates(ours.beta / ours.standard_error, ours.neg_log10_p, theirs)


@pytest.fixture(scope="module")
def metafor(reference):
    folder = reference("peer_results") / "rtests"
    studies = pd.read_table(folder / "metafor_input.tsv")
    order = list(dict.fromkeys(studies.variant))
    wide = studies.pivot_table(index="study", columns="variant", values=["beta", "se"])
    results = pd.read_table(folder / "metafor_results.tsv").query("test == 'z'").set_index(["method", "variant"])
    return wide["beta"][order].to_numpy(), wide["se"][order].to_numpy(), results, order


def test_metafor_fixed(metafor):
    """Twelve variants of two to twenty studies; twelve digits are printed."""
    beta, error, results, order = metafor
    theirs, ours = results.loc["FE"].loc[order], fixed_effects(beta, error)
    assert len(theirs) == 12
    np.testing.assert_array_equal(ours.n_studies, theirs.k)
    np.testing.assert_allclose(ours.beta, theirs.beta, rtol=1e-10)
    np.testing.assert_allclose(ours.standard_error, theirs.se, rtol=1e-10)
    np.testing.assert_allclose(10.0**-ours.neg_log10_p, theirs.p, rtol=1e-9)
    np.testing.assert_allclose(ours.q, theirs.Q, rtol=1e-10)
    np.testing.assert_allclose(10.0**-ours.q_neg_log10_p, theirs.Q_p, rtol=1e-9)
    # It is a percentage there.
    np.testing.assert_allclose(100.0 * ours.i_squared, theirs.I2, rtol=1e-9)


def test_metafor_random(metafor):
    beta, error, results, order = metafor
    theirs, ours = results.loc["DL"].loc[order], random_effects(beta, error)
    assert (theirs.tau2 > 0).sum() >= 6
    np.testing.assert_allclose(ours.tau_squared, theirs.tau2, rtol=1e-9)
    np.testing.assert_allclose(ours.beta, theirs.beta, rtol=1e-10)
    np.testing.assert_allclose(ours.standard_error, theirs.se, rtol=1e-10)
    np.testing.assert_allclose(10.0**-ours.neg_log10_p, theirs.p, rtol=1e-9)


def test_metafor_maximum_likelihood(metafor):
    """RE2's alternative is its method ML, found there by scoring to 1e-10 of τ²."""
    beta, error, results, order = metafor
    theirs, ours = results.loc["ML"].loc[order], re2(beta, error)
    np.testing.assert_allclose(ours.tau_squared, theirs.tau2, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(ours.beta, theirs.beta, rtol=1e-7)
    np.testing.assert_allclose(ours.standard_error, theirs.se, rtol=1e-7)


# ---- from tables to results -------------------------------------------------------------------------------


def _combined(folder, files, **keys):
    """Results of `allscan meta`, a row for each variant."""
    from allscan.jobs.meta.job import MetaJob

    studies = [{"name": path.name, "file": str(path)} for path in files]
    job = MetaJob.from_dict(
        {"name": "t", "studies": studies, "output": str(folder / "out"), "check_overlap": False, **keys}
    )
    cube = job.run(update=True).cube
    names = cube.variant_table()
    frame = pd.DataFrame({"position": names.position, "ref": names.ref, "alt": names.alt})
    for column in cube.columns:
        frame[column.name] = cube.block(column.name, 0, slice(0, 1), slice(0, cube.n_variants))[0]
    return frame


def test_gwama_example_from_its_tables(reference, tmp_path):
    """The tables lack positions but for the third's: they are told by name, as GWAMA goes by."""
    folder = reference("gwama_sample")
    names = [pd.read_table(folder / f"pop{k}.txt") for k in (1, 2, 3)]
    position = names[2].set_index("SNP").POS.to_dict() | {"rs12124819": 815_900}
    files = []
    for k, table in enumerate(names):
        # Told as the same variant by name and with other alleles, GWAMA leaves T/A of the third out.
        table = table.assign(CHR=1, POS=table.SNP.map(position))
        files.append(tmp_path / f"pop{k + 1}.txt")
        table.to_csv(files[-1], sep="\t", index=False, na_rep="NA")
    ours = _combined(tmp_path, files, min_studies=1).sort_values(["position", "n_studies"])
    ours = ours.groupby("position").last()
    for output, suffix in (("fixed", ""), ("random", "_random")):
        theirs = pd.read_table(folder / f"{output}.out")
        rows = ours.loc[theirs.rs_number.map(position)]
        sign = np.where(rows.alt.to_numpy() == theirs.reference_allele.to_numpy(), 1, -1)
        # Random effects of one study say nothing; GWAMA repeats the study.
        told = rows.n_studies.to_numpy() > 1
        np.testing.assert_array_equal(rows.n_studies, theirs.n_studies)
        for name, column in (("beta", "beta"), ("standard_error", "se")):
            values = rows[f"{name}{suffix}"].to_numpy() * (sign if name == "beta" else 1)
            np.testing.assert_allclose(values[told], theirs[column][told], rtol=1e-6, atol=HALF_A_DIGIT)
        if not suffix:
            np.testing.assert_allclose(rows.q[told], theirs.q_statistic[told], rtol=1e-5, atol=HALF_A_DIGIT)
            np.testing.assert_allclose(rows.i_squared[told], theirs.i2[told], rtol=1e-5, atol=HALF_A_DIGIT)


def test_metafor_from_tables(reference, tmp_path):
    """Twelve sets of 2 to 20 studies, each a variant; as float32."""
    folder = reference("peer_results/rtests")
    given = pd.read_table(folder / "metafor_input.tsv")
    results = pd.read_table(folder / "metafor_results.tsv").query("test == 'z'").set_index(["method", "variant"])
    place = {variant: 1000 * (k + 1) for k, variant in enumerate(dict.fromkeys(given.variant))}
    files = []
    for study, table in given.groupby("study"):
        columns = {
            "chrom": "1",
            "pos": table.variant.map(place),
            "ea": "C",
            "nea": "A",
            "beta": table.beta,
            "se": table.se,
        }
        files.append(tmp_path / f"{study}.tsv")
        pd.DataFrame(columns).to_csv(files[-1], sep="\t", index=False)
    ours = _combined(tmp_path, files).set_index("position")
    for variant, at in place.items():
        fixed, random = results.loc[("FE", variant)], results.loc[("DL", variant)]
        row = ours.loc[at]
        assert row.beta == pytest.approx(fixed.beta, rel=1e-6, abs=1e-7)
        assert row.standard_error == pytest.approx(fixed.se, rel=1e-6)
        assert row.q == pytest.approx(fixed.Q, rel=1e-5)
        assert row.beta_random == pytest.approx(random.beta, rel=1e-5, abs=1e-7)
        assert row.tau_squared == pytest.approx(random.tau2, rel=1e-5, abs=1e-9)


STORED = Path(__file__).parent / "gwama"
"""What GWAMA 2.2.2 made of the studies below."""


def _gwama(folder, output, *options):
    """Its output, anew where it is installed (Debian: gwama), which must be what is stored."""
    stored = pd.read_table(STORED / f"{output}.out")
    program = shutil.which("GWAMA")
    if program is not None:
        command = [program, "--filelist", "gwama.in", "--output", output, "--quantitative", *options]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
        pd.testing.assert_frame_equal(pd.read_table(folder / f"{output}.out"), stored)
    return stored


def test_gwama_on_studies_that_tell_alleles_differently(tmp_path):
    """Half of a study told of the other allele, one on the other strand, each with variants of its own."""
    sites = tables.variants(120, palindromes=False)
    sites = sites[(sites.ref.str.len() == 1) & (sites.alt.str.len() == 1)].reset_index(drop=True)
    three = [tables.study(sites, seed=k, n=2000 * (k + 1)).round(6) for k in range(3)]
    three[1] = tables.swapped(three[1], np.arange(len(three[1])) % 2 == 0).round(6)
    three[2] = tables.flipped(three[2])
    names = {"rsid": "MARKERNAME", "effect_allele": "EA", "other_allele": "NEA", "beta": "BETA", "n": "N"}
    names |= {"standard_error": "SE", "effect_allele_frequency": "EAF"}
    files = []
    for k, table in enumerate(three):
        files.append(tmp_path / f"s{k}.tsv")
        table.to_csv(files[-1], sep="\t", index=False)
        theirs = table.rename(columns=names)[list(names.values())].assign(STRAND="-" if k == 2 else "+")
        theirs.to_csv(tmp_path / f"g{k}.txt", sep="\t", index=False)
    (tmp_path / "gwama.in").write_text("g0.txt\ng1.txt\ng2.txt\n")
    ours = _combined(tmp_path, files, min_studies=1).set_index("position")
    for output, suffix, options in (("fixed", "", ()), ("random", "_random", ("--random",))):
        theirs = _gwama(tmp_path, output, *options)
        assert len(theirs) == len(ours)
        rows = ours.loc[theirs.rs_number.map(sites.set_index("rs").position)]
        np.testing.assert_array_equal(rows.n_studies, theirs.n_studies)
        allele, other = theirs.reference_allele.to_numpy(), theirs.other_allele.to_numpy()
        complement = theirs.reference_allele.str.translate(tables.COMPLEMENT).to_numpy()
        opposite = theirs.other_allele.str.translate(tables.COMPLEMENT).to_numpy()
        alt, ref = rows.alt.to_numpy(), rows.ref.to_numpy()
        same = ((alt == allele) & (ref == other)) | ((alt == complement) & (ref == opposite))
        told = theirs.n_studies.to_numpy() > 1
        beta = rows[f"beta{suffix}"].to_numpy() * np.where(same, 1, -1)
        np.testing.assert_allclose(beta[told], theirs.beta[told], atol=1e-6)
        np.testing.assert_allclose(rows[f"standard_error{suffix}"][told], theirs.se[told], atol=1e-6)
        np.testing.assert_allclose(rows.q[told], theirs.q_statistic[told], rtol=1e-4, atol=2e-6)
        np.testing.assert_allclose(rows.i_squared[told], theirs.i2[told], atol=2e-6)
