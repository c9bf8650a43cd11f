"""The report of a structure: one self-contained HTML page, which tells no small count and nobody's place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allscan.errors import writing
from allscan.storage import write_atomically

if TYPE_CHECKING:
    from allscan.jobs.structure.folder import StructureFolder
    from allscan.storage import Place


def report_of(folder: StructureFolder) -> Place:
    """The report of a structure; written if it is not there. As :func:`write_report`."""
    return folder.report if folder.report.is_file() else write_report(folder)


def write_report(folder: StructureFolder) -> Place:
    """Write ``report.html`` into the folder of a structure: whole, or not at all.

    No id of a person is in it, no count of 1 to 20 people (:mod:`allscan.disclosure`), and nothing in a plot stands for
    fewer than 21 of them.

    Returns
    -------
    Path of the report.

    Raises
    ------
    OutputError
        The report cannot be written.
    """
    from allscan.jobs.structure.report.page import render

    page = render(folder)
    with writing(folder.report, again="run `allscan structure report` on the folder", elsewhere="check its rights"):
        write_atomically(folder.report, page.encode())
    return folder.report
