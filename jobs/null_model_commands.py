"""The commands about null models: export."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from allscan.jobs.command import PLACE, Command, LocalPathType

if TYPE_CHECKING:
    from pathlib import Path

    from allscan.storage import Place

FAMILY_IDS = ("iid", "0", "included")


class NullModelGroup(click.Group):
    """Commands with ``--debug``."""

    command_class = Command


@click.group("null-model", cls=NullModelGroup)
def null_model() -> None:
    """Whole-genome null models: write one for another program."""


@null_model.command()
@click.argument("run", type=PLACE, metavar="RUN")
@click.option(
    "--out",
    type=LocalPathType("an export is written to a disk; copy it from there"),
    required=True,
    metavar="PREFIX",
    help="What the names of the files begin with.",
)
@click.option(
    "--family-ids",
    type=click.Choice(FAMILY_IDS),
    default="iid",
    show_default=True,
    help="FID in REGENIE's FID_IID: the same as the IID, 0, or included in the ids of the store.",
)
def export(run: Place, out: Path, family_ids: str) -> None:
    """Write the predictions of a run's null model as REGENIE does: PREFIX_pred.list and PREFIX_N.loco."""
    from allscan.engine.regenie_predictions import write_regenie_predictions
    from allscan.jobs.null_model import open_stored
    from allscan.jobs.run_folder import writing

    stored = open_stored(run)
    with writing(out):
        files = write_regenie_predictions(stored, out, family_ids)
    click.echo(files[-1])
