"""What the benchmarks ask of another program. A new one is a file beside this one and a line in ``contest.PEERS``."""

from __future__ import annotations

import re
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Case:
    """One comparison. Files are those of :mod:`benchmarks.peers.inputs`, in the working folder of the program."""

    samples: int
    variants: int
    traits: int
    missing_rate: float
    threads: int

    @property
    def trait_names(self) -> tuple[str, ...]:
        """The first traits of the file."""
        return tuple(f"t{k}" for k in range(self.traits))

    @property
    def title(self) -> str:
        """For people."""
        missing = f"{self.missing_rate:.1%} of calls missing" if self.missing_rate else "no call missing"
        return f"{self.samples:,} people × {self.variants:,} variants × {self.traits} traits, {missing}"


class Peer(ABC):
    """A program that tests every variant against every trait with the covariates, linearly.

    Attributes
    ----------
    name
        What ``--peer`` calls it.
    program
        What it is called on PATH.
    missing
        Our ``missing_genotypes`` under which both do the same analysis.
    relative, absolute
        How far −log10 p of both may be apart, and why is said where they are set.
    """

    name: str
    program: str
    missing: str
    relative: float
    absolute: float

    def version(self, binary: Path) -> str:
        """The first line that it prints about itself.

        Raises
        ------
        OSError
            If the file is no program.
        """
        done = subprocess.run([str(binary), "--version"], capture_output=True, text=True, timeout=60, check=False)
        said = re.sub(r"\s+", " ", (done.stdout + done.stderr).strip().partition("\n")[0])
        return said[:100] or "unknown version"

    @abstractmethod
    def command(self, binary: Path, case: Case) -> list[str]:
        """Command line; results go into files of the working folder whose names begin with :attr:`name`."""

    @abstractmethod
    def neg_log10_p(self, folder: Path, case: Case, trait: str) -> NDArray[np.float64]:
        """Read a trait's results: −log10 p of every variant in the order of the file, NaN where there is none."""


def read_column(path: Path, identifier: str, column: str, variants: int) -> NDArray[np.float64]:
    """A column of a whitespace-separated table, by variant: ``v17`` is variant 17."""
    import pandas as pd

    table = pd.read_csv(path, sep=r"\s+", usecols=[identifier, column], na_values=["NA"])
    out = np.full(variants, np.nan)
    out[table[identifier].str.removeprefix("v").to_numpy(np.int64)] = table[column].to_numpy(float)
    return out
