"""The commands about a run: run, submit, status, logs, cancel, resume."""

from __future__ import annotations

import gc
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from allscan.jobs.command import PLACE, Command, promise, runtime_options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from allscan.engine.scan import ScanProgress
    from allscan.jobs.job import Job
    from allscan.jobs.plan import PlannedJob
    from allscan.storage import Place

WATCH_SECONDS = 2.0


@click.command(cls=Command)
@click.argument("job", type=PLACE, metavar="JOB.yaml")
@click.option(
    "--update", is_flag=True, help="The job has changed: keep the results that still hold, compute the others."
)
@runtime_options
def run(job: Place, update: bool, **runtime: Any) -> None:
    """Run a job, or go on with it where it was stopped."""
    gc.disable()  # until the work begins: what is imported and read stays
    from allscan.jobs.job import Job

    prepared = Job.from_yaml(job).with_runtime(**runtime)
    promise(f"stopped; finished tasks are kept: `allscan run {job}` goes on where it was")
    _run_here(prepared, update=update)


@click.command(cls=Command)
@click.argument("job", type=PLACE, metavar="JOB.yaml")
@click.option("--cluster", required=True, metavar="ADDRESS", help="Its job server, e.g. http://127.0.0.1:8265.")
@click.option(
    "--update", is_flag=True, help="The job has changed: keep the results that still hold, compute the others."
)
@click.option("--python", default="python3", show_default=True, metavar="COMMAND", help="Python on the cluster.")
@runtime_options
def submit(job: Place, cluster: str, update: bool, python: str, **runtime: Any) -> None:
    """Have a Ray cluster run a job; this machine may be switched off.

    The job is checked here first where its files can be seen from here. The cluster reads and writes the
    same paths: name object storage, or a file system that both see. The token of the cluster is taken from
    RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN.
    """
    from allscan.jobs.job import Job
    from allscan.jobs.submission import submit_job

    prepared = Job.from_yaml(job).with_runtime(**runtime)
    _tell_submitted(submit_job(prepared, cluster, update=update, python=python))


