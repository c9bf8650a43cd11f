"""Exports of strata and of the meta-analysis of groups, of a run whose folder holds both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.meta.cube import MetaCube
from allscan.engine.meta.run import run_meta
from allscan.engine.meta.spec import MetaSpec, StudySet
from allscan.engine.meta.studies import CubeStudies
from allscan.engine.results import ResultsCube
from allscan.errors import InputError
from allscan.jobs.export import export
from allscan.jobs.job import Job
from allscan.jobs.report import write_report
from tests.jobs.conftest import Cohort

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Grouped:
    """A run of everybody, two groups and both sexes, with the meta-analysis of the groups."""

    folder: Path
    cube: ResultsCube
    meta: MetaCube


@pytest.fixture(scope="module")
def grouped(_cohort_template: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Grouped:
    folder = tmp_path_factory.mktemp("grouped")
    cohort = Cohort(folder, _cohort_template.calls, _cohort_template.ids)
    for name in ("cohort.zarr", "traits.tsv", "covariates.tsv"):
        (folder / name).symlink_to(_cohort_template.folder / name)
    rows = [f"{person}\t{'eur' if k < 110 else 'afr'}" for k, person in enumerate(cohort.ids[:190])]
    (folder / "groups.tsv").write_text("\n".join(["IID\tgroup", *rows]) + "\n")
    job = cohort.job(ancestry={"groups": "groups.tsv", "min_people": 50}, strata=[{"column": "sex", "min_people": 50}])
    Job.from_yaml(job).run()
    out = folder / "run"
    cube = ResultsCube(out)
    if not (out / "meta.zarr").exists():
        members = tuple(cube.strata.index(name) for name in ("ancestry=afr", "ancestry=eur"))
        spec = MetaSpec(methods=("random", "re2"))
        run_meta(CubeStudies(cube), [StudySet("ancestry", members)], spec, EmbeddedExecutor(1), out)
    return Grouped(out, cube, MetaCube(out))


def metadata_of(table: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(table.with_name(table.name + "-meta.yaml"))
    return found


@pytest.mark.parametrize(
    ("stratum", "categories", "sex"),
    [
        ("all", None, "combined"),
        ("ancestry=eur", ["European"], "combined"),
        ("sex=female", None, "F"),
        ("meta:ancestry", ["African unspecified", "European"], "combined"),
    ],
)
def test_each_stratum_and_meta_analysis_has_a_table_and_metadata(
    stratum: str, categories: list[str] | None, sex: str, grouped: Grouped, tmp_path: Path
) -> None:
    out = tmp_path / "ldl.tsv"
    export(grouped.folder, "ldl", "gwas-ssf", out, stratum=stratum)
    table = pd.read_csv(out, sep="\t")
    source: Any = grouped.meta if stratum.startswith("meta:") else grouped.cube
    number = source.strata.index(stratum.removeprefix("meta:"))
    trait = source.traits.index("ldl")
    beta = source.block("beta", number, slice(trait, trait + 1), slice(0, source.n_variants))[0]
    found = table["beta"].to_numpy(np.float32)
    np.testing.assert_array_equal(np.sort(found), np.sort(beta[np.isfinite(beta)]))
    about = metadata_of(out)
    assert about["samples"][0].get("sample_ancestry_category") == categories
    assert about["samples"][0]["sample_size"] == table["n"].max()
    assert about["sex"] == sex
    assert ("sex" in str(about.get("adjusted_covariates"))) == (stratum != "sex=female")


def test_a_stratum_that_is_not_there_is_refused_with_those_that_are(grouped: Grouped, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no stratum 'meta:cohort'"):
        export(grouped.folder, "ldl", "plink", tmp_path / "out", stratum="meta:cohort")


def test_the_report_of_the_run_shows_its_meta_analysis(grouped: Grouped) -> None:
    page = write_report(grouped.folder).read_text()
    assert "<option>meta:ancestry</option>" in page
    assert '<tr data-across="' in page
    assert "Pooled against meta-analysis" in page
