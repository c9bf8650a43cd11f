"""PLINK 2's `--maf`, `--mac`, `--geno` and `--indep-pairwise`, run here and now: the same markers, one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from peers import plink2

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.marker_names import named_markers
from allscan.engine.markers import MarkerRules, choose_markers

pytestmark = pytest.mark.reference

UNIQUE_IDS = ("--set-all-var-ids", "@:#:$r:$a", "--new-id-max-allele-len", 1000)


def plink2_markers(prefix: Path, rules: MarkerRules, people: Path | None, n_people: int, out: Path) -> set[str]:
    """Chromosome:position:ref:alt of the variants that PLINK 2 keeps."""
    keep = () if people is None else ("--keep", people)
    filters = ("--maf", rules.min_maf, "--mac", rules.least_copies(n_people), "--geno", rules.max_missing_rate)
    window = (f"{rules.window_bp // 1000}kb",) if rules.window is None else (rules.window, 1)
    prune = ("--indep-pairwise", *window, rules.prune_r2)
    plink2("--bfile", prefix, *UNIQUE_IDS, "--snps-only", *keep, *filters, *prune, out=out)
    return set(Path(f"{out}.prune.in").read_text().split())


@pytest.mark.parametrize(
    "rules",
    [
        MarkerRules(),
        MarkerRules(window=50, prune_r2=0.2),
        MarkerRules(window_bp=250_000, prune_r2=0.5, max_missing_rate=0.3, min_mac=1),
    ],
)
@pytest.mark.parametrize("some", [False, True])
def test_missing_calls_and_some_of_the_people(chr22, tmp_path, rules, some):
    """Frequencies and missing rates are those of the people kept; correlations those of pairs of calls."""
    store = chr22.store
    rows = np.arange(store.n_samples)
    people = None
    if some:
        rows = np.sort(np.random.default_rng(4).choice(rows, 600, replace=False))
        people = tmp_path / "keep.txt"
        family = chr22.prefix.with_suffix(".fam").read_text().splitlines()
        people.write_text("".join(f"{family[row]}\n" for row in rows))
    expected = plink2_markers(chr22.prefix, rules, people, len(rows), tmp_path / "peer")
    table = store.variants()
    # A nucleotide for another: PLINK 2 has no filter for sites with several alternate alleles of a split file.
    single = np.array([len(ref) == len(alt) == 1 for ref, alt in zip(table.ref, table.alt, strict=True)])
    chosen = choose_markers(store, rows, rules, EmbeddedExecutor(2), among=np.flatnonzero(single))
    assert {table.key(row) for row in chosen.rows} == expected
    assert 500 < len(expected) < 15_000


@pytest.mark.parametrize(
    "rules", [MarkerRules(), MarkerRules(window=1000), MarkerRules(window_bp=100_000, prune_r2=0.1)]
)
def test_chromosomes_of_489_people(kg489, tmp_path, rules):
    expected = set()
    for chromosome in (1, 2, 22):
        prefix = kg489.prefix.with_name(f"chr{chromosome}")
        expected |= plink2_markers(prefix, rules, None, 489, tmp_path / f"peer{chromosome}")
    chosen = choose_markers(kg489.store, np.arange(489), rules, EmbeddedExecutor(2))
    table = kg489.store.variants()
    assert {table.key(row) for row in chosen.rows} == expected
    assert len(expected) > 500
    again = named_markers(kg489.store, table.variant_id[chosen.rows], np.arange(489), EmbeddedExecutor(1))
    np.testing.assert_array_equal(again.rows, chosen.rows)
