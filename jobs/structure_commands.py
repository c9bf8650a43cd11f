"""The commands about structures: build, check, report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from allscan.jobs.command import PLACE, Command, promise, runtime_options

if TYPE_CHECKING:
    from allscan.storage import Place


class StructureGroup(click.Group):
    """Commands with ``--debug``."""

    command_class = Command


@click.group("structure", cls=StructureGroup)
def structure() -> None:
    """The structure of a cohort: relatives, principal components, groups; for the scans that name it."""


@structure.command()
@click.argument("file", type=PLACE, metavar="FILE.yaml")
@runtime_options
def check(file: Place, **runtime: Any) -> None:
    """Read everything that a structure file names, and say what would be computed. Nothing is written."""
    from allscan.jobs.structure.file import StructureJob
    from allscan.jobs.structure.inputs import prepare
    from allscan.jobs.structure.text import told_check

    click.echo(told_check(prepare(StructureJob.from_yaml(file).with_runtime(**runtime))))


@structure.command("build")
@click.argument("file", type=PLACE, metavar="FILE.yaml")
@runtime_options
def build_command(file: Place, **runtime: Any) -> None:
    """Make the structure of a structure file and its report, or go on where it was stopped."""
    from allscan.jobs.progress import Stages
    from allscan.jobs.structure.build import build_structure
    from allscan.jobs.structure.file import StructureJob
    from allscan.jobs.structure.inputs import prepare
    from allscan.jobs.structure.report import report_of
    from allscan.jobs.structure.text import told_built

    promise(f"stopped; what is done is kept: `allscan structure build {file}` goes on where it was")
    prepared = prepare(StructureJob.from_yaml(file).with_runtime(**runtime))
    with Stages("tasks") as stages:

        def show(stage: str, done: int, total: int) -> None:
            stages.update(stage, done, total, unit="passes" if stage.startswith("components") else "tasks")

        built = build_structure(prepared, on_progress=show)
    click.echo(told_built(built))
    click.echo(f"report      {report_of(built.folder)}")


@structure.command("report")
@click.argument("folder", type=PLACE, metavar="DIR")
def report_command(folder: Place) -> None:
    """Write the report of a structure again. No count of 1 to 20 people is in it, and nobody's place."""
    from allscan.jobs.structure.folder import open_structure
    from allscan.jobs.structure.report import write_report

    click.echo(f"report      {write_report(open_structure(folder))}")
