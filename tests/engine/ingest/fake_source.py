"""A genotype source in memory, for tests of what happens after reading. Picklable, as readers are."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from allscan.engine.ingest.batch import Partition, SourceHeader, VariantBatch


@dataclass(frozen=True)
class Record:
    contig: str
    position: int
    ref: str = "A"
    alt: str = "G"
    variant_id: str = "."
    kind: str = "calls"  # or "rare", "dosage", "haploid"


def records(contig, positions, kinds=("calls", "rare", "dosage")):
    return [
        Record(contig, int(position), variant_id=f"rs{position}", kind=kinds[i % len(kinds)])
        for i, position in enumerate(positions)
    ]


@dataclass(frozen=True)
class FakeSource:
    """Genotypes are a function of the seed, the variant's key and the sample, in whatever order they stand."""

    path: str
    variants: tuple[Record, ...]
    n_samples: int = 40
    seed: int = 1
    sample_order: tuple[int, ...] | None = None
    sex: tuple[int, ...] | None = None
    contigs: tuple[str, ...] = ()
    contig_lengths: tuple[int, ...] = ()
    build: str | None = None
    journal: Path | None = None  # gets a file for every partition that is read
    delay: float = 0.0  # seconds for each batch
    info: float = float("nan")

    @property
    def order(self):
        return np.arange(self.n_samples) if self.sample_order is None else np.array(self.sample_order)

    @property
    def header(self):
        sex = np.zeros(self.n_samples) if self.sex is None else np.array(self.sex)
        return SourceHeader(
            path=self.path,
            kind="vcf",
            sample_ids=np.array([f"P{i:05d}" for i in range(self.n_samples)], dtype=object)[self.order],
            family_ids=None,
            sample_sex=sex.astype(np.int8)[self.order],
            contigs=self.contigs,
            contig_lengths=self.contig_lengths or (0,) * len(self.contigs),
            n_records=len(self.variants),
            reference_build=self.build,
        )

    def partitions(self, target_variants):
        n = len(self.variants)
        return [Partition(0, at, min(at + target_variants, n)) for at in range(0, n, target_variants)]

    def read(self, partition, max_variants, counts):
        if self.journal is not None:
            (self.journal / f"{Path(self.path).name}-{partition.start}-{time.monotonic_ns()}").touch()
        for at in range(partition.start, partition.stop, max_variants):
            time.sleep(self.delay)
            yield self.batch(self.variants[at : min(at + max_variants, partition.stop)])

    def batch(self, rows):
        dosage = np.stack([self.values(row) for row in rows])[:, self.order]
        is_dosage = np.array([row.kind == "dosage" for row in rows])
        nearest = np.where(np.isnan(dosage), -1, np.round(dosage)).astype(np.int8)
        return VariantBatch(
            contig=np.array([row.contig for row in rows], dtype=object),
            position=np.array([row.position for row in rows], dtype=np.int32),
            variant_id=np.array([row.variant_id for row in rows], dtype=object),
            ref=np.array([row.ref for row in rows], dtype=object),
            alt=np.array([row.alt for row in rows], dtype=object),
            genotypes=nearest,
            dosage=dosage.astype(np.float32) if is_dosage.any() else None,
            is_dosage=is_dosage,
            info=np.full(len(rows), self.info, dtype=np.float32),
            n_alt=np.ones(len(rows), dtype=np.int16),
            n_haploid=np.array(
                [(nearest[i] >= 0).sum() if row.kind == "haploid" else 0 for i, row in enumerate(rows)],
                dtype=np.int32,
            ),
        )

    def values(self, row):
        """Expected copies of ALT of one variant in the samples' own order, NaN missing."""
        key = f"{row.contig.removeprefix('chr')}:{row.position}:{row.ref}:{row.alt}".encode()
        rng = np.random.default_rng([self.seed, *key])
        if row.kind == "dosage":
            values = np.round(np.clip(rng.normal(1, 0.6, self.n_samples), 0, 2) * 100) / 100
        elif row.kind == "haploid":
            values = 2.0 * rng.binomial(1, 0.4, self.n_samples)
        else:
            values = rng.binomial(2, 0.01 if row.kind == "rare" else 0.4, self.n_samples).astype(float)
        values[rng.random(self.n_samples) < 0.03] = np.nan
        return values

    def but(self, **changes):
        return replace(self, **changes)
