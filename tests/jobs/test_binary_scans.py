"""Jobs of binary traits as a newcomer writes them: chromosome X, a disease of women, genetic models, missing calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from allscan.engine.results import ResultsCube
from allscan.jobs.check import check_job
from allscan.jobs.job import Job
from allscan.kernels.association import HAS_RESULT, Status
from tests import naive_binary
from tests.jobs.conftest import Cohort

FIRST_ON_X = 450


@pytest.fixture
def diseased(cohort: Cohort) -> Cohort:
    """A disease of a third of the people, one of women, and one of too few; each near a variant."""
    rng = np.random.default_rng(11)
    sex = [line.split("\t")[2] for line in (cohort.folder / "covariates.tsv").read_text().splitlines()[1:]]
    sex += ["male"] * (len(cohort.ids) - len(sex))
    common, on_x = (np.maximum(cohort.calls[v], 0) for v in (40, 500))
    rows = ["IID\tasthma\tendometriosis\tgout"]
    for i, person in enumerate(cohort.ids):
        asthma = int(rng.random() < 0.15 + 0.25 * common[i])
        endometriosis = "NA" if sex[i] == "male" else str(int(rng.random() < 0.35 + 0.25 * on_x[i]))
        rows.append(f"{person}\t{asthma}\t{endometriosis}\t{int(rng.random() < 0.1)}")
    (cohort.folder / "diseases.tsv").write_text("\n".join(rows) + "\n")
    return cohort


def coded(genotypes: NDArray[np.float64], model: str) -> NDArray[np.float64]:
    if model == "dominant":
        return np.minimum(genotypes, 1)
    return np.maximum(genotypes - 1, 0) if model == "recessive" else genotypes


@pytest.mark.parametrize(
    ("model", "missing"),
    [
        ("additive", "impute_mean"),
        ("dominant", "impute_mean"),
        ("recessive", "impute_mean"),
        ("additive", "exclude"),
        ("recessive", "exclude"),
    ],
)
def test_a_job_gives_what_the_slow_formulas_give(diseased: Cohort, model: str, missing: str) -> None:
    keys: dict[str, Any] = {
        "name": "diseases",
        "genotypes": "cohort.zarr",
        "traits": {"file": "diseases.tsv", "columns": ["asthma", "endometriosis", "gout"], "type": "binary"},
        "covariates": {"file": "covariates.tsv", "formula": "age + sex"},
        "model": model,
        "missing_genotypes": missing,
        "output": "run",
        "runtime": {"workers": 1, "memory": "2GB"},
    }
    job = Job.from_dict(keys, base=diseased.folder)
    design = check_job(job).strata[0].design
    cube = ResultsCube.open(job.run().folder.path)
    assert set(cube.trait_columns("gout")["status"]) == {Status.TOO_FEW_CASES}
    seen: list[int] = []
    for t, trait in enumerate(("asthma", "endometriosis")):
        table = {name: np.asarray(values) for name, values in cube.trait_columns(trait).items()}
        smallest = np.argsort(-np.nan_to_num(table["neg_log10_p"]))[:30]
        chosen = {*range(0, FIRST_ON_X, 30), *range(FIRST_ON_X, 600, 10), *smallest.tolist()}
        for v in sorted(chosen):
            status = int(table["status"][v])
            if status not in HAS_RESULT:
                assert np.isnan(table["neg_log10_p"][v])
                continue
            calls = diseased.calls[v, design.store_rows].astype(float)
            calls[calls < 0] = np.nan
            expected = naive_binary.result(
                coded(calls, model),
                design.traits[:, t],
                design.covariates,
                2.0 if model == "additive" else 1.0,
                exclude=missing == "exclude",
            )
            assert status == expected.status, (trait, v)
            seen.append(status)
            # A step of the covariates stands for their fit where people are left out.
            of_z = 2e-3 if missing == "exclude" else 1e-5
            assert table["beta"][v] == pytest.approx(expected.beta, abs=of_z * expected.standard_error)
            assert table["neg_log10_p"][v] == pytest.approx(expected.neg_log10_p, abs=of_z)
            assert table["standard_error"][v] == pytest.approx(expected.standard_error, rel=2 * of_z)
    assert set(seen) == {Status.OK, Status.SADDLEPOINT, Status.EXACT}
    assert len(seen) > 90
    on_x = cube.trait_columns("endometriosis")
    assert on_x["n"][FIRST_ON_X:].max() < len(diseased.ids) * 0.6
