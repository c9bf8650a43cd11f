"""The files that all programs read: the same genotypes as a store, .pgen and .bed; traits and covariates as text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from allscan.engine.simulation.spectrum import simulate_calls_block
from benchmarks.peers.peer import Case
from benchmarks.stores import write_pgen, write_store

COVARIATES = 10
PART = 512  # variants that are held at a time
SEED = 5

_BED_CODE = np.array([3, 2, 0, 1], np.uint8)  # of 0, 1, 2 copies and -1


def simulate(samples: int, variants: int, missing_rate: float) -> Iterator[NDArray[np.int8]]:
    """Calls in parts of (variants, samples), half of the variants rare as in whole genomes, mixed."""
    for start in range(0, variants, PART):
        rng = np.random.default_rng([SEED, start])
        number = min(PART, variants - start)
        rare = simulate_calls_block(rng, samples, number // 2, "wgs", missing_rate=missing_rate)
        common = simulate_calls_block(rng, samples, number - number // 2, "array", missing_rate=missing_rate)
        yield np.vstack([rare, common])[rng.permutation(number)]


def write_inputs(folder: Path, samples: int, variants: int, traits: int, missing_rate: float) -> None:
    """Write ``cohort.*``, ``t.tsv`` and ``c.tsv``, part by part."""
    store, pgen, bed = (simulate(samples, variants, missing_rate) for _ in range(3))
    write_store(folder / "cohort.zarr", store, variants, samples)
    write_pgen(folder / "cohort.pgen", pgen, variants, samples)
    with (folder / "cohort.bed").open("wb") as file:
        file.write(b"\x6c\x1b\x01")
        for part in bed:
            file.write(_bed_rows(part))
    names = [f"v{v}" for v in range(variants)]
    (folder / "cohort.pvar").write_text(
        "#CHROM\tPOS\tID\tREF\tALT\n" + "".join(f"1\t{v + 1}\t{name}\tA\tC\n" for v, name in enumerate(names))
    )
    (folder / "cohort.bim").write_text("".join(f"1\t{name}\t0\t{v + 1}\tC\tA\n" for v, name in enumerate(names)))
    people = [f"s{i}" for i in range(samples)]
    (folder / "cohort.psam").write_text("#FID\tIID\tSEX\n" + "".join(f"{i}\t{i}\tNA\n" for i in people))
    (folder / "cohort.fam").write_text("".join(f"{i}\t{i}\t0\t0\t0\t-9\n" for i in people))
    rng = np.random.default_rng(SEED)
    for name, columns in (("t", traits), ("c", COVARIATES)):
        values = rng.normal(size=(samples, columns))
        with (folder / f"{name}.tsv").open("w") as text:
            text.write("\t".join(["FID", "IID", *(f"{name}{k}" for k in range(columns))]) + "\n")
            for person, row in zip(people, values, strict=True):
                text.write(f"{person}\t{person}\t" + "\t".join(f"{x:.6f}" for x in row) + "\n")


def write_job(folder: Path, case: Case, missing: str) -> Path:
    """Our job file for a case."""
    document = {
        "name": "side by side",
        "genotypes": "cohort.zarr",
        "traits": {"file": "t.tsv", "columns": list(case.trait_names)},
        "covariates": {"file": "c.tsv", "formula": " + ".join(f"c{k}" for k in range(COVARIATES))},
        "missing_genotypes": missing,
        "output": "run",
    }
    path = folder / "job.yaml"
    path.write_text(json.dumps(document))
    return path


def _bed_rows(calls: NDArray[np.int8]) -> bytes:
    """Two bits a sample, the first in the lowest bits, rows filled up with zeros."""
    v, n = calls.shape
    codes = np.zeros((v, -(-n // 4) * 4), np.uint8)
    codes[:, :n] = _BED_CODE[calls]
    fours = codes.reshape(v, -1, 4)
    packed = fours[:, :, 0] | fours[:, :, 1] << 2 | fours[:, :, 2] << 4 | fours[:, :, 3] << 6
    rows: bytes = packed.tobytes()
    return rows
