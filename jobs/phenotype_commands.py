"""The commands about trait tables: build, check, report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from allscan.jobs.command import PLACE, Command, LocalPathType

if TYPE_CHECKING:
    from pathlib import Path

    from allscan.phenotypes.phenotype import Phenotype
    from allscan.storage import Place

FILE = LocalPathType("copy the phenotype file to a disk")


class PhenotypeGroup(click.Group):
    """Commands with ``--debug``."""

    command_class = Command


@click.group("phenotypes", cls=PhenotypeGroup)
def phenotypes() -> None:
    """Trait tables of people's records: build one, look at it before and after."""


@phenotypes.command()
@click.argument("file", type=FILE, metavar="FILE.yaml")
def check(file: Path) -> None:
    """Do all that `build` does, and write nothing: say step by step who becomes a case, a control, or neither."""
    from allscan.jobs.phenotype_text import told_build, told_trait
    from allscan.phenotypes.build.build import PhenotypeJob, build

    def show(trait: Phenotype) -> None:
        # Phecodes are thousands, made in the same way.
        if "definition" in trait.recipe:
            click.echo(told_trait(trait))

    click.echo(told_build(build(PhenotypeJob.from_yaml(file), write=False, on_trait=show)))


@phenotypes.command("build")
@click.argument("file", type=FILE, metavar="FILE.yaml")
def build_command(file: Path) -> None:
    """Make the trait table of a phenotype file and its report, unless it is there and made of the same."""
    from allscan.jobs.phenotype_report import report_of
    from allscan.jobs.phenotype_text import told_build
    from allscan.phenotypes.build.build import PhenotypeJob, build

    built = build(PhenotypeJob.from_yaml(file))
    assert built.folder is not None
    report = report_of(built.folder)
    click.echo(told_build(built))
    click.echo(f"report      {report}")


@phenotypes.command("report")
@click.argument("folder", type=PLACE, metavar="DIR")
def report_command(folder: Place) -> None:
    """Write the report of a trait table again. No count of 1 to 20 people is in it."""
    from allscan.jobs.phenotype_report import write_report
    from allscan.phenotypes.build.artefact import open_trait_table

    click.echo(f"report      {write_report(open_trait_table(folder))}")
