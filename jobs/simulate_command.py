"""``allscan simulate``: its options are the fields of SimulationOptions, read when the command is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from allscan.jobs.command import Command

if TYPE_CHECKING:
    from dataclasses import Field

NAME_LISTS = ("trait_names", "chromosomes", "formats")
"""Options that are written as NAME,NAME,…"""


class SimulateCommand(Command):
    """The command, whose options are made on use: importing the simulation takes longer than `--help` may."""

    def __init__(self) -> None:
        super().__init__(
            "simulate",
            callback=_simulate,
            params=[
                click.Argument(["out"], type=click.Path(path_type=Path), metavar="OUT"),
                click.Option(["--workers"], type=click.IntRange(1), help="Regions simulated at the same time."),
                click.Option(["--overwrite"], is_flag=True, help="Replace the files of an earlier simulation."),
            ],
            help="Make a cohort of many ancestries with traits whose truth is known.\n\n"
            "Writes genotypes, traits, covariates, truth, and a job file that is ready to run.",
            short_help="Make a cohort of many ancestries with traits whose truth is known.",
        )
        self._complete = False

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The parameters, with those of the simulation."""
        if not self._complete:
            from dataclasses import fields

            from allscan.engine.simulation.options import SimulationOptions

            self.params[1:1] = [_option(field) for field in fields(SimulationOptions)]
            self._complete = True
        return super().get_params(ctx)


def _option(field: Field[Any]) -> click.Option:
    """One option, its type told by its default."""
    from allscan.engine.simulation.options import SimulationOptions

    name = f"--{field.name.replace('_', '-')}"
    text = str(field.metadata["help"])
    text = f"{text[:1].upper()}{text[1:]}."
    default = None if callable(field.default_factory) else field.default
    if field.name == "groups":
        defaults = ",".join(f"{group}={share:g}" for group, share in field.default_factory().items())  # type: ignore[operator]
        return click.Option([name], metavar="GROUP=SHARE,…", help=text, default=defaults, show_default=True)
    if field.name == "prevalence":
        shares = ",".join(f"{share:g}" for share in SimulationOptions().prevalence)
        return click.Option([name], metavar="SHARE,…", help=text, default=shares, show_default=True)
    if field.name in NAME_LISTS:
        shown = ",".join(str(part) for part in default) if isinstance(default, tuple) else None
        return click.Option([name], metavar="NAME,…", help=text, default=shown, show_default=shown is not None)
    if field.name == "founder_haplotypes":
        return click.Option([name], type=int, metavar="N", help=text)
    if isinstance(default, bool):
        return click.Option([name], is_flag=True, help=text)
    return click.Option([name], type=type(default), help=text, default=default, show_default=True)


def _simulate(out: Path, workers: int | None, overwrite: bool, **given: Any) -> None:
    from allscan.engine.simulation.options import SimulationOptions, parse_groups, parse_shares
    from allscan.jobs import api
    from allscan.jobs.progress import Progress

    given["groups"] = parse_groups(given["groups"])
    given["prevalence"] = parse_shares(given["prevalence"])
    for name in NAME_LISTS:
        given[name] = tuple(part.strip() for part in given[name].split(",")) if given[name] else None
    with Progress("simulate", "variants") as progress:
        report = api.simulate(
            out,
            SimulationOptions(**given),
            workers=workers,
            overwrite=overwrite,
            on_progress=lambda p: progress.update(p.variants_done, p.variants_total, p.stage),
        )
    groups = ", ".join(f"{group} {count:,}" for group, count in report.group_counts.items())
    click.echo(f"{report.n_samples:,} people ({groups}), {report.n_variants:,} variants, {len(report.traits)} traits")
    click.echo(f"genotypes   {report.genotypes}")
    click.echo(f"job         {report.job}")
    if report.binary_job is not None:
        click.echo(f"            {report.binary_job}")
    if report.records is not None:
        click.echo(f"records     {report.records}")
        click.echo(f"            {report.folder / 'phenome_job.yaml'}: a scan of all traits in them")
    store = report.folder / "genotypes.zarr"
    click.echo(f"next        allscan ingest {report.genotypes} {store} && allscan run {report.job}")