@click.command(cls=Command)
@click.argument("run", type=PLACE, metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until the run is over.")
def status(run: Place, as_json: bool, watch: bool) -> None:
    """Say how far a run is: what it does now, how long it will take, and what went wrong."""
    from allscan.jobs.status import run_status

    terminal = sys.stdout.isatty()
    above = 0
    while True:
        told = run_status(run)
        text = json.dumps(told.to_json(), ensure_ascii=False) if as_json else told.text()
        if above and terminal and not as_json:
            click.echo(f"\x1b[{above}A\x1b[J", nl=False)
        click.echo(text)
        above = text.count("\n") + 1
        if not watch or not told.is_active:
            return
        time.sleep(WATCH_SECONDS)


@click.command(cls=Command)
@click.argument("run", type=PLACE, metavar="RUN")
@click.option("--follow", is_flag=True, help="Go on until the run is over.")
@click.option("--json", "as_json", is_flag=True, help="Print the entries as they are, one JSON object per line.")
def logs(run: Place, follow: bool, as_json: bool) -> None:
    """Print the log of a run.

    Of a run that a cluster was given and that never came to write a log, what its process printed there.
    """
    from allscan.jobs.control import driver_output, is_over
    from allscan.jobs.run_folder import open_run_folder
    from allscan.jobs.run_log import follow_log, read_log, told_entry

    folder, _ = open_run_folder(run)
    entries: Iterable[dict[str, Any]] = follow_log(folder, lambda: is_over(run)) if follow else read_log(folder)
    count = 0
    for count, entry in enumerate(entries, 1):  # noqa: B007 - counted as they come
        click.echo(json.dumps(entry, ensure_ascii=False) if as_json else told_entry(entry))
    if not count and not as_json:
        click.echo(driver_output(run) or "nothing has been logged yet", nl=False)


@click.command(cls=Command)
@click.argument("run", type=PLACE, metavar="RUN")
def cancel(run: Place) -> None:
    """Stop a run, wherever it works. Finished tasks are kept."""
    from allscan.jobs.control import cancel_run
    from allscan.jobs.run_folder import shown_path

    promise("no longer waiting; the run stops when it can")
    done = cancel_run(run, lambda message: click.echo(message, err=True))
    if done.was == done.status.state:
        click.echo(f"{shown_path(run)}: the run is not at work ({done.was}); nothing was done")
    else:
        click.echo(done.status.text())


@click.command(cls=Command)
@click.argument("run", type=PLACE, metavar="RUN")
@click.option("--cluster", metavar="ADDRESS", help="Go on on this cluster.  [default: the one it ran on, if any]")
@click.option("--here", is_flag=True, help="Go on on this machine.")
@click.option("--python", default="python3", show_default=True, metavar="COMMAND", help="Python on the cluster.")
@click.option("--submission", hidden=True, help="What a cluster was told when it was given the run.")
@runtime_options
def resume(run: Place, cluster: str | None, here: bool, python: str, submission: str | None, **runtime: Any) -> None:
    """Go on with a run where it was stopped, with the job as it stands in its folder."""
    from allscan.jobs.control import job_of_run, refuse_active
    from allscan.jobs.run_cluster import cluster_of
    from allscan.jobs.run_folder import COMPLETE, RunFolder, shown_path
    from allscan.jobs.status import run_status

    if here and cluster:
        raise click.UsageError("give --here or --cluster, not both")
    job, state = job_of_run(run, **runtime)
    if submission is not None:
        # The output of this process is kept by the cluster: a log.
        click.get_current_context().find_root().obj["is_log"] = True
        _run_here(job, update=state["update"], submission=submission)
        return
    now = run_status(run)
    refuse_active(now)
    if now.state == COMPLETE:
        click.echo(f"{shown_path(run)}: the run is complete already; nothing was done")
        return
    if not here and cluster is None:
        before = cluster_of(RunFolder(run), state)
        cluster = None if before is None else before.address
    if cluster is None:
        promise(f"stopped; finished tasks are kept: `allscan resume {run}` goes on where it was")
        _run_here(job, update=state["update"])
        return
    from allscan.jobs.submission import submit_job

    _tell_submitted(submit_job(job, cluster, update=state["update"], python=python))


COMMANDS = (run, submit, status, logs, cancel, resume)


def _run_here(job: Job, *, update: bool, submission: str | None = None) -> None:
    from allscan.engine.scan import Stage
    from allscan.jobs.phewas_spec import PHEWAS
    from allscan.jobs.progress import Stages, format_seconds
    from allscan.jobs.run import run_job
    from allscan.jobs.run_folder import shown_path

    of_scan = {Stage.NULL_MODELS, Stage.SCAN, Stage.HITS}
    unit = "variants" if job.spec.predictors is None else "tests"
    with Stages(unit) as stages_shown:

        def show(scan: ScanProgress) -> None:
            if scan.stage not in of_scan:
                stages_shown.update(scan.stage, scan.variants_done, scan.variants_total, unit="tasks")
                return
            note = f"task {scan.tasks_done:,} of {scan.tasks_total:,}"
            if scan.tasks_resumed:
                note += f", {scan.tasks_resumed:,} from before"
            if scan.stage != Stage.SCAN:
                note += f"; {scan.stage}"
            stages_shown.update(Stage.SCAN, scan.variants_done, scan.variants_total, note)

        def begin_work(planned: PlannedJob) -> None:
            click.echo(planned.report.text())
            gc.freeze()  # what was imported: never looked through again
            gc.enable()

        done = run_job(
            job,
            update=update,
            submission=submission,
            on_checked=lambda checked: click.echo(checked.report.text()),
            on_planned=begin_work,
            on_progress=show,
        )
    if done.already_complete:
        click.echo(f"{shown_path(done.folder.path)}: the run is complete already; nothing was computed")
    else:
        stages = (done.folder.read_state() or {}).get("stages", {})
        click.echo("stages      " + ", ".join(f"{name} {format_seconds(took)}" for name, took in stages.items()))
    click.echo(f"tests       {done.n_tests:,}")
    click.echo(f"hits        {done.n_hits:,}")
    if job.spec.predictors is None:
        click.echo(f"results     {shown_path(done.folder.results)}")
    if job.spec.mode == PHEWAS:
        click.echo(f"table       {shown_path(done.folder.phewas)}")
    click.echo(f"report      {shown_path(done.report_path)}")


def _tell_submitted(done: Any) -> None:
    from allscan.jobs.run_folder import shown_path

    if done.report is not None:
        click.echo(done.report.text())
    for unseen in done.unseen:
        click.echo(f"not seen from here, so that the cluster will check it: {unseen}", err=True)
    if done.local:
        click.echo("these paths must name the same files on every machine of the cluster:", err=True)
        for path in done.local:
            click.echo(f"  {path}", err=True)
    folder = shown_path(done.folder.path)
    click.echo(f"submitted   {done.id} to {done.address}")
    click.echo(f"next        allscan status {folder}")
