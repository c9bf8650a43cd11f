"""A job with `local_ancestry`, from FLARE's files to the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from numpy.typing import NDArray

from allscan.engine.results import ResultsCube
from allscan.errors import JobError
from allscan.jobs.cli import main
from allscan.jobs.job import Job
from allscan.kernels.association import Status
from tests import naive_local_ancestry as naive
from tests.engine.local_ancestry_files import Admixed, admixed, make_store, write_vcf

SIZES = {"21": 130, "22": 70}
N, WITHOUT = 150, 10  # people, and those of them who have no local ancestry


@pytest.fixture(scope="module")
def cohort() -> Admixed:
    return admixed(np.random.default_rng(11), N, SIZES, k=2, missing=0.01)


@pytest.fixture(scope="module")
def folder(cohort: Admixed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A genotype store, FLARE's files of it, tables, and the store of local ancestry that the command makes."""
    path = tmp_path_factory.mktemp("local")
    make_store(path, cohort)
    rng = np.random.default_rng(0)
    some = replace(
        cohort,
        alleles=cohort.alleles[:, WITHOUT:],
        ancestry=cohort.ancestry[:, WITHOUT:],
        samples=cohort.samples[WITHOUT:],
    )
    files = [
        str(write_vcf(path / f"chr{contig}.anc.vcf.gz", some, cohort.of_contig(contig), flare=True)) for contig in SIZES
    ]
    effect = cohort.alleles[60].clip(0).sum(axis=1)
    rows = []
    for i, sample in enumerate(cohort.samples):
        ldl, bmi = 0.8 * effect[i] + rng.normal(), rng.normal()
        sex, case = rng.choice(["male", "female"]), int(ldl > 1)
        rows.append(f"{sample}\t{ldl:.6f}\t{'NA' if i % 9 == 0 else f'{bmi:.6f}'}\t{case}\t{rng.normal():.6f}\t{sex}")
    (path / "people.tsv").write_text("IID\tldl\tbmi\tt2d\tage\tsex\n" + "\n".join(rows) + "\n")
    run = CliRunner().invoke(
        main, ["local-ancestry", "build", str(path / "cohort.zarr"), str(path / "local.zarr"), *files]
    )
    assert run.exit_code == 0, run.output
    assert "AFR, EUR" in run.output
    assert f"{WITHOUT} of the genotypes have no local ancestry" in run.output
    assert CliRunner().invoke(main, ["local-ancestry", "verify", str(path / "local.zarr")]).exit_code == 0
    return path


def write_job(folder: Path, name: str, **keys: object) -> Path:
    job = {
        "name": "Local ancestry",
        "genotypes": str(folder / "cohort.zarr"),
        "local_ancestry": str(folder / "local.zarr"),
        "traits": {"file": str(folder / "people.tsv"), "columns": ["ldl", "bmi"]},
        "covariates": {"file": str(folder / "people.tsv"), "formula": "age"},
        "test": {"options": {"min_ancestry_allele_count": 5}},
        "output": str(folder / name),
        "runtime": {"workers": 1, "memory": "4GB"},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(job | keys))
    return path


def columns(run: Path, names: list[str], stratum: int = 0) -> dict[str, NDArray[np.floating]]:
    cube = ResultsCube.open(run)
    shape = slice(0, len(cube.traits)), slice(0, cube.n_variants)
    return {name: np.asarray(cube.block(name, stratum, *shape)) for name in names}


