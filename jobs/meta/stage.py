"""The stage of a run that combines the groups of its stratifications."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from allscan.engine.meta.files import remove_meta
from allscan.engine.results import ResultsCube
from allscan.errors import InputError, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from allscan.engine.meta.run import MetaSummary
    from allscan.engine.meta.spec import MetaSpec
    from allscan.engine.scan import TaskRunner
    from allscan.storage import Place

META_STAGE = "meta-analysis"


def clear_meta(output: Place) -> None:
    """Remove the meta-analysis of a run's groups, if there is one.

    Raises
    ------
    OutputError
        It cannot be removed.
    """
    with writing(output, again="run the job again: it goes on where it stopped", elsewhere="check the folder"):
        remove_meta(output)


def meta_of_run(
    output: Place,
    stratifications: Mapping[str, Iterable[str]],
    spec: MetaSpec,
    executor: TaskRunner,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    anew: bool = False,
) -> MetaSummary | None:
    """Combine the groups of a scan that is complete, into the run's folder.

    Parameters
    ----------
    output
        The run folder.
    stratifications
        Name: strata of its groups, as they are called in the results; without any, a meta-analysis of before is
        removed.
    spec
        Methods and thresholds.
    executor
        What runs the tasks.
    on_progress
        Told of tasks done, and of all.
    anew
        Whether tasks of before are done again: results of the scan were computed since.

    Returns
    -------
    What was done; None where there is nothing to combine.

    Raises
    ------
    InputError
        The scan's test has no single effect per variant.
    OutputError
        The results cannot be written.
    """
    if anew or not stratifications:
        clear_meta(output)
    if not stratifications:
        return None
    from allscan.engine.meta.run import run_meta
    from allscan.engine.meta.spec import StudySet
    from allscan.engine.meta.studies import CubeStudies

    cube = ResultsCube(output)
    place = {name: k for k, name in enumerate(cube.strata)}
    sets = [StudySet(name, tuple(place[group] for group in groups)) for name, groups in stratifications.items()]
    return run_meta(CubeStudies(cube), sets, spec, executor, output, on_progress)


def why_not(output: Place) -> str | None:
    """Why the groups of a scan cannot be combined; None where they can."""
    from allscan.engine.meta.studies import refuse_other_effects

    try:
        refuse_other_effects(ResultsCube(output))
    except InputError as error:
        return error.what
    return None


def summary_json(summary: MetaSummary) -> dict[str, Any]:
    """As in the provenance document."""
    return {key: value for key, value in asdict(summary).items() if key != "tasks_resumed"}
