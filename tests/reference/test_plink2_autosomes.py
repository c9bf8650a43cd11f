"""PLINK 2, run here and now, on the autosomes of real people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from peers import (
    GLM,
    OPEN_CHECKS,
    compare_genotypic,
    compare_glm,
    design,
    make_store,
    plink2,
    read_bim,
    read_glm,
    results,
    scan,
    write_bed,
    write_dosages,
    write_people,
)

from allscan.kernels.association import Missing, Model

pytestmark = pytest.mark.reference


def run_glm(study, out: Path, *modifiers: str, traits: list[str] | None = None) -> None:
    names = ("--pheno-name", *traits) if traits else ()
    plink2(
        *("--bfile", study.prefix, "--pheno", study.trait_file, *names, "--covar", study.covariate_file),
        *("--glm", *GLM, *modifiers, *OPEN_CHECKS),
        out=out,
    )


@pytest.fixture(scope="module")
def excluded(chr22, tmp_path_factory):
    """Every variant × twelve traits, additive, missing genotypes excluded."""
    folder = tmp_path_factory.mktemp("excluded")
    run_glm(chr22, folder / "peer")
    cube = scan(
        chr22.store, design(chr22.store, chr22.traits, chr22.covariates), folder / "run", missing=Missing.EXCLUDE
    )
    return cube, folder / "peer"


@pytest.mark.parametrize("trait", [f"t{k}" for k in range(12)])
def test_additive_with_missing_genotypes_excluded(chr22, excluded, trait):
    cube, peer = excluded
    ours = results(cube, trait)
    assert len(ours) == 19773
    size = float(chr22.traits[trait].abs().max())
    compare_glm(ours, read_glm(Path(f"{peer}.{trait}.glm.linear")), size=size)


@pytest.mark.parametrize("model", [Model.DOMINANT, Model.RECESSIVE])
def test_dominant_and_recessive(chr22, tmp_path, model):
    chosen = ["t0", "t6", "t9"]
    run_glm(chr22, tmp_path / "peer", model.name.lower(), traits=chosen)
    aligned = design(chr22.store, chr22.traits[chosen], chr22.covariates)
    cube = scan(chr22.store, aligned, tmp_path / "run", missing=Missing.EXCLUDE, model=model)
    for trait in chosen:
        compare_glm(results(cube, trait), read_glm(tmp_path / f"peer.{trait}.glm.linear"))


def test_genotypic(chr22, tmp_path):
    chosen = ["t0", "t4", "t10"]
    run_glm(chr22, tmp_path / "peer", "genotypic", traits=chosen)
    aligned = design(chr22.store, chr22.traits[chosen], chr22.covariates)
    cube = scan(chr22.store, aligned, tmp_path / "run", missing=Missing.EXCLUDE, model=Model.GENOTYPIC)
    for trait in chosen:
        glm = read_glm(tmp_path / f"peer.{trait}.glm.linear")
        compare_genotypic(results(cube, trait), glm, n_covariates=6)


@pytest.mark.parametrize("model", [Model.ADDITIVE, Model.DOMINANT, Model.RECESSIVE])
def test_missing_genotypes_replaced_by_the_mean(chr22, tmp_path, model):
    """PLINK 2 is given the mean itself, as a dosage.

    It keeps dosages in steps of 1/16384. So people lose their calls such that the number of called ones is
    a power of two in each of three nested sets of analysed people: then every mean is a whole number of steps.
    """
    rng = np.random.default_rng(11)
    whole = np.flatnonzero((chr22.calls >= 0).all(axis=0))[:3000]
    calls = chr22.calls[:, whole].copy()
    n, v = calls.shape
    person = rng.permutation(n)
    rings = (person[:270], person[270:540], person[540:])
    for j in range(v - v // 10):  # the last tenth keeps every call
        for ring, lost in zip(rings, (14, 14, 40), strict=True):
            calls[rng.choice(ring, lost, replace=False), j] = -1
    bim = read_bim(chr22.prefix).iloc[whole]
    samples = pd.DataFrame({"sex": chr22.store.sample_sex}, index=chr22.traits.index)
    write_bed(tmp_path / "study", calls, bim, samples)
    traits = chr22.traits[["t0", "t1", "t2"]].copy()
    traits.iloc[rings[2], 1] = np.nan
    traits.iloc[np.concatenate(rings[1:]), 2] = np.nan
    write_people(tmp_path / "traits.tsv", traits)
    store = make_store([tmp_path / "study.bed"], tmp_path / "store.zarr")
    aligned = design(store, traits, chr22.covariates)
    cube = scan(store, aligned, tmp_path / "run", missing=Missing.IMPUTE_MEAN, model=model)

    coded = {
        Model.ADDITIVE: calls.astype(float),
        Model.DOMINANT: np.minimum(calls, 1.0),
        Model.RECESSIVE: np.maximum(calls - 1.0, 0.0),
    }[model]
    coded[calls < 0] = np.nan
    for trait, called in zip(traits.columns, (1024, 512, 256), strict=True):
        analysed = traits[trait].notna().to_numpy()
        assert (np.isfinite(coded[analysed][:, 0]).sum()) == called
        mean = np.nanmean(coded[analysed], axis=0)
        filled = np.where(np.isnan(coded), mean, coded)
        write_dosages(tmp_path / "filled", filled, bim, samples)
        plink2(
            *("--pfile", tmp_path / "filled", "--pheno", tmp_path / "traits.tsv", "--pheno-name", trait),
            *("--covar", chr22.covariate_file, "--glm", *GLM, *OPEN_CHECKS),
            out=tmp_path / "peer",
        )
        ours = results(cube, trait)
        compare_glm(ours, read_glm(tmp_path / f"peer.{trait}.glm.linear"), counts=False)
        assert (ours.n == analysed.sum()).all()
        assert ours.missing_rate.iloc[0] == np.float32(1 - called / analysed.sum())
