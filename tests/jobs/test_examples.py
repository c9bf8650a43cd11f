"""Every example file runs, by the commands that its README gives."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

import allscan
from allscan.jobs.job import Job
from allscan.kernels.association import has_result

if TYPE_CHECKING:
    from conftest import CommandLine


def documented_commands(readme: Path) -> list[list[str]]:
    """Every `allscan` command of the README's shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    text = "\n".join(blocks).replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("allscan ")]


def test_every_example_is_a_job_that_its_readme_runs(repository: Path) -> None:
    prices = repository / "examples" / "prices.yaml"  # for `plan`; tests/jobs/test_prices.py reads it
    examples = sorted({*(repository / "examples").glob("*.yaml")} - {prices})
    readme = (repository / "examples" / "README.md").read_text()
    assert examples
    for example in examples:
        Job.from_yaml(example)
        assert f"allscan run examples/{example.name}" in readme


def beside_the_data(repository: Path, data: Path, folder: Path) -> Path:
    """The same layout as the repository's, so that what the examples write does not land in it."""
    (folder / "shared").mkdir()
    (folder / "shared" / "reference").symlink_to(data.parent)
    here = folder / "repository"
    (here / "examples").mkdir(parents=True)
    for example in (repository / "examples").glob("kg_*.yaml"):
        (here / "examples" / example.name).write_text(example.read_text())
    return here


def test_the_example_of_cases_and_controls(
    repository: Path, reference: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allscan_cli: CommandLine
) -> None:
    reference("peer_results")
    monkeypatch.chdir(beside_the_data(repository, reference("kg_eur489_polypred"), tmp_path))
    outputs = {}
    *commands, phewas = documented_commands(repository / "examples" / "README.md")[4:]
    for words in commands:
        result = allscan_cli(*words)
        assert result.exit_code == 0, result.output
        outputs[words[0]] = result.stdout
    assert "BT2  n 479        cases 118      controls 361" in outputs["check"]
    results = allscan.open_results("runs/kg_eur").sel(stratum="all")
    counts = {name: results[name].sel(trait="BT2").to_numpy() for name in ("n", "cases", "status", "neg_log10_p")}
    assert (set(counts["n"]), set(counts["cases"])) == ({479}, {118})
    refined = has_result(counts["status"]) & (counts["status"] != 0)
    # The first p decides: those by another method are about a twentieth.
    assert 0.02 < refined.mean() < 0.12
    assert has_result(results["status"].to_numpy()).all()
    header, *lines = Path("runs/kg_eur.glm").read_text().splitlines()
    assert "FIRTH?" in header.split("\t")
    assert len(lines) == len(counts["n"])
    assert "Odds ratio" in Path("runs/kg_eur/report.html").read_text()

    result = allscan_cli(*phewas)
    assert result.exit_code == 0, result.output
    table = pq.read_table("runs/kg_eur_phewas/phewas.parquet")
    assert set(table["predictor"].to_pylist()) == {"rs75179603", "rs116846796"}
    assert table["trait"].to_pylist() == ["BT1", "BT2", "BT3", "BT4"] * 2
    assert set(table["status"].to_pylist()) == {"OK"}


def test_the_example_on_real_genotypes(
    repository: Path, reference: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allscan_cli: CommandLine
) -> None:
    monkeypatch.chdir(beside_the_data(repository, reference("kg_phase1_chr22"), tmp_path))

    commands = documented_commands(repository / "examples" / "README.md")[:4]
    assert [words[0] for words in commands] == ["ingest", "check", "run", "export"]
    outputs = {}
    for words in commands:
        result = allscan_cli(*words)
        assert result.exit_code == 0, result.output
        outputs[words[0]] = result.stdout
    assert "1,092  analysed" in outputs["check"]
    assert "population[YRI]" in outputs["check"]
    assert "tests       19,773" in outputs["run"]

    results = allscan.open_results("runs/kg_chr22")
    status = results["status"].sel(stratum="all", trait="phenotype").to_numpy()
    counts = results["effect_allele_count"].sel(stratum="all", trait="phenotype").to_numpy()
    rare = (counts < 5) | (counts > 2 * 1092 - 5)
    assert (status == 7).tolist() == rare.tolist()
    tested = results["neg_log10_p"].sel(stratum="all", trait="phenotype").to_numpy()[~rare]
    assert 0.4 < float(sum(tested > 0.30103) / len(tested)) < 0.6  # half of the p-values lie below one half
    lines = Path("runs/kg_chr22.regenie").read_text().splitlines()
    assert len(lines) == 1 + 19_773
    report = Path("runs/kg_chr22/report.html")
    assert "phenotype" in report.read_text()
    assert report.stat().st_size < 2_000_000
