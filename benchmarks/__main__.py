"""Run the benchmarks, compare them with earlier nights, and write a page.

Exit code 0: nothing became slower. 1: a case became slower, failed or is gone. 2: the call, a file of the history or
a peer is refused.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from allscan.errors import AllscanError, InputError
from benchmarks.page import write_page
from benchmarks.peers.contest import Sizes, find_peers, run_contest
from benchmarks.records import Run, read_history, read_run, write_run
from benchmarks.runner import Settings, empty_run, judge, list_cases, missing_cases, run_suite
from benchmarks.tables import peer_table, result_table, verdict_lines
from benchmarks.verdicts import THRESHOLD

EXIT_SLOWER = 1

DEFAULT_HISTORY = Path("runs/benchmarks/history")


@click.command(help=__doc__)
@click.option(
    "--history",
    type=click.Path(path_type=Path),
    default=DEFAULT_HISTORY,
    show_default=True,
    help="Folder of earlier runs; this one is added.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page.  [default: benchmarks.html beside the history]",
)
@click.option(
    "--size",
    type=click.Choice(["tiny", "quick", "full"]),
    default="full",
    show_default=True,
    help="quick: about two minutes; tiny: no timing of worth. Sizes are compared with their own history only.",
)
@click.option("--only", default="", metavar="PATTERN", help="Cases by name, as pytest's -k.")
@click.option(
    "--baseline-runs",
    type=click.IntRange(2),
    default=7,
    show_default=True,
    metavar="N",
    help="Compare with the last N runs of the same machine.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(1.0, min_open=True),
    default=THRESHOLD,
    show_default=True,
    help="Slowdown that fails: 1.10 is 10 %.",
)
@click.option(
    "--accept",
    multiple=True,
    metavar="PATTERN",
    help="A slowdown of these cases is intended: compare with runs from this one on. Repeatable.",
)
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="Wait this long for a quiet machine before a suspected case is measured again.",
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="NAME[=PATH]",
    help="Compare whole processes with plink2 or regenie (found on PATH, or at PATH). Repeatable.",
)
@click.option("--peer-samples", type=click.IntRange(100), help="People.  [default: 50000; quick: 5000]")
@click.option("--peer-variants", type=click.IntRange(64), help="Variants.  [default: 20000; quick: 2000]")
@click.option(
    "--peer-traits",
    type=click.IntRange(1),
    multiple=True,
    help="Traits; repeatable.  [default: 1, 16, 128; quick: 1, 16]",
)
@click.option(
    "--peer-missing",
    type=click.FloatRange(0, 0.5),
    multiple=True,
    help="Share of calls missing; repeatable.  [default: 0 0.002]",
)
@click.option("--peer-repeats", type=click.IntRange(1), default=3, show_default=True, help="Runs of each program.")
@click.option("--peers-only", is_flag=True, help="Compare with peers, run no benchmark, judge nothing.")
@click.option("--suite", type=click.Path(path_type=Path, exists=True), hidden=True)
@click.option("--list", "list_only", is_flag=True, help="List the cases and stop.")
@click.option(
    "--table",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="RUN.json",
    help="Print the tables of docs/benchmarks.md from a run and stop.",
)
@click.option("--page-only", is_flag=True, help="Write the page from the history and stop.")
def main(
    history: Path,
    out: Path | None,
    size: str,
    only: str,
    baseline_runs: int,
    threshold: float,
    accept: tuple[str, ...],
    patience: float,
    peers: tuple[str, ...],
    peer_samples: int | None,
    peer_variants: int | None,
    peer_traits: tuple[int, ...],
    peer_missing: tuple[float, ...],
    peer_repeats: int,
    peers_only: bool,
    suite: Path | None,
    list_only: bool,
    table: Path | None,
    page_only: bool,
) -> None:
    settings = Settings(
        size=size, only=only, threshold=threshold, baseline_runs=baseline_runs, accepted=accept, patience=patience
    )
    if suite is not None:
        settings = replace(settings, suite=suite.resolve())
    page = out or history.parent / "benchmarks.html"
    if table is not None:
        run = read_run(table)
        click.echo(result_table(run) + "\n" + peer_table(run))
        return
    if list_only:
        click.echo("\n".join(list_cases(settings)))
        return
    past = read_history(history)
    if page_only:
        if not past:
            raise InputError("the history is empty", where=str(history), fix="run the benchmarks first")
        write_page(page, past, settings)
        click.echo(f"page: {page}")
        return
    # A peer that is not there is to be told before hours of benchmarks, not after.
    found = find_peers(peers)
    if peers_only and not found:
        raise InputError("--peers-only without --peer", fix="name a peer: --peer plink2")
    quick = size == "quick"
    sizes = Sizes(
        samples=peer_samples or (5_000 if quick else 50_000),
        variants=peer_variants or (2_000 if quick else 20_000),
        traits=peer_traits or ((1, 16) if quick else (1, 16, 128)),
        missing_rates=peer_missing or (0.0, 0.002),
        repeats=peer_repeats,
    )
    run = empty_run(settings) if peers_only else judge(run_suite(settings), past, settings)
    gone = [] if peers_only else missing_cases(run, past, settings)
    # Written before the peers run: a peer that fails does not take the night with it.
    path = write_run(history, run)
    write_page(page, [*past, run], settings)
    if found:
        run = replace(run, peers=run_contest(found, sizes, click.echo))
        write_run(history, run)
        write_page(page, [*past, run], settings)
    report(run, gone, settings)
    click.echo(f"run:  {path}\npage: {page}")
    if run.regressed() or run.failed or gone:
        sys.exit(EXIT_SLOWER)


def report(run: Run, gone: list[str], settings: Settings) -> None:
    """Say what the night brought."""
    for warning in run.warnings:
        click.echo(f"warning: {warning}", err=True)
    for line in verdict_lines(run.verdicts, settings.threshold) if run.results else []:
        click.echo(line)
    for case in run.failed:
        click.echo(f"FAILED: {case}")
    for case in gone:
        click.echo(f"GONE: {case} was in the run before")


def command_line() -> None:
    """Run, and tell errors without a traceback."""
    try:
        main()
    except AllscanError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    command_line()
