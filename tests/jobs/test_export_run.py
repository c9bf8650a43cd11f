"""Report and exports of a real run, through the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import allscan
from allscan.engine.results import ResultsCube
from allscan.errors import InputError

if TYPE_CHECKING:
    from tests.jobs.conftest import Cohort, CommandLine


@pytest.fixture
def finished(cohort: Cohort, allscan_cli: CommandLine) -> Cohort:
    done = allscan_cli("run", cohort.job(traits={"file": "traits.tsv", "columns": ["height", "ldl", "flat"]}))
    assert done.exit_code == 0, done.output
    return cohort


def test_report_of_a_run_names_no_person(finished: Cohort) -> None:
    page = (finished.folder / "run" / "report.html").read_text()
    assert "height" in page
    assert "trait is constant" in page
    assert "STRANGER" not in page
    assert not [name for name in finished.ids if name in page]


def test_report_follows_its_options(finished: Cohort, allscan_cli: CommandLine) -> None:
    done = allscan_cli("report", finished.folder / "run", "--significance", "1e-3", "--lead-window-kb", "10")
    assert done.exit_code == 0, done.output
    page = (finished.folder / "run" / "report.html").read_text()
    assert "10⁻³" in page
    assert "within 10 kb" in page


@pytest.mark.parametrize("format_name", ["regenie", "plink", "gwas-ssf", "parquet"])
def test_export_of_a_run(format_name: str, finished: Cohort, allscan_cli: CommandLine) -> None:
    out = finished.folder / "ldl.out"
    words = ["--trait", "ldl", "--format", format_name, "--out", out]
    done = allscan_cli("export", finished.folder / "run", *words)
    assert done.exit_code == 0, done.output
    expected = ResultsCube.open(finished.folder / "run").trait_table("ldl")
    beta = {"regenie": "BETA", "plink": "BETA", "gwas-ssf": "beta", "parquet": "beta"}[format_name]
    separator = " " if format_name == "regenie" else "\t"
    table = pd.read_parquet(out) if format_name == "parquet" else pd.read_csv(out, sep=separator)
    np.testing.assert_array_equal(table[beta].astype(np.float32), expected["beta"][np.isfinite(expected["beta"])])
    assert len(table) == 600
    again = allscan_cli("export", finished.folder / "run", *words)
    assert again.exit_code == 2
    assert "already there" in again.stderr
    assert allscan_cli("export", finished.folder / "run", *words, "--overwrite").exit_code == 0


def test_rows_that_gwas_ssf_cannot_hold_are_told_on_the_screen(finished: Cohort, allscan_cli: CommandLine) -> None:
    out = finished.folder / "flat.tsv"
    done = allscan_cli("export", finished.folder / "run", "--trait", "flat", "--format", "gwas-ssf", "--out", out)
    assert done.exit_code == 0, done.output
    assert "600 variants (no result: TRAIT_CONSTANT)" in done.output
    assert len(out.read_text().splitlines()) == 1


def test_a_run_that_is_not_complete_is_not_exported(finished: Cohort) -> None:
    state = finished.folder / "run" / "run.json"
    document = json.loads(state.read_text())
    document["state"] = "stopped"
    state.write_text(json.dumps(document))
    with pytest.raises(InputError, match="not complete"):
        allscan.export(finished.folder / "run", "ldl", "plink", finished.folder / "out")
    assert not (finished.folder / "out").exists()
