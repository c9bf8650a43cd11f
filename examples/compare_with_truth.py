"""Compare the hits of a run on a simulated cohort with the truth of the simulation.

Usage: python compare_with_truth.py FOLDER, where `allscan simulate` and then `allscan run` have written.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

import allscan

SIGNIFICANT = 7.3  # -log10 of 5e-8
WINDOW = 500_000  # bases to either side
POWERED = 10.8  # expected -log10 p above which a true effect is found nine times in ten


def lead_variants(hits: pd.DataFrame) -> pd.DataFrame:
    """Of each trait, the strongest hit, then the strongest outside its window, and so on."""
    leads: list[pd.Series] = []
    for _, hit in hits[hits.neg_log10_p >= SIGNIFICANT].sort_values("neg_log10_p", ascending=False).iterrows():
        same = [lead for lead in leads if (lead.trait, lead.contig) == (hit.trait, hit.contig)]
        if all(abs(lead.position - hit.position) > WINDOW for lead in same):
            leads.append(hit)
    return pd.DataFrame(leads, columns=hits.columns)


def nearest_truth(lead: pd.Series, truth: pd.DataFrame) -> pd.Series | None:
    """The strongest true effect on the lead's trait within its window."""
    near = truth[
        (truth.trait == lead.trait)
        & (truth.chromosome == lead.contig)
        & ((truth.position - lead.position).abs() <= WINDOW)
    ]
    return None if near.empty else near.loc[near.variance_explained.idxmax()]


def main(folder: Path) -> None:
    run = folder / "runs" / "simulated"
    truth = pd.read_csv(folder / "truth.tsv", sep="\t", dtype={"chromosome": str})
    leads = lead_variants(pd.read_parquet(run / "hits.parquet"))

    print("Top hits against the truth (effect: of ALT, in trait units)")
    print(f"{'trait':<10}{'lead variant':<24}{'-log10 p':>9}{'beta':>9}{'SE':>8}   true effect within 500 kb")
    true_leads = 0
    for place, (_, lead) in enumerate(leads.iterrows()):
        cause = nearest_truth(lead, truth)
        true_leads += cause is not None
        if place >= 12:
            continue
        if cause is None:
            told = "none"
        elif cause.variant_id == lead.variant_id:
            told = f"{cause.effect:+.3f}, the same variant"
        else:
            told = f"{cause.effect:+.3f}, {abs(cause.position - lead.position) / 1000:.0f} kb away"
        print(
            f"{lead.trait:<10}{lead.variant_id:<24}{lead.neg_log10_p:>9.1f}{lead.beta:>+9.3f}"
            f"{lead.standard_error:>8.3f}   {told}"
        )
    if len(leads) > 12:
        print(f"… and {len(leads) - 12} more")

    powered = truth[truth.expected_neg_log10_p >= POWERED]
    found = 0
    for _, cause in powered.iterrows():
        of_trait = leads[(leads.trait == cause.trait) & (leads.contig == cause.chromosome)]
        found += bool(((of_trait.position - cause.position).abs() <= WINDOW).any())
    results = allscan.open_results(run)
    tests = results.sizes["trait"] * results.sizes["variant"]
    print(f"\n{tests:,} tests: {len(leads)} lead variants at p < 5e-8, {true_leads} of them at a true effect")
    print(f"{len(powered)} true effects with an expected -log10 p of {POWERED:g} or more: {found} found")
    print(f"\nreport      {run / 'report.html'}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
