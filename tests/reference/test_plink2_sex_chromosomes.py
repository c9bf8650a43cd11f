"""PLINK 2 on chromosomes X (with both pseudoautosomal regions), Y and MT."""

from __future__ import annotations

from dataclasses import replace
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
    keys,
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

from allscan.kernels.association import Missing, Model, Status

pytestmark = pytest.mark.reference

PAR1, X, PAR2, Y, MT = (slice(a, b) for a, b in ((0, 60), (60, 660), (660, 720), (720, 900), (900, 1000)))


@pytest.fixture(scope="module")
def sexed(chr22, tmp_path_factory):
    """Calls of real people, moved to X, Y and MT of GRCh37: males (and everybody on MT) keep one allele.

    2 % of the calls are missing, fifteen people have no sex, and twenty variants of X have heterozygous males.
    """
    folder = tmp_path_factory.mktemp("sexed")
    rng = np.random.default_rng(23)
    whole = (chr22.calls >= 0).all(axis=0) & (np.minimum(chr22.calls, 2).sum(axis=0) >= 3)
    diploid = chr22.calls[:, np.flatnonzero(whole)[:1000]].copy()
    assert diploid.shape[1] == 1000
    haploid = np.where(diploid == 1, 2 * rng.integers(0, 2, diploid.shape), diploid).astype(np.int8)
    sex = chr22.store.sample_sex.copy()
    male = sex == 1
    sex[rng.choice(len(sex), 15, replace=False)] = 0
    calls = diploid
    calls[:, X] = np.where(male[:, None], haploid[:, X], diploid[:, X])
    calls[:, Y] = np.where(male[:, None], haploid[:, Y], -1)
    calls[:, MT] = haploid[:, MT]
    calls[rng.random(calls.shape) < 0.02] = -1
    heterozygous = slice(X.start + 100, X.start + 120)
    calls[:, heterozygous][male[:, None] & (rng.random((len(sex), 20)) < 0.02)] = 1
    clean = calls.copy()
    clean[(calls == 1) & (sex == 1)[:, None] & (np.arange(1000) >= X.start) & (np.arange(1000) < X.stop)] = -1
    chromosome = np.repeat(["23", "24", "26"], [PAR2.stop, Y.stop - Y.start, MT.stop - MT.start])
    position = np.concatenate(
        [
            100_000 + 40_000 * np.arange(60),  # PAR1 ends at 2,699,520
            3_000_000 + 200_000 * np.arange(600),
            154_932_000 + 5_000 * np.arange(60),
            3_000_000 + 10_000 * np.arange(180),
            100 + 150 * np.arange(100),
        ]
    )
    bim = pd.DataFrame(
        {"chromosome": chromosome, "id": [f"v{k}" for k in range(1000)], "position": position, "alt": "A", "ref": "C"}
    )
    samples = pd.DataFrame({"sex": sex}, index=chr22.traits.index)
    write_bed(folder / "study", calls, bim, samples)
    write_bed(folder / "clean", clean, bim, samples)
    traits = chr22.traits[["t0", "t4", "t8"]]
    covariates = chr22.covariates.drop(columns="sex")
    study = replace(
        chr22,
        prefix=folder / "study",
        calls=clean,
        store=make_store([folder / "study.bed"], folder / "study.zarr", build="GRCh37"),
        traits=traits,
        covariates=covariates,
        trait_file=write_people(folder / "traits.tsv", traits),
        covariate_file=write_people(folder / "covariates.tsv", covariates),
    )
    return study, folder / "clean", samples


def run_glm(study, prefix: Path, out: Path, *modifiers: str | Path, model: int = 2) -> None:
    plink2(
        *("--bfile", prefix, "--split-par", "b37", "--xchr-model", model),
        *("--pheno", study.trait_file, "--covar", study.covariate_file),
        *("--glm", *GLM, *modifiers, *OPEN_CHECKS),
        out=out,
    )


