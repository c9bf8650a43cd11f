"""Runs: complete, resumed, refused; what stands in the folder, and what never does."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import allscan
from allscan.errors import CorruptChunkError, InputError, JobChangedError, OutputError
from allscan.jobs import run as run_module
from allscan.jobs.job import Job
from allscan.jobs.run_folder import RunFolder
from allscan.jobs.run_log import read_log
from allscan.jobs.status import run_status

if TYPE_CHECKING:
    from conftest import Cohort


def content(folder: Path) -> dict[str, str]:
    """Hash of every file that holds results."""
    files = [folder / "hits.parquet", *sorted((folder / "results.zarr").rglob("*"))]
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()
    }


def looks_complete(folder: Path) -> bool:
    """Whether anything in the folder could be taken for a finished run."""
    return (folder / "report.html").exists() or (folder / "provenance.json").exists()


def kill_after(job: Path, tasks: int, how: str) -> subprocess.CompletedProcess[str]:
    """Run a job in a process that ends itself in the middle of a task, after some tasks were committed."""
    script = f"""
import os, signal, sys
from allscan.engine import scan
from allscan.jobs.cli import main

whole, count = scan.run_task, 0

def dying(shared, task):
    global count
    count += 1
    if count > {tasks}:
        {how}
    return whole(shared, task)

