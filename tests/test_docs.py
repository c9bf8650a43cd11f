"""What the documentation shows works: links lead somewhere, examples run, pages made from the code are up to date."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest

import allscan
from allscan.documents.validation import validate
from allscan.documents.yaml_source import read_yaml
from allscan.engine.store_writing import create_store, write_genotypes
from allscan.jobs.cli import main as command_line
from allscan.jobs.meta.job import MetaJob
from allscan.jobs.structure.file import StructureJob
from allscan.kernels.block import CARRIER_DENSITY, EXACT_STEPS, Encoding, encode_block
from allscan.kernels.wire import to_bytes, to_bytes_and_planes
from allscan.phenotypes.build.spec import PhenotypeFile
from allscan.phenotypes.definitions.loading import load_definition

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])
WORKBENCH = {
    "CDR_STORAGE_PATH": "gs://example-datasets/v8",
    "GOOGLE_PROJECT": "example-project",
    "WORKSPACE_BUCKET": "gs://example-bucket",
    "WORKSPACE_CDR": "example-project.C2024Q3R9",
}
"""Variables of the Researcher Workbench, which examples name."""
GENERATED = ("commands.md", "python.md", "job.md", "phenotypes.md", "definition.md", "structure.md", "meta.md")


def blocks(page: Path, language: str) -> list[str]:
    """Code blocks of a page in one language, without the indentation of the block."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in found]


