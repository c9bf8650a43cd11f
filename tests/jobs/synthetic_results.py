"""Results made of arrays, with the shape of a cube: nulls, peaks, extremes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from scipy import special

from allscan.engine.columns import CASE_COLUMNS
from allscan.engine.store import VariantTable
from allscan.engine.variant_names import VariantNames, VariantPlaces
from allscan.kernels.association import OutputColumn, Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

LINEAR_COLUMNS = (
    OutputColumn("beta", "Effect of one copy"),
    OutputColumn("standard_error", "Its standard error"),
    OutputColumn("neg_log10_p", "-log10 p"),
)
COUNTS = (
    OutputColumn("n", "People", dtype="int32"),
    OutputColumn("effect_allele_count", "Alleles"),
    OutputColumn("effect_allele_frequency", "Frequency"),
    OutputColumn("missing_rate", "Fraction"),
    OutputColumn("status", "Status", dtype="uint8"),
)
GENOTYPIC_COLUMNS = (
    *LINEAR_COLUMNS[:2],
    OutputColumn("beta_domdev", "Dominance deviation"),
    OutputColumn("standard_error_domdev", "Its standard error"),
    LINEAR_COLUMNS[2],
)


@dataclass
class ArrayResults:
    """A results cube held in memory."""

    traits: tuple[str, ...]
    table: VariantTable
    values: dict[str, NDArray[Any]]  # (strata, traits, variants)
    strata: tuple[str, ...] = ("all",)
    own_columns: tuple[OutputColumn, ...] = LINEAR_COLUMNS
    attrs: dict[str, Any] = field(
        default_factory=lambda: {
            "test": "linear",
            "model": "additive",
            "missing_genotypes": "impute_mean",
            "reference_build": "GRCh38",
            "effect_allele": "ALT",
            "digest": "0123456789abcdef",
        }
    )

    @property
    def columns(self) -> tuple[OutputColumn, ...]:
        of_cases = CASE_COLUMNS if "cases" in self.values else ()
        return (*self.own_columns, *COUNTS[:-1], *of_cases, COUNTS[-1])

    @property
    def kinds(self) -> tuple[ArrayResults, ...]:
        return (self,)

    @property
    def n_variants(self) -> int:
        return len(self.table)

    def variant_table(self, start: int = 0, stop: int | None = None) -> VariantTable:
        rows = slice(start, stop)
        t = self.table
        return VariantTable(
            t.contig[rows], t.position[rows], t.variant_id[rows], t.ref[rows], t.alt[rows], t.info[rows]
        )

    @cached_property
    def names(self) -> VariantNames:
        contigs = tuple(dict.fromkeys(self.table.contig))
        contig = np.array([contigs.index(name) for name in self.table.contig], np.int16)
        strings = (pa.array(column, pa.string()) for column in (self.table.variant_id, self.table.ref, self.table.alt))
        return VariantNames(contigs, contig, self.table.position, *strings, self.table.info)

    chunk_variants = 1024

    def variant_names(self, start: int = 0, stop: int | None = None) -> VariantNames:
        return self.names.slice(start, self.n_variants if stop is None else min(stop, self.n_variants))

    def variant_places(self, start: int = 0, stop: int | None = None) -> VariantPlaces:
        names = self.variant_names(start, stop)
        return VariantPlaces(names.contigs, names.contig, names.position)

    def block(self, column: str, stratum: int, traits: slice, variants: slice) -> NDArray[Any]:
        return self.values[column][stratum, traits, variants]


def make_variants(n: int, *, contigs: int = 22, prefix: str = "", seed: int = 1) -> VariantTable:
    """Variants spread over chromosomes in proportion to length, with some insertions and deletions."""
    rng = np.random.default_rng(seed)
    lengths = np.linspace(248e6, 51e6, contigs)
    share = np.maximum(np.round(n * lengths / lengths.sum()).astype(int), 1)
    share[0] += n - share.sum()
    contig = np.repeat([f"{prefix}{k + 1}" for k in range(contigs)], share).astype(object)
    position = np.concatenate(
        [np.sort(rng.integers(10_000, int(length), count)) for length, count in zip(lengths, share, strict=True)]
    ).astype(np.int32)
    bases = np.array(list("ACGT"), dtype=object)
    ref_code = rng.integers(0, 4, n)
    ref = bases[ref_code]
    alt = bases[(ref_code + rng.integers(1, 4, n)) % 4]
    longer = rng.random(n) < 0.05
    alt[longer] = ref[longer] + "TTA"
    shorter = rng.random(n) < 0.05
    ref[shorter] = alt[shorter] + "GC"
    ids = np.array([f"rs{k}" if rng.random() < 0.7 else "." for k in range(1, n + 1)], dtype=object)
    info = np.where(rng.random(n) < 0.5, np.nan, rng.uniform(0.3, 1.0, n)).astype(np.float32)
    return VariantTable(contig, position, ids, ref, alt, info)


def make_results(
    n_traits: int,
    n_variants: int,
    *,
    contigs: int = 22,
    peaks: int = 4,
    strongest: float = 30.0,
    n_samples: int = 20_000,
    inflation: float = 1.0,
    strata: tuple[str, ...] = ("all",),
    prefix: str = "",
    seed: int = 1,
) -> ArrayResults:
    """Null statistics with a few peaks per trait."""
    rng = np.random.default_rng(seed)
    table = make_variants(n_variants, contigs=contigs, prefix=prefix, seed=seed)
    code = np.unique(table.contig.astype(str), return_inverse=True)[1]
    shape = (len(strata), n_traits, n_variants)
    frequency = np.clip(rng.beta(0.3, 1.5, n_variants), 1e-5, 1 - 1e-5)
    z = rng.standard_normal(shape, dtype=np.float32) * np.float32(np.sqrt(inflation))
    for g in range(shape[0]):
        for t in range(n_traits):
            for peak in range(int(rng.integers(0, peaks + 1))):
                centre = int(rng.integers(n_variants))
                near = np.flatnonzero(
                    (code == code[centre]) & (np.abs(table.position - table.position[centre]) < 400_000)
                )
                distance = np.abs(table.position[near] - table.position[centre]) / 150_000
                top = np.sqrt(2 * np.log(10) * max(6.0, strongest / (peak + 1)))
                z[g, t, near] += (top * np.exp(-distance) * rng.uniform(0.3, 1, len(near))).astype(np.float32)
                z[g, t, centre] = top
    log_p = special.log_ndtr(-np.abs(z.astype(float))) + np.log(2)
    y = (-log_p / np.log(10)).astype(np.float32)
    se = np.broadcast_to(1 / np.sqrt(2 * n_samples * frequency * (1 - frequency)), shape).astype(np.float32)
    status = np.zeros(shape, np.uint8)
    rare = frequency * 2 * n_samples < 1
    status[..., rare] = Status.MONOMORPHIC
    y[..., rare] = np.nan
    values: dict[str, NDArray[Any]] = {
        "beta": np.where(np.isnan(y), np.nan, z * se).astype(np.float32),
        "standard_error": np.where(np.isnan(y), np.nan, se).astype(np.float32),
        "neg_log10_p": y,
        "n": np.full(shape, n_samples, np.int32),
        "effect_allele_count": np.broadcast_to(frequency * 2 * n_samples, shape).astype(np.float32),
        "effect_allele_frequency": np.broadcast_to(frequency, shape).astype(np.float32),
        "missing_rate": np.zeros(shape, np.float32),
        "status": status,
    }
    names = tuple(f"trait_{t + 1:03d}" for t in range(n_traits))
    return ArrayResults(names, table, values, strata)


def make_binary(results: ArrayResults, *, share: float = 0.02, seed: int = 5) -> ArrayResults:
    """The same as of binary traits: cases and controls, and rows refined by every method."""
    rng = np.random.default_rng(seed)
    values = results.values
    frequency, n = values["effect_allele_frequency"], values["n"]
    values["cases"] = np.full(n.shape, round(share * int(n.max())), np.int32)
    in_cases = np.clip(frequency * rng.uniform(0.5, 1.5, frequency.shape), 0, 1).astype(np.float32)
    values["effect_allele_frequency_cases"] = in_cases
    controls = (frequency - share * in_cases) / (1 - share)
    values["effect_allele_frequency_controls"] = np.clip(controls, 0, 1).astype(np.float32)
    for who, number in (("cases", values["cases"]), ("controls", n - values["cases"])):
        of_who = values[f"effect_allele_frequency_{who}"]
        values[f"carriers_{who}"] = np.rint(number * (1 - (1 - of_who) ** 2)).astype(np.int32)
    refined = (values["status"] == Status.OK) & (values["neg_log10_p"] > 1.3)
    methods = np.array([Status.SADDLEPOINT, Status.FIRTH, Status.EXACT])
    values["status"][refined] = rng.choice(methods, int(refined.sum()))
    results.attrs["test"] = "logistic"
    return results


def make_provenance(results: ArrayResults) -> dict[str, Any]:
    """A provenance document as a run writes it."""
    n = int(results.values["n"].max(initial=0))
    return {
        "format": "allscan-provenance",
        "format_version": 1,
        "name": "Lipids and other traits",
        "command": ["allscan", "run", "lipids.yaml"],
        "software": {"allscan": "0.1.0", "python": "3.12.4", "numpy": "2.4.6", "zarr": "3.1.6", "blas": []},
        "system": {"platform": "Linux-6.8-x86_64", "cpu": "Example CPU", "cpus": 8, "memory_bytes": 2**35},
        "inputs": [{"role": "traits.file", "path": "traits.tsv", "bytes": 12345, "sha256": "ab" * 32}],
        "genotypes": {"path": "cohort.zarr", "fingerprint": "cd" * 16, "n_variants": results.n_variants},
        "samples": {
            "in_genotypes": n + 812,
            "analysed": n,
            "sex": {"male": n // 2, "female": n - n // 2, "unknown": 0},
            "accounting": [
                {"reason": "in the genotypes", "count": n + 812, "kept": True},
                {"reason": "not in the trait table", "count": 700, "kept": False},
                {"reason": "excluded by withdrawn.txt", "count": 12, "kept": False},
                {"reason": "missing covariate", "count": 100, "kept": False},
                {"reason": "analysed", "count": n, "kept": True},
            ],
        },
        "traits": [
            {"name": name, "transform": "none", "n": n, "mean": 0.0, "sd": 1.0, "status": "ok", "message": ""}
            for name in results.traits
        ],
        "covariates": {
            "formula": "age + sex + pc[1:10]",
            "names": ["intercept", "age", "sex[female]", *(f"pc{k}" for k in range(1, 11))],
            "dropped": [{"name": "array", "reason": "a combination of sex[female] and pc1"}],
        },
        "variants": {
            "in_genotypes": results.n_variants + 450,
            "tested": results.n_variants,
            "accounting": [{"reason": "minor-allele count below 5", "count": 450}],
        },
        "strata": list(results.strata),
        "trait_notes": [],
        "warnings": ["covariate 'array' is a combination of sex[female] and pc1; it was dropped"],
        "run": {
            "started": "2026-01-02T03:04:05Z",
            "finished": "2026-01-02T03:10:05Z",
            "elapsed_seconds": 360.2,
            "cpu_seconds": 700.0,
            "peak_memory_bytes": 2_100_000_000,
        },
    }
