"""REGENIE, step 2 without the predictions of step 1: a score test; missing calls are imputed by the mean.

The binary is the user's: ``--peer regenie=/path/to/regenie`` (https://github.com/rgcgithub/regenie/releases).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.peer import Case, Peer, read_column


class Regenie(Peer):
    """https://rgcgithub.github.io/regenie/options/."""

    name = "regenie"
    program = "regenie"
    missing = "impute_mean"
    # A χ² of (n − k) r² where ours is a t test: −log10 p differ by about (1 + t²) / 2n of themselves.
    relative = 2e-3
    absolute = 2e-3

    def command(self, binary: Path, case: Case) -> list[str]:
        """Every variant is tested, as in ours, where REGENIE's default leaves out those of less than five copies."""
        return [
            *(str(binary), "--step", "2", "--qt", "--bed", "cohort", "--ignore-pred", "--minMAC", "0.5"),
            *("--phenoFile", "t.tsv", "--phenoColList", ",".join(case.trait_names), "--covarFile", "c.tsv"),
            *("--bsize", "400", "--threads", str(case.threads), "--out", self.name),
        ]

    def neg_log10_p(self, folder: Path, case: Case, trait: str) -> NDArray[np.float64]:
        """From the table of the trait."""
        return read_column(folder / f"{self.name}_{trait}.regenie", "ID", "LOG10P", case.variants)
