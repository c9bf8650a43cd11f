"""The groups of a run, combined by the run: the numbers of its strata, and those of `allscan meta` of its exports."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import allscan
from allscan.engine.meta.cube import MetaCube
from allscan.engine.meta.run import META_COMMITS
from allscan.engine.results import ResultsCube
from allscan.errors import JobChangedError
from allscan.jobs.meta.job import MetaJob
from allscan.jobs.report import write_report
from allscan.jobs.run import run_job
from allscan.kernels.association import has_result
from allscan.kernels.meta import fixed_effects
from tests.jobs.conftest import Cohort
from tests.jobs.test_strata import grouped, job  # noqa: F401 - a fixture

ALL = slice(0, None)
KEYS: dict[str, Any] = {
    "traits": {"file": "mixed.tsv", "columns": {"height": {}, "ldl": {}, "disease": {"type": "binary"}}},
    "ancestry": {"groups": "groups.tsv", "min_people": 50, "min_cases": 20},
    "strata": ["sex"],
    "test": {"binary": {"options": {"min_cases": 20}}},
    "meta": {"hits_p": 0.01},
}
COLUMNS = ("beta", "standard_error", "neg_log10_p", "q", "neg_log10_p_re2", "neg_log10_p_sample_size", "n", "n_studies")


def values(cube: MetaCube | ResultsCube, column: str, stratum: str) -> np.ndarray:
    return cube.block(column, cube.strata.index(stratum), slice(0, len(cube.traits)), slice(0, cube.n_variants))


@pytest.fixture
def mixed(grouped: Cohort) -> Cohort:  # noqa: F811
    """Quantitative and binary traits in one table."""
    head, *lines = (grouped.folder / "traits.tsv").read_text().splitlines()
    lines = [f"{line}\t{int(k * 7 % 5 < 2)}" for k, line in enumerate(lines)]
    (grouped.folder / "mixed.tsv").write_text("\n".join([f"{head}\tdisease", *lines]) + "\n")
    return grouped


@pytest.fixture
def run(mixed: Cohort) -> Path:
    job(mixed, **KEYS).run()
    return mixed.folder / "run"


def test_groups_are_combined_by_stratification(run: Path) -> None:
    cube, scan = MetaCube(run), ResultsCube(run)
    assert cube.strata == ("ancestry", "sex")
    assert cube.traits == scan.traits
    for name, groups in (("ancestry", ["ancestry=afr", "ancestry=eur"]), ("sex", ["sex=female", "sex=male"])):
        held = {
            column: np.stack([values(scan, column, group) for group in groups])
            for column in ("beta", "standard_error", "status")
        }
        beta = np.where(has_result(held["status"]), held["beta"], np.nan).astype(float)
        for t in range(len(cube.traits)):
            expected = fixed_effects(beta[:, t], held["standard_error"][:, t].astype(float))
            enough = expected.n_studies == 2
            np.testing.assert_array_equal(
                values(cube, "beta", name)[t], np.where(enough, expected.beta, np.nan).astype("f4")
            )
            np.testing.assert_array_equal(values(cube, "n_studies", name)[t], expected.n_studies)
    lazy = allscan.open_meta(run).sel(stratification="sex", trait="ldl")
    np.testing.assert_array_equal(lazy.beta.values, values(cube, "beta", "sex")[list(cube.traits).index("ldl")])
    hits = pq.read_table(run / "meta_hits.parquet").to_pylist()
    assert {hit["stratification"] for hit in hits} == {"ancestry", "sex"}
    assert {one["study"] for hit in hits for one in hit["studies"]} >= {"ancestry=afr", "sex=male"}
    told = json.loads((run / "provenance.json").read_text())["meta_analysis"]
    assert told["sets"]["ancestry"] == ["ancestry=afr", "ancestry=eur"]


def test_the_page_compares_groups_as_the_meta_analysis_counted_them(mixed: Cohort) -> None:
    settings = {"hits_p": 0.5, "min_studies": 1, "genomic_control": True, "thresholds": {"min_mac": 55}}
    job(mixed, **(KEYS | {"meta": settings})).run()
    folder = mixed.folder / "run"
    inflation = MetaCube(folder).attrs["inflation"]
    assert max(value for of_study in inflation.values() for value in of_study.values()) > 1.01
    hits = {
        (hit["stratification"], hit["trait"], hit["contig"], hit["position"], hit["effect_allele"]): hit
        for hit in pq.read_table(folder / "meta_hits.parquet").to_pylist()
    }
    page = write_report(folder, significance=0.05, lead_window_kb=0.001).read_text(encoding="utf-8")
    assert "<b>Genomic control</b> is on" in page
    assert "from 55 copies of the rarer allele on" in page
    compared, widened, left_out = 0, 0, 0
    for article in (json.loads(text) for text in re.findall(r'id="across-\d+-data">(.*?)</script>', page)):
        loci = article["loci"]
        for k, place in enumerate(zip(loci["contig"], loci["position"], loci["alt"], strict=True)):
            hit = hits.get((article["grouping"], article["trait"], *place))
            if hit is None:
                continue
            told = {one["study"].partition("=")[2]: one for one in hit["studies"]}
            for g, group in enumerate(article["groups"]):
                shown, without = loci["by_groups"][g], loci["without"]
                assert loci["counts"][g][k] == (group in told)
                if group not in told:
                    left_out += shown["beta"][k] is not None
                    assert (without["beta"][g][k], loci["differs"][g][k]) == (None, 0)
                    continue
                one = told[group]
                pairs = [(shown[name][k], one[column]) for name, column in (("beta", "beta"), ("se", "standard_error"))]
                for name, column in (("beta", "beta"), ("se", "standard_error"), ("p", "neg_log10_p")):
                    pairs.append((without[name][g][k], one[f"{column}_without"]))
                for ours, theirs in pairs:
                    assert (ours is None) == (theirs is None)
                    assert ours is None or ours == pytest.approx(theirs, rel=2e-5)
                widened += inflation[f"{article['grouping']}={group}"][article["trait"]] > 1.01
                compared += 1
    assert compared >= 10
    assert min(widened, left_out) >= 1


def test_the_meta_command_gets_the_same_from_exports(run: Path, tmp_path: Path) -> None:
    cube = MetaCube(run)
    names = ResultsCube(run).variant_table()
    for of, trait in product(("parquet", "gwas-ssf", "regenie", "run"), ("height", "disease")):
        studies = []
        for group in ("afr", "eur"):
            file = tmp_path / f"{trait}.{group}.{of}"
            study: dict[str, Any] = {"name": group, "check_p": False}
            if of == "run":
                study |= {"run": str(run), "trait": trait, "stratum": f"ancestry={group}"}
            else:
                allscan.export(run, trait, of, file, stratum=f"ancestry={group}")
                study["file"] = str(file)
            studies.append(study)
        keys = {"name": "exports", "trait": trait, "studies": studies, "output": str(tmp_path / f"{of}.{trait}")}
        # The store's positions are made up, and every variant is A/G or the like.
        again = MetaJob.from_dict(keys | {"check_overlap": False}).run().cube
        found = again.variant_table()
        key = {place: k for k, place in enumerate(zip(found.contig, found.position, found.ref, found.alt, strict=True))}
        t = cube.traits.index(trait)
        compared = 0
        for column in COLUMNS:
            ours, theirs = values(cube, column, "ancestry")[t], values(again, column, "all")[0]
            for v, place in enumerate(zip(names.contig, names.position, names.ref, names.alt, strict=True)):
                k = key.get((place[0].removeprefix("chr"), *place[1:]))
                if k is None or not values(cube, "n_studies", "ancestry")[t, v]:
                    continue
                np.testing.assert_allclose(theirs[k], ours[v], rtol=3e-6, atol=1e-7)
                compared += 1
        assert compared > 1000


def test_interruptions_change_no_byte(mixed: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    from allscan.engine.meta import run as engine

    def content(folder: str) -> dict[str, bytes]:
        path = mixed.folder / folder
        files = [*path.glob("meta.zarr/**/*"), path / "meta_hits.parquet"]
        return {str(file.relative_to(path)): file.read_bytes() for file in sorted(files) if file.is_file()}

    job(mixed, **KEYS, output="whole").run()
    real = engine.join_hits

    def stop(*arguments: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "join_hits", stop)
    with pytest.raises(KeyboardInterrupt):
        job(mixed, **KEYS, output="again").run()
    monkeypatch.setattr(engine, "join_hits", real)
    done = sorted((mixed.folder / "again" / META_COMMITS).iterdir())
    marks = [path.stat().st_mtime_ns for path in done]
    job(mixed, **KEYS, output="again").run()
    assert [path.stat().st_mtime_ns for path in done] == marks
    assert content("whole") == content("again")


def test_other_settings_of_the_meta_analysis_keep_the_scan(mixed: Cohort) -> None:
    job(mixed, **KEYS).run()
    folder = mixed.folder / "run"
    scan = {path: path.read_bytes() for path in sorted((folder / "results.zarr").rglob("*")) if path.is_file()}
    changed = job(mixed, **(KEYS | {"meta": {"methods": ["random"]}}))
    with pytest.raises(JobChangedError, match=r"meta\.methods"):
        changed.run()
    run_job(changed, update=True)
    assert "neg_log10_p_re2" not in {column.name for column in MetaCube(folder).columns}
    assert all(path.read_bytes() == before for path, before in scan.items())
    without = {"groups": "groups.tsv", "min_people": 50, "min_cases": 20, "analyses": ["pooled", "per_group"]}
    run_job(job(mixed, **(KEYS | {"ancestry": without, "strata": None})), update=True)
    assert not (folder / "meta.zarr").exists()
    assert json.loads((folder / "provenance.json").read_text())["meta_analysis"] is None


def test_results_without_one_effect_are_not_combined(mixed: Cohort) -> None:
    traits = {"file": "traits.tsv", "columns": ["height"]}
    job(mixed, **(KEYS | {"model": "genotypic", "traits": traits, "test": None})).run()
    told = json.loads((mixed.folder / "run" / "provenance.json").read_text())["meta_analysis"]
    assert "one effect per variant" in told["not_made"]
    assert not (mixed.folder / "run" / "meta.zarr").exists()


def test_a_stratification_is_exported_by_its_name(run: Path, tmp_path: Path) -> None:
    summary = allscan.export(run, "ldl", "parquet", tmp_path / "ldl.parquet", stratum="meta:sex")
    cube = MetaCube(run)
    table = pq.read_table(tmp_path / "ldl.parquet")
    assert summary.rows == cube.n_variants
    found = np.array(table["beta"].to_pylist(), float)
    np.testing.assert_array_equal(found, values(cube, "beta", "sex")[cube.traits.index("ldl")])
    allscan.export(run, "disease", "gwas-ssf", tmp_path / "disease.tsv", stratum="meta:ancestry")
    assert "n_cases" in (tmp_path / "disease.tsv").read_text().split("\n", 1)[0]
