"""The real command line: what each command prints, and what bad input does to it."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from allscan.errors import InputError
from allscan.jobs import check_report, cli

if TYPE_CHECKING:
    from click.testing import Result
    from conftest import Cohort, CommandLine

JOURNEY = [
    "ingest",
    "info",
    "verify",
    "phenotypes",
    "structure",
    "local-ancestry",
    "check",
    "plan",
    "run",
    "submit",
    "status",
    "logs",
    "cancel",
    "resume",
    "report",
    "export",
    "meta",
    "null-model",
    "simulate",
    "schema",
    "deployment",
]


def refused(result: Result) -> str:
    """The message of a refused command; fails when it was not refused as it must be."""
    assert result.exit_code == 2, (result.exit_code, result.output)
    assert "Traceback" not in result.output
    assert "error: " in result.stderr
    assert "\n  where: " in result.stderr
    assert "\n  to do: " in result.stderr
    return result.stderr


def test_help_shows_the_commands_in_the_order_of_the_journey(allscan_cli: CommandLine) -> None:
    text = allscan_cli("--help").stdout
    commands = text.split("Commands:")[1]
    assert re.findall(r"^  ([\w-]+) ", commands, re.MULTILINE) == JOURNEY
    for name in JOURNEY:
        command = cli.main.commands[name]
        below = list(command.commands) if isinstance(command, click.Group) else []
        for words in [[name, one] for one in below] or [[name]]:
            result = allscan_cli(*words, "--help")
            assert result.exit_code == 0
            assert "--debug" in result.stdout


def test_help_waits_for_no_heavy_import() -> None:
    script = (
        "import sys, contextlib\n"
        "from allscan.jobs.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "heavy = {'numpy', 'scipy', 'numba', 'zarr', 'pandas', 'pyarrow', 'xarray', 'dask', 'pydantic'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_the_journey_from_a_bed_file_to_an_export(allscan_cli: CommandLine, reference: Any, tmp_path: Path) -> None:
    example = reference("regenie_example")
    store, run = tmp_path / "cohort.zarr", tmp_path / "run"
    result = allscan_cli("ingest", example / "example.bed", store, "--workers", 1)
    assert result.exit_code == 0, result.output
    assert "1,000 variants × 500 samples" in result.stdout
    assert "write: " in result.stderr

    described = json.loads(allscan_cli("info", store, "--json").stdout)
    assert (described["n_variants"], described["n_samples"]) == (1000, 500)
    text = allscan_cli("info", store).stdout
    assert "500 (sex:" in text
    assert "example.bed" in text
    assert "every chunk matches" in allscan_cli("verify", store).stdout

    job = tmp_path / "job.yaml"
    job.write_text(
        f"""\
