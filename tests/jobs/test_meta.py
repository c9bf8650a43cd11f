"""`allscan meta`: from a file to results, a report, exports; again, changed, interrupted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from allscan.engine.meta.cube import MetaCube
from allscan.jobs.cli import main
from allscan.jobs.meta.job import MetaJob
from allscan.jobs.report.forest import Forest, ForestRow, forest_section, p_text
from tests.engine.meta import tables

SITES = tables.variants(1500, seed=3)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four tables of one trait with one strong variant."""
    folder = tmp_path_factory.mktemp("studies")
    sites = SITES.copy()
    sites.loc[700, ["effect", "frequency"]] = 1.5, 0.4
    for k in range(4):
        table = tables.study(sites, seed=k, n=3000 + 500 * k, share=0.95)
        tables.write(tables.swapped(table) if k == 2 else table, folder / f"s{k}.tsv.gz")
    return folder


Keys = Callable[..., Path]


@pytest.fixture
def keys(tmp_path: Path, studies: Path) -> Keys:
    def write(**changes: Any) -> Path:
        document: dict[str, Any] = {
            "name": "four <studies>",
            "trait": "ldl",
            "studies": [
                {"name": f"s{k}", "file": str(studies / f"s{k}.tsv.gz"), "ancestry": "EUR" if k < 2 else "AFR"}
                for k in range(4)
            ],
            "output": "out",
            "runtime": {"workers": 1},
        }
        path = tmp_path / "meta.yaml"
        path.write_text(json.dumps({**document, **changes}))
        return path

    return write


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def content(folder: Path) -> dict[str, bytes]:
    """Results, without what tells of the session."""
    own = [*folder.glob("meta.zarr/**/*"), folder / "meta_hits.parquet"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(own) if path.is_file()}


def test_from_a_file_to_results(keys: Keys, tmp_path: Path) -> None:
    done = call("meta", keys(sets={"eur": ["s0", "s1"]}))
    assert done.exit_code == 0, done.output
    assert "s2: " in done.output
    assert "turned" in done.output
    out = tmp_path / "out"
    assert not (out / "work").exists()
    cube = MetaCube(out)
    assert cube.strata == ("all", "eur")
    assert cube.traits == ("ldl",)
    hits = pq.read_table(out / "meta_hits.parquet").to_pylist()
    top = max((hit for hit in hits if hit["stratification"] == "all"), key=lambda hit: hit["neg_log10_p"])
    assert top["position"] == SITES.position[700]
    assert len(top["studies"]) >= 3
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance["results"]["sets"]["eur"] == ["s0", "s1"]
    assert [one["sha256"] for one in provenance["inputs"]]
    turned = {one["name"]: one["turned"] for one in provenance["studies"]}
    assert turned["s2"] > 1000 > 10 > turned["s0"]
    page = (out / "report.html").read_text()
    assert "four &lt;studies&gt;" in page
    assert "four <studies>" not in page
    assert f"rs701 {SITES.contig[700]}:{SITES.position[700]:,}" in page
    assert page.count('<article class="forest">') >= 1
    assert not re.search(r"https?://(?!www\.w3\.org)", page)


def test_again_nothing_is_done_and_the_report_follows_its_settings(keys: Keys, tmp_path: Path) -> None:
    call("meta", keys())
    before = content(tmp_path / "out")
    again = call("meta", keys(report={"forests": 0}))
    assert "was there already" in again.output
    assert '<article class="forest">' not in (tmp_path / "out" / "report.html").read_text()
    assert content(tmp_path / "out") == before


def test_other_settings_are_refused_until_they_are_asked_for(keys: Keys, tmp_path: Path) -> None:
    call("meta", keys())
    before = content(tmp_path / "out")
    refused = call("meta", keys(min_studies=4))
    assert refused.exit_code == 2
    assert "these keys differ: min_studies" in refused.output
    assert content(tmp_path / "out") == before
    assert call("meta", keys(min_studies=4), "--update").exit_code == 0
    cube = MetaCube(tmp_path / "out")
    status = cube.block("status", 0, slice(0, 1), slice(0, cube.n_variants))
    assert 0.1 < (status == 0).mean() < 0.95


