"""Results of groups, of everybody, and their meta-analysis, made of arrays: shared, differing and single effects."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allscan.engine.meta.block import combine, meta_columns
from allscan.engine.meta.spec import MetaSpec
from allscan.engine.meta.studies import effective_size, study_block
from allscan.kernels.association import Status
from allscan.kernels.meta import fixed_effects
from tests.jobs.synthetic_results import ArrayResults, make_provenance, make_variants

GROUPS = {"eur": 12_000, "afr": 5_000, "amr": 3_000}
IN_NO_GROUP = 400
SPEC = MetaSpec(methods=("random", "re2", "sample_size"))
META_COLUMNS = frozenset({"n", "effect_allele_frequency", "status", "cases"})


def make_stratified(
    n_traits: int = 2, n_variants: int = 4_000, *, loci: int = 4, binary: bool = False, seed: int = 3
) -> tuple[ArrayResults, ArrayResults, dict[str, Any]]:
    """Results of ``all`` and three groups, their meta-analysis, and a provenance document.

    Of each trait's loci, the first is shared by all groups, the second is an effect of the first group only, the third
    has another sign in the second group, the rest are shared and small.
    """
    rng = np.random.default_rng(seed)
    table = make_variants(n_variants, seed=seed)
    names = tuple(GROUPS)
    sizes = np.array([*GROUPS.values()])
    frequency = np.clip(rng.beta(0.5, 1.0, (len(names), n_variants)), 0.0, 1.0)
    # A tenth of the variants vary in one group only.
    single = rng.random(n_variants) < 0.1
    only = rng.integers(len(names), size=n_variants)
    for g in range(len(names)):
        frequency[g, single & (only != g)] = 0.0
    lead = rng.permutation(np.flatnonzero(~single))[: n_traits * loci].reshape(n_traits, loci)
    frequency[:, lead.ravel()] = np.clip(frequency[:, lead.ravel()], 0.1, 0.9)
    scale = np.sqrt(4.0 * 0.1 * 0.9) if binary else 1.0
    variance = 2.0 * frequency * (1.0 - frequency) * sizes[:, None] * (scale / 2.0 if binary else 1.0) ** 2
    with np.errstate(divide="ignore"):
        error = np.where(variance > 0.5, variance**-0.5, np.nan)
    effect = np.zeros((n_traits, len(names), n_variants))
    for t in range(n_traits):
        for k, variant in enumerate(lead[t]):
            size = 7.0 * np.nanmin(error[:, variant]) if k < 3 else 3.4 * np.nanmedian(error[:, variant])
            shape = {0: [1, 1, 1], 1: [1.3, 0, 0], 2: [1.5, -1, 1]}.get(k, [1, 1, 1])
            effect[t, :, variant] = size * np.array(shape)
    beta = effect.transpose(1, 0, 2) + error[:, None] * rng.standard_normal((len(names), n_traits, n_variants))
    errors = np.broadcast_to(error[:, None], beta.shape)
    pooled_beta, pooled_error = _pooled(beta, errors, rng)
    all_sizes = np.array([sizes.sum() + IN_NO_GROUP, *sizes])
    all_frequency = np.concatenate([np.average(frequency, axis=0, weights=sizes)[None], frequency])
    beta = np.concatenate([pooled_beta[None], beta])
    errors = np.concatenate([pooled_error[None], errors])
    status = np.where(np.isfinite(beta), Status.OK, Status.MONOMORPHIC).astype(np.uint8)
    values: dict[str, NDArray[Any]] = {
        "beta": beta.astype(np.float32),
        "standard_error": np.where(np.isfinite(beta), errors, np.nan).astype(np.float32),
        "neg_log10_p": _neg_log10_p(beta, errors),
        "n": np.broadcast_to(all_sizes[:, None, None], beta.shape).astype(np.int32),
        "effect_allele_count": np.zeros(beta.shape, np.float32),
        "effect_allele_frequency": np.broadcast_to(all_frequency[:, None], beta.shape).astype(np.float32),
        "missing_rate": np.zeros(beta.shape, np.float32),
        "status": status,
    }
    if binary:
        values["cases"] = (values["n"] // 10).astype(np.int32)
        for who in ("cases", "controls"):
            values[f"effect_allele_frequency_{who}"] = values["effect_allele_frequency"]
            values[f"carriers_{who}"] = np.zeros(beta.shape, np.int32)
    traits = tuple(f"trait_{t + 1}" for t in range(n_traits))
    strata = ("all", *(f"ancestry={name}" for name in names))
    results = ArrayResults(traits, table, values, strata)
    provenance = make_provenance(results)
    provenance["strata"] = list(strata)
    provenance["samples"]["analysed"] = int(all_sizes[0])
    provenance["stratifications"] = [
        {
            "name": "ancestry",
            "analyses": ["pooled", "per_group", "meta"],
            "min_people": 100,
            "min_cases": 50,
            "in_no_group": IN_NO_GROUP - 60,
            "groups": [
                *(
                    {"group": name, "stratum": f"ancestry={name}", "reason": None, "analysed": size}
                    | {"covariates": [], "traits_not_scanned": []}
                    for name, size in GROUPS.items()
                ),
                {
                    "group": "mid",
                    "stratum": None,
                    "reason": "60 people are analysed, fewer than 100 (`min_people`)",
                    "analysed": 60,
                    "covariates": [],
                    "traits_not_scanned": [],
                },
            ],
        }
    ]
    return results, make_meta(results, list(range(1, len(strata)))), provenance


def make_meta(results: ArrayResults, members: list[int], name: str = "ancestry") -> ArrayResults:
    """The meta-analysis of some strata, by the engine's own function."""
    binary = "cases" in results.values
    columns = meta_columns(SPEC, binary=binary)
    found: dict[str, list[NDArray[Any]]] = {column.name: [] for column in columns}
    for t in range(len(results.traits)):
        of_trait = {key: array[members, t].astype(np.float64) for key, array in results.values.items()}
        wanted = ["beta", "standard_error", "neg_log10_p", "n", "effect_allele_frequency"]
        wanted += ["cases", "effect_allele_frequency_cases", "effect_allele_frequency_controls"] if binary else []
        made = combine(study_block(*(of_trait[key] for key in wanted)), SPEC)
        for key, rows in found.items():
            rows.append(made[key])
    values = {key: np.stack(rows)[None] for key, rows in found.items()}
    own = tuple(column for column in columns if column.name not in META_COLUMNS)
    attrs = {
        **results.attrs,
        "test": "fixed-effects meta-analysis",
        "spec": json.loads(SPEC.to_json()),
        "inflation": {},
    }
    return ArrayResults(results.traits, results.table, values, (name,), own, attrs)


def effective(results: ArrayResults, stratum: int) -> float:
    """Effective size of a stratum's first trait."""
    n, cases = (float(results.values[key][stratum, 0, 0]) for key in ("n", "cases"))
    return float(effective_size(np.array(n), np.array(cases)))


def _pooled(
    beta: NDArray[np.float64], error: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Near the common effect, as a scan of everybody is."""
    shape = beta.shape[1:]
    made = fixed_effects(beta.reshape(len(beta), -1), np.array(error).reshape(len(beta), -1))
    noise = 0.3 * made.standard_error * rng.standard_normal(made.beta.shape)
    return (made.beta + noise).reshape(shape), (0.98 * made.standard_error).reshape(shape)


def _neg_log10_p(beta: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.float32]:
    shape = beta.shape
    z = (beta / error).reshape(1, -1)
    return fixed_effects(z, np.ones_like(z)).neg_log10_p.reshape(shape).astype(np.float32)
