"""allscan and other programs on the same genotypes and traits: whole processes, and whether their results agree.

All read genotypes from disk (a store, a .pgen, a .bed), test every variant against every trait with ten covariates, and
write their results. Runs of the programs alternate, so that a slow minute of the machine meets all of them. Before
a ratio is shown, −log10 p of both are compared: it is a ratio of the same work or none.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from allscan.engine.results import ResultsCube
from allscan.errors import AllscanError, InputError
from allscan.jobs.machine import available_cpus
from benchmarks.peers import cost
from benchmarks.peers.inputs import write_inputs, write_job
from benchmarks.peers.peer import Case, Peer
from benchmarks.peers.plink2 import Plink2
from benchmarks.peers.regenie import Regenie
from benchmarks.records import Cost, PeerResult

PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (Plink2, Regenie)}
MODES = ("exclude", "impute_mean")
HINDRANCES = ("OPENBLAS_CORETYPE", "PYTHONDONTWRITEBYTECODE")
"""Settings of a shell that would slow us down in every run: a slower BLAS, and our sources compiled anew."""
CHECKED_TRAITS = 4  # of a case, spread over it; each with every variant


@dataclass(frozen=True)
class Sizes:
    """Which cases are compared: every number of traits with every share of missing calls."""

    samples: int
    variants: int
    traits: tuple[int, ...]
    missing_rates: tuple[float, ...]
    repeats: int = 3
    threads: int = 0  # 0: all that the process may use


@dataclass(frozen=True)
class FoundPeer:
    """A peer that is there."""

    peer: Peer
    binary: Path
    version: str


class DisagreementError(AllscanError):
    """Two programs gave different results for the same data."""

    exit_code = 2


def find_peers(options: Sequence[str]) -> list[FoundPeer]:
    """Peers from ``NAME`` or ``NAME=PATH``.

    Raises
    ------
    InputError
        If a name is unknown or its program is not there.
    """
    found = []
    for option in options:
        name, _, given = option.partition("=")
        if name not in PEERS:
            raise InputError(f"no peer is called {name!r}", where="--peer", fix=f"known are {', '.join(PEERS)}")
        peer = PEERS[name]()
        path = shutil.which(given or peer.program)
        if path is None:
            what = f"{given} is no program that can be run" if given else f"{peer.program} is not on PATH"
            raise InputError(
                what, where=f"--peer {option}", fix=f"give its path: --peer {name}=/path/to/{peer.program}"
            )
        binary = Path(path).absolute()  # not resolved: a link may choose by the name it is called by
        found.append(FoundPeer(peer, binary, peer.version(binary)))
    return found


def measure(command: Sequence[str], folder: Path) -> Cost:
    """Run a command in ``folder`` to its end.

    Raises
    ------
    InputError
        If it fails.
    """
    report, log = folder / "cost.json", folder / "log.txt"
    environment = {name: value for name, value in os.environ.items() if name not in HINDRANCES}
    launcher = [sys.executable, "-I", "-S", str(Path(cost.__file__)), str(report), str(log), *command]
    subprocess.run(launcher, cwd=folder, env=environment, check=True)
    found = json.loads(report.read_text())
    if found.pop("status") != 0:
        raise InputError(f"the command failed:\n{log.read_text(errors='replace')[-2000:]}", where=" ".join(command))
    return Cost(**found)


def run_contest(peers: Sequence[FoundPeer], sizes: Sizes, say: Callable[[str], None]) -> list[PeerResult]:
    """Compare with every peer on every case.

    Raises
    ------
    InputError
        If a program fails.
    DisagreementError
        If results differ by more than the peer's tolerance.
    """
    results = []
    threads = sizes.threads or available_cpus()
    for missing_rate in sizes.missing_rates:
        with tempfile.TemporaryDirectory(prefix="allscan-peers-") as made:
            folder = Path(made)
            # In a process of its own: the arrays of a simulation are no memory of this one.
            inputs = (folder, sizes.samples, sizes.variants, max(sizes.traits), missing_rate)
            maker = multiprocessing.get_context("spawn").Process(target=write_inputs, args=inputs)
            maker.start()
            maker.join()
            if maker.exitcode != 0:
                raise InputError("the inputs could not be written", where=str(folder), fix="is the disk full?")
            for traits in sizes.traits:
                case = Case(sizes.samples, sizes.variants, traits, missing_rate, threads)
                say(case.title)
                results += _run_case(peers, case, folder, sizes.repeats, say)
    return results


def _run_case(
    peers: Sequence[FoundPeer], case: Case, folder: Path, repeats: int, say: Callable[[str], None]
) -> list[PeerResult]:
    costs: dict[str, list[Cost]] = {}
    own: dict[str, dict[str, NDArray[np.float64]]] = {}
    ours = [sys.executable, "-m", "allscan.jobs.cli", "run", "job.yaml", "--workers", str(case.threads)]
    traits = [case.trait_names[k] for k in np.unique(np.linspace(0, case.traits - 1, CHECKED_TRAITS).astype(int))]
    for repeat in range(repeats):
        for mode in MODES:
            write_job(folder, case, mode)
            shutil.rmtree(folder / "run", ignore_errors=True)
            costs.setdefault(f"allscan {mode}", []).append(measure(ours, folder))
            if repeat == 0:
                cube = ResultsCube.open(folder / "run")
                own[mode] = {trait: cube.trait_columns(trait)["neg_log10_p"].astype(float) for trait in traits}
        for found in peers:
            costs.setdefault(found.peer.name, []).append(measure(found.peer.command(found.binary, case), folder))
    results = []
    for found in peers:
        peer = found.peer
        parts = [(own[peer.missing][trait], peer.neg_log10_p(folder, case, trait)) for trait in traits]
        compared, largest = agreement(peer, case, *(np.concatenate(side) for side in zip(*parts, strict=True)))
        mine = {label: runs for label, runs in costs.items() if label in (peer.name, *(f"allscan {m}" for m in MODES))}
        results.append(
            PeerResult(
                peer.name,
                found.version,
                case.samples,
                case.variants,
                case.traits,
                case.missing_rate,
                case.threads,
                mine,
                compared,
                largest,
            )
        )
        medians = {label: float(np.median([one.cpu_seconds for one in runs])) for label, runs in mine.items()}
        say("  " + ", ".join(f"{label} {seconds:.2f} CPU s" for label, seconds in medians.items()))
    return results


def agreement(peer: Peer, case: Case, ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> tuple[int, float]:
    """How many numbers were compared, and the largest difference over the tolerance.

    Raises
    ------
    DisagreementError
        If a difference exceeds the tolerance, or more than 1 % of the variants have a result on one side only.
    """
    both = np.isfinite(ours) & np.isfinite(theirs)
    one_side = int((np.isfinite(ours) != np.isfinite(theirs)).sum())
    allowed = peer.relative * np.abs(theirs[both]) + peer.absolute
    largest = float(np.max(np.abs(ours[both] - theirs[both]) / allowed, initial=0.0))
    if largest > 1 or one_side > 0.01 * len(ours) or not both.any():
        raise DisagreementError(
            f"allscan and {peer.name} disagree: −log10 p differ by up to {largest:.1f} times the tolerance, "
            f"{one_side:,} of {len(ours):,} results are on one side only",
            where=case.title,
            fix="their times are those of different work: find out which is right before comparing them",
        )
    return int(both.sum()), largest
