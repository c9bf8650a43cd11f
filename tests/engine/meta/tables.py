"""Tables of summary statistics of made-up studies, written in one way or another."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

COMPLEMENT = str.maketrans("ACGT", "TGCA")
SNVS = [("A", "C"), ("A", "G"), ("C", "T"), ("G", "T"), ("C", "A"), ("T", "C")]
PALINDROMES = [("A", "T"), ("C", "G"), ("G", "C")]
SEQUENCES = [("A", "AT"), ("CTT", "C"), ("G", "GACAC")]


def variants(n: int, *, seed: int = 1, palindromes: bool = True) -> pd.DataFrame:
    """Variants on three chromosomes with alleles of all kinds, and the frequency of ALT."""
    rng = np.random.default_rng(seed)
    kinds = SNVS * 3 + (PALINDROMES if palindromes else []) + SEQUENCES
    which = rng.integers(0, len(kinds), n)
    position = np.sort(rng.choice(np.arange(1, 60_000_000), n, replace=False))
    contig = np.sort(rng.choice(["1", "2", "X"], n))
    frame = pd.DataFrame({"contig": contig, "position": position})
    frame["ref"] = [kinds[k][0] for k in which]
    frame["alt"] = [kinds[k][1] for k in which]
    frame["rs"] = [f"rs{k + 1}" for k in range(n)]
    frame["frequency"] = rng.uniform(0.05, 0.95, n)
    frame["effect"] = np.where(rng.random(n) < 0.1, rng.normal(0, 0.3, n), 0.0)
    return frame


def study(sites: pd.DataFrame, *, n: int = 4000, seed: int = 1, share: float = 0.9) -> pd.DataFrame:
    """Results of one study at a share of the variants, of ALT, as a table with the names of GWAS-SSF."""
    from scipy import stats

    rng = np.random.default_rng(seed)
    here = sites[rng.random(len(sites)) < share]
    f = np.clip(here.frequency + rng.normal(0, 0.01, len(here)), 0.01, 0.99)
    error = 1 / np.sqrt(2 * f * (1 - f) * n)
    beta = here.effect + rng.normal(size=len(here)) * error
    y = -(np.log(2) + stats.norm.logsf(np.abs(beta / error))) / np.log(10)
    return pd.DataFrame(
        {
            "chromosome": here.contig.to_numpy(),
            "base_pair_location": here.position.to_numpy(),
            "effect_allele": here.alt.to_numpy(),
            "other_allele": here.ref.to_numpy(),
            "beta": beta.astype("f4").to_numpy(),
            "standard_error": error.astype("f4").to_numpy(),
            "effect_allele_frequency": f.astype("f4").to_numpy(),
            "neg_log_10_p_value": np.asarray(y, "f4"),
            "rsid": here.rs.to_numpy(),
            "n": n,
        }
    )


def swapped(table: pd.DataFrame, rows: Any = slice(None)) -> pd.DataFrame:
    """The same told of the other allele, in some rows."""
    out = table.copy()
    at = out.index[rows]
    out.loc[at, ["effect_allele", "other_allele"]] = table.loc[at, ["other_allele", "effect_allele"]].to_numpy()
    out.loc[at, "beta"] = -table.loc[at, "beta"]
    out.loc[at, "effect_allele_frequency"] = (np.float32(1) - table.loc[at, "effect_allele_frequency"]).astype("f4")
    return out


def flipped(table: pd.DataFrame) -> pd.DataFrame:
    """Single bases told on the other strand."""
    out = table.copy()
    single = (table.effect_allele.str.len() == 1) & (table.other_allele.str.len() == 1)
    for name in ("effect_allele", "other_allele"):
        out.loc[single, name] = table.loc[single, name].str.translate(COMPLEMENT)
    return out


def padded(table: pd.DataFrame) -> pd.DataFrame:
    """Alleles with bases that both share, as a split multiallelic site has them."""
    out = table.copy()
    for name in ("effect_allele", "other_allele"):
        out[name] = table[name] + "GATT"
    return out


def write(table: pd.DataFrame, path: Path, separator: str = "\t") -> str:
    """Write a table with the digits that give float32 back; compressed if its name says so."""
    text = table.to_csv(sep=separator, index=False, na_rep="NA")
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode(), 1))
    else:
        path.write_text(text)
    return str(path)