def name_of(value: Any) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)[:30]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)", text) + re.findall(r'(?:src|href)="([^"]+)"', text):
        if re.match(r"https?://|mailto:|#", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve()
        assert file.exists(), f"{page.name}: {target}"
        if anchor and file.suffix == ".md":
            heading_ids = {
                re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
                for heading in re.findall(r"^#+ (.*)", file.read_text(), flags=re.MULTILINE)
            }
            assert anchor in heading_ids, f"{page.name}: {target}"


JOBS = [(page, text) for page in PAGES for text in blocks(page, "yaml") if "# A fragment" not in text]


@pytest.mark.parametrize(("page", "text"), JOBS, ids=name_of)
def test_yaml_examples_are_jobs(page: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in WORKBENCH.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "job.yaml").write_text(text)
    if "\nrecords:" in text:
        document = read_yaml(tmp_path / "job.yaml")
        assert validate(PhenotypeFile, document.data, document, subject="", fix="").name
        return
    if text.startswith("kind:"):
        assert load_definition(tmp_path / "job.yaml").spec.id
        return
    if "\nstudies:" in text:
        assert MetaJob.from_yaml(tmp_path / "job.yaml").spec.name
        return
    if "genotypes:" in text and "traits:" not in text:
        assert StructureJob.from_yaml(tmp_path / "job.yaml").spec.name
        return
    if "genotypes:" not in text and "predictors:" not in text:
        pytest.fail(f"{page.name}: mark it with '# A fragment' if it is no job file")
    assert allscan.Job.from_yaml(tmp_path / "job.yaml").spec.name


def test_there_are_yaml_examples() -> None:
    assert {"README.md", "job.md", "quickstart.md"} <= {page.name for page, _ in JOBS}


SHELL = [
    (page, line) for page in PAGES for text in blocks(page, "sh") for line in text.replace("\\\n", " ").splitlines()
]


@pytest.mark.parametrize(("page", "line"), [pair for pair in SHELL if "allscan " in pair[1]], ids=name_of)
def test_commands_in_the_text_exist(page: Path, line: str) -> None:
    for part in re.split(r"&&|\|", line):
        words = shlex.split(part, comments=True)
        if not words or words[0] != "allscan":
            continue
        command = command_line.commands[words[1]]
        if isinstance(command, click.Group):
            command = command.commands[words[2]]
        context = command.make_context(words[1], [], resilient_parsing=True)
        known = {flag for parameter in command.get_params(context) for flag in parameter.opts}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, f"{page.name}: {line}"


def test_reference_pages_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for path, text in module.pages().items():
        assert path.read_text() == text, f"write {path.name} anew: python docs/make_reference.py"


def test_every_public_name_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text()
    for name in allscan.__all__:
        assert f"allscan.{name}" in page


def test_every_status_is_documented() -> None:
    from allscan.kernels.association import Status

    page = (ROOT / "docs" / "reference" / "results.md").read_text()
    for status in Status:
        assert f"| {status.value} | `{status.name}` |" in page


def test_every_array_of_a_store_is_documented(tmp_path: Path) -> None:
    create_store(
        tmp_path / "s.zarr",
        n_variants=0,
        sample_ids=np.array(["a"], object),
        sample_sex=np.zeros(1, np.int8),
        contigs=("1",),
        contig_lengths=(10,),
        block_variants=64,
        attributes={},
    )
    page = (ROOT / "docs" / "reference" / "store.md").read_text()
    for array in tmp_path.glob("s.zarr/*/zarr.json"):
        dtype = json.loads(array.read_text())["data_type"]
        assert f"| `{array.parent.name}` | {dtype} |" in page
    assert f"one sample in {CARRIER_DENSITY} differs" in page
    assert ", ".join(map(str, EXACT_STEPS)) in re.sub(r"\s+", " ", page)


def test_the_reader_of_the_store_format_reads_every_encoding(tmp_path: Path) -> None:
    (code,) = blocks(ROOT / "docs" / "reference" / "store.md", "python")
    assert "allscan" not in code
    reader: dict[str, Any] = {}
    exec(compile(code, "store.md", "exec"), reader)

    rng = np.random.default_rng(5)
    v, n = 60, 700  # 700: a row ends inside a group of 256
    genotypes = rng.binomial(2, rng.uniform(0, 1, (v, 1)) ** 6, (v, n)).astype(np.int8)
    genotypes[::7] = 2 - genotypes[::7]
    genotypes[rng.random((v, n)) < 0.01] = -1
    dosage = genotypes.astype(np.float32)
    dosage[genotypes < 0] = np.nan
    is_dosage = np.zeros(v, np.bool_)
    for rows, steps in ((slice(40, 44), 100), (slice(44, 48), 127), (slice(48, 52), 16384), (slice(52, 56), 30011)):
        codes = rng.integers(0, 2 * steps + 1, (4, n))
        dosage[rows] = np.where(rng.random((4, n)) < 0.01, np.nan, codes / steps)
        is_dosage[rows] = True
    block = encode_block(genotypes, dosage, is_dosage)
    assert set(block.encoding) == set(Encoding)
    assert block.carrier_flipped.any()

    (tmp_path / "s.zarr").mkdir()
    write_genotypes(tmp_path / "s.zarr", 3, block)
    chunk = tmp_path / "s.zarr" / "call_dosage" / "c" / "3" / "0"
    read = reader["decode"](reader["read_chunk"](chunk))
    exact = np.arange(v) < 52
    np.testing.assert_array_equal(read[exact], dosage[exact])
    np.testing.assert_allclose(read, dosage, atol=1 / 65534 + 1e-6)
    assert reader["read_chunk"](chunk) == to_bytes(block)
    head, planes = to_bytes_and_planes(block)
    assert planes
    np.testing.assert_array_equal(reader["decode"](head + planes), read)

    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        reader["read_chunk"](chunk)


def test_the_association_test_of_the_tutorial_conforms() -> None:
    namespace: dict[str, Any] = {}
    page = ROOT / "docs" / "developers" / "adding-a-test.md"
    code = blocks(page, "python")
    assert "check_association_test" in code[-1]
    for text in code:
        exec(compile(text, page.name, "exec"), namespace)


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which the commands of the quick start have been given, one after the other."""
    folder = tmp_path_factory.mktemp("quickstart")
    page = ROOT / "docs" / "guide" / "quickstart.md"
    (job,) = blocks(page, "yaml")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for text in blocks(page, "sh"):
        for line in text.splitlines():
            if line.startswith("allscan "):
                done = subprocess.run(
                    shlex.split(line), cwd=folder, env=environment, capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
                if line.startswith("allscan ingest"):
                    (folder / "cohort" / "lipids.yaml").write_text(job)
    return folder


def test_quick_start_works(quickstart: Path) -> None:
    run = quickstart / "cohort" / "runs" / "lipids"
    for name in ("report.html", "results.zarr", "hits.parquet", "provenance.json"):
        assert (run / name).exists()
    assert (quickstart / "trait_1.regenie.gz").stat().st_size > 1_000
    assert allscan.open_results(run).sizes["trait"] == 2


# sgkit and what it needs warn of their own future.
@pytest.mark.filterwarnings("default")
def test_python_guide_works(quickstart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(quickstart / "cohort", tmp_path / "cohort", ignore=shutil.ignore_patterns("runs", "*.zarr"))
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for text in blocks(ROOT / "docs" / "guide" / "python.md", "python"):
        exec(compile(text, "python.md", "exec"), namespace)
    assert namespace["results"].sizes["trait"] == 3
    assert namespace["dosages"].shape == (100, 500)
    assert "genotyps" in namespace["error_told"]


def test_results_guide_works(quickstart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = quickstart / "cohort"
    traits = pd.read_csv(cohort / "traits.tsv", sep="\t").rename(columns={"trait_1": "ldl", "trait_2": "hdl"})
    traits.to_csv(tmp_path / "traits.tsv", sep="\t", index=False, na_rep="NA")
    job = {
        "name": "lipids",
        "genotypes": str(cohort / "genotypes.zarr"),
        "traits": {"file": "traits.tsv", "columns": ["ldl", "hdl"]},
        "output": "runs/lipids",
    }
    allscan.Job.from_dict(job, base=tmp_path).run()
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for text in blocks(ROOT / "docs" / "guide" / "results.md", "python"):
        exec(compile(text, "results.md", "exec"), namespace)
    assert namespace["ldl"].sizes["variant"] == 2000
    assert namespace["counts"].sum() == 2000


def test_notebook_runs(tmp_path: Path) -> None:
    # In a process of its own: the client's libraries warn, and warnings are errors here.
    code = (
        "import sys, nbformat, nbclient\n"
        "notebook = nbformat.read(sys.argv[1], 4)\n"
        "place = {'metadata': {'path': sys.argv[2]}}\n"
        "nbclient.NotebookClient(notebook, timeout=240, resources=place).execute()\n"
        "print(*[o['text'] for cell in notebook.cells for o in cell.get('outputs', []) if 'text' in o])\n"
    )
    notebook = ROOT / "examples" / "scan_and_explore.ipynb"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, notebook, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "report.html" in done.stdout
    assert (tmp_path / "scan_and_explore" / "run" / "report.html").exists()


def test_notebook_is_committed_without_outputs() -> None:
    notebook = json.loads((ROOT / "examples" / "scan_and_explore.ipynb").read_text())
    assert not any(cell.get("outputs") for cell in notebook["cells"])