name: example
genotypes: cohort.zarr
traits: {{file: {example / "phenotype.txt"}, columns: [Y1, Y2]}}
covariates: {{file: {example / "covariates.txt"}, formula: V1 + V2 + V3}}
output: run
"""
    )
    checked = allscan_cli("check", job)
    assert checked.exit_code == 0, checked.output
    assert "intercept, V1, V2, V3" in checked.stdout
    planned = allscan_cli("plan", job, "--workers", 2, "--memory", "3GB")
    assert "workers     2" in planned.stdout
    assert "2.8 GiB allowed" in planned.stdout
    assert not run.exists()

    ran = allscan_cli("run", job, "--workers", 1)
    assert ran.exit_code == 0, ran.output
    assert "tests       2,000" in ran.stdout
    assert str(run / "report.html") in ran.stdout
    assert "scan: 1,000 variants" in ran.stderr
    assert "state       complete" in allscan_cli("status", run).stdout
    assert "complete already" in allscan_cli("run", job).stdout

    before = (run / "report.html").read_bytes()
    assert allscan_cli("report", run, "--significance", "1e-3").exit_code == 0
    assert (run / "report.html").read_bytes() != before
    assert allscan_cli("report", run, "--significance", "5e-8").exit_code == 0
    assert (run / "report.html").read_bytes() == before

    out = tmp_path / "y1.regenie"
    assert allscan_cli("export", run, "--trait", "Y1", "--format", "regenie", "--out", out).exit_code == 0
    lines = out.read_text().splitlines()
    assert lines[0].startswith("CHROM GENPOS ID ALLELE0 ALLELE1 A1FREQ")
    assert len(lines) == 1001
    assert "already there" in refused(allscan_cli("export", run, "--trait", "Y1", "--format", "regenie", "--out", out))
    missing = allscan_cli("export", run, "--trait", "Y3", "--format", "plink", "--out", tmp_path / "y3.plink")
    assert "'Y3'" in refused(missing)
    assert not (tmp_path / "y3.plink").exists()


def test_ingest_filters(allscan_cli: CommandLine, reference: Any, tmp_path: Path) -> None:
    people = tmp_path / "keep.txt"
    people.write_text("".join(f"{i} {i}\n" for i in range(1, 101)))
    gone = tmp_path / "gone.txt"
    gone.write_text("5\n6\n")
    result = allscan_cli(
        "ingest", reference("regenie_example") / "example.bed", tmp_path / "s.zarr",
        "--keep", people, "--exclude", gone, "--region", "1:1-500", "--min-allele-count", 2, "--build", "hg19",
        "--workers", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    described = json.loads(allscan_cli("info", tmp_path / "s.zarr", "--json").stdout)
    assert described["n_samples"] == 98
    assert 0 < described["n_variants"] <= 500
    assert described["reference_build"] == "GRCh37"


def test_ingest_refuses_bad_files(allscan_cli: CommandLine, tmp_path: Path) -> None:
    refused(allscan_cli("ingest", tmp_path / "missing.bed", tmp_path / "o.zarr"))
    text = tmp_path / "x.vcf"
    text.write_text("not a VCF\n")
    refused(allscan_cli("ingest", text, tmp_path / "o.zarr", "--workers", 1))
    assert not (tmp_path / "o.zarr").exists()


def test_info_of_the_machine(allscan_cli: CommandLine) -> None:
    described = json.loads(allscan_cli("info", "--system").stdout)
    assert described["system"]["cpus"] >= 1
    assert 0 < described["system"]["available_memory_bytes"] <= described["system"]["memory_bytes"]
    assert described["software"]["numpy"]
    assert described["software"]["blas"][0]["architecture"]
    assert allscan_cli("info").exit_code == 2


def test_verify_names_damaged_chunks(allscan_cli: CommandLine, cohort: Cohort) -> None:
    chunk = cohort.store / "call_dosage" / "c" / "3" / "0"
    damaged = bytearray(chunk.read_bytes())
    damaged[10] ^= 4
    chunk.write_bytes(damaged)
    (cohort.store / "call_dosage" / "c" / "4" / "0").unlink()
    text = refused(allscan_cli("verify", cohort.store))
    assert "2 chunks of the store are damaged" in text
    assert "call_dosage, chunk 3/0" in text
    assert "call_dosage, chunk 4/0" in text


def test_schema_as_json_and_as_a_page(allscan_cli: CommandLine, repository: Path) -> None:
    assert json.loads(allscan_cli("schema").stdout)["title"] == "allscan job"
    page = allscan_cli("schema", "--format", "markdown").stdout
    assert page == (repository / "docs" / "reference" / "job.md").read_text()


def test_check_shows_ids_and_run_does_not(allscan_cli: CommandLine, cohort: Cohort) -> None:
    job = cohort.job()
    assert "STRANGER" in allscan_cli("check", job).stdout
    assert "STRANGER" not in allscan_cli("run", job).output


def test_status_of_nothing(allscan_cli: CommandLine, tmp_path: Path) -> None:
    assert "no run in this folder" in refused(allscan_cli("status", tmp_path))
    assert "no such run folder" in refused(allscan_cli("status", tmp_path / "none"))


def test_simulate_takes_its_options_from_the_simulation(allscan_cli: CommandLine) -> None:
    from dataclasses import fields

    from allscan.engine.simulation.options import SimulationOptions

    text = allscan_cli("simulate", "--help").stdout
    for field in fields(SimulationOptions):
        assert f"--{field.name.replace('_', '-')}" in text
    assert "EUR=0.5,AFR=0.2,AMR=0.2,EAS=0.1" in text.replace("\n", "").replace(" ", "")
    refused_by_option = allscan_cli("simulate", "nowhere", "--groups", "XYZ=1")
    assert "XYZ" in refused(refused_by_option)


def test_simulate_makes_a_cohort_whose_job_runs(allscan_cli: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "sim"
    made = allscan_cli(
        "simulate", out, "--samples", 200, "--variants", 400, "--chromosomes", "21,22", "--traits", 2,
        "--groups", "EUR=0.6,AFR=0.4", "--founder-haplotypes", 400, "--causal-fraction", 0.02, "--workers", 1,
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    assert "next        allscan ingest" in made.stdout
    genotypes = next(line.split()[1] for line in made.stdout.splitlines() if line.startswith("genotypes"))
    assert allscan_cli("ingest", genotypes, out / "genotypes.zarr", "--workers", 1).exit_code == 0
    ran = allscan_cli("run", out / "job.yaml", "--workers", 1)
    assert ran.exit_code == 0, ran.output
    assert "in 200 people" in ran.stdout


BAD_JOBS = [
    pytest.param("name:\n\tx: 1\n", ":2:1", "tab", id="tab"),
    pytest.param("name: a\nname: b\n", ":2:1", "twice", id="duplicate key"),
    pytest.param("", "", "empty", id="empty"),
    pytest.param("- a\n", ":1:1", "a list", id="list"),
    pytest.param("name: [\n", ":2:1", "ends inside", id="open bracket"),
    pytest.param("name: !!python/object/apply:os.system [ls]\n", ":1:7", "tag", id="python object"),
    pytest.param("a: &a [x]\nb: [*c]\n", ":2:5", "no anchor", id="unknown anchor"),
    pytest.param(
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
            f"{c}: &{c} [{','.join([f'*{p}'] * 10)}]\n" for p, c in zip("abcdefg", "bcdefgh", strict=True)
        ),
        ":5:",
        "unfolds to more than",
        id="anchor bomb",
    ),
    pytest.param("name: 5\ngenotypes: x\ntraits: [a]\noutput: o\n", "", "2 problems", id="wrong types"),
    pytest.param("name: \xff\n", ":1", "UTF-8", id="latin-1"),
    pytest.param("name: " + "x" * (1 << 20), "", "larger", id="huge"),
]  # fmt: skip


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(("text", "place", "what"), BAD_JOBS)
def test_bad_job_files(
    allscan_cli: CommandLine, tmp_path: Path, command: str, text: str, place: str, what: str
) -> None:
    job = tmp_path / "job.yaml"
    job.write_bytes(text.encode("latin-1"))
    message = refused(allscan_cli(command, job))
    assert f"job.yaml{place}" in message
    assert what in message
    assert [path.name for path in tmp_path.iterdir()] == ["job.yaml"]


def test_bad_tables_are_told_with_line_and_column(allscan_cli: CommandLine, cohort: Cohort) -> None:
    table = cohort.folder / "traits.tsv"
    lines = table.read_text().splitlines()
    cells = lines[4].split("\t")
    lines[4] = "\t".join([cells[0], "tall", *cells[2:]])
    table.write_text("\n".join(lines) + "\n")
    message = refused(allscan_cli("run", cohort.job()))
    assert "tall" in message
    assert "line 5" in message
    assert "height" in message
    assert not (cohort.folder / "run").exists()


def test_zero_overlap(allscan_cli: CommandLine, cohort: Cohort) -> None:
    table = cohort.folder / "traits.tsv"
    table.write_text(table.read_text().replace("P0", "Q0"))
    message = refused(allscan_cli("run", cohort.job()))
    assert "Q0" in message
    assert "P0" in message
    assert not (cohort.folder / "run").exists()


def test_a_folder_that_cannot_be_written(allscan_cli: CommandLine, cohort: Cohort) -> None:
    # /sys takes no folder from anybody: a read-only disk for some, no permission for others.
    message = refused(allscan_cli("run", cohort.job(output="/sys/allscan-run")))
    assert "cannot be written" in message
    in_the_way = refused(allscan_cli("run", cohort.job(output="traits.tsv")))
    assert "in the way" in in_the_way


def test_a_file_size_limit_acts_as_a_full_disk(cohort: Cohort) -> None:
    job = cohort.job()
    done = subprocess.run(
        [sys.executable, "-m", "allscan.jobs.cli", "run", str(job)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
    run = cohort.folder / "run"
    assert not (run / "report.html").exists()
    assert not (run / "provenance.json").exists()


def test_a_flipped_bit_in_the_store(allscan_cli: CommandLine, cohort: Cohort) -> None:
    chunk = cohort.store / "call_dosage" / "c" / "1" / "0"
    damaged = bytearray(chunk.read_bytes())
    damaged[-1] ^= 128
    chunk.write_bytes(damaged)
    message = refused(allscan_cli("run", cohort.job()))
    assert "does not match its checksum" in message
    run = cohort.folder / "run"
    assert not (run / "report.html").exists()
    for command in (("report", run), ("export", run, "--trait", "ldl", "--format", "plink", "--out", run / "x")):
        assert "not complete" in refused(allscan_cli(*command))


def test_a_changed_job(allscan_cli: CommandLine, cohort: Cohort) -> None:
    assert allscan_cli("run", cohort.job()).exit_code == 0
    message = refused(allscan_cli("run", cohort.job(missing_genotypes="exclude")))
    assert 'missing_genotypes: "impute_mean" before, "exclude" now' in message


def test_debug_shows_where_an_error_arose(allscan_cli: CommandLine, tmp_path: Path) -> None:
    result = allscan_cli("check", tmp_path / "none.yaml", "--debug")
    assert result.exit_code == 2
    assert "Traceback" in result.output


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (RuntimeError("odd"), 1, "this is a bug in allscan: RuntimeError: odd"),
        (MemoryError("Unable to allocate 3 TiB"), 2, "too little memory"),
        (KeyboardInterrupt(), 130, "stopped"),
        (OSError(28, "No space left on device", "/data/x"), 2, "disk is full"),
        (InputError("no", where="here", fix="yes"), 2, "where: here"),
        (BrokenPipeError(), 2, ""),
    ],
)
def test_exit_codes(
    allscan_cli: CommandLine, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, text: str
) -> None:
    from allscan.jobs.job import Job

    def fail(_: object) -> Job:
        raise error

    monkeypatch.setattr(Job, "from_yaml", fail)
    result = allscan_cli("check", "job.yaml")
    assert result.exit_code == code
    assert text in result.stderr
    assert "Traceback" not in result.output


def test_a_terminal_that_lacks_characters_is_no_reason_to_fail() -> None:
    words = [sys.executable, "-m", "allscan.jobs.cli", "schema", "--format", "markdown"]
    done = subprocess.run(words, capture_output=True, check=True, env={"PYTHONIOENCODING": "latin-1", "PATH": ""})
    assert b"Rows with ?log10 p" in done.stdout


def test_wrong_calls_are_refused(allscan_cli: CommandLine) -> None:
    for words in (["rum"], ["run"], ["run", "a.yaml", "--workers", "0"], ["export", "x"], ["--nope"]):
        result = allscan_cli(*words)
        assert result.exit_code == 2, words
        assert "Usage" in result.stderr


def test_the_version_is_printed(allscan_cli: CommandLine) -> None:
    import allscan

    assert allscan_cli("--version").stdout.strip() == f"allscan {allscan.__version__}"


def test_the_docstring_lists_every_command() -> None:
    assert re.findall(r"^    ([\w-]+) ", cli.__doc__ or "", re.MULTILINE) == JOURNEY


def test_many_traits_are_not_all_printed(cohort: Cohort, allscan_cli: CommandLine) -> None:
    table = cohort.folder / "traits.tsv"
    lines = table.read_text().splitlines()
    names = [f"t{i}" for i in range(60)]
    values = [[line.split("\t")[0], *[line.split("\t")[1]] * 60] for line in lines[1:]]
    table.write_text("\n".join("\t".join(row) for row in [["IID", *names], *values]) + "\n")
    text = allscan_cli("check", cohort.job(traits={"file": "traits.tsv", "columns": ["t*"]})).stdout
    assert f"and {60 - check_report.MAX_TRAITS_SHOWN} more traits, all ok" in text