@pytest.mark.parametrize("male_dosage", [1, 2])
def test_additive(sexed, tmp_path, male_dosage):
    """PLINK 2 counts a male's allele on X as one copy under ``--xchr-model 1``, as our counts always do."""
    study, clean, _ = sexed
    run_glm(study, clean, tmp_path / "peer", model=male_dosage)
    aligned = design(study.store, study.traits, study.covariates)
    cube = scan(study.store, aligned, tmp_path / "run", missing=Missing.EXCLUDE, x_male_dosage=male_dosage)
    for trait in study.traits.columns:
        ours = results(cube, trait)
        assert len(ours) == 1000
        compare_glm(ours, read_glm(tmp_path / f"peer.{trait}.glm.linear"), counts=male_dosage == 1)


@pytest.mark.parametrize("male_dosage", [1, 2])
def test_without_the_sex_covariate(sexed, tmp_path, male_dosage):
    """Without it, PLINK 2 takes people of unknown sex for females on X; ours leaves them out. So it is told to."""
    study, clean, samples = sexed
    write_people(tmp_path / "unknown.txt", samples[samples.sex == 0].drop(columns="sex"))
    run_glm(study, clean, tmp_path / "peer", "no-x-sex", "--remove", tmp_path / "unknown.txt", model=male_dosage)
    cube = scan(
        study.store,
        design(study.store, study.traits, study.covariates),
        tmp_path / "run",
        missing=Missing.EXCLUDE,
        x_male_dosage=male_dosage,
        x_sex_covariate=False,
    )
    for trait in study.traits.columns:
        ours = results(cube, trait).iloc[X]
        glm = read_glm(tmp_path / f"peer.{trait}.glm.linear")
        compare_glm(ours, glm.loc[ours.index], counts=male_dosage == 1)


def test_heterozygous_males_are_set_to_missing_and_counted(sexed, tmp_path):
    """PLINK 2 counts them as half a copy; told to set them to missing, it agrees with us."""
    study, clean, _ = sexed
    plink2(
        *("--bfile", study.prefix, "--split-par", "b37", "--make-bed", "--set-hh-missing"),
        out=tmp_path / "erased",
    )
    erased = (tmp_path / "erased.bed").read_bytes()
    assert erased == clean.with_suffix(".bed").read_bytes()
    assert erased != study.prefix.with_suffix(".bed").read_bytes()
    run_glm(study, study.prefix, tmp_path / "peer")
    aligned = design(study.store, study.traits, study.covariates)
    cube = scan(study.store, aligned, tmp_path / "run", missing=Missing.EXCLUDE)
    ours = results(cube, "t0")
    glm = read_glm(tmp_path / "peer.t0.glm.linear").loc[ours.index]
    fewer = ours.n.to_numpy() != glm.OBS_CT.astype(int).to_numpy()
    affected = np.zeros(1000, bool)
    affected[X.start + 100 : X.start + 120] = True
    assert fewer.sum() > 10
    assert not (fewer & ~affected).any()
    compare_glm(ours[~affected], glm[~affected], counts=False)


