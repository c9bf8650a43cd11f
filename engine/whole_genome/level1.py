"""Level 1 as tasks: each trait combines the predictions of all blocks, and its LOCO predictions go to disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np

from allscan.engine.stacking_learners import find_learner
from allscan.engine.whole_genome.level0 import StoredFeatures
from allscan.errors import CorruptChunkError
from allscan.kernels.logistic import fit_logistic
from allscan.storage import opened, write_atomically, write_files

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.storage import Place

OK = "ok"


@dataclass(frozen=True)
class Level1:
    """What the tasks of level 1 share; people in the order of the folds."""

    level0: Place
    folder: Place
    chromosome_of_block: NDArray[np.int64]  # (blocks,) index into the chromosomes
    n_chromosomes: int
    order: NDArray[np.int64]  # (people,) rows of the cohort
    fold: NDArray[np.int64]  # (people,)
    n_folds: int
    member: NDArray[np.bool_]  # (people, traits)
    residuals: NDArray[np.float32]  # (people, traits) at unit variance
    scale: NDArray[np.float64]  # (traits,)
    df: NDArray[np.int64]  # (traits,)
    values: NDArray[np.float64]  # (people, traits) as they are
    covariates: NDArray[np.float64]  # (people, covariates)
    kinds: tuple[str, ...]
    problems: tuple[str, ...]
    heritabilities: tuple[float, ...]
    learners: dict[str, str]  # by kind, where it is not ridge regression


def run_trait(shared: Level1, trait: int) -> dict[str, Any]:
    """Fit one trait of the batch and commit its predictions; returns what the model says of it."""
    facts: dict[str, Any] = {"n": int(shared.member[:, trait].sum())}
    loco = np.full((shared.n_chromosomes + 1, len(shared.order)), np.nan, np.float32)
    if shared.problems[trait]:
        facts |= {"status": "not_fitted", "message": shared.problems[trait]}
    else:
        facts |= _fit(shared, trait, loco)
    # As the cohort stands in the store.
    placed = np.empty_like(loco)
    placed[:, shared.order] = loco
    rows = [row.tobytes() for row in placed]
    write_files([(values_file(shared.folder, trait), rows)])
    commit = {"facts": facts, "checksums": [google_crc32c.value(row) for row in rows]}
    write_atomically(commit_file(shared.folder, trait), json.dumps(commit).encode())
    return facts


def _fit(shared: Level1, trait: int, loco: NDArray[np.float32]) -> dict[str, Any]:
    own = shared.member[:, trait]
    binary = shared.kinds[trait] == "binary"
    n_penalties = len(shared.heritabilities)
    features = StoredFeatures(shared.level0, len(shared.chromosome_of_block), trait, own, n_penalties)
    offset = np.zeros(features.n)
    y = shared.residuals[own, trait].astype(np.float64) * shared.scale[trait]
    if binary:
        y = shared.values[own, trait]
        null = fit_logistic(y, shared.covariates[own])
        if not null.converged:
            why = "the covariates separate cases from controls" if null.separated else "the fit did not converge"
            return {"status": "not_fitted", "message": f"{why} (logistic regression on the covariates)"}
        offset = null.linear
    learner = find_learner(learner_name(shared, shared.kinds[trait]))
    stack = learner.fit(
        features,
        y,
        np.repeat(shared.chromosome_of_block, n_penalties),
        shared.heritabilities,
        shared.fold[own],
        offset,
    )
    facts = {
        "residual_sd": None if binary else float(shared.scale[trait] * np.sqrt(len(y) / shared.df[trait])),
        "status": stack.status.name.lower(),
        "message": stack.message,
        "accuracy": {"name": "auc" if binary else "r2", "value": round(float(stack.accuracy), 6)},
        "losses": [round(float(score), 8) for score in stack.scores],
    }
    if facts["status"] == OK:
        facts["shrinkage"] = shared.heritabilities[stack.chosen]
        loco[:-1, own], loco[-1, own] = stack.loco, stack.total
    return facts


def learner_name(shared: Level1, kind: str) -> str:
    """The learner of traits of a kind."""
    form = "logistic" if kind == "binary" else "linear"
    return shared.learners.get(kind, f"{form}_leave_one_out" if shared.n_folds == 1 else f"{form}_folds")


def values_file(folder: Place, trait: int) -> Place:
    """LOCO predictions of a trait, (chromosomes + 1, people) float32."""
    return folder / f"{trait:06d}.f32"


def commit_file(folder: Place, trait: int) -> Place:
    """What the model says of a trait; it is there when the predictions are."""
    return folder / f"{trait:06d}.json"


def read_trait(folder: Place, trait: int, n_people: int, rows: slice | None = None) -> NDArray[np.float32]:
    """LOCO predictions of a trait, shape (chromosomes + 1, people), or those of some ``rows`` alone.

    Raises
    ------
    CorruptChunkError
        They do not match their checksums.
    """
    place = values_file(folder, trait)
    checksums = json.loads(commit_file(folder, trait).read_bytes())["checksums"]
    row_bytes = 4 * n_people
    wanted = range(len(checksums))[rows or slice(None)]
    offset, size = wanted.start * row_bytes, len(wanted) * row_bytes
    with opened(place) as file:
        file.load([(offset, size)])
        content = file.read(offset, size)
    found = [google_crc32c.value(content[k * row_bytes : (k + 1) * row_bytes]) for k in range(len(wanted))]
    if len(content) != size or found != [checksums[k] for k in wanted]:
        raise CorruptChunkError(
            "predictions of a trait do not match their checksum",
            where=str(place),
            fix="delete the file and the .json beside it, and run the same command again",
        )
    return np.frombuffer(content, np.float32).reshape(-1, n_people)
