"""The commands about local ancestry: build, verify."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from allscan.jobs.command import PLACE, Command, LocalPathType, promise

if TYPE_CHECKING:
    from pathlib import Path

    from allscan.engine.local_ancestry.building import LocalReport
    from allscan.storage import Place

LOCAL_FILE = LocalPathType("copy the file to this machine, and name the copy")


class LocalAncestryGroup(click.Group):
    """Commands with ``--debug``."""

    command_class = Command


@click.group("local-ancestry", cls=LocalAncestryGroup)
def local_ancestry() -> None:
    """The ancestry of each stretch of each haplotype; for the scans that name it."""


@local_ancestry.command("build")
@click.argument("genotypes", type=PLACE, metavar="GENOTYPES.zarr")
@click.argument("out", type=PLACE, metavar="OUT.zarr")
@click.argument("files", type=LOCAL_FILE, nargs=-1, required=True, metavar="FILE…")
@click.option(
    "--phased",
    type=LOCAL_FILE,
    multiple=True,
    metavar="FILE",
    help="Phased genotypes (VCF, BCF, .pgen) of an .msp.tsv or .lanc file; as many as FILEs, in their order.",
)
@click.option("--ancestries", metavar="NAME,NAME", help=".lanc: names of the ancestries, in their order.")
@click.option("--workers", type=click.IntRange(1), help="Files at the same time.  [default: one per CPU]")
@click.option("--overwrite", is_flag=True, help="Replace OUT.zarr.")
def build_command(
    genotypes: Place,
    out: Place,
    files: tuple[Path, ...],
    phased: tuple[Path, ...],
    ancestries: str | None,
    workers: int | None,
    overwrite: bool,
) -> None:
    """Make a store of local ancestry for the people and variants of a genotype store.

    FILEs are the .anc.vcf.gz of FLARE, .msp.tsv of RFMix and Gnomix, or .lanc of admix-kit, usually one for each
    chromosome. A build that was stopped goes on where it was when the same command is given again.
    """
    from allscan.jobs import api
    from allscan.jobs.progress import Stages

    promise("stopped; finished files are kept: give the same command again to go on")
    names = None if ancestries is None else tuple(name.strip() for name in ancestries.split(","))
    with Stages("files") as stages:
        report = api.build_local_ancestry(
            genotypes,
            out,
            list(files),
            phased=list(phased),
            ancestries=names,
            workers=workers,
            overwrite=overwrite,
            on_progress=lambda done, total: stages.update("read", done, total),
        )
    click.echo(told(report))


@local_ancestry.command("verify")
@click.argument("store", type=PLACE, metavar="OUT.zarr")
def verify_command(store: Place) -> None:
    """Check every checksum of a store of local ancestry."""
    from allscan.engine.local_ancestry.store import LocalAncestryStore
    from allscan.errors import CorruptChunkError

    damaged = LocalAncestryStore(store).verify()
    if damaged:
        raise CorruptChunkError(
            f"{len(damaged)} arrays are damaged: {'; '.join(damaged[:3])}",
            where=str(store),
            fix="make the store again: allscan local-ancestry build",
        )
    click.echo(f"{store}: every chunk is whole")


def told(report: LocalReport) -> str:
    """What was made, in words."""
    lines = [
        f"{report.path}",
        f"  people      {report.n_people:,}"
        + (f" ({report.n_without:,} of the genotypes have no local ancestry)" if report.n_without else ""),
        f"  ancestries  {', '.join(report.ancestries)}",
        f"  contigs     {', '.join(report.contigs)}",
    ]
    lines += [f"  {count:>14,} {what}" for what, count in report.counts.items()]
    lines.append(f"  took {report.elapsed_seconds:.1f} s")
    return "\n".join(lines)