@pytest.mark.parametrize("male_dosage", [1, 2])
@pytest.mark.parametrize("model", [Model.DOMINANT, Model.RECESSIVE, Model.GENOTYPIC])
def test_other_models(sexed, tmp_path, model, male_dosage):
    """PLINK 2 has these models on autosomes and pseudoautosomal regions only.

    For the rest it is shown an autosome: X of the people whose sex is known, with sex as a covariate; Y of males; MT.
    A male who carries the allele of X is then a homozygote, which is our coding whatever a copy of his counts;
    only the additive part of the genotypic model depends on that.
    """
    study, clean, samples = sexed
    aligned = design(study.store, study.traits, study.covariates)
    cube = scan(study.store, aligned, tmp_path / "run", missing=Missing.EXCLUDE, x_male_dosage=male_dosage, model=model)
    run_glm(study, clean, tmp_path / "whole", model.name.lower())
    bim = read_bim(clean)
    known, males = (samples.sex > 0).to_numpy(), (samples.sex == 1).to_numpy()
    with_sex = study.covariates.assign(sex=samples.sex)
    parts = {"x": (X, known, with_sex), "y": (Y, males, study.covariates), "mt": (MT, males | True, study.covariates)}
    for name, (variants, people, covariates) in parts.items():
        rows = bim.iloc[variants].assign(chromosome="1")
        write_bed(tmp_path / name, study.calls[people][:, variants], rows, samples[people])
        plink2(
            *("--bfile", tmp_path / name, "--pheno", study.trait_file),
            *("--covar", write_people(tmp_path / "covariates.tsv", covariates)),
            *("--glm", *GLM, model.name.lower(), *OPEN_CHECKS),
            out=tmp_path / name,
        )
    for trait in study.traits.columns:
        whole = results(cube, trait)
        haploid = [Y, MT] if model != Model.DOMINANT else []
        for variants in haploid:
            assert (whole.status.iloc[variants] == Status.NOT_TESTED).all()
        compared = [("whole", PAR1), ("whole", PAR2), ("x", X)] + ([("y", Y), ("mt", MT)] if not haploid else [])
        for name, variants in compared:
            glm = read_glm(tmp_path / f"{name}.{trait}.glm.linear")
            ours = whole.iloc[variants]
            if name != "whole":
                ours = ours.set_axis(keys(["1"] * len(ours), ours.position, ours.ref, ours.alt))
            glm = glm[glm.index.isin(ours.index)]
            if model != Model.GENOTYPIC:
                compare_glm(ours, glm, counts=False)
            elif name == "whole" or male_dosage == 2:
                compare_genotypic(ours, glm, n_covariates=6 if name == "x" else 5)


@pytest.mark.parametrize("male_dosage", [1, 2])
def test_missing_genotypes_replaced_by_the_mean(sexed, tmp_path, male_dosage):
    """On X the mean is that of males (0 or 2) and females together; a power of two of them is called, see autosomes."""
    study, _, samples = sexed
    rng = np.random.default_rng(31)
    calls = study.calls[:, X].copy()
    analysed = np.flatnonzero((samples.sex > 0).to_numpy())
    for j in range(calls.shape[1]):
        lost = np.flatnonzero(calls[:, j] < 0)
        calls[lost, j] = 0
        calls[rng.choice(analysed, len(analysed) - 1024, replace=False), j] = -1
    bim = read_bim(study.prefix).iloc[X]
    write_bed(tmp_path / "study", calls, bim, samples)
    store = make_store([tmp_path / "study.bed"], tmp_path / "store.zarr", build="GRCh37")
    traits = study.traits[["t0"]]
    cube = scan(store, design(store, traits, study.covariates), tmp_path / "run", x_male_dosage=male_dosage)
    coded = np.where(calls < 0, np.nan, calls)
    filled = np.where(np.isnan(coded), np.nanmean(coded[analysed], axis=0), coded)
    write_dosages(tmp_path / "filled", filled, bim.assign(chromosome="X"), samples)
    plink2(
        *("--pfile", tmp_path / "filled", "--xchr-model", male_dosage),
        *("--pheno", study.trait_file, "--pheno-name", "t0", "--covar", study.covariate_file),
        *("--glm", *GLM, *OPEN_CHECKS),
        out=tmp_path / "peer",
    )
    compare_glm(results(cube, "t0"), read_glm(tmp_path / "peer.t0.glm.linear"), counts=False)


def test_nobody_has_a_sex(sexed, tmp_path):
    """PLINK 2 leaves X out and tests Y in everybody; ours says why there is nothing for either."""
    study, clean, samples = sexed
    bim = read_bim(clean)
    write_bed(tmp_path / "study", study.calls, bim, samples.assign(sex=0))
    store = make_store([tmp_path / "study.bed"], tmp_path / "store.zarr", build="GRCh37")
    cube = scan(store, design(store, study.traits, study.covariates), tmp_path / "run", missing=Missing.EXCLUDE)
    run_glm(study, tmp_path / "study", tmp_path / "peer", "skip-invalid-pheno")
    ours = results(cube, "t0")
    glm = read_glm(tmp_path / "peer.t0.glm.linear")
    for variants in (X, Y):
        assert (ours.status.iloc[variants] == Status.SEX_UNKNOWN).all()
    for variants in (PAR1, PAR2, MT):
        part = ours.iloc[variants]
        compare_glm(part, glm.loc[part.index])
