"""Quality of variants and people: counting by person and by group, and the pass over a store."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.quality.counting import FOLDER, count_quality
from allscan.engine.quality.people import people_of
from allscan.engine.quality.variants import VariantRules
from allscan.engine.store import GenotypeStore
from allscan.kernels.person_counts import add_persons, count_groups, partition
from benchmarks.test_kernels import SAMPLES, dense, sparse, work
from benchmarks.timing import SIZE, Timed, Work

GROUPS = 6
LARGE = {"tiny": (600, 200), "quick": (20_000, 1_024), "full": (50_000, 4_096)}[SIZE]


@pytest.mark.parametrize("kind", ["calls", "carriers"])
def test_add_persons(timed: Timed, kind: str) -> None:
    block = dense() if kind == "calls" else sparse()
    category = (np.arange(block.n_variants) % 2).astype(np.uint8)
    out = np.zeros((2, 3, SAMPLES), np.int32)
    items = block.n_variants * SAMPLES if kind == "calls" else block.carrier_offset[-1]
    timed(lambda: add_persons(block, category, out), work(block, float(items)))
    assert out.sum() > 0


@pytest.mark.parametrize("kind", ["calls", "carriers"])
def test_count_groups(timed: Timed, kind: str) -> None:
    block = dense() if kind == "calls" else sparse()
    people = partition(np.arange(SAMPLES) % GROUPS, GROUPS)
    items = block.n_variants * SAMPLES if kind == "calls" else block.carrier_offset[-1]
    counts = timed(lambda: count_groups(block, people), work(block, float(items)))
    assert (counts.n_missing <= people.size).all()


def test_pass(timed: Timed, common_store: Callable[[int, int], GenotypeStore], tmp_path: Path) -> None:
    store = common_store(*LARGE)
    people = people_of(store, groups=tuple("abcdef"), group=np.arange(store.n_samples) % GROUPS)
    found = timed(
        lambda: count_quality(store, people, VariantRules(), EmbeddedExecutor(1), tmp_path),
        Work("dgemm", float(store.n_variants * store.n_samples), store.n_variants * store.n_samples),
        before=lambda: shutil.rmtree(tmp_path / FOLDER, ignore_errors=True),
    )
    assert len(found.passing) > 0.5 * store.n_variants