scan.run_task = dying
main(["run", {str(job)!r}])
"""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)


def test_results_are_those_of_least_squares(cohort: Cohort) -> None:
    run = Job.from_yaml(cohort.job()).run()
    results = run.results()
    assert dict(results.sizes)["variant"] == 600
    sex, age, ldl = {}, {}, {}
    for row in (cohort.folder / "covariates.tsv").read_text().splitlines()[1:]:
        person, *cells = row.split("\t")
        age[person], sex[person] = float(cells[0]), float(cells[1] == "male")
    for row in (cohort.folder / "traits.tsv").read_text().splitlines()[1:]:
        person, _, value, _ = row.split("\t")
        if value != "NA" and person in age:
            ldl[person] = float(value)
    people = [i for i, person in enumerate(cohort.ids) if person in ldl]
    variant = 7
    calls = cohort.calls[variant, people].astype(float)
    calls[calls < 0] = calls[calls >= 0].mean()
    y = np.array([ldl[cohort.ids[i]] for i in people])
    x = np.column_stack(
        [calls, np.ones(len(people)), [age[cohort.ids[i]] for i in people], [sex[cohort.ids[i]] for i in people]]
    )
    coefficients, residual, *_ = np.linalg.lstsq(x, y, rcond=None)
    variance = residual[0] / (len(y) - 4) * np.linalg.inv(x.T @ x)[0, 0]
    found = results.sel(stratum="all", trait="ldl").isel(variant=variant)
    assert float(found["beta"]) == pytest.approx(coefficients[0], rel=1e-5)
    assert float(found["standard_error"]) == pytest.approx(np.sqrt(variance), rel=1e-5)
    assert int(found["n"]) == len(people) == 204


def test_the_folder_of_a_complete_run(cohort: Cohort) -> None:
    run = Job.from_yaml(cohort.job()).run()
    folder = run.folder
    assert (run.n_tests, run.already_complete) == (1200, False)
    for path in (folder.results, folder.hits, folder.provenance, folder.report, folder.job_file, folder.log):
        assert path.exists(), path
    assert run.report_path.read_text().lower().startswith("<!doctype html")
    state = folder.read_state()
    assert state is not None
    assert (state["state"], state["tasks_done"]) == ("complete", 10)
    assert run_status(folder.path).state == "complete"
    assert "Run(" in repr(run)
    # The planted effect is found.
    table = allscan.open_results(folder.path).sel(stratum="all", trait="height")["neg_log10_p"].to_numpy()
    assert int(np.nanargmax(table)) == 40


def test_provenance_says_where_results_come_from(cohort: Cohort, repository: Path) -> None:
    path = cohort.job(samples={"exclude": "gone.txt"})
    (cohort.folder / "gone.txt").write_text("P0001\nP0002\n")
    document = json.loads(Job.from_yaml(path).run().provenance_path.read_text())
    described = {
        key.strip(" `")
        for line in (repository / "docs" / "reference" / "provenance.md").read_text().splitlines()
        if line.startswith("| `")
        for key in line.split("|")[1].split(",")
    }
    described.remove("predictors")  # of a scan of columns
    assert set(document) == described, "docs/reference/provenance.md names every key"
    roles = {entry["role"]: entry for entry in document["inputs"]}
    assert set(roles) == {"traits.file", "covariates.file", "samples.exclude[0]"}
    table = (cohort.folder / "traits.tsv").read_bytes()
    assert roles["traits.file"]["sha256"] == hashlib.sha256(table).hexdigest()
    assert roles["traits.file"]["bytes"] == len(table)
    assert document["job_file"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert document["samples"]["analysed"] == 228
    assert sum(document["samples"]["sex"].values()) == 228
    assert document["variants"] == {"in_genotypes": 600, "tested": 600, "filters": [], "accounting": []} | {
        "accounting": document["variants"]["accounting"]
    }
    assert [trait["n"] for trait in document["traits"]] == [228, 202]
    assert sum(document["results"]["status_counts"].values()) == document["results"]["n_tests"] == 1200
    assert document["software"]["allscan"] == allscan.__version__
    assert document["software"]["blas"]
    assert document["run"]["tasks"] == 10
    assert document["run"]["peak_memory_bytes"] > 50_000_000
    assert document["run"]["started"] <= document["run"]["finished"]
    assert document["job"]["model"] == "additive"


def test_no_person_is_named_in_anything_that_is_written(cohort: Cohort) -> None:
    path = cohort.job(samples={"exclude": "gone.txt"})
    (cohort.folder / "gone.txt").write_text("P0001\nSOMEBODY\n")
    folder = Job.from_yaml(path).run().folder.path
    names = [*cohort.ids, "STRANGER", "SOMEBODY"]
    for file in folder.rglob("*"):
        if file.is_file():
            text = file.read_bytes()
            found = [name for name in names if name.encode() in text]
            assert not found, file


def test_traits_with_regions_and_filters_are_accounted(cohort: Cohort) -> None:
    job = cohort.job(variants={"regions": ["21"], "min_maf": 0.1}, traits={"file": "traits.tsv", "columns": ["height"]})
    document = json.loads(Job.from_yaml(job).run().provenance_path.read_text())
    assert document["variants"]["tested"] == 300
    assert {"reason": "outside the regions of the job", "count": 300} in document["variants"]["accounting"]
    assert document["results"]["status_counts"]["filtered"] > 0


def test_workers_change_no_byte(cohort: Cohort) -> None:
    one = Job.from_yaml(cohort.job("one.yaml", output="one", runtime={"workers": 1})).run()
    two = Job.from_yaml(cohort.job("two.yaml", output="two", runtime={"workers": 2})).run()
    assert content(one.folder.path) == content(two.folder.path)


@pytest.mark.parametrize(
    ("how", "code", "state"),
    [
        pytest.param("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, "killed", id="SIGKILL"),
        pytest.param("os.kill(os.getpid(), signal.SIGINT)", 130, "stopped", id="Ctrl-C"),
    ],
)
def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(cohort: Cohort, how: str, code: int, state: str) -> None:
    whole = Job.from_yaml(cohort.job("whole.yaml", output="whole")).run()
    job = cohort.job("half.yaml", output="half")
    died = kill_after(job, 4, how)
    assert died.returncode == code, died.stderr
    half = cohort.folder / "half"
    assert not looks_complete(half)
    assert run_status(half).state == state
    if code == 130:
        assert "goes on where it was" in died.stderr
        assert "Traceback" not in died.stderr
    run = Job.from_yaml(job).run()
    assert content(half) == content(whole.folder.path)
    document = json.loads(run.provenance_path.read_text())
    assert document["run"]["tasks_resumed"] == 4
    assert len(document["run"]["earlier_sessions"]) == 1


def test_a_complete_run_is_left_alone_but_for_its_report(cohort: Cohort) -> None:
    folder = Job.from_yaml(cohort.job()).run().folder
    results, report = content(folder.path), folder.report.read_bytes()
    assert Job.from_yaml(cohort.job()).run().already_complete
    assert folder.report.read_bytes() == report
    again = Job.from_yaml(
        cohort.job(
            name="other.yaml",
            report={"significance": 1e-4},
            runtime={"workers": 2},
        )
    ).run()
    assert again.already_complete
    assert again.folder.report.read_bytes() != report
    assert content(folder.path) == results


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"model": "dominant"}, 'model: "additive" before, "dominant" now'),
    ({"variants": {"min_maf": 0.01}}, "variants.min_maf: 0.0 before, 0.01 now"),
    (
        {"traits": {"file": "traits.tsv", "columns": {"height": None, "ldl": {"transform": "standardise"}}}},
        'traits.columns.ldl.transform: "none" before, "standardise" now',
    ),
    (
        {"traits": {"file": "traits.tsv", "columns": ["height"]}},
        'traits.columns.ldl.type: "quantitative" before, nothing now',
    ),
    ({"covariates": {"file": "covariates.tsv", "formula": "age"}}, "covariates.formula"),
    ({"results": {"hits_neg_log10_p": 3}}, "results.hits_neg_log10_p"),
]


def test_a_changed_job_is_refused_and_the_key_is_named(cohort: Cohort) -> None:
    folder = Job.from_yaml(cohort.job()).run().folder
    before = content(folder.path)
    for changes, told in CHANGES:
        with pytest.raises(JobChangedError) as error:
            Job.from_yaml(cohort.job(**changes)).run()
        assert told in error.value.what
        assert "job.yaml" in (error.value.where or "")
    assert content(folder.path) == before


def test_changed_inputs_are_refused_and_told(cohort: Cohort) -> None:
    Job.from_yaml(cohort.job()).run()
    table = cohort.folder / "traits.tsv"
    original = table.read_text()
    table.write_text(original.replace("1.5", "1.6"))  # a column that the job does not use: still another file
    with pytest.raises(JobChangedError, match=r"traits\.file: the content of the file is not the same"):
        Job.from_yaml(cohort.job()).run()
    # The same content under another name is the same job.
    (cohort.folder / "moved.tsv").write_text(original)
    moved = cohort.job(traits={"file": "moved.tsv", "columns": ["height", "ldl"]}, name="moved.yaml")
    assert Job.from_yaml(moved).run().already_complete


def test_another_store_is_refused(cohort: Cohort) -> None:
    import zarr

    Job.from_yaml(cohort.job()).run()
    position = zarr.open_group(cohort.store, mode="r+")["variant_position"]
    assert isinstance(position, zarr.Array)
    position[0] = 9_999_999
    with pytest.raises(JobChangedError, match="genotypes"):
        Job.from_yaml(cohort.job()).run()


def test_two_runs_do_not_share_a_folder(cohort: Cohort) -> None:
    job = Job.from_yaml(cohort.job())
    folder = RunFolder(job.output)
    folder.create()
    with folder.locked():
        with pytest.raises(OutputError, match=f"another run is working in this folder.*process {os.getpid()}"):
            job.run()
        assert folder.is_locked()
    assert not folder.is_locked()
    assert job.run().n_tests == 1200


def test_a_folder_with_other_files_is_not_touched(cohort: Cohort) -> None:
    output = cohort.folder / "run"
    output.mkdir()
    (output / "thesis.docx").write_text("precious")
    with pytest.raises(OutputError, match=r"holds other files \(thesis.docx\)"):
        Job.from_yaml(cohort.job()).run()
    assert [path.name for path in output.iterdir()] == ["thesis.docx"]


def test_a_damaged_state_is_refused(cohort: Cohort) -> None:
    folder = Job.from_yaml(cohort.job()).run().folder
    good = folder.state_file.read_text()
    for bad in ("{", "[]", '{"format": "other"}', good.replace('"format_version": 1', '"format_version": 99')):
        folder.state_file.write_text(bad)
        with pytest.raises(InputError):
            Job.from_yaml(cohort.job()).run()
        with pytest.raises(InputError):
            run_status(folder.path)


def failing_write(error: OSError) -> Callable[..., None]:
    """A stand-in for the write of results that works twice and fails then."""
    count = 0
    from allscan.engine.results import write_block

    def write(*arguments: Any) -> None:
        nonlocal count
        count += 1
        if count > 2:
            raise error
        write_block(*arguments)

    return write


def test_a_full_disk_ends_the_run_and_the_next_goes_on(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from allscan.engine import scan

    with monkeypatch.context() as patch:
        patch.setattr(scan, "write_block", failing_write(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(OutputError, match="disk is full"):
            Job.from_yaml(cohort.job()).run()
    output = cohort.folder / "run"
    assert not looks_complete(output)
    assert run_status(output).state == "failed"
    run = Job.from_yaml(cohort.job()).run()
    assert json.loads(run.provenance_path.read_text())["run"]["tasks_resumed"] == 2


def test_a_disk_that_is_too_small_is_refused_before_work(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    from allscan.jobs import plan

    monkeypatch.setattr(plan, "free_space", lambda _: 100)
    with pytest.raises(OutputError, match="results need about") as error:
        Job.from_yaml(cohort.job()).run()
    assert "key output" in (error.value.where or "")
    assert not (cohort.folder / "run" / "results.zarr").exists()


def test_a_flipped_bit_is_found_and_nothing_is_finished(cohort: Cohort) -> None:
    chunk = cohort.store / "call_dosage" / "c" / "2" / "0"
    damaged = bytearray(chunk.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    chunk.write_bytes(damaged)
    with pytest.raises(CorruptChunkError, match="checksum") as error:
        Job.from_yaml(cohort.job()).run()
    assert str(chunk) in (error.value.where or "")
    assert not looks_complete(cohort.folder / "run")
    assert "CorruptChunkError" in run_status(cohort.folder / "run").text()


def test_a_report_that_fails_leaves_the_results_complete(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    from allscan.jobs import report

    def fail(*_: object, **__: object) -> None:
        raise OutputError("no room for the report", where="report.html", fix="make room")

    with monkeypatch.context() as patch:
        patch.setattr(report, "write_report", fail)
        with pytest.raises(OutputError, match="no room"):
            Job.from_yaml(cohort.job()).run()
    output = cohort.folder / "run"
    assert "report      not written" in run_status(output).text()
    assert not (output / "report.html").exists()
    run = Job.from_yaml(cohort.job()).run()
    assert run.already_complete
    assert run.report_path.exists()


def test_damaged_results_are_named_and_computed_again(cohort: Cohort) -> None:
    """By what the message says: delete the commits, and run again."""
    run = Job.from_yaml(cohort.job()).run()
    before = content(run.folder.path)
    chunk = run.folder.results / "beta" / "c" / "0" / "0" / "3"
    damaged = bytearray(chunk.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    chunk.write_bytes(damaged)
    with pytest.raises(CorruptChunkError, match="beta") as error:
        run_module.rewrite_report(run.folder.path)
    assert "commits" in (error.value.fix or "")
    shutil.rmtree(run.folder.path / "commits")
    again = Job.from_yaml(cohort.job()).run()
    assert not again.already_complete
    assert content(run.folder.path) == before


def test_lost_provenance_is_written_anew_without_computing(cohort: Cohort) -> None:
    folder = Job.from_yaml(cohort.job()).run().folder
    results = content(folder.path)
    folder.provenance.unlink()
    with pytest.raises(InputError, match="provenance"):
        run_module.rewrite_report(folder.path)
    run = Job.from_yaml(cohort.job()).run()
    assert json.loads(run.provenance_path.read_text())["run"]["tasks_resumed"] == 10
    assert content(folder.path) == results


def test_too_little_memory_is_refused_by_key(cohort: Cohort) -> None:
    with pytest.raises(InputError, match="memory") as error:
        Job.from_yaml(cohort.job(runtime={"memory": "100MB"})).run()
    assert "runtime.memory" in (error.value.where or "")


def test_the_plan_tells_costs_and_writes_nothing(cohort: Cohort) -> None:
    report = Job.from_yaml(cohort.job()).plan()
    assert (report.n_variants, report.n_traits, report.n_tasks) == (600, 2, 10)
    assert report.peak_memory_bytes <= report.memory_limit_bytes
    assert report.expected_seconds > 0
    assert report.fits_disk
    assert "1,200 (600 variants × 2 traits) in 230 people" in repr(report)
    assert not (cohort.folder / "run").exists()


def test_a_job_from_python_runs_and_its_copy_is_a_job(cohort: Cohort) -> None:
    keys = json.loads(cohort.job().read_text())
    seen = []
    run = Job.from_dict(keys, base=cohort.folder).run(on_progress=seen.append)
    assert (seen[0].tasks_done, seen[-1].tasks_done) == (0, 10)
    assert json.loads(run.provenance_path.read_text())["job_file"] is None
    # Written with every default filled in; read from the folder of the original, it is the same job.
    copied = cohort.folder / "copy.yaml"
    copied.write_text(run.folder.job_file.read_text())
    assert Job.from_yaml(copied).run().already_complete


def test_logging_is_left_as_it_was(cohort: Cohort) -> None:
    import logging

    package = logging.getLogger("allscan")
    before = (package.level, list(package.handlers))
    Job.from_yaml(cohort.job()).run()
    assert (package.level, list(package.handlers)) == before
    events = {entry["event"]: entry for entry in read_log(RunFolder(cohort.folder / "run"))}
    assert events["planned"]["tasks"] == 10
    assert events["run_complete"]["tests"] == 1200
    assert run_module.logger.name == "allscan.jobs.run"
