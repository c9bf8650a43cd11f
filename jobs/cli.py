"""The command line.

    ingest SOURCE… OUT.zarr    make a genotype store
    info OUT.zarr              describe a store
    verify OUT.zarr            check every checksum of a store
    phenotypes build FILE      make a trait table of people's records
    structure build FILE       relatives, principal components, groups
    local-ancestry build …     ancestries along the haplotypes
    check JOB.yaml             read everything, say what would be analysed
    plan JOB.yaml              tasks, memory, time, disk
    run JOB.yaml               run, or go on
    submit JOB.yaml            have a cluster run it
    status RUN                 how far a run is
    logs RUN                   what happened so far
    cancel RUN                 stop a run
    resume RUN                 go on with a run
    report DIR                 write the report again
    export DIR                 write one trait's results in another format
    meta META.yaml             combine studies
    null-model export RUN      write a null model for REGENIE
    simulate OUT               make a cohort with known truth
    schema                     describe the files that you write
    deployment NAME            a file that starts a cluster

Everything that a command needs is imported when it runs: `allscan --help` must answer at once.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from allscan.jobs import run_commands
from allscan.jobs.command import PLACE, Group, LocalPathType, cluster_options, promise, runtime_options
from allscan.jobs.local_ancestry_commands import local_ancestry
from allscan.jobs.meta.command import meta
from allscan.jobs.null_model_commands import null_model
from allscan.jobs.phenotype_commands import phenotypes
from allscan.jobs.simulate_command import SimulateCommand
from allscan.jobs.structure_commands import structure

if TYPE_CHECKING:
    from pathlib import Path

    from allscan.engine.ingest.pipeline import IngestProgress
    from allscan.storage import Place

LOCAL_PATH = LocalPathType("copy the file to this machine, and name the copy")


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="allscan", prog_name="allscan", message="%(prog)s %(version)s")
def main() -> None:
    """Genome-wide and phenome-wide association scans: exact, fast, resumable.

    Make a store of your genotypes once (`ingest`), write a job file (`schema` describes it), look at what
    would be analysed (`check`, `plan`), and run it (`run`).
    """
    # OpenBLAS starts a thread per CPU as it is loaded, each of which spins for a while: CPU time for nothing, as the
    # work is done by tasks side by side, of one BLAS thread each.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Pydantic would read the metadata of every installed package to find plug-ins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Importing makes hundreds of thousands of objects that stay; to look for cycles among them every 700 takes a tenth
    # of the start.
    gc.set_threshold(50_000, 20, 20)
    # Nor need Python look through them as it ends: what would be freed is the system's again in a moment.
    atexit.register(gc.freeze)
    from allscan.cluster.allocator import keep_freed_memory

    keep_freed_memory()


@main.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE…")
@click.argument("out", type=PLACE, metavar="OUT.zarr")
@click.option("--region", "regions", multiple=True, metavar="CHR[:START-END]", help="Only this region; repeatable.")
@click.option("--keep", type=PLACE, metavar="FILE", help="Only the samples listed in FILE.")
@click.option("--exclude", type=PLACE, metavar="FILE", help="Not the samples listed in FILE.")
@click.option("--min-allele-count", type=float, metavar="N", help="Only variants with at least N minor alleles.")
@click.option("--max-allele-count", type=float, metavar="N", help="Only variants with at most N minor alleles.")
@click.option("--build", metavar="NAME", help="Reference genome, e.g. GRCh38, where the files do not tell.")
@click.option(
    "--field",
    type=click.Choice(["auto", "GT", "DS", "HDS", "GP", "PL"]),
    default="auto",
    show_default=True,
    help="VCF: where the genotypes stand; auto takes DS, then HDS, then GT.",
)
@click.option("--pass-only", is_flag=True, help="VCF: only sites whose FILTER is PASS or missing.")
@click.option("--ref-last", is_flag=True, help="BGEN: the last allele is the reference, not the first.")
@click.option("--sample-file", type=LOCAL_PATH, metavar="FILE", help="BGEN: the .sample file.")
@click.option(
    "--on-duplicate",
    type=click.Choice(["error", "keep", "first"]),
    default="error",
    show_default=True,
    help="What to do with two variants of the same place and alleles.",
)
@click.option("--any-contig", is_flag=True, help="Take contigs that are not human and that no header declares.")
@click.option("--workers", type=click.IntRange(1), help="Tasks at the same time.  [default: one per CPU]")
@cluster_options
@click.option("--overwrite", is_flag=True, help="Replace OUT.zarr.")
@click.option(
    "--staging",
    type=LOCAL_PATH,
    metavar="DIR",
    help="OUT in object storage: the folder to make it in before.  [default: the working directory]",
)
def ingest(out: Place, sources: tuple[str, ...], **options: Any) -> None:
    """Make a genotype store of PLINK, BGEN, VCF or VCF Zarr files.

    Several files, such as one per chromosome, make one store. An ingest that was stopped goes on where it
    was when the same command is given again.
    """
    from allscan.jobs import api
    from allscan.jobs.description import told_ingest
    from allscan.jobs.progress import Stages

    promise("stopped; finished parts are kept: give the same command again to go on")
    with Stages("tasks") as stages:

        def show(progress: IngestProgress) -> None:
            if progress.message:
                stages.say(progress.message)
            note = f"{progress.variants_done:,} variants"
            if progress.tasks_resumed:
                note += f", {progress.tasks_resumed:,} tasks from before"
            stages.update(progress.phase, progress.tasks_done, progress.tasks_total, note)

        report = api.ingest(
            list(sources),
            out,
            keep_samples=options.pop("keep"),
            exclude_samples=options.pop("exclude"),
            ref_first=not options.pop("ref_last"),
            contigs="any" if options.pop("any_contig") else "human",
            on_progress=show,
            **options,
        )
    click.echo(told_ingest(report))


@main.command()
@click.argument("store", type=PLACE, required=False, metavar="[OUT.zarr]")
@click.option("--system", is_flag=True, help="Describe this machine and the installed software.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(store: Place | None, system: bool, as_json: bool) -> None:
    """Describe a genotype store, or this machine."""
    from allscan.jobs.description import StoreDescription, describe_machine

    if store is None and not system:
        raise click.UsageError("name a store, or give --system")
    if store is not None:
        described = StoreDescription.of(store)
        click.echo(json.dumps(described.to_json(), indent=1) if as_json else described.text())
    if system:
        click.echo(json.dumps(describe_machine(), indent=1))


@main.command()
@click.argument("store", type=PLACE, metavar="OUT.zarr")
def verify(store: Place) -> None:
    """Check every checksum of a genotype store.

    The exit code is 2 when a chunk is damaged; each one is named.
    """
    from allscan.engine.store import verify_store
    from allscan.errors import CorruptChunkError
    from allscan.jobs.progress import Progress

    with Progress("verify", "chunks") as progress:
        damaged = verify_store(store, progress.update)
    if damaged:
        lines = [f"  {chunk.array}, chunk {chunk.chunk}: {chunk.reason}" for chunk in damaged[:20]]
        more = f"\n  … and {len(damaged) - 20} more" if len(damaged) > 20 else ""
        raise CorruptChunkError(
            f"{len(damaged):,} chunks of the store are damaged:\n" + "\n".join(lines) + more,
            where=str(store),
            fix="restore these files from a copy, or ingest the genotypes again",
        )
    click.echo(f"{store}: every chunk matches its checksum")


main.add_command(phenotypes)
main.add_command(structure)
main.add_command(local_ancestry)


@main.command()
@click.argument("job", type=PLACE, metavar="JOB.yaml")
def check(job: Place) -> None:
    """Read everything a job names and say what would be analysed. Nothing is written."""
    gc.disable()  # what is imported and read stays until the end
    from allscan.jobs.job import Job

    click.echo(Job.from_yaml(job).check().text(examples=True))


@main.command()
@click.argument("job", type=PLACE, metavar="JOB.yaml")
@runtime_options
@click.option("--prices", type=LOCAL_PATH, metavar="PRICES.yaml", help="Say what it costs, at these prices.")
def plan(job: Place, prices: Path | None, **runtime: Any) -> None:
    """Say what a job will cost: tasks, memory, time and disk. Nothing is written."""
    from allscan.jobs.job import Job
    from allscan.jobs.prices import estimate_cost, read_prices

    prepared = Job.from_yaml(job).with_runtime(**runtime)
    table = read_prices(prices) if prices is not None else None
    planned = prepared.plan()
    click.echo(planned)
    if table is not None:
        click.echo(estimate_cost(planned, table).text())


for _command in run_commands.COMMANDS:
    main.add_command(_command)


@main.command()
@click.argument("directory", type=PLACE, metavar="DIR")
@click.option(
    "--significance",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="p-value of significance.  [default: the job's]",
)
@click.option(
    "--lead-window-kb",
    type=click.FloatRange(0, min_open=True),
    help="Half-width (kb) of the window with one lead variant.  [default: the job's]",
)
def report(directory: Place, significance: float | None, lead_window_kb: float | None) -> None:
    """Write the report of a complete run again."""
    from allscan.jobs.run import rewrite_report

    click.echo(rewrite_report(directory, significance=significance, lead_window_kb=lead_window_kb))


@main.command()
@click.argument("directory", type=PLACE, metavar="DIR")
@click.option("--trait", required=True, metavar="T", help="The trait.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["regenie", "plink", "gwas-ssf", "parquet"]),
    required=True,
    help="Format of the file.",
)
@click.option(
    "--out",
    type=LocalPathType("an export is written to a disk; copy it from there"),
    required=True,
    metavar="FILE",
    help="The file to write; .gz is bgzipped and indexed.",
)
@click.option(
    "--stratum", default="all", show_default=True, metavar="S", help="The stratum: all, ancestry=eur, or meta:ancestry."
)
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
def export(directory: Place, trait: str, format_name: str, out: Path, stratum: str, overwrite: bool) -> None:
    """Write one trait's results in the format of another program."""
    from allscan.jobs.export import export as write_export

    click.echo(write_export(directory, trait, format_name, out, stratum=stratum, overwrite=overwrite))