def table(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Traits, covariates and who is male, of the people with local ancestry."""
    rows = [line.split("\t") for line in (folder / "people.tsv").read_text().splitlines()[1:]][WITHOUT:]
    traits = np.array([[float(row[k].replace("NA", "nan")) for k in (1, 2, 3)] for row in rows])
    return traits, np.array([[1.0, float(row[4])] for row in rows]), np.array([row[5] == "male" for row in rows])


def check(
    found: dict[str, NDArray[np.floating]], folder: Path, cohort: Admixed, traits: list[int], people: NDArray[np.bool_]
) -> None:
    """Compare with regressions of the trait on all predictors."""
    values, covariates, _ = table(folder)
    checked = 0
    for v in range(len(cohort.position)):
        for t, trait in enumerate(traits):
            used = people & ~np.isnan(values[:, trait])
            alleles, ancestry = cohort.alleles[v, WITHOUT:][used], cohort.ancestry[v, WITHOUT:][used]
            haplotypes, counts = naive.predictors(alleles, ancestry, 2)
            here = (alleles >= 0).all(axis=1)
            fewest = np.minimum(counts[here].sum(axis=0), (haplotypes - counts)[here].sum(axis=0))
            terms = np.flatnonzero(fewest >= 5)
            if not len(terms):
                assert found["status"][t, v] in (Status.MONOMORPHIC, Status.TOO_FEW_ALLELES)
                continue
            expected = naive.linear(values[used, trait], covariates[used], haplotypes, counts[:, terms])
            for name in ("neg_log10_p", "neg_log10_p_ancestry", "beta"):
                np.testing.assert_allclose(found[name][t, v], expected[name], rtol=1e-4, atol=1e-5)
            afr = np.flatnonzero(terms == 0)
            np.testing.assert_allclose(
                found["beta_AFR"][t, v], expected[f"beta_{afr[0]}"] if len(afr) else np.nan, rtol=1e-4, atol=1e-5
            )
            checked += 1
    assert checked > 50 * len(traits)


NAMES = ["status", "beta", "neg_log10_p", "neg_log10_p_ancestry", "beta_AFR", "haplotypes_EUR", "n"]


def test_a_scan_is_the_regression_of_each_variant_and_trait(folder: Path, cohort: Admixed) -> None:
    job = Job.from_yaml(write_job(folder, "run"))
    assert "without local ancestry" in job.check().text()
    run = job.run()
    found = columns(folder / "run", NAMES)
    everybody = np.ones(N - WITHOUT, bool)
    check(found, folder, cohort, [0, 1], everybody)
    assert found["neg_log10_p"][0, 60] > 4
    assert found["n"].max() == N - WITHOUT
    assert run.report_path.exists()


def test_strata_are_those_of_their_people(folder: Path, cohort: Admixed) -> None:
    path = write_job(
        folder,
        "strata",
        strata=[
            {"column": "sex", "file": str(folder / "people.tsv"), "analyses": ["pooled", "per_group"], "min_people": 20}
        ],
    )
    Job.from_yaml(path).run()
    _, _, male = table(folder)
    cube = ResultsCube.open(folder / "strata")
    for number, name in enumerate(cube.strata):
        people = {"all": np.ones(len(male), bool), "sex=male": male, "sex=female": ~male}[name]
        check(columns(folder / "strata", NAMES, number), folder, cohort, [0, 1], people)
    assert len(cube.strata) == 3


def test_workers_and_resumption_change_no_bit(folder: Path) -> None:
    def results(name: str) -> dict[str, bytes]:
        files = (folder / name / "results.zarr").rglob("*")
        return {str(file.relative_to(folder / name)): file.read_bytes() for file in files if file.is_file()}

    def stop(progress: object) -> None:
        if getattr(progress, "tasks_done", 0) >= 1:
            raise KeyboardInterrupt

    binary = {"file": str(folder / "people.tsv"), "columns": {"t2d": {"type": "binary"}, "ldl": {}}}
    options = {"min_ancestry_allele_count": 5}
    test = {"quantitative": {"options": options}, "binary": {"options": options}}
    Job.from_yaml(write_job(folder, "one", traits=binary, test=test)).run()
    two = write_job(folder, "two", traits=binary, test=test, runtime={"workers": 2, "memory": "4GB"})
    with pytest.raises(KeyboardInterrupt):
        Job.from_yaml(two).run(on_progress=stop)
    Job.from_yaml(two).run()
    assert results("one") == results("two")
    found = columns(folder / "one", ["status", "neg_log10_p", "beta_AFR"])
    assert found["neg_log10_p"][0, 60] > 3
    assert np.isin(found["status"], [Status.OK, Status.FIRTH, Status.MONOMORPHIC, Status.TOO_FEW_ALLELES]).all()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"test": "linear"}, "does not look at local ancestry"),
        ({"local_ancestry": "none.zarr"}, "there is no store of local ancestry"),
        ({"model": "dominant"}, "has no dominant model"),
        ({"test": {"options": {"min_ancestry_allele_count": -2}}}, "min_ancestry_allele_count is -2"),
    ],
)
def test_jobs_that_mean_nothing_are_refused(keys: dict[str, object], message: str, folder: Path) -> None:
    with pytest.raises(JobError, match=message):
        Job.from_yaml(write_job(folder, "refused", **keys)).check()


def test_its_tests_need_local_ancestry(folder: Path) -> None:
    path = write_job(folder, "refused", test="local_ancestry_linear")
    path.write_text(path.read_text().replace(f"local_ancestry: {folder / 'local.zarr'}\n", ""))
    with pytest.raises(JobError, match="needs local ancestry"):
        Job.from_yaml(path).check()
