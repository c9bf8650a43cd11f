"""Many genotypes at little cost: every batch is cut from one matrix. Picklable, as readers are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allscan.engine.ingest.batch import Partition, SourceHeader, VariantBatch


@dataclass(frozen=True)
class WideSource:
    path: str
    n_variants: int
    n_samples: int

    @property
    def header(self):
        return SourceHeader(
            path=self.path,
            kind="vcf",
            sample_ids=np.array([f"P{i:07d}" for i in range(self.n_samples)], dtype=object),
            family_ids=None,
            sample_sex=np.zeros(self.n_samples, dtype=np.int8),
            contigs=(),
            contig_lengths=(),
            n_records=self.n_variants,
            reference_build=None,
        )

    def partitions(self, target_variants):
        n = self.n_variants
        return [Partition(0, at, min(at + target_variants, n)) for at in range(0, n, target_variants)]

    def read(self, partition, max_variants, counts):
        rng = np.random.default_rng(partition.start)
        frequency = np.where(np.arange(max_variants) % 2, 0.001, 0.3)[:, None]
        calls = (rng.random((max_variants, self.n_samples), dtype=np.float32) < frequency).astype(np.int8)
        for at in range(partition.start, partition.stop, max_variants):
            n = min(max_variants, partition.stop - at)
            same = np.full(n, "1", dtype=object)
            yield VariantBatch(
                contig=same,
                position=np.arange(at, at + n, dtype=np.int32) + 1,
                variant_id=same,
                ref=same,
                alt=same,
                genotypes=calls[:n],
                dosage=None,
                is_dosage=np.zeros(n, dtype=bool),
                info=np.full(n, np.nan, dtype=np.float32),
                n_alt=np.ones(n, dtype=np.int16),
                n_haploid=np.zeros(n, dtype=np.int32),
            )