main.add_command(meta)
main.add_command(null_model)
main.add_command(SimulateCommand())


@main.command()
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["json", "markdown"]),
    default="json",
    show_default=True,
    help="JSON schema, or a page for people.",
)
@click.option(
    "--of",
    type=click.Choice(["job", "phenotypes", "definition", "structure", "meta"]),
    default="job",
    show_default=True,
    help="Which file: the job, phenotype, structure or meta file, or a phenotype definition.",
)
def schema(format_name: str, of: str) -> None:
    """Describe the files that you write: every key, its type, default and meaning."""
    from allscan.jobs.schema import json_schema, markdown_reference

    if format_name == "json":
        click.echo(json.dumps(json_schema(of), indent=1, ensure_ascii=False))
    else:
        click.echo(markdown_reference(of), nl=False)


@main.command()
@click.argument("name", required=False, metavar="[NAME]")
def deployment(name: str | None) -> None:
    """Print a file that starts a cluster, to be filled in; without NAME, which files there are."""
    from allscan.cluster.deployment import FILES, deployment_file

    if name is None:
        click.echo("\n".join(f"{known:<12}{file:<17} {purpose}" for known, (file, purpose) in FILES.items()))
    elif name in FILES:
        click.echo(deployment_file(name), nl=False)
    else:
        raise click.BadParameter(f"{name!r} is none of {', '.join(FILES)}", param_hint="NAME")


if __name__ == "__main__":
    sys.exit(main())
