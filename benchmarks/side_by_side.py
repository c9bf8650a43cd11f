"""allscan and PLINK 2 on the same genotypes and traits: CPU seconds and peak memory of whole processes.

Run by hand, with ``plink2`` on PATH::

    env -u OPENBLAS_CORETYPE python -m benchmarks.side_by_side --samples 50000 --variants 20480 --traits 1 16

Both read genotypes from disk (a store, a .pgen), test every variant against every trait with ten covariates, and
write their results. ``complete`` leaves no call missing; otherwise PLINK 2, which solves each variant without its
missing samples, is compared with ``missing_genotypes: exclude``, and the default is shown beside.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from allscan.engine.simulation.spectrum import simulate_calls_block
from benchmarks.stores import write_pgen, write_store

COVARIATES = 10


@dataclass(frozen=True)
class Cost:
    """What a process cost."""

    cpu_seconds: float
    wall_seconds: float
    peak_mb: float


def measure(command: list[str], log: Path) -> Cost:
    """Run a command to its end; raises when it fails."""
    import time

    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    start = time.perf_counter()
    with log.open("wb") as out:
        process = os.posix_spawnp(
            command[0],
            command,
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, out.fileno(), 1), (os.POSIX_SPAWN_DUP2, out.fileno(), 2)],
        )
        _, status, usage = os.wait4(process, 0)
    if status != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{log.read_text()[-2000:]}")
    return Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - start, usage.ru_maxrss / 1024)


def write_inputs(folder: Path, samples: int, variants: int, traits: int, missing_rate: float) -> None:
    """Genotypes (half of the variants rare), traits and covariates, for both programs."""
    rng = np.random.default_rng(5)
    half = variants // 2
    calls = np.vstack(
        [
            simulate_calls_block(rng, samples, half, "wgs", missing_rate=missing_rate),
            simulate_calls_block(rng, samples, variants - half, "array", missing_rate=missing_rate),
        ]
    )
    calls = calls[rng.permutation(variants)]
    write_store(folder / "cohort.zarr", calls)
    write_pgen(folder / "cohort.pgen", calls)
    rows = [f"1\t{v + 1}\tv{v}\tA\tC\n" for v in range(variants)]
    (folder / "cohort.pvar").write_text("#CHROM\tPOS\tID\tREF\tALT\n" + "".join(rows))
    (folder / "cohort.psam").write_text("#IID\tSEX\n" + "".join(f"s{i}\tNA\n" for i in range(samples)))
    for name, columns in (("t", traits), ("c", COVARIATES)):
        values = rng.normal(size=(samples, columns))
        lines = ["\t".join(["#IID", *(f"{name}{k}" for k in range(columns))])]
        lines += [f"s{i}\t" + "\t".join(f"{x:.6f}" for x in row) for i, row in enumerate(values)]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")


def job(folder: Path, traits: int, missing: str) -> Path:
    """A job file for ``traits`` traits."""
    document = {
        "name": "side by side",
        "genotypes": "cohort.zarr",
        "traits": {"file": "t.tsv", "columns": [f"t{k}" for k in range(traits)]},
        "covariates": {"file": "c.tsv", "formula": " + ".join(f"c{k}" for k in range(COVARIATES))},
        "missing_genotypes": missing,
        "output": "run",
    }
    path = folder / "job.yaml"
    path.write_text(json.dumps(document))
    return path


def commands(traits: int, threads: int) -> dict[str, list[str]]:
    """Command lines by label."""
    plink = ["plink2", "--pfile", "cohort", "--glm", "hide-covar", "--covar", "c.tsv", "--pheno", "t.tsv"]
    plink += ["--pheno-name", ",".join(f"t{k}" for k in range(traits)), "--threads", str(threads), "--out", "plink"]
    run = [sys.executable, "-m", "allscan.jobs.cli", "run", "job.yaml", "--workers", str(threads)]
    return {"plink2": plink, "allscan impute_mean": run, "allscan exclude": run}


def main() -> None:
    """Print a table: medians over the repetitions, and the ratio to PLINK 2."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--variants", type=int, default=20_480)
    parser.add_argument("--traits", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--missing-rate", type=float, default=0.002)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/side_by_side"))
    options = parser.parse_args()
    folder = options.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # In a process of its own: a child's peak memory counts that of the process which started it.
    inputs = (folder, options.samples, options.variants, max(options.traits), options.missing_rate)
    maker = multiprocessing.get_context("spawn").Process(target=write_inputs, args=inputs)
    maker.start()
    maker.join()
    if maker.exitcode != 0:
        sys.exit("the inputs could not be written")
    os.chdir(folder)
    print(f"{options.samples:,} people x {options.variants:,} variants, {options.missing_rate:.2%} of calls missing")
    print(f"{'traits':>6}  {'program':<20} {'CPU s':>8} {'wall s':>8} {'peak MB':>8} {'CPU / plink2':>12}")
    for traits in options.traits:
        costs: dict[str, list[Cost]] = {}
        for _ in range(options.repeat):
            for label, command in commands(traits, options.threads).items():
                job(folder, traits, label.split()[-1] if "allscan" in label else "exclude")
                shutil.rmtree(folder / "run", ignore_errors=True)
                costs.setdefault(label, []).append(measure(command, folder / "log.txt"))
        base = statistics.median(cost.cpu_seconds for cost in costs["plink2"])
        for label, measured in costs.items():
            cpu = statistics.median(cost.cpu_seconds for cost in measured)
            wall = statistics.median(cost.wall_seconds for cost in measured)
            peak = max(cost.peak_mb for cost in measured)
            print(f"{traits:>6}  {label:<20} {cpu:>8.1f} {wall:>8.1f} {peak:>8.0f} {cpu / base:>12.2f}", flush=True)


if __name__ == "__main__":
    main()
