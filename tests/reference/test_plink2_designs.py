"""PLINK 2 on designs that are awkward for a scan: the example of REGENIE, 500 people × 1,000 variants."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from peers import (
    GLM,
    OPEN_CHECKS,
    compare_glm,
    design,
    make_store,
    plink2,
    read_bed,
    read_bim,
    read_glm,
    read_people,
    results,
    scan,
    write_bed,
    write_people,
)

from allscan.engine.design import Stratum
from allscan.kernels.association import Missing, Status
from tests.engine.cohorts import some_of

pytestmark = pytest.mark.reference

TRAITS = ["Y1", "Y2"]


@pytest.fixture(scope="module")
def example(reference, tmp_path_factory):
    """One call in twenty is missing; three variants are missing in exactly the first eight people."""
    folder = tmp_path_factory.mktemp("example")
    source = reference("regenie_example")
    calls = read_bed(source / "example")
    calls[np.random.default_rng(5).random(calls.shape) < 0.05] = -1
    calls[:8, 100:103] = -1
    fam = pd.read_csv(source / "example.fam", sep=r"\s+", header=None, dtype=str)
    samples = pd.DataFrame({"sex": fam[4].to_numpy()}, index=fam[1].to_numpy())
    write_bed(folder / "study", calls, read_bim(source / "example"), samples)
    store = make_store([folder / "study.bed"], folder / "store.zarr")
    return folder / "study", store, read_people(source / "phenotype.txt"), read_people(source / "covariates.txt")


def run_glm(prefix, traits, covariates, folder, *flags: object) -> dict[str, pd.DataFrame]:
    plink2(
        *("--bfile", prefix, "--pheno", write_people(folder / "traits.tsv", traits)),
        *("--covar", write_people(folder / "covariates.tsv", covariates), *flags),
        *("--glm", *GLM, *OPEN_CHECKS),
        out=folder / "peer",
    )
    return {trait: read_glm(folder / f"peer.{trait}.glm.linear") for trait in traits.columns}


def test_people_without_a_covariate_are_left_out(example, tmp_path):
    prefix, store, traits, covariates = example
    covariates = covariates.copy()
    covariates.iloc[np.random.default_rng(6).choice(500, 40, replace=False), 1] = np.nan
    glm = run_glm(prefix, traits, covariates, tmp_path)
    aligned = design(store, traits, covariates)
    assert aligned.n_samples == 460
    cube = scan(store, aligned, tmp_path / "run", missing=Missing.EXCLUDE)
    for trait in TRAITS:
        ours = results(cube, trait)
        assert len(ours) == 1000
        compare_glm(ours, glm[trait])


def test_strata_are_separate_analyses(example, tmp_path):
    """Two strata that overlap: each is what PLINK 2 makes of its people alone."""
    prefix, store, traits, covariates = example
    members = np.zeros((2, 500), bool)
    members[0, :300] = members[1, 200:] = True
    whole = design(store, traits, covariates)
    names = ("first", "second")
    strata = tuple(Stratum(name, some_of(whole, people)) for name, people in zip(names, members, strict=True))
    cube = scan(store, strata, tmp_path / "run", missing=Missing.EXCLUDE)
    for stratum, people in zip(names, members, strict=True):
        keep = write_people(tmp_path / "keep.txt", pd.DataFrame(index=store.sample_ids[people]))
        glm = run_glm(prefix, traits, covariates, tmp_path, "--keep", keep)
        for trait in TRAITS:
            compare_glm(results(cube, trait, stratum), glm[trait])


def test_covariate_with_a_mean_far_from_zero(example, tmp_path):
    """Year of birth: PLINK 2 needs it standardised, ours does not."""
    prefix, store, traits, covariates = example
    year = 1950 + np.rint(10 * np.random.default_rng(8).normal(size=500))
    covariates = covariates.assign(year=year, square=year**2)
    glm = run_glm(
        prefix, traits, covariates.assign(square=(year - 1950) ** 2), tmp_path, "--covar-variance-standardize"
    )
    cube = scan(store, design(store, traits, covariates), tmp_path / "run", missing=Missing.EXCLUDE)
    for trait in TRAITS:
        compare_glm(results(cube, trait), glm[trait], relative=1e-6, relative_p=1e-6)


def test_covariate_that_only_people_without_a_call_have(example, tmp_path):
    """A batch of eight people without a call of three variants: there the covariate is constant.

    PLINK 2 gives no result. Ours leaves the covariate out of those variants' regressions, as R's ``lm`` does,
    which is what PLINK 2 gives without the covariate.
    """
    prefix, store, traits, covariates = example
    batch = covariates.assign(batch=np.repeat([1.0, 0.0], [8, 492]))
    glm = run_glm(prefix, traits, batch, tmp_path)
    cube = scan(store, design(store, traits, batch), tmp_path / "run", missing=Missing.EXCLUDE)
    without = run_glm(prefix, traits, covariates, tmp_path)
    for trait in TRAITS:
        ours = results(cube, trait)
        stripped = np.zeros(1000, bool)
        stripped[100:103] = True
        assert (glm[trait].loc[ours.index].ERRCODE[stripped] != ".").all()
        assert (ours.status[stripped] == Status.OK).all()
        compare_glm(ours[~stripped], glm[trait].loc[ours.index[~stripped]])
        compare_glm(ours[stripped], without[trait].loc[ours.index[stripped]])