def test_workers_and_interruptions_change_no_byte(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from allscan.engine.meta import aligning, run

    assert call("meta", keys(output="whole")).exit_code == 0
    for module, name in (
        (aligning, "read_study"),
        (aligning, "join_region"),
        (run, "write_chunks"),
        (run, "join_hits"),
    ):
        real, calls = getattr(module, name), []

        def fail(
            *arguments: Any,
            real: Any = real,
            calls: list[int] = calls,
            at: int = 1 if module is run else 2,
            **more: Any,
        ) -> Any:
            calls.append(1)
            if len(calls) == at:
                raise KeyboardInterrupt
            return real(*arguments, **more)

        monkeypatch.setattr(module, name, fail)
        stopped = call("meta", keys(output="again", runtime={"workers": 1}), "--keep-work")
        assert stopped.exit_code == 130, stopped.output
        monkeypatch.setattr(module, name, real)
    assert call("meta", keys(output="again", runtime={"workers": 2})).exit_code == 0
    assert content(tmp_path / "whole") == content(tmp_path / "again")


def test_exports_of_a_meta_analysis(keys: Keys, tmp_path: Path) -> None:
    call("meta", keys(sets={"eur": ["s0", "s1"]}))
    cube = MetaCube(tmp_path / "out")
    for number, stratum in enumerate(cube.strata):
        for name in ("regenie", "plink", "gwas-ssf", "parquet"):
            target = tmp_path / f"{stratum}.{name}"
            done = call(
                *("export", tmp_path / "out", "--trait", "ldl", "--stratum", stratum),
                *("--format", name, "--out", target),
            )
            assert done.exit_code == 0, done.output
        table = pd.read_parquet(tmp_path / f"{stratum}.parquet")
        np.testing.assert_array_equal(table.beta, cube.block("beta", number, slice(0, 1), slice(0, len(table)))[0])
    ssf = pd.read_table(tmp_path / "all.gwas-ssf", na_values="#NA")
    assert len(ssf) == np.isfinite(cube.block("beta", 0, slice(0, 1), slice(0, cube.n_variants))).sum()


def test_a_meta_analysis_of_its_own_export_is_itself(keys: Keys, tmp_path: Path) -> None:
    """One study alone: all of it comes through files and back."""
    call("meta", keys())
    call("export", tmp_path / "out", "--trait", "ldl", "--format", "parquet", "--out", tmp_path / "all.parquet")
    again = MetaJob.from_dict(
        {
            "name": "again",
            "studies": [{"name": "one", "file": str(tmp_path / "all.parquet")}],
            "min_studies": 1,
            "output": str(tmp_path / "again"),
        }
    ).run()
    first, second = MetaCube(tmp_path / "out"), again.cube
    whole = slice(0, first.n_variants)
    rows = np.isfinite(first.block("beta", 0, slice(0, 1), whole)[0])
    for name in ("beta", "standard_error", "neg_log10_p", "n", "effect_allele_frequency"):
        ours = second.block(name, 0, slice(0, 1), slice(0, second.n_variants))[0]
        np.testing.assert_allclose(ours, first.block(name, 0, slice(0, 1), whole)[0][rows], rtol=2e-6)


def test_genomic_control_and_given_inflation(keys: Keys, tmp_path: Path) -> None:
    call("meta", keys(output="plain"))
    table = json.loads(keys(output="wide", genomic_control=True).read_text())
    table["studies"][0]["inflation"] = 1.44
    (tmp_path / "meta.yaml").write_text(json.dumps(table))
    assert call("meta", tmp_path / "meta.yaml").exit_code == 0
    told = json.loads((tmp_path / "wide" / "provenance.json").read_text())["results"]["inflation"]
    assert told["s0"]["ldl"] == 1.44
    errors = [
        MetaCube(tmp_path / name).block("standard_error", 0, slice(0, 1), slice(0, 1500))[0]
        for name in ("plain", "wide")
    ]
    both = np.isfinite(errors[0])
    assert (errors[1][both] >= errors[0][both]).all()
    assert (errors[1][both] > errors[0][both]).mean() > 0.8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"studies": [{"name": "a"}]}, "needs either `file: TABLE` or `run: FOLDER`"),
        ({"studies": [{"name": "a", "file": "x", "stratum": "all"}]}, "`stratum` is of a scan"),
        ({"studies": [{"name": "a", "file": "nowhere.tsv"}]}, "there is no table 'nowhere.tsv'"),
        ({"studies": [{"name": "a", "file": "x", "format": "metal"}]}, "'metal' is no format"),
        ({"studies": [{"name": "a", "file": "x", "columns": {"effekt": "B"}}]}, "'effekt' is nothing"),
        ({"studies": [{"name": "a", "file": "x"}] * 2}, "two studies are called 'a'"),
        ({"sets": {"x": ["nobody"]}}, "names 'nobody', which is no study"),
        ({"sets": {"all": ["s0"]}}, "the set 'all' is that of all studies"),
        ({"method": ["random"]}, "did you mean 'methods'"),
    ],
)
def test_files_that_are_wrong_are_refused(keys: Keys, change: dict[str, Any], words: str) -> None:
    refused = call("meta", keys(**change))
    assert refused.exit_code == 2
    assert words in refused.output
    assert "Traceback" not in refused.output


def test_a_folder_of_other_things_is_left_alone(keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.docx").write_text("mine")
    refused = call("meta", keys())
    assert refused.exit_code == 2
    assert "thesis.docx" in refused.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.docx"]


def test_forest_plots_tell_effects_and_ratios() -> None:
    rows = [
        ForestRow("a", 0.1, 0.05, 1.3, n=1000, frequency=0.25, beta_without=0.2, neg_log10_p_without=2.0),
        ForestRow("b <x>", 0.3, 4.0, n=None),
        ForestRow("Fixed effects", 0.12, 0.04, 2.5, combined=True),
    ]
    (plain,) = forest_section([Forest("rs1", "2 studies", rows)])
    assert plain["rows"][0]["effect"] == "0.1 (0.002 to 0.198)"
    assert plain["rows"][0]["without"] == "0.2, p 0.010"
    assert "polygon" in plain["rows"][2]["drawing"]
    # A whisker that is far too long is cut at the edge of the drawing.
    ends = [float(x) for x in re.findall(r'class="whisker" x1="([-\d.]+)"', plain["rows"][1]["drawing"])]
    assert 0 <= ends[0] <= 300
    (ratios,) = forest_section([Forest("rs1", "2 studies", rows, ratios=True)])
    assert ratios["rows"][0]["effect"] == "1.11 (1 to 1.22)"
    assert ratios["effect"] == "Odds ratio"


def test_p_values_in_words() -> None:
    assert [p_text(y) for y in (0.0, 0.30103, 1.30103, 3.0, 7.30103, 400.25)] == [
        *("1", "0.5", "0.050", "1.0e-3", "5.0e-8", "5.6e-401")
    ]
