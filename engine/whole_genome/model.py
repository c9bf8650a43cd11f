"""Fitting the whole-genome model: level 0 by block, level 1 by trait, each a task that is committed when it is done."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.manifest import program_digest
from allscan.engine.markers import MarkerRules, choose_markers
from allscan.engine.null_model_files import (
    FAMILIES_TOGETHER,
    FOLDER,
    Accuracy,
    NullModelFiles,
    NullModelHeader,
    TraitModel,
    write_null_model,
)
from allscan.engine.stacking_learners import find_learner
from allscan.engine.whole_genome.cohort import ordered
from allscan.engine.whole_genome.costs import level0_memory
from allscan.engine.whole_genome.inflation import (
    BINS,
    Inflation,
    Statistics,
    block_products,
    block_statistics,
    inflation,
    random_vectors,
)
from allscan.engine.whole_genome.level0 import Level0, MarkerBlock, finished_blocks, run_block, traits_per_batch
from allscan.engine.whole_genome.level1 import OK, Level1, commit_file, learner_name, read_trait, run_trait
from allscan.errors import FileFormatError, InputError, output_error
from allscan.kernels.basis import orthonormal_basis
from allscan.kernels.ridge import STRIP, People
from allscan.kernels.stacking import penalties
from allscan.storage import remove_tree, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from allscan.engine.scan import TaskRunner
    from allscan.engine.store import GenotypeStore
    from allscan.engine.whole_genome.cohort import Cohort, Ordered
    from allscan.storage import Place

WORK = "null_model.partial"
"""Folder of predictions between the levels, beside the model; removed when that is whole."""
UNUSED = "unused_markers.json"
_DIGITS = 32
MOST_MARKERS = 20_000
"""For λ, about: its standard error is then 1 %."""
MOST_PEOPLE = 10_000
"""For the spread of relatedness: pairs are many."""


class Stage:
    """What the fit is at."""

    MARKERS = "choosing markers"
    LEVEL_0 = "whole-genome model: level 0"
    LEVEL_1 = "whole-genome model: level 1"
    INFLATION = "whole-genome model: inflation"


@dataclass(frozen=True)
class WholeGenomeSpec:
    """How the model is fitted."""

    markers: MarkerRules = field(default_factory=MarkerRules)
    block_markers: int = 1000
    heritabilities: tuple[float, ...] = (0.01, 0.25, 0.5, 0.75, 0.99)
    folds: int = 5  # 1: everybody is left out alone
    learners: tuple[tuple[str, str], ...] = ()  # kind of trait, and its learner where it is not ridge regression


def trait_digests(store: GenotypeStore, cohort: Cohort, spec: WholeGenomeSpec) -> tuple[str, ...]:
    """What each trait's model is made of, as hashes: known before it is fitted, and the same whatever the batch."""
    common = hashlib.blake2b(digest_size=_DIGITS // 2)
    parameters = json.dumps(asdict(spec), sort_keys=True, default=str)
    for part in (program_digest(), store.fingerprint(), parameters):
        common.update(f"{part}\n".encode())
    for people in (cohort.rows, np.ascontiguousarray(cohort.covariates)):
        common.update(people.tobytes())
    if cohort.family is not None:
        common.update(cohort.folds(spec.folds).tobytes())
    digests = []
    for t, kind in enumerate(cohort.kinds):
        own = common.copy()
        own.update(kind.encode())
        own.update(np.ascontiguousarray(cohort.traits[:, t]).tobytes())
        digests.append(own.hexdigest())
    return tuple(digests)


def fit_whole_genome(
    store: GenotypeStore,
    cohort: Cohort,
    spec: WholeGenomeSpec,
    executor: TaskRunner,
    output: Place,
    *,
    on_progress: Callable[[str, int, int], None] | None = None,
    fold: NDArray[np.int64] | None = None,
    blocks: tuple[MarkerBlock, ...] | None = None,
) -> None:
    """Fit the model of every trait and write it to ``output / "null_model"``; goes on where it was stopped.

    A model there that is made of the same is left alone.

    Parameters
    ----------
    store
        Genotypes of the model's markers.
    cohort
        People, covariates and traits.
    on_progress
        Called with stage, tasks done and tasks in all.
    fold : (people,), optional
        The fold of each; None: from the ids.
    blocks
        The model's markers in blocks; None: chosen by the rules of ``spec``.

    Raises
    ------
    InputError
        No marker is left.
    OutputError
        The disk is full or the folder cannot be written.
    """
    tell = on_progress or (lambda _stage, _done, _total: None)
    digests = trait_digests(store, cohort, spec)
    if _is_there(output / FOLDER, dict(zip(cohort.trait_names, digests, strict=True))):
        return
    whole = hashlib.blake2b("".join(digests).encode(), digest_size=_DIGITS // 2).hexdigest()
    work = output / WORK / whole
    accounting: tuple[tuple[str, int], ...] = ()
    try:
        for stale in (output / WORK).iterdir() if (output / WORK).exists() else ():
            if stale.name != whole:
                remove_tree(stale)
        work.mkdir(parents=True, exist_ok=True)
        if blocks is None:
            blocks, accounting = _chosen(store, cohort, spec, executor, work, tell)
        fitting = _Fitting(store, cohort, spec, executor, work, blocks, fold, tell)
        models = fitting.all()
        settings = {
            "made_of": dict(zip(cohort.trait_names, digests, strict=True)),
            "parameters": json.loads(json.dumps(asdict(spec), default=str)),
            "markers": sum(len(block.rows) for block in blocks),
            "blocks": len(blocks),
            "markers_unused": fitting.unused_markers(),
            "marker_accounting": dict(accounting),
            FAMILIES_TOGETHER: cohort.family is not None,
        }
        write_null_model(
            output / FOLDER,
            NullModelHeader("whole_genome", tuple(models), settings),
            cohort.sample_ids,
            fitting.chromosomes,
            fitting.predictions(models),
        )
        remove_tree(output / WORK)
    except OSError as error:
        raise output_error(
            error,
            output,
            again="run the same command again: finished blocks are kept",
            elsewhere="check the folder and its rights",
        ) from error


def _is_there(place: Place, digests: dict[str, str]) -> bool:
    """Whether a model made of this is there whole."""
    try:
        return bool(NullModelFiles(place).settings.get("made_of") == digests)
    except (InputError, FileFormatError):
        return False


def _chosen(
    store: GenotypeStore,
    cohort: Cohort,
    spec: WholeGenomeSpec,
    executor: TaskRunner,
    work: Place,
    tell: Callable[[str, int, int], None],
) -> tuple[tuple[MarkerBlock, ...], tuple[tuple[str, int], ...]]:
    """The model's markers in blocks, and what became of the others; kept for the next session."""
    kept = work / "markers.json"
    tell(Stage.MARKERS, 0, 1)
    if kept.exists():
        known = json.loads(kept.read_bytes())
        found = [(chromosome, np.array(rows, np.int64)) for chromosome, rows in known["blocks"]]
        accounting = tuple((reason, number) for reason, number in known["accounting"])
    else:
        markers = choose_markers(store, np.sort(cohort.rows), spec.markers, executor)
        found, accounting = markers.blocks(spec.block_markers), markers.accounting
        document = {"blocks": [(name, rows.tolist()) for name, rows in found], "accounting": accounting}
        write_atomically(kept, json.dumps(document).encode())
    tell(Stage.MARKERS, 1, 1)
    return tuple(MarkerBlock(name, rows) for name, rows in found), accounting


class _Fitting:
    """One fit at work in its folder."""

    def __init__(
        self,
        store: GenotypeStore,
        cohort: Cohort,
        spec: WholeGenomeSpec,
        executor: TaskRunner,
        work: Place,
        blocks: tuple[MarkerBlock, ...],
        fold: NDArray[np.int64] | None,
        tell: Callable[[str, int, int], None],
    ) -> None:
        self._store = store
        self._cohort = cohort
        self._spec = spec
        self._executor = executor
        self._work = work
        self._blocks = blocks
        self._fold = fold
        self._tell = tell
        self._spread: float | None = None  # of relatedness
        self.chromosomes = tuple(dict.fromkeys(block.chromosome for block in blocks))
        self._batch = traits_per_batch(cohort.n_people, len(spec.heritabilities))

    def all(self) -> list[TraitModel]:
        """Fit every trait; returns what the model says of each."""
        models: list[TraitModel] = []
        for batch, traits in enumerate(self._batches()):
            folder = self._work / f"batch{batch:04d}"
            of_batch = ordered(self._cohort, traits, self._spec.folds, self._fold)
            fitted = self._level1(folder, traits, of_batch)
            names, kinds = self._cohort.trait_names[traits], self._cohort.kinds[traits]
            self._describe(folder, of_batch, fitted, kinds)
            transforms = self._cohort.transforms or [None] * len(self._cohort.trait_names)
            models += [_model(*of_trait) for of_trait in zip(names, kinds, transforms[traits], fitted, strict=True)]
            # What level 1 has used is the larger part of what is on the disk.
            remove_tree(folder / "level0")
        return models

    def unused_markers(self) -> int:
        """Markers that hardly vary once the covariates are taken off, and were left out of their blocks."""
        return int(json.loads((self._work / UNUSED).read_bytes()))

    def predictions(self, models: list[TraitModel]) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Of each trait that was fitted, its name and an array (chromosomes + 1, people)."""
        for batch, traits in enumerate(self._batches()):
            for t, model in enumerate(models[traits]):
                if model.status == OK:
                    folder = self._work / f"batch{batch:04d}" / "level1"
                    yield model.name, read_trait(folder, t, self._cohort.n_people)

    def _batches(self) -> list[slice]:
        count = len(self._cohort.trait_names)
        return [slice(start, min(start + self._batch, count)) for start in range(0, count, self._batch)]

    def _level0(self, folder: Place, batch: Ordered) -> None:
        n_markers = sum(len(block.rows) for block in self._blocks)
        grid = penalties(self._spec.heritabilities, n_markers)
        shared = Level0(self._store, self._blocks, batch.people, batch.member, grid, folder)
        folder.mkdir(parents=True, exist_ok=True)
        done = finished_blocks(folder, len(self._blocks))
        waiting = [number for number in range(len(self._blocks)) if number not in done]
        finished, total = len(done), len(self._blocks)
        self._tell(Stage.LEVEL_0, finished, total)
        memory = level0_memory(self._store, cohort_size=self._cohort.n_people, spec=self._spec, traits=shared.n_traits)
        unused = sum(note.dropped for note in done.values())
        for _, note in self._executor.run(run_block, shared, waiting, memory_bytes=memory):
            unused += note.dropped
            finished += 1
            self._tell(Stage.LEVEL_0, finished, total)
        # The same for every batch of traits: markers are looked at in everybody.
        write_atomically(self._work / UNUSED, json.dumps(unused).encode())

    def _level1(self, folder: Place, traits: slice, batch: Ordered) -> list[dict[str, Any]]:
        level1 = folder / "level1"
        level1.mkdir(parents=True, exist_ok=True)
        count = traits.stop - traits.start
        facts = {t: _facts(level1, t) for t in range(count) if commit_file(level1, t).exists()}
        waiting = [t for t in range(count) if t not in facts]
        if waiting:
            self._level0(folder / "level0", batch)
        codes = {name: code for code, name in enumerate(self.chromosomes)}
        cohort = self._cohort
        shared = Level1(
            level0=folder / "level0",
            folder=level1,
            chromosome_of_block=np.array([codes[block.chromosome] for block in self._blocks]),
            n_chromosomes=len(codes),
            order=batch.order,
            fold=batch.fold,
            n_folds=self._spec.folds,
            member=batch.member,
            residuals=batch.people.traits,
            scale=batch.scale,
            df=batch.df,
            values=cohort.traits[:, traits][batch.order],
            covariates=cohort.covariates[batch.order],
            kinds=cohort.kinds[traits],
            problems=batch.problems,
            heritabilities=self._spec.heritabilities,
            learners=dict(self._spec.learners),
        )
        self._tell(Stage.LEVEL_1, len(facts), count)
        grid = len(self._spec.heritabilities)
        columns = len(self._blocks) * grid
        memory = 4 * cohort.n_people * (3 * len(codes) + 16) + max(
            find_learner(learner_name(shared, kind)).memory_bytes(
                cohort.n_people, columns, len(codes), grid, self._spec.folds
            )
            for kind in set(shared.kinds)
        )
        for t, found in self._executor.run(run_trait, shared, waiting, memory_bytes=memory):
            facts[t] = found
            self._tell(Stage.LEVEL_1, len(facts), count)
        return [facts[t] for t in range(count)]

    def _describe(self, folder: Place, batch: Ordered, facts: list[dict[str, Any]], kinds: tuple[str, ...]) -> None:
        """Add λ of each trait on the model's markers, without and with the predictions, and its heritability."""
        n, count = len(batch.order), len(facts)
        people = batch.people
        few = _every_so_often(self._blocks)
        beside = np.zeros((n, 2 * count), np.float32)
        beside[:, :count] = people.traits
        found = Statistics(np.zeros((2 * count, BINS), np.int64), np.zeros(2 * count))
        for code, name in enumerate(self.chromosomes):
            for t in range(count):
                beside[:, count + t] = 0.0
                if facts[t]["status"] == OK:
                    # Of a binary trait in log odds: a step of them is p (1 − p) of the trait, to first order.
                    unit = batch.scale[t] if kinds[t] == "binary" else 1.0 / batch.scale[t]
                    left = read_trait(folder / "level1", t, n, slice(code, code + 1))[0][batch.order] * unit
                    beside[:, count + t] = _less(people.traits[:, t], left, batch.member[:, t])
            blocks = tuple(block for block in few if block.chromosome == name)
            for of_block in self._passed(block_statistics, blocks, people, beside):
                found = Statistics(found.counts + of_block.counts, found.total + of_block.total)
            self._tell(Stage.INFLATION, code + 1, len(self.chromosomes))
        if self._spread is None:
            self._spread = self._spread_of_relatedness(people)
        markers = found.counts.sum(axis=1)
        for t, of_trait in enumerate(facts):
            of_trait["lambda_without"] = inflation(found.counts[t])
            of_trait["lambda_with"] = inflation(found.counts[count + t]) if of_trait["status"] == OK else None
            share = batch.member[:, t].mean()
            if markers[t] and self._spread > 0 and of_trait["status"] == OK:
                mean = found.total[t] / markers[t]
                of_trait["h2"] = float(np.clip((mean - 1.0) / (self._spread * share), 0.0, 1.0))

    def _spread_of_relatedness(self, people: People) -> float:
        """tr K² / n − 1, from random vectors; 0 where it cannot be told from 0."""
        some = np.sort(np.random.default_rng(1).permutation(len(people.rows))[:MOST_PEOPLE])
        basis, _ = orthonormal_basis(people.basis[some].astype(np.float64))
        of_some = People(people.rows[some], people.fold_start, basis.astype(np.float32), people.traits[:0])
        vectors = random_vectors(of_some.basis)
        products = np.zeros(vectors.shape)
        for of_block in self._passed(block_products, self._blocks, of_some, vectors):
            products += of_block
        products /= sum(len(block.rows) for block in self._blocks)
        # Each vector estimates the trace of K², and its own squares that of the projection.
        spread = float((products**2).sum() / (vectors.astype(np.float64) ** 2).sum()) - 1.0
        # What is beside the diagonal of K² grows with the number of people.
        return max(spread, 0.0) * len(people.rows) / len(some)

    def _passed(
        self,
        function: Callable[[Inflation, int], Any],
        blocks: tuple[MarkerBlock, ...],
        people: People,
        columns: NDArray[np.float32],
    ) -> Iterator[Any]:
        """What a function gives for each block, of everybody at once; in order, so that sums are the same each time."""
        everybody = np.array([0, len(people.rows)], np.int64)
        shared = Inflation(self._store, blocks, People(people.rows, everybody, people.basis, columns))
        m = max(len(block.rows) for block in self._blocks)
        memory = 4 * (STRIP + columns.shape[1]) * m + 2 * m * self._store.n_samples + 8 * columns.size
        early: dict[int, Any] = {}
        following = 0
        for number, found in self._executor.run(function, shared, range(len(blocks)), memory_bytes=memory):
            early[number] = found
            while following in early:
                yield early.pop(following)
                following += 1


def _every_so_often(blocks: tuple[MarkerBlock, ...]) -> tuple[MarkerBlock, ...]:
    """Blocks evenly along the genome whose markers are enough to know a median."""
    step = max(1, sum(len(block.rows) for block in blocks) // MOST_MARKERS)
    return blocks[::step]


def _model(name: str, kind: str, transform: str | None, facts: dict[str, Any]) -> TraitModel:
    accuracy = facts.get("accuracy")
    return TraitModel(
        name=name,
        n=facts["n"],
        status=facts["status"],
        message=facts["message"],
        kind=kind,
        transform=transform,
        residual_sd=facts.get("residual_sd"),
        accuracy=None if accuracy is None else Accuracy(**accuracy),
        shrinkage=facts.get("shrinkage"),
        h2=facts.get("h2"),
        lambda_without=facts["lambda_without"],
        lambda_with=facts["lambda_with"],
    )


def _facts(folder: Place, trait: int) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(commit_file(folder, trait).read_bytes())["facts"]
    return facts


def _less(
    trait: NDArray[np.float32], prediction: NDArray[np.floating[Any]], member: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """A trait less its prediction, centred among its people, 0 for others."""
    left = np.where(member, trait - np.where(member, prediction, 0.0), 0.0)
    left[member] -= left[member].mean()
    return left.astype(np.float32)
