"""A miniature of a release of All of Us: its folders, names, columns and forms of cells, with simulated people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pgenlib

from allscan.engine.simulation.cohort import simulate_cohort
from allscan.engine.simulation.options import SimulationOptions

FIRST_ID = 1_000_004
CHROMOSOMES = ("21", "22")
GROUPS = {"EUR": 0.36, "AFR": 0.32, "AMR": 0.26, "EAS": 0.06}
CLASSES = ("afr", "amr", "eas", "eur", "mid", "sas")
FLAGGED = 7
OTHER = 11  # people whose prediction is not certain


def make_release(folder: Path, *, samples: int, variants: int) -> tuple[Path, Path]:
    """Write ``v8``, as ``CDR_STORAGE_PATH`` names it, and a bucket with traits and covariates.

    Returns
    -------
    Both folders.
    """
    options = SimulationOptions(
        samples=samples,
        variants=variants,
        chromosomes=CHROMOSOMES,
        groups=GROUPS,
        traits=1,
        trait_names=("ldl",),
        binary_traits=1,
        prevalence=(0.45,),
        group_shift=0.0,
        components=2,
        founder_haplotypes=1000,
    )
    report = simulate_cohort(folder / "cohort", options, workers=1)
    people = pd.read_csv(report.folder / "samples.tsv", sep="\t", index_col="IID")
    research_id = pd.Series(FIRST_ID + 7 * np.arange(len(people)), index=people.index)
    release, bucket = folder / "v8", folder / "bucket"
    bucket.mkdir()
    _genotypes(report.folder, release / "wgs/short_read/snpindel/acaf_threshold/pgen", research_id)
    _tables(release / "wgs/short_read/snpindel/aux", people, research_id, report.folder)
    _own_tables(bucket, report.folder, research_id)
    return release, bucket


def _genotypes(cohort: Path, out: Path, research_id: pd.Series) -> None:
    """Files of a chromosome each; the second has no people of its own."""
    out.mkdir(parents=True)
    lines = (cohort / "genotypes.pvar").read_text().splitlines()
    sites = [line for line in lines if not line.startswith("#")]
    n = len(research_id)
    reader = pgenlib.PgenReader(str(cohort / "genotypes.pgen").encode(), raw_sample_ct=n)
    calls = np.empty((len(sites), n), np.int8)
    reader.read_range(0, len(sites), calls)
    reader.close()
    for chromosome in CHROMOSOMES:
        here = [k for k, site in enumerate(sites) if site.startswith(f"{chromosome}\t")]
        stem = out / f"acaf_threshold.chr{chromosome}"
        writer = pgenlib.PgenWriter(f"{stem}.pgen".encode(), n, variant_ct=len(here), nonref_flags=False)
        writer.append_biallelic_batch(np.ascontiguousarray(calls[here]))
        writer.close()
        rows = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT", *(f"chr{sites[k]}" for k in here)]
        Path(f"{stem}.pvar").write_text("\n".join(rows) + "\n")
    psam = out / f"acaf_threshold.chr{CHROMOSOMES[0]}.psam"
    psam.write_text("#IID\tSEX\n" + "".join(f"{person}\tNA\n" for person in research_id))


def _tables(aux: Path, people: pd.DataFrame, research_id: pd.Series, cohort: Path) -> None:
    rng = np.random.default_rng(4)
    for name in ("ancestry", "relatedness", "qc", "admixture_estimates"):
        (aux / name).mkdir(parents=True)
    columns = {"AFR": "ancestry_AFR", "EUR": "ancestry_EUR", "EAS": "ancestry_EAS", "AMR": "ancestry_NAT"}
    votes = np.zeros((len(people), len(CLASSES)))
    own = np.array([CLASSES.index(group.lower()) for group in people.group])
    votes[np.arange(len(people)), own] = 1
    unsure = rng.choice(len(people), OTHER, replace=False)
    votes[unsure, own[unsure]] = 0.6
    votes[unsure, (own[unsure] + 1) % len(CLASSES)] += 0.4
    features = rng.normal(size=(len(people), 16))
    rows = ["research_id\tancestry_pred\tprobabilities\tpca_features\tancestry_pred_other"]
    for k, person in enumerate(research_id):
        label = CLASSES[own[k]]
        rows.append(
            f"{person}\t{label}\t{votes[k].tolist()}\t{features[k].tolist()}\t{'oth' if k in unsure else label}"
        )
    _write(aux / "ancestry/echo_v4_r2.ancestry_preds.tsv", rows)

    pairs = ["i.s\tj.s\tkin"]
    related = set()
    for child in people.index:
        for parent in (people.father[child], people.mother[child]):
            if parent in people.index:
                pairs.append(f"{research_id[parent]}\t{research_id[child]}\t{0.25 + rng.normal(0, 0.005):.4f}")
                related.add(child)
    _write(aux / "relatedness/samples_relatedness.tsv", pairs)
    flagged = [str(research_id[person]) for person in sorted(related)]
    _write(aux / "relatedness/samples_relatedness_flagged_samples.tsv", ["sample_id", *flagged])

    of_quality = rng.choice(len(people), FLAGGED, replace=False)
    header = "s\tancestry_pred\tprobabilities\tsnp_count\tqc_metrics_filters"
    rows = [f'{research_id.iloc[k]}\teur\t{votes[k].tolist()}\t4000000\t["snp_count"]' for k in of_quality]
    _write(aux / "qc/flagged_samples.tsv", [header, *rows])
    sex = pd.read_csv(cohort / "covariates.tsv", sep="\t", index_col="IID").sex
    rows = ["research_id\tsample_source\tsex_at_birth\tdragen_sex_ploidy\tmean_coverage\tverify_bam_id2_contamination"]
    for k, person in enumerate(people.index):
        told, karyotype = ("M", "XY") if sex[person] == 1 else ("F", "XX")
        source = "Saliva" if k % 3 else "Whole Blood"
        coverage = f"{rng.normal(38, 2):.2f}"
        rows.append(f"{research_id[person]}\t{source}\t{told}\t{'XXY' if k == 5 else karyotype}\t{coverage}\t0.0004")
    _write(aux / "qc/genomics_metrics_Dec142023_1859_02_tz0000.tsv", rows)
    shares = people[list(columns.values())].to_numpy()
    shares = shares / shares.sum(axis=1, keepdims=True)
    rows = ["\t".join(name.lower() for name in columns)]
    rows += [
        "\t".join([str(person), *(f"{share:.6f}" for share in row)])
        for person, row in zip(research_id, shares, strict=True)
    ]
    _write(aux / "admixture_estimates/aou_admixture_estimates_rye_v8.Q", rows)


def _own_tables(bucket: Path, cohort: Path, research_id: pd.Series) -> None:
    """What a researcher made of the records."""
    traits = pd.read_csv(cohort / "traits.tsv", sep="\t", index_col="IID")
    diseases = pd.read_csv(cohort / "binary_traits.tsv", sep="\t", index_col="IID")
    covariates = pd.read_csv(cohort / "covariates.tsv", sep="\t", index_col="IID")
    traits["diabetes"] = diseases.iloc[:, 0].astype("Int64")
    for name, table in (("traits", traits), ("covariates", covariates[["age", "sex"]])):
        table = table.set_index(research_id[table.index].rename("person_id"))
        table.to_csv(bucket / f"{name}.tsv", sep="\t", na_rep="NA")


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n")
