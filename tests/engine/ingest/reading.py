"""What the tests of the readers share: everything a source says, in plain arrays."""

from __future__ import annotations

import pickle
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from allscan.engine.ingest.batch import ReadCounts, Source
from allscan.engine.ingest.sources import open_source

HEADER = (
    "##fileformat=VCFv4.3\n"
    '##FILTER=<ID=q10,Description="low">\n'
    "##contig=<ID=1,length=249250621>\n"
    "##contig=<ID=2,length=243199373>\n"
    '##INFO=<ID=R2,Number=A,Type=Float,Description="quality">\n'
    '##INFO=<ID=END,Number=1,Type=Integer,Description="end">\n'
)
FORMATS = {
    "GT": "Number=1,Type=String",
    "FT": "Number=1,Type=String",
    "DS": "Number=A,Type=Float",
    "HDS": "Number=.,Type=Float",
    "GP": "Number=G,Type=Float",
    "PL": "Number=G,Type=Integer",
}


@dataclass(frozen=True)
class Contents:
    """All variants of a source."""

    keys: list[tuple[str, int, str, str]]  # contig, position, REF, ALT
    dosage: np.ndarray  # (variants, samples) float64 0..2, NaN missing
    is_dosage: np.ndarray
    info: np.ndarray
    n_alt: np.ndarray
    n_haploid: np.ndarray
    variant_id: list[str]
    counts: dict[str, int]


def read_all(source: Source, target_variants: int = 300, max_variants: int = 64) -> Contents:
    """Read every partition of a source, after a round trip through pickle, as worker processes do."""
    source = pickle.loads(pickle.dumps(source))
    counts = ReadCounts()
    batches = []
    for partition in source.partitions(target_variants):
        for batch in source.read(partition, max_variants, counts):
            assert 0 < batch.n_variants <= max_variants
            assert batch.genotypes.dtype == np.int8
            assert batch.genotypes.shape == (batch.n_variants, len(source.header.sample_ids))
            batches.append(batch)
    if not batches:
        empty = np.empty(0)
        return Contents([], np.empty((0, 0)), empty, empty, empty, empty, [], counts.counts)
    dosage = []
    for batch in batches:
        values = batch.genotypes.astype(np.float64)
        values[values < 0] = np.nan
        if batch.dosage is not None:
            values[batch.is_dosage] = batch.dosage[batch.is_dosage]
        dosage.append(values)
    keys = [
        (str(contig), int(position), str(ref), str(alt))
        for batch in batches
        for contig, position, ref, alt in zip(batch.contig, batch.position, batch.ref, batch.alt, strict=True)
    ]
    return Contents(
        keys,
        np.concatenate(dosage),
        np.concatenate([batch.is_dosage for batch in batches]),
        np.concatenate([batch.info for batch in batches]),
        np.concatenate([batch.n_alt for batch in batches]),
        np.concatenate([batch.n_haploid for batch in batches]),
        [str(name) for batch in batches for name in batch.variant_id],
        counts.counts,
    )


def read_file(path: Path, **options) -> Contents:
    return read_all(open_source(path, **options))


def write_vcf(
    path: Path,
    records: list[str],
    *,
    formats: tuple[str, ...] = ("GT",),
    samples: tuple[str, ...] = ("a", "b", "c"),
    header: str = HEADER,
) -> Path:
    """Write a VCF file; blanks in the records stand for tabs."""
    lines = [f'##FORMAT=<ID={name},{FORMATS[name]},Description="{name}">' for name in formats]
    lines.append("\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples]))
    lines += ["\t".join(record.split()) for record in records]
    path.write_text(header + "\n".join(lines) + "\n")
    return path


def run(*command: object, cwd: Path | None = None) -> str:
    """Run an outside program, failing with its messages."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


def plink_counts(out: Path, *inputs: object) -> np.ndarray:
    """Copies of ALT, (variants, samples), NaN missing, as ``plink2 --export A`` gives them (biallelic sites)."""
    run("plink2", *inputs, "--export", "A-transpose", "--allow-extra-chr", "--out", out)
    rows = out.with_suffix(".traw").read_text().splitlines()[1:]
    table = np.genfromtxt([row.split("\t", 6)[6].replace("\t", " ") for row in rows], missing_values="NA", ndmin=2)
    counted = [row.split("\t")[4] for row in rows]
    alternate = [row.split("\t")[5] for row in rows]
    assert all(c != a for c, a in zip(counted, alternate, strict=True))
    return 2 - table
