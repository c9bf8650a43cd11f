"""The report of several strata: pooled against meta-analysis, loci, fairness; every number is the results' own."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.results import ResultsCube
from allscan.jobs.report import contrast, write_report
from allscan.jobs.report.contrast import Pairs, contrast_traits
from allscan.jobs.report.fairness import COLUMNS, fairness_rows
from allscan.jobs.report.genome import read_genome
from allscan.jobs.report.loci import Leads, find_loci
from allscan.jobs.report.panels import Budget, Panel, ReportOptions, make_panels
from allscan.jobs.report.strata import FOUND_BY, TraitStrata, found_by, make_strata
from allscan.jobs.report.views import Grouping, Views, views_of
from allscan.jobs.result_source import META_PREFIX
from allscan.kernels.association import Status, has_result
from tests.jobs.conftest import Cohort, CommandLine
from tests.jobs.synthetic_results import ArrayResults, make_results
from tests.jobs.synthetic_strata import GROUPS, effective, make_meta, make_stratified

OPTIONS = ReportOptions()
SIGNIFICANT = OPTIONS.neg_log10_significance


def all_of(
    results: ArrayResults, meta: ArrayResults | None, provenance: dict[str, Any]
) -> tuple[list[TraitStrata], list[Panel], Views]:
    genome, views = read_genome(results), views_of(results, meta, provenance)
    panels = make_panels(results, genome, OPTIONS)
    if meta is not None:
        panels += make_panels(meta, genome, OPTIONS, prefix=META_PREFIX)
    return make_strata(results, meta, genome, panels, views, OPTIONS, Budget.of(len(panels))), panels, views


def articles_of(page: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in re.findall(r'id="across-\d+-data">(.*?)</script>', page)]


def page_of(folder: Path, results: ArrayResults, meta: ArrayResults | None, provenance: dict[str, Any]) -> str:
    folder.mkdir(exist_ok=True)
    return write_report(folder, cube=results, meta=meta, provenance=provenance).read_text(encoding="utf-8")


# ---- how strata belong together -------------------------------------------------------------------------


def test_strata_belong_together_by_the_provenance_and_without_one_by_their_names() -> None:
    results, meta, provenance = make_stratified(1, 200)
    views = views_of(results, meta, provenance)
    (grouping,) = views.groupings
    assert views.pooled == 0
    assert (grouping.groups, grouping.strata, grouping.meta) == (tuple(GROUPS), (1, 2, 3), 0)
    assert [(one.group, one.n) for one in grouping.not_scanned] == [("mid", 60)]
    alone = views_of(results, meta, {})
    assert alone.groupings == (Grouping("ancestry", tuple(GROUPS), (1, 2, 3), 0, (None, None, None)),)
    assert views_of(make_results(1, 50), None, {}).groupings == ()


# ---- the pass -------------------------------------------------------------------------------------------


def test_the_pass_over_strata_is_what_arrays_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrast, "BLOCK", 1024)
    results, meta, provenance = make_stratified(2, 6_000)
    grouping = views_of(results, meta, provenance).groupings[0]
    made = contrast_traits(results, meta, grouping, 0, slice(0, 2), significance=SIGNIFICANT, points=500)
    tested = results.values["status"][1:] == Status.OK
    error = results.values["standard_error"].astype(float)
    frequency = results.values["effect_allele_frequency"].astype(float)
    common = np.minimum(frequency, 1 - frequency) >= contrast.COMMON
    for t, one in enumerate(made):
        alone = [int((tested[g, t] & (tested[:, t].sum(axis=0) == 1)).sum()) for g in range(3)]
        assert one.only_here.tolist() == alone
        assert min(alone) > 50
        for g in range(3):
            here = common[g + 1, t] & tested[g, t]
            expected = np.median(error[g + 1, t, here] / error[0, t, here])
            assert one.error_ratio[g] == pytest.approx(expected, rel=2e-3)
        in_all = (common[1:, t] & tested[:, t]).all(axis=0)
        weights = error[1:, t][:, in_all] ** -2
        np.testing.assert_allclose(one.weight_share, (weights / weights.sum(axis=0)).mean(axis=1), rtol=1e-9)
        re2 = meta.values["neg_log10_p_re2"][0, t]
        np.testing.assert_array_equal(one.re2_index, np.flatnonzero(re2 >= SIGNIFICANT))
        pooled, fixed = results.values["neg_log10_p"][0, t], meta.values["neg_log10_p"][0, t]
        both = np.flatnonzero(np.isfinite(pooled) & np.isfinite(fixed))
        assert one.pairs is not None
        assert one.pairs.n == len(both)
        np.testing.assert_array_equal(one.pairs.first, pooled[one.pairs.index])
        np.testing.assert_array_equal(one.pairs.second, fixed[one.pairs.index])


def test_every_pair_is_drawn_one_by_one_or_in_a_cell() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.exponential(1, (2, 5_000)).astype(np.float32)
    first[::7] = np.nan
    pairs = Pairs(300)
    for start in range(0, 5_000, 900):
        pairs.add(start, first[start : start + 900], second[start : start + 900])
    pairs.trim()
    rest = np.setdiff1d(np.flatnonzero(np.isfinite(first)), pairs.index)
    assert len(pairs.index) == 300
    larger = np.maximum(first, second)
    assert larger[pairs.index].min() > larger[rest].max()
    cells = pairs.rest
    row, column = (np.floor(values[rest] * contrast.PAIR_CELLS_PER_UNIT).astype(int) for values in (second, first))
    assert cells[row, column].all()


def test_a_trait_that_a_group_does_not_have_leaves_the_weights_to_the_others() -> None:
    results, meta, provenance = make_stratified(1, 1_500)
    for name in ("beta", "standard_error", "neg_log10_p"):
        results.values[name][3] = np.nan
    results.values["status"][3] = Status.TOO_FEW_SAMPLES
    grouping = views_of(results, meta, provenance).groupings[0]
    (one,) = contrast_traits(results, None, grouping, 0, slice(0, 1), significance=SIGNIFICANT, points=10)
    assert one.pairs is None
    assert one.weight_share[:2].sum() == pytest.approx(1.0)
    assert (one.weight_share[2], one.only_here[2]) == (0.0, 0)
    assert np.isnan(one.error_ratio[2])


# ---- loci -----------------------------------------------------------------------------------------------


def test_loci_are_found_by_those_with_a_lead_in_the_window() -> None:
    results = make_results(1, 3_000, contigs=3)
    genome = read_genome(results)
    rng = np.random.default_rng(5)
    window = 2_000_000
    leads = [
        Leads(np.sort(rng.choice(3_000, 25, replace=False)), rng.uniform(8, 30, 25).astype(np.float32))
        for _ in range(4)
    ]
    found, by = find_loci(leads, genome, window)
    best: dict[int, float] = {}
    for one in leads:
        for variant, value in zip(one.variant.tolist(), one.neg_log10_p.tolist(), strict=True):
            best[variant] = max(best.get(variant, 0.0), value)

    def near(a: int, b: int) -> bool:
        return bool(
            genome.contig[a] == genome.contig[b] and abs(int(genome.position[a]) - int(genome.position[b])) <= window
        )

    naive: list[int] = []
    for variant in sorted(best, key=lambda variant: -best[variant]):
        if not any(near(variant, lead) for lead in naive):
            naive.append(variant)
    assert found.tolist() == naive
    for k, one in enumerate(leads):
        assert by[k].tolist() == [any(near(lead, int(variant)) for variant in one.variant) for lead in naive]


def test_loci_hold_what_the_results_say_of_their_leads() -> None:
    results, meta, provenance = make_stratified(2, 3_000)
    strata, _, _ = all_of(results, meta, provenance)
    for t, one in enumerate(strata):
        loci = one.loci
        assert len(loci.variant) >= 3
        for g, group in enumerate(loci.groups):
            for name, column in (("beta", "beta"), ("standard_error", "standard_error"), ("n", "n")):
                expected = results.values[column][g + 1, t, loci.variant]
                np.testing.assert_array_equal(getattr(group, name), expected.astype(float))
        for name, values in loci.meta.items():
            np.testing.assert_array_equal(values, meta.values[name][0, t, loci.variant].astype(float))
        # What is left without a group: its own weights, by hand.
        beta, error = (
            np.array([getattr(group, name)[0] for group in loci.groups]) for name in ("beta", "standard_error")
        )
        weight = error[1:] ** -2
        assert loci.beta_without[0, 0] == pytest.approx(float((weight * beta[1:]).sum() / weight.sum()), rel=1e-12)
        assert loci.error_without[0, 0] == pytest.approx(float(weight.sum() ** -0.5), rel=1e-12)
        found = np.bincount(found_by(loci), minlength=len(FOUND_BY))
        assert found.sum() == len(loci.variant)
        assert found[0] == np.count_nonzero(loci.by_pooled & (loci.by_fixed | loci.by_re2))


def test_without_a_meta_analysis_the_same_numbers_are_computed_at_the_leads() -> None:
    results, meta, provenance = make_stratified(1, 2_000)
    (with_meta,), _, _ = all_of(results, meta, provenance)
    (without,), _, views = all_of(results, None, provenance)
    assert views.groupings[0].meta is None
    shared, here, there = np.intersect1d(with_meta.loci.variant, without.loci.variant, return_indices=True)
    assert len(shared) >= 2
    for name, values in without.loci.meta.items():
        np.testing.assert_array_equal(values[there], with_meta.loci.meta[name][here])


def test_groups_that_differ_and_those_that_agree_are_told_apart() -> None:
    results, meta, provenance = make_stratified(1, 2_000)
    ((one,), _, _) = all_of(results, meta, provenance)
    loci = one.loci
    # Shared; of the first group only; of another sign in the second group.
    effect = np.array([group.beta for group in loci.groups])
    turned = int(np.flatnonzero((effect[1] * effect[0] < 0) & (loci.difference[1] ** 2 > 40))[0])
    assert loci.differs[1, turned]
    assert not loci.agrees[1, turned]
    tests = effect.size
    for g, k in np.ndindex(*effect.shape):
        others = [other for other in range(3) if other != g]
        error = np.array([loci.groups[other].standard_error[k] for other in others])
        common = np.average(effect[others, k], weights=error**-2)
        distance = (effect[g, k] - common) / np.hypot(loci.groups[g].standard_error[k], (error**-2).sum() ** -0.5)
        assert loci.agrees[g, k] == (effect[g, k] * common > 0 and abs(distance) <= 1.96)
        assert loci.differs[g, k] == (2 * stats.norm.sf(abs(distance)) <= 0.05 / tests)
    assert loci.agrees.any()
    assert not (loci.gained & loci.by_group).any()


# ---- fairness -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [False, True])
def test_fairness_tells_sizes_variants_and_power(binary: bool, tmp_path: Path) -> None:
    results, meta, provenance = make_stratified(2, 1_500, binary=binary)
    strata, panels, views = all_of(results, meta, provenance)
    rows = fairness_rows(strata, results, panels, views, OPTIONS)[0, "trait_1"]
    assert [(row["analysis"], row["group"]) for row in rows] == [
        ("pooled", ""),
        *(("group", name) for name in GROUPS),
        ("meta", ""),
        ("group", "mid"),
    ]
    threshold = stats.chi2.isf(5e-8, 1)
    for stratum, row in enumerate(rows[:4]):
        n = int(results.values["n"][stratum, 0, 0])
        size = effective(results, stratum) if binary else n
        assert (row["people"], row["effective_n"]) == (n, pytest.approx(size))
        assert row["share"] == pytest.approx(n / int(results.values["n"][0, 0, 0]))
        ncp = size / 4 * 0.095 * np.log(1.2) ** 2 if binary else n * 0.001 / 0.999
        assert row["power"] == pytest.approx(stats.ncx2.sf(threshold, 1, ncp), rel=1e-6)
        beta = row["smallest_effect_0.25"]
        share = 0.375 * beta**2
        ncp = size / 4 * share if binary else n * share / (1 - share)
        assert stats.ncx2.sf(threshold, 1, ncp) == pytest.approx(0.8, abs=1e-6)
        status = results.values["status"][stratum, 0]
        assert row["variants_tested"] == np.count_nonzero(status == Status.OK)
        assert row["variants_monomorphic"] == np.count_nonzero(status == Status.MONOMORPHIC)
    assert rows[-1]["reason"].startswith("60 people")
    page_of(tmp_path, results, meta, provenance)
    table = pq.read_table(tmp_path / "fairness.parquet").to_pylist()
    assert len(table) == 2 * 6
    assert [row["group"] for row in table if row["trait"] == "trait_1"] == [row["group"] for row in rows]
    assert table[1]["loci_gained"] == rows[1]["loci_gained"]


def test_a_trait_that_is_not_scanned_in_a_group_says_why(tmp_path: Path) -> None:
    results, _, provenance = make_stratified(2, 800)
    for name in ("beta", "standard_error", "neg_log10_p"):
        results.values[name][2, 1] = np.nan
    results.values["status"][2, 1] = Status.TOO_FEW_SAMPLES
    why = "30 people have it, fewer than 100 (`min_people`)"
    provenance["stratifications"][0]["groups"][1]["traits_not_scanned"] = [{"trait": "trait_2", "reason": why}]
    page = page_of(tmp_path, results, make_meta(results, [1, 2, 3]), provenance)
    row = next(row for row in articles_of(page)[1]["fairness"] if row["group"] == "afr")
    assert (row["reason"], row["people"]) == (why, None)
    assert "Traits that are not scanned in a group of ancestry" in page


def test_small_counts_are_not_told_and_cannot_be_reckoned(tmp_path: Path) -> None:
    results, meta, provenance = make_stratified(1, 1_000, binary=True)
    results.values["cases"][3] = 17
    groups = provenance["stratifications"][0]["groups"]
    groups[3] |= {"analysed": 13, "reason": "13 people are analysed, fewer than 100 (`min_people`)"}
    provenance["notes"] = ["in no group of ancestry: 12 people without a label"]
    page = page_of(tmp_path, results, meta, provenance)
    (article,) = articles_of(page)
    amr = next(row for row in article["fairness"] if row["group"] == "amr")
    assert (amr["cases"], amr["controls"], amr["people"], amr["effective_n"]) == ("≤20", "–", "–", None)
    assert next(row for row in article["fairness"] if row["group"] == "mid")["reason"].startswith("≤20 people")
    section = page[page.index('id="fairness"') : page.index('id="details"')]
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", section)
    assert cells[cells.index("mid") + 1] == "≤20"
    # The smallest other part is hidden, too: else the whole would give it away.
    assert cells[cells.index("in no group") + 1] == "–"
    assert not any(re.search(r"\b13\b", cell) for cell in cells)
    document = page[page.index("The whole provenance document") :]
    assert "&#34;analysed&#34;: &#34;\\u226420&#34;" in document
    assert "12 people" not in document
    assert "13 people" not in document


def test_who_is_left_out_of_a_group_is_told_by_reason_without_small_counts(tmp_path: Path) -> None:
    results, meta, provenance = make_stratified(1, 800)
    groups = provenance["stratifications"][0]["groups"]
    absent, lacking, other = "not in the trait table", "without a value of a covariate", "without components"
    left_out = {"eur": {absent: 500, lacking: 60}, "afr": {absent: 190, lacking: 37}, "amr": {lacking: 7, other: 900}}
    for group in groups:
        lines = left_out.get(group["group"], {})
        group["in_genotypes"] = group["analysed"] + sum(lines.values())
        group["left_out"] = [{"reason": reason, "count": count} for reason, count in lines.items()]
    groups[3]["in_genotypes"] += 4  # who they are is not told of a group that is not scanned
    samples = provenance["samples"]
    samples["in_genotypes"] = sum(group["in_genotypes"] for group in groups) + 1_000
    # Ten people of no group are not in the trait table.
    samples["accounting"] = [
        {"reason": "in the genotypes", "count": samples["in_genotypes"], "kept": True},
        {"reason": absent, "count": 700, "kept": False},
        {"reason": f"{lacking} (age: 104)", "count": 104, "kept": False},
    ]
    provenance["warnings"] = ["stratum ancestry=amr: 900 people, 13 people of whom"]
    page = page_of(tmp_path, results, meta, provenance)
    table = page[page.index("People left out, by ancestry") :]
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", table[: table.index("</table>")])
    assert cells == [
        *("eur", "12,560", f"500 {absent}; 60 {lacking}"),
        *("afr", "–", f"some {absent}; some {lacking}"),
        *("amr", "–", f"≤20 {lacking}; 900 {other}"),
    ]
    document = html.unescape(page[page.index("The whole provenance document") :])
    described = json.loads(document[document.index("{") : document.rindex("}</pre>") + 1])
    told = {group["group"]: group for group in described["stratifications"][0]["groups"]}
    assert told["eur"]["in_genotypes"] == 12_560
    assert told["afr"]["left_out"] == [{"reason": absent, "count": "–"}, {"reason": lacking, "count": "–"}]
    assert told["mid"]["in_genotypes"] == "–"
    assert "13 people" not in page


def test_a_frequency_of_few_carriers_is_not_told(tmp_path: Path) -> None:
    results, meta, provenance = make_stratified(1, 1_000)
    ((one,), _, _) = all_of(results, meta, provenance)
    lead = int(one.loci.variant[0])
    results.values["effect_allele_frequency"][2, 0, lead] = 8 / 10_000
    (article,) = articles_of(page_of(tmp_path, results, meta, provenance))
    loci = article["loci"]
    assert loci["by_groups"][1]["frequency"][0] is None
    assert loci["by_groups"][0]["frequency"][0] is not None
    assert loci["pooled"]["frequency"][0] is None
    assert loci["pooled"]["frequency"][1] is not None


# ---- the page -------------------------------------------------------------------------------------------


def test_the_page_is_the_same_whoever_reads_the_results(tmp_path: Path) -> None:
    results, meta, provenance = make_stratified(3, 600)
    alone = page_of(tmp_path / "alone", results, meta, provenance)
    (tmp_path / "with").mkdir()
    executor = EmbeddedExecutor(2, "threads")
    write_report(tmp_path / "with", cube=results, meta=meta, provenance=provenance, executor=executor)
    assert (tmp_path / "with/report.html").read_text() == alone
    tables = [(tmp_path / name / "fairness.parquet").read_bytes() for name in ("alone", "with")]
    assert tables[0] == tables[1]


def test_the_index_tells_strata_and_counts_every_locus_once(tmp_path: Path) -> None:
    results, meta, provenance = make_stratified(2, 2_000)
    page = page_of(tmp_path, results, meta, provenance)
    assert re.findall(r"<option[^>]*>([^<]+)</option>", page)[:6] == ["all of them", *results.strata, "meta:ancestry"]
    assert page.count('<tr data-panel="') == 2 * 5
    for row, article in zip(re.findall(r'<tr data-across="\d+">(.*?)</tr>', page), articles_of(page), strict=True):
        numbers = re.findall(r'data-value="(\d+)"', row)
        found = np.bincount(article["loci"]["found"], minlength=4).tolist()
        assert [int(number) for number in numbers[-5:-1]] == found
        assert sum(found) == article["n_loci"] == len(article["loci"]["position"])
        size = article["pairs"]["size"]
        assert len(base64.b64decode(article["pairs"]["bits"])) == -(-size * size // 8)


def test_one_stratum_has_neither_section_nor_table(tmp_path: Path) -> None:
    page = write_report(tmp_path, cube=make_results(1, 300)).read_text()
    assert 'id="across"' not in page
    assert 'id="fairness"' not in page
    assert not (tmp_path / "fairness.parquet").exists()


def test_the_reference_page_lists_the_columns_of_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/results.md").read_text()
    for name, (kind, meaning, unit) in COLUMNS.items():
        assert f"| `{name}` | {kind} | {meaning} | {unit} |" in page


def test_a_run_by_groups_writes_the_table_and_rewrites_it(cohort: Cohort, allscan_cli: CommandLine) -> None:
    rows = [
        f"{person}\t{'eur' if k < 110 else 'afr' if k < 190 else 'sas'}" for k, person in enumerate(cohort.ids[:196])
    ]
    (cohort.folder / "groups.tsv").write_text("\n".join(["IID\tgroup", *rows]) + "\n")
    job = cohort.job(ancestry={"groups": "groups.tsv", "min_people": 50})
    assert allscan_cli("run", str(job)).exit_code == 0
    folder = cohort.folder / "run"
    page, table = (folder / "report.html").read_text(), (folder / "fairness.parquet").read_bytes()
    found = pq.read_table(folder / "fairness.parquet").to_pylist()
    told = {(row["trait"], row["analysis"], row["group"]): row for row in found}
    assert {group for trait, _, group in told if trait == "ldl"} == {"", "afr", "eur", "sas"}
    assert told["ldl", "group", "sas"]["reason"].startswith("6 people are analysed")
    cube = ResultsCube(folder)
    stratum, trait = cube.strata.index("ancestry=eur"), cube.traits.index("ldl")
    status = cube.block("status", stratum, slice(trait, trait + 1), slice(0, cube.n_variants))[0]
    assert told["ldl", "group", "eur"]["variants_tested"] == np.count_nonzero(has_result(status))
    assert "≤20" in page[page.index('id="fairness"') : page.index('id="details"')]
    (folder / "fairness.parquet").unlink()
    assert allscan_cli("report", str(folder)).exit_code == 0
    assert (folder / "report.html").read_text() == page
    assert (folder / "fairness.parquet").read_bytes() == table


@pytest.mark.reference
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("case", ["plain", "evil", "binary", "no_meta", "nothing"])
def test_strata_are_drawn_in_a_browser_without_errors(case: str, tmp_path: Path) -> None:
    results, meta, provenance = make_stratified(2, 1_500, binary=case == "binary")
    held: ArrayResults | None = meta
    if case == "evil":
        results.traits = meta.traits = ('</script><script>console.error("evil")</script>', "plain")
        results.table.variant_id[:] = "<img src=x onerror=alert(1)>"
    if case == "no_meta":
        held = None
    if case == "nothing":
        for name in ("beta", "standard_error", "neg_log10_p"):
            results.values[name][1:, 0] = np.nan
        results.values["status"][1:, 0] = Status.TOO_FEW_SAMPLES
        held = make_meta(results, [1, 2, 3])
    page_of(tmp_path, results, held, provenance)
    command = [
        *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"),
        (tmp_path / "report.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count("<article") == 1
    # Pooled, meta-analysis, quantiles, two comparisons, three groups, a forest.
    assert done.stdout.count("<canvas") == {"no_meta": 6, "nothing": 3}.get(case, 9)
    assert done.stdout.count("Fixed effects") >= (0 if case == "nothing" else 1)
