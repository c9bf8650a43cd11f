"""Small stores and designs for the engine's tests, written without the ingest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from allscan.engine import scan as scan_module
from allscan.engine.design import Design, Strata, Stratum, pooled
from allscan.engine.store import GenotypeStore
from allscan.engine.store_writing import create_store, write_genotypes, write_variants
from allscan.kernels.block import encode_block

BLOCK = 64


@dataclass(frozen=True)
class Cohort:
    """A store, and the calls that it holds."""

    store: GenotypeStore
    calls: NDArray[np.int8]  # (variants, samples)
    contig: NDArray[np.int16]
    position: NDArray[np.int32]


def write_cohort(
    path: Path,
    *,
    seed: int = 0,
    samples: int = 300,
    contigs: dict[str, int] | None = None,
    build: str | None = "GRCh38",
    sex: NDArray[np.int8] | None = None,
    block: int = BLOCK,
    skip: int = 0,
    stop: int | None = None,
) -> Cohort:
    """Write a store with ``contigs`` (name: number of variants), rare and common, with missing calls.

    Of these variants ``skip:stop``: stores that share variants hold the same of them.
    """
    rng = np.random.default_rng(seed)
    contigs = contigs or {"1": 150, "2": 60}
    v = sum(contigs.values())
    frequency = np.where(rng.random(v) < 0.5, rng.uniform(0.002, 0.02, v), rng.uniform(0.05, 0.95, v))
    calls = rng.binomial(2, frequency[:, None], (v, samples)).astype(np.int8)
    calls[rng.random(calls.shape) < 0.01] = -1
    contig = np.repeat(np.arange(len(contigs), dtype=np.int16), list(contigs.values()))
    position = np.concatenate([np.sort(rng.choice(np.arange(1, 10**6), n, replace=False)) for n in contigs.values()])
    position = (position + 5_000_000).astype(np.int32)
    sex = rng.integers(1, 3, samples).astype(np.int8) if sex is None else sex
    info = np.where(np.arange(v) % 5 == 0, 0.5, np.nan)
    calls, contig, position, info = (array[skip:stop] for array in (calls, contig, position, info))
    return write_calls(path, calls, contig, position, tuple(contigs), build=build, sex=sex, block=block, info=info)


def write_calls(
    path: Path,
    calls: NDArray[np.int8],
    contig: NDArray[np.int16],
    position: NDArray[np.int32],
    contigs: tuple[str, ...],
    *,
    sample_ids: NDArray[np.object_] | None = None,
    sex: NDArray[np.int8] | None = None,
    variant_ids: list[str] | None = None,
    alleles: list[tuple[str, str]] | None = None,
    n_alt: NDArray[np.int16] | None = None,
    info: NDArray[np.float64] | None = None,
    dosage: NDArray[np.float32] | None = None,
    build: str | None = "GRCh38",
    block: int = BLOCK,
) -> Cohort:
    """Write a store of these calls, -1 missing; of ``dosage``, shape (variants, samples), where there is one."""
    v, samples = calls.shape
    create_store(
        path,
        n_variants=v,
        sample_ids=np.array([f"person{i}" for i in range(samples)], object) if sample_ids is None else sample_ids,
        sample_sex=np.zeros(samples, np.int8) if sex is None else sex,
        contigs=contigs,
        contig_lengths=tuple(0 for _ in contigs),
        block_variants=block,
        attributes={"reference_build": build},
    )
    for index in range(-(-v // block)):
        rows = slice(index * block, (index + 1) * block)
        is_dosage = None if dosage is None else np.ones(len(calls[rows]), np.bool_)
        write_genotypes(path, index, encode_block(calls[rows], None if dosage is None else dosage[rows], is_dosage))
    exact = np.where(calls < 0, np.nan, calls) if dosage is None else dosage.astype(float)
    called = (~np.isnan(exact)).sum(axis=1)
    copies = np.nansum(exact, axis=1)
    write_variants(
        path,
        0,
        {
            "variant_contig": contig,
            "variant_position": position,
            "variant_id": np.array([f"v{i}" for i in range(v)] if variant_ids is None else variant_ids, object),
            "variant_allele": np.array([("A", "C")] * v if alleles is None else alleles, object),
            "variant_length": np.ones(v, np.int32),
            "variant_n_called": called,
            "variant_allele_count": copies,
            "variant_allele_frequency": copies / np.maximum(2 * called, 1),
            "variant_missing_rate": 1 - called / samples,
            "variant_n_het": (calls == 1).sum(axis=1),
            "variant_n_hom_alt": (calls == 2).sum(axis=1),
            "variant_hwe_neg_log10_p": np.zeros(v),
            "variant_info": np.full(v, np.nan) if info is None else info,
            "variant_n_alt": np.ones(v, np.int16) if n_alt is None else n_alt,
            "variant_n_haploid": np.zeros(v, np.int32),
        },
    )
    return Cohort(GenotypeStore(path), calls, contig, position)


def make_design(cohort: Cohort, *, seed: int = 1, traits: int = 4, leave_out: int = 20) -> Design:
    """Traits of two missingness patterns, a covariate, and some samples of the store not analysed."""
    rng = np.random.default_rng(seed)
    n = cohort.store.n_samples
    rows = np.sort(rng.choice(n, n - leave_out, replace=False))
    values = rng.normal(size=(len(rows), traits))
    values[:, 0] += 0.7 * np.maximum(cohort.calls[1, rows], 0)
    values[rng.random(len(rows)) < 0.1, 1::2] = np.nan
    return Design(
        rows,
        values,
        tuple(f"trait{t}" for t in range(traits)),
        np.column_stack([np.ones(len(rows)), rng.normal(size=len(rows))]),
        ("intercept", "age"),
        cohort.store.sample_sex[rows],
    )


def some_of(design: Design, who: NDArray[np.bool_]) -> Design:
    """The design of some of its people; without offsets and relatives."""
    return replace(
        design,
        store_rows=design.store_rows[who],
        traits=design.traits[who],
        covariates=design.covariates[who],
        sex=design.sex[who],
        offsets=None,
        relatedness=None,
    )


def split(design: Design, names: tuple[str, ...], seed: int = 2) -> Strata:
    """The people of a design, divided among strata."""
    if len(names) == 1:
        return (Stratum(names[0], design),)
    label = np.random.default_rng(seed).integers(0, len(names), design.n_samples)
    return tuple(Stratum(name, some_of(design, label == g)) for g, name in enumerate(names))


def strata_of(people: Design | Strata) -> Strata:
    """Strata as they are, or a design as the only one."""
    return pooled(people) if isinstance(people, Design) else people


class Computed(NamedTuple):
    """What a task computed."""

    traits: tuple[tuple[str, ...], ...]  # by stratum; trait0 is the first of the design
    first: int  # row of the store


def watch_tasks(monkeypatch: pytest.MonkeyPatch) -> list[Computed]:
    """Every call of the arithmetic, from now on."""
    calls: list[Computed] = []
    whole: Callable[..., Any] = scan_module._task_columns

    def watched(shared: Any, task: Any) -> Any:
        batch = shared.plan.batch_traits(task.batch)
        traits = tuple(tuple(f"trait{t}" for t in batch[stratum.computed]) for stratum in shared.strata)
        if any(traits):
            calls.append(Computed(traits, int(shared.plan.run_rows(task.index)[0])))
        return whole(shared, task)

    monkeypatch.setattr(scan_module, "_task_columns", watched)
    return calls
