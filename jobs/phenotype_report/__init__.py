"""The report of a trait table: one self-contained HTML page, which tells no small count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allscan.errors import output_error
from allscan.storage import write_atomically

if TYPE_CHECKING:
    from allscan.phenotypes.build.artefact import TraitTableFolder
    from allscan.storage import Place


def report_of(folder: TraitTableFolder) -> Place:
    """The report of a trait table; written if it is not there. As :func:`write_report`."""
    from allscan.phenotypes.build.artefact import REPORT

    target = folder.path / REPORT
    return target if target.is_file() else write_report(folder)


def write_report(folder: TraitTableFolder) -> Place:
    """Write ``report.html`` into the folder of a trait table: whole, or not at all.

    The table is read some columns at a time. No id of a person is read, and no count of 1 to 20 is in the page or
    follows from it (:mod:`allscan.disclosure`).

    Parameters
    ----------
    folder
        A trait table.

    Returns
    -------
    Path of the report.

    Raises
    ------
    OutputError
        If the report cannot be written.
    """
    from allscan.jobs.phenotype_report.correlation import correlations
    from allscan.jobs.phenotype_report.measure import measure
    from allscan.jobs.phenotype_report.page import render
    from allscan.jobs.phenotype_report.people import read_cohort
    from allscan.jobs.phenotype_report.reading import open_traits
    from allscan.phenotypes.build.artefact import REPORT

    with open_traits(folder) as reader:
        cohort = read_cohort(folder.covariates, reader.people)
        measured = measure(reader, cohort, folder.traits)
        related = correlations(reader, [str(trait["name"]) for trait in folder.traits], measured.weight)
    target = folder.path / REPORT
    try:
        write_atomically(target, render(folder, cohort, measured, related).encode())
    except OSError as error:
        raise output_error(
            error, target, again="run `allscan phenotypes report` on the folder", elsewhere="check the folder's rights"
        ) from error
    return target
