"""The null model that a job names: opened, checked against the job, and aligned to the people who are analysed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from allscan.engine.null_model_files import FAMILIES_TOGETHER, FOLDER, HEADER, NullModelFiles
from allscan.engine.offsets import StoredOffsets
from allscan.engine.regenie_predictions import RegeniePredictions
from allscan.errors import InputError, JobError
from allscan.jobs.input_files import InputFile, hash_input

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allscan.engine.design import Design
    from allscan.engine.store import GenotypeStore
    from allscan.jobs.job import Job
    from allscan.jobs.relatedness import RelatednessModel
    from allscan.kernels.association import AssociationTest
    from allscan.phenotypes.model import TraitSpec
    from allscan.storage import Place

ROLE = "null_model.load"


@dataclass(frozen=True)
class LoadedNullModel:
    """A null model that was made before."""

    path: str  # as the job spells it
    stored: NullModelFiles | RegeniePredictions
    inputs: tuple[InputFile, ...]
    relatives: RelatednessModel | None = None  # who are named

    @property
    def families_together(self) -> bool:
        """Whether nobody was predicted by relatives."""
        return isinstance(self.stored, NullModelFiles) and bool(self.stored.settings.get(FAMILIES_TOGETHER))

    def lines(self) -> list[str]:
        """What a check tells of it."""
        stored = self.stored
        told = [f"{self.path}: {stored.method}, {len(stored.traits):,} traits, {len(stored.chromosomes)} chromosomes"]
        if isinstance(stored, RegeniePredictions) and stored.matched:
            told.append(f"people are found by {stored.matched}")
        return told + relatives_lines(self.relatives)

    def to_json(self) -> dict[str, Any]:
        """As in the provenance document."""
        stored = self.stored
        if isinstance(stored, NullModelFiles):
            made: dict[str, Any] = {
                "format": "allscan",
                "program_version": stored.program_version,
                **described(stored),
            }
            found_by = "sample_id"
        else:
            made = {"format": "regenie", "digest": stored.content_digest(), "program_version": None}
            found_by = stored.matched
        who = {"people_found_by": found_by, "relatives": relatives_json(self.relatives)}
        return {"path": self.path, "method": stored.method, **made, **who}


def relatives_lines(relatives: RelatednessModel | None) -> list[str]:
    """What a check tells of the relatives beside predictions."""
    if relatives is not None:
        return relatives.lines()
    return [
        "relatives are not accounted for: among many close ones p is too large and effects are too small "
        "(`relatedness` names them)"
    ]


def relatives_json(relatives: RelatednessModel | None) -> dict[str, Any] | None:
    """The same in the provenance document."""
    return None if relatives is None else relatives.numbers()


def described(stored: NullModelFiles) -> dict[str, Any]:
    """What a stored model says of itself and of each trait."""
    traits = [
        {key: value for key, value in vars(model).items() if key != "digest"}
        | {"accuracy": None if model.accuracy is None else model.accuracy._asdict()}
        for model in stored.traits
    ]
    settings = {key: value for key, value in stored.settings.items() if key != "made_of"}
    return {"digest": stored.model_digest, "settings": settings, "traits": traits}


def open_null_model(place: Place) -> NullModelFiles | RegeniePredictions:
    """Open the null model in a run folder, in a folder ``null_model``, or that a list of REGENIE's names.

    Raises
    ------
    InputError
        If there is none, or it is damaged.
    """
    return RegeniePredictions(place) if place.is_file() else open_stored(place)


def open_stored(place: Place) -> NullModelFiles:
    """Open the null model in a run folder, or in a folder ``null_model``.

    Raises
    ------
    InputError
        If there is none, or it is damaged.
    """
    return NullModelFiles(place if (place / HEADER).is_file() else place / FOLDER)


def load_null_model(job: Job) -> LoadedNullModel | None:
    """The null model that a job names; None if it names none.

    Raises
    ------
    InputError
        If it is not there, or damaged.
    """
    section = job.spec.null_model
    if section is None or section.load is None:
        return None
    where = job.locate("null_model", "load")
    place = job.resolve(section.load)
    if not place.exists():
        raise JobError(
            f"there is no null model {section.load!r}",
            where=where,
            fix="check the path; it is relative to the job file",
        )
    try:
        stored = open_null_model(place)
    except InputError as error:
        raise type(error)(error.what, where=f"{error.where}, named in {where}", fix=error.fix) from error
    if isinstance(stored, NullModelFiles):
        # It holds the hashes of all the rest.
        hashed = hash_input(ROLE, stored.place / HEADER, section.load)
    else:
        hashed = replace(hash_input(ROLE, place, section.load), sha256=stored.content_digest())
    return LoadedNullModel(section.load, stored, (hashed,))


def of_stratum(job: Job, loaded: LoadedNullModel, place_in_run: tuple[str, ...]) -> LoadedNullModel:
    """The null model of a stratum, beside the one of everybody that a job names.

    Parameters
    ----------
    place_in_run
        Where in a run folder what belongs to the stratum is; nothing: that of everybody.

    Raises
    ------
    InputError
        It was not made there: what is predicted among everybody does not fit traits as they are in a group.
    """
    if not place_in_run:
        return loaded
    where = job.locate("null_model", "load")
    stored = loaded.stored
    place = None if isinstance(stored, RegeniePredictions) else stored.place.parent.joinpath(*place_in_run) / FOLDER
    if place is None or not (place / HEADER).exists():
        raise JobError(
            f"there is no null model of the stratum {place_in_run[-1]}",
            where=where,
            fix="load that of a run with the same strata, or write null_model: whole_genome",
        )
    found = open_stored(place)
    hashed = hash_input(f"{ROLE}, {place_in_run[-1]}", found.place / HEADER, "/".join((loaded.path, *place_in_run)))
    return replace(loaded, stored=found, inputs=(hashed,))


def align_null_model(
    job: Job,
    loaded: LoadedNullModel | None,
    store: GenotypeStore,
    design: Design,
    traits: Sequence[TraitSpec],
    tests: Sequence[AssociationTest],
) -> Design:
    """The design with the predictions of the null model, if there is one.

    Parameters
    ----------
    traits
        Those of the design.
    tests
        Those of the job: one for each kind of traits.

    Raises
    ------
    InputError
        If a test does not use predictions, or the model does not fit the job's traits and people.
    """
    if loaded is None:
        return design
    where = job.locate("null_model", "load")
    refuse_tests_without_offset(tests, where)
    _refuse_other_traits(loaded, traits, where)
    for test in tests:
        _refuse_other_relatives(job, loaded, test, where)
    ids = store.sample_ids[design.store_rows]
    try:
        return replace(design, offsets=StoredOffsets(loaded.stored, design, ids))
    except InputError as error:
        raise type(error)(error.what, where=f"{error.where}, named in {where}", fix=error.fix) from error


def refuse_tests_without_offset(tests: Sequence[AssociationTest], where: str) -> None:
    """Predictions are of use to a test that heeds them.

    Raises
    ------
    JobError
        One of the tests does not.
    """
    for test in tests:
        if not test.uses_offset:
            raise JobError(
                f"the test {test.name!r} does not use predictions of the rest of the genome",
                where=where,
                fix="remove null_model, or choose another test",
            )


def _refuse_other_relatives(job: Job, loaded: LoadedNullModel, test: AssociationTest, where: str) -> None:
    """What is left of relatives is alike, as `relatedness` says it, if none was predicted by the other; less so if."""
    section = job.spec.null_model
    assert section is not None
    if loaded.families_together and section.relatedness is None:
        raise JobError(
            "this null model was fitted with relatives in one fold: what it leaves of them is alike",
            where=where,
            fix="name the relatives: null_model: {load: PATH, relatedness: FILE}",
        )
    if test.needs_relatedness and not loaded.families_together:
        raise JobError(
            "this null model predicts people by their relatives, and a mixed model of what it leaves is not valid",
            where=where,
            fix="write test: linear, which is, or fit the null model with `relatedness`",
        )


def _refuse_other_traits(loaded: LoadedNullModel, traits: Sequence[TraitSpec], where: str) -> None:
    """Predictions of log odds, or of a transformed trait, say nothing of the trait itself."""
    models = {model.name: model for model in loaded.stored.traits}
    for trait in traits:
        model = models.get(trait.name)
        if model is None:
            continue  # refused by name, with all others
        for key, here, there in (("type", trait.kind, model.kind), ("transform", trait.transform, model.transform)):
            if there is not None and there != here:
                raise JobError(
                    f"the null model of {trait.name!r} was fitted with the {key} {there!r}, and the job has {here!r}",
                    where=where,
                    fix=f"give the trait this {key}, or fit the null model again",
                )
