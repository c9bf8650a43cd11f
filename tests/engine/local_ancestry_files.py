"""Admixed cohorts with known local ancestry, in the formats of the programs that infer it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pysam
from numpy.typing import NDArray

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.ingest.pipeline import ingest
from tests.naive_local_ancestry import mosaics

NAMES = ("AFR", "EUR", "NAT")


@dataclass(frozen=True)
class Admixed:
    """Haplotypes of some chromosomes with the truth of them."""

    contig: NDArray[np.object_]  # (variants,)
    position: NDArray[np.int64]
    alleles: NDArray[np.int8]  # (variants, people, 2) -1: missing
    ancestry: NDArray[np.uint8]  # (variants, people, 2)
    samples: tuple[str, ...]
    ancestries: tuple[str, ...]

    def of_contig(self, contig: str) -> NDArray[np.int64]:
        """Its variants."""
        return np.flatnonzero(self.contig == contig)


def admixed(
    rng: np.random.Generator, n_people: int, sizes: dict[str, int], k: int = 2, missing: float = 0.0
) -> Admixed:
    """Draw a cohort: ``sizes`` variants of each contig."""
    parts = [mosaics(rng, size, n_people, k, missing=missing) for size in sizes.values()]
    return Admixed(
        np.repeat(np.array(list(sizes), object), list(sizes.values())),
        np.concatenate([1000 + 100 * np.arange(size) for size in sizes.values()]),
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        tuple(f"P{i:04d}" for i in range(n_people)),
        NAMES[:k],
    )


def write_vcf(path: Path, cohort: Admixed, variants: NDArray[np.int64], *, flare: bool = False, sep: str = "|") -> Path:
    """A phased VCF file; with ``flare`` the ancestries too."""
    lines = ["##fileformat=VCFv4.2", '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">']
    lines += [f"##contig=<ID={contig}>" for contig in dict.fromkeys(cohort.contig)]
    if flare:
        codes = ",".join(f"{name}={k}" for k, name in enumerate(cohort.ancestries))
        lines += [f"##ANCESTRY=<{codes}>"]
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *cohort.samples]
    lines.append("\t".join(columns))
    for v in variants:
        cells = []
        for (a, b), (x, y) in zip(cohort.alleles[v], cohort.ancestry[v], strict=True):
            call = sep.join("." if allele < 0 else str(allele) for allele in (a, b))
            cells.append(f"{call}:{x}:{y}" if flare else call)
        form = "GT:AN1:AN2" if flare else "GT"
        lines.append(
            "\t".join([cohort.contig[v], str(cohort.position[v]), f"rs{v}", "A", "C", ".", ".", ".", form, *cells])
        )
    text = "\n".join(lines) + "\n"
    if path.suffix == ".gz":
        with pysam.BGZFile(str(path), "w") as file:
            file.write(text.encode())
    else:
        path.write_text(text)
    return path


def write_msp(path: Path, cohort: Admixed, variants: NDArray[np.int64]) -> Path:
    """Windows of an MSP table: as long as nobody changes."""
    codes = "\t".join(f"{name}={k}" for k, name in enumerate(cohort.ancestries))
    haplotypes = [f"{sample}.{h}" for sample in cohort.samples for h in (0, 1)]
    lines = [
        f"#Subpopulation order/codes: {codes}",
        "\t".join(["#chm", "spos", "epos", "sgpos", "egpos", "n snps", *haplotypes]),
    ]
    flat = cohort.ancestry[variants].reshape(len(variants), -1)
    starts = [0, *(r for r in range(1, len(variants)) if (flat[r] != flat[r - 1]).any())]
    for start, stop in zip(starts, [*starts[1:], len(variants)], strict=True):
        end = cohort.position[variants[stop]] if stop < len(variants) else cohort.position[variants[-1]]
        row = [
            cohort.contig[variants[start]],
            cohort.position[variants[start]],
            end,
            0.0,
            0.1,
            stop - start,
            *flat[start],
        ]
        lines.append("\t".join(map(str, row)))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_lanc(path: Path, cohort: Admixed, variants: NDArray[np.int64]) -> Path:
    """Runs of variants, one line for each person."""
    lines = [f"{len(variants)} {len(cohort.samples)}"]
    for i in range(len(cohort.samples)):
        pairs = cohort.ancestry[variants, i]
        ends = [r for r in range(1, len(variants)) if (pairs[r] != pairs[r - 1]).any()] + [len(variants)]
        lines.append(" ".join(f"{end}:{pairs[end - 1, 0]}{pairs[end - 1, 1]}" for end in ends))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_pgen(path: Path, cohort: Admixed, variants: NDArray[np.int64]) -> Path:
    """A phased PLINK 2 fileset."""
    import pgenlib

    n = len(cohort.samples)
    with pgenlib.PgenWriter(bytes(path), n, variant_ct=len(variants), hardcall_phase_present=True) as writer:
        for v in variants:
            calls = cohort.alleles[v].reshape(-1).astype(np.int32)
            calls[calls < 0] = -9
            writer.append_partially_phased(calls, np.ones(n, bool))
    path.with_suffix(".psam").write_text("#IID\n" + "\n".join(cohort.samples) + "\n")
    rows = [f"{cohort.contig[v]}\t{cohort.position[v]}\trs{v}\tA\tC" for v in variants]
    path.with_suffix(".pvar").write_text("#CHROM\tPOS\tID\tREF\tALT\n" + "\n".join(rows) + "\n")
    return path


def make_store(folder: Path, cohort: Admixed, block_variants: int = 64) -> Path:
    """The genotype store of a cohort."""
    source = write_vcf(folder / "cohort.vcf", cohort, np.arange(len(cohort.position)))
    out = folder / "cohort.zarr"
    ingest([source], out, executor=EmbeddedExecutor(1), block_variants=block_variants)
    return out
