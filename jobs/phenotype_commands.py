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


@phenotypes.command()
@click.argument("definition", type=FILE, metavar="DEFINITION.yaml")
@click.option(
    "--records",
    required=True,
    metavar="PLACE",
    help="Records whose vocabulary knows the codes: folder, DuckDB, BigQuery.",
)
@click.option("--out", type=FILE, required=True, metavar="FILE.csv", help="The list to write.")
def codes(definition: Path, records: str, out: Path) -> None:
    """Write every code of a definition, with names and concept ids, for others who use it."""
    from allscan.phenotypes.definitions.exports import export_codes
    from allscan.phenotypes.definitions.loading import load_definition
    from allscan.phenotypes.records.opening import open_records

    loaded = load_definition(definition.absolute())
    with open_records(records) as opened:
        sha256 = export_codes(loaded, opened, out)
    click.echo(f"{out}  SHA-256 {sha256}")


@phenotypes.command("import")
@click.argument("source", type=FILE, metavar="HEADER.yaml")
@click.option(
    "--out", type=FILE, required=True, metavar="DIR", help="Folder for the definition and its lists of codes."
)
def import_command(source: Path, out: Path) -> None:
    """Make a definition of a phenotype of the HDR UK Phenotype Library: its header, with lists of codes beside it."""
    from allscan.phenotypes.definitions.hdruk import import_hdruk

    click.echo(import_hdruk(source, out).source)
