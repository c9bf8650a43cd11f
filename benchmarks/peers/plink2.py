"""PLINK 2: ``--glm``, by least squares; solves a variant with missing calls anew, without these samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.peer import Case, Peer, read_column


class Plink2(Peer):
    """https://www.cog-genomics.org/plink/2.0/assoc#glm."""

    name = "plink2"
    program = "plink2"
    missing = "exclude"
    # Six digits are printed; ours are float32. Between −log10 p from few and from all digits of t: 1e-5.
    relative = 1e-4
    absolute = 1e-4

    def command(self, binary: Path, case: Case) -> list[str]:
        """Covariates are left out of the output, as in ours."""
        return [
            *(str(binary), "--pfile", "cohort", "--glm", "hide-covar", "log10", "--covar", "c.tsv"),
            *("--pheno", "t.tsv", "--pheno-name", ",".join(case.trait_names)),
            *("--threads", str(case.threads), "--out", self.name),
        ]

    def neg_log10_p(self, folder: Path, case: Case, trait: str) -> NDArray[np.float64]:
        """From the table of the trait."""
        return read_column(folder / f"{self.name}.{trait}.glm.linear", "ID", "LOG10_P", case.variants)
