"""The command `allscan meta`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from allscan.jobs.command import PLACE, Command, promise

if TYPE_CHECKING:
    from allscan.jobs.meta.job import MetaRun
    from allscan.storage import Place


@click.command("meta", cls=Command)
@click.argument("file", type=PLACE, metavar="META.yaml")
@click.option("--workers", type=click.IntRange(1), help="Tasks at the same time.  [default: one per CPU]")
@click.option("--update", is_flag=True, help="Replace results of other studies or settings in the output folder.")
@click.option("--keep-work", is_flag=True, help="Keep the aligned studies: what changes later is made of them.")
def meta(file: Place, workers: int | None, update: bool, keep_work: bool) -> None:
    """Combine studies: summary statistics of other programs, traits of scans.

    A meta-analysis that was stopped goes on where it was when the same command is given again.
    """
    from allscan.jobs.meta.job import MetaJob
    from allscan.jobs.progress import Stages

    job = MetaJob.from_yaml(file)
    if workers is not None:
        runtime = job.spec.runtime.model_copy(update={"workers": workers})
        job = MetaJob(job.spec.model_copy(update={"runtime": runtime}), job.base, job.document)
    promise("stopped; finished parts are kept: give the same command again to go on")
    with Stages("tasks") as stages:
        run = job.run(update=update, on_progress=stages.update)
    if not keep_work:
        job.remove_work()
    click.echo(told(run))


def told(run: MetaRun) -> str:
    """What a meta-analysis did, for the screen."""
    lines = []
    for account in run.accounts:
        parts = [f"{account.variants:,} of {account.rows:,} rows ({account.format})"]
        parts += [
            f"{count:,} {what}" for what, count in (("turned", account.turned), ("flipped", account.flipped)) if count
        ]
        if account.inflation is not None:
            parts.append(f"λ {account.inflation:.3f}")
        lines.append(f"{account.name}: {', '.join(parts)}")
        lines += [f"  left out: {count:,} rows ({reason})" for reason, count in account.left_out.items()]
        lines += [f"  noted: {count:,} rows ({reason})" for reason, count in account.noted.items()]
    was = "was there already" if run.already else "written"
    lines.append(f"results     {run.folder / 'meta.zarr'}  {run.n_variants:,} variants, {run.n_tests:,} results, {was}")
    lines.append(f"hits        {run.folder / 'meta_hits.parquet'}  {run.n_hits:,}")
    lines.append(f"report      {run.folder / 'report.html'}")
    return "\n".join(lines)
