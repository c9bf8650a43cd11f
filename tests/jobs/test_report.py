"""The report: what it shows is what the results say, and the page stands alone."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.errors import FileFormatError, OutputError
from allscan.jobs import result_source
from allscan.jobs.report import tally, write_report
from allscan.jobs.report.genome import read_genome
from allscan.jobs.report.page import accounting, status_counts
from allscan.jobs.report.panels import Budget, Panel, ReportOptions, make_panels
from allscan.jobs.report.tally import Best, Resolution, frequency_bin, scaled, tally_traits
from allscan.kernels import summary
from allscan.kernels.association import Status
from tests.jobs.synthetic_results import (
    GENOTYPIC_COLUMNS,
    ArrayResults,
    make_binary,
    make_provenance,
    make_results,
    make_variants,
)


def panels_of(results: ArrayResults, **options: Any) -> list[Panel]:
    return make_panels(results, read_genome(results), ReportOptions(**options))


def decoded(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=dtype)


def page_of(results: ArrayResults, folder: Path, **options: Any) -> str:
    options.setdefault("provenance", make_provenance(results))
    return write_report(folder, cube=results, **options).read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_the_page_does_not_depend_on_who_reads_the_results(
    tmp_path: Path, kind: Literal["threads", "processes"]
) -> None:
    results = make_results(70, 300, seed=3)
    (tmp_path / "with").mkdir()
    alone = page_of(results, tmp_path)
    assert page_of(results, tmp_path / "with", executor=EmbeddedExecutor(2, kind)) == alone


# ---- what a panel says --------------------------------------------------------------------------------


def test_panel_agrees_with_the_whole_trait() -> None:
    results = make_results(3, 20_000, seed=11)
    contig = np.unique(results.table.contig.astype(int), return_inverse=True)[1]
    for t, panel in enumerate(panels_of(results)):
        y = results.values["neg_log10_p"][0, t]
        tested = np.flatnonzero(np.isfinite(y))
        significant = tested[y[tested] >= -np.log10(5e-8)]
        leads = summary.clump(contig[significant], results.table.position[significant], y[significant], 500_000)
        shown = panel.data["leads"]
        assert panel.n_tested == len(tested)
        assert panel.inflation == pytest.approx(summary.genomic_inflation(y), abs=3e-4)
        assert panel.top_value == pytest.approx(np.nanmax(y), rel=1e-6)
        assert panel.n_leads == len(leads.lead)
        assert panel.data["n_significant"] == len(significant)
        assert panel.status == {"OK": len(tested), "MONOMORPHIC": len(y) - len(tested)}
        if len(leads.lead):
            rows = significant[leads.lead]
            assert shown["position"] == results.table.position[rows].tolist()
            assert shown["members"] == leads.members.tolist()
            assert shown["alt"] == results.table.alt[rows].tolist()
            np.testing.assert_array_equal(np.float32(shown["beta"]), results.values["beta"][0, t, rows])


def test_inflation_by_frequency_is_that_of_the_class() -> None:
    results = make_results(1, 40_000, peaks=0, seed=4)
    (panel,) = panels_of(results)
    frequency = results.values["effect_allele_frequency"][0, 0]
    minor = np.minimum(frequency, 1 - frequency)
    edges = [0, 0.001, 0.01, 0.05, 1]
    y = results.values["neg_log10_p"][0, 0]
    for k, shown in enumerate(panel.data["bins"]):
        inside = (minor >= edges[k]) & (minor < edges[k + 1]) & np.isfinite(y)
        assert shown["tested"] == inside.sum()
        assert shown["inflation"] == pytest.approx(summary.genomic_inflation(y[inside]), abs=3e-4)


def test_a_frequency_that_is_not_known_is_in_no_class() -> None:
    bins = frequency_bin(np.array([0.0, 0.0005, 0.001, 0.02, 0.5, 0.97, 1.0, np.nan]))
    assert bins.tolist() == [0, 0, 1, 2, 3, 2, 0, tally.UNKNOWN_FREQUENCY]


def test_a_panel_of_a_binary_trait_tells_cases_and_the_method_of_each_lead() -> None:
    results = make_binary(make_results(2, 3_000, peaks=5))
    plain = panels_of(make_results(2, 3_000, peaks=5))
    for t, (panel, quantitative) in enumerate(zip(panels_of(results), plain, strict=True)):
        assert (quantitative.cases, quantitative.data["cases"]) == (None, None)
        assert (panel.cases, panel.data["cases"]) == (400, [400, 19_600])
        # A result by another method counts as one.
        assert (panel.n_tested, panel.inflation) == (quantitative.n_tested, quantitative.inflation)
        leads = panel.data["leads"]
        assert leads["position"]
        place = [
            int(np.flatnonzero((results.table.position == p) & (results.table.contig == c))[0])
            for c, p in zip(leads["contig"], leads["position"], strict=True)
        ]
        for name in ("cases", "effect_allele_frequency_cases", "effect_allele_frequency_controls"):
            expected = results.values[name][0, t, place]
            np.testing.assert_array_equal(np.array(leads[name], expected.dtype), expected)
        assert set(leads["status"]) <= {"SADDLEPOINT", "FIRTH", "EXACT"}


def test_genotypic_inflation_has_two_degrees_of_freedom() -> None:
    results = make_results(1, 5_000, peaks=0)
    y = -np.log10(np.random.default_rng(1).uniform(size=5_000)).astype(np.float32)
    results.values["neg_log10_p"][0, 0] = y
    results.values["beta_domdev"] = results.values["beta"]
    results.values["standard_error_domdev"] = results.values["standard_error"]
    results.own_columns = GENOTYPIC_COLUMNS
    (panel,) = panels_of(results)
    assert panel.inflation == pytest.approx(summary.genomic_inflation(y, df=2), abs=3e-4)
    assert panel.data["leads"]["beta_domdev"][0] is not None


def test_quantiles_are_those_of_the_sorted_values() -> None:
    results = make_results(1, 60_000, seed=8)
    (panel,) = panels_of(results)
    y = np.sort(results.values["neg_log10_p"][0, 0][np.isfinite(results.values["neg_log10_p"][0, 0])])[::-1]
    rank = decoded(panel.data["qq"]["rank"], "<u4")
    value = decoded(panel.data["qq"]["value"], "<f4")
    assert (rank[0], rank[-1]) == (1, len(y))
    np.testing.assert_array_equal(value[rank <= 1000], y[rank[rank <= 1000] - 1])
    np.testing.assert_allclose(value, y[rank - 1], atol=1e-4)


def test_top_hits_stand_in_where_nothing_is_significant() -> None:
    results = make_results(1, 5_000, peaks=0, seed=2)
    (panel,) = panels_of(results)
    assert not panel.data["significant"]
    assert panel.n_leads == 0
    assert len(panel.data["leads"]["position"]) == 10
    assert panel.data["leads"]["neg_log10_p"][0] == pytest.approx(np.nanmax(results.values["neg_log10_p"]))


def test_window_and_significance_are_the_jobs() -> None:
    results = make_results(1, 20_000, seed=3)
    narrow = panels_of(results, significance=1e-3, window_kb=0.001)[0]
    wide = panels_of(results, significance=1e-3, window_kb=1e6)[0]
    significant = results.values["neg_log10_p"][0, 0] >= 3
    assert narrow.n_leads == np.count_nonzero(significant)
    assert wide.n_leads == len(set(results.table.contig[significant]))


def test_trait_without_any_result_is_shown_as_such(tmp_path: Path) -> None:
    results = make_results(2, 500, seed=3)
    results.values["neg_log10_p"][0, 1] = np.nan
    results.values["status"][0, 1] = Status.TRAIT_CONSTANT
    panel = panels_of(results)[1]
    assert (panel.n_tested, panel.n_leads, panel.status) == (0, 0, {"TRAIT_CONSTANT": 500})
    assert np.isnan(panel.inflation)
    assert "trait is constant" in page_of(results, tmp_path)


def test_results_without_variants_make_a_page(tmp_path: Path) -> None:
    results = make_results(1, 10, contigs=1)
    results.table = results.variant_table(0, 0)
    results.values = {name: values[..., :0] for name, values in results.values.items()}
    assert "trait_001" in page_of(results, tmp_path)


def test_values_beyond_the_range_of_a_float_keep_their_place() -> None:
    results = make_results(1, 3_000, seed=3)
    results.values["neg_log10_p"][0, 0, 1234] = 400.25
    (panel,) = panels_of(results)
    assert panel.top_value == 400.25
    assert panel.data["leads"]["position"][0] == results.table.position[1234]


# ---- what a picture keeps -----------------------------------------------------------------------------


@pytest.mark.parametrize("n_traits", [1, 61])
def test_every_variant_is_in_the_picture(n_traits: int) -> None:
    results = make_results(n_traits, 30_000, seed=6, strongest=200.0)
    genome = read_genome(results)
    panel = panels_of(results)[-1]
    y = results.values["neg_log10_p"][0, -1]
    points, grid = panel.data["points"], panel.data["grid"]
    position = decoded(points["position"], "<u4")
    value = decoded(points["value"], "<u2") / 65535 * points["height"]
    contig = np.repeat(np.arange(len(genome.contigs)), points["contigs"])
    drawn = {(int(c), int(p)): v for c, p, v in zip(contig, position, value, strict=True)}
    bits = np.unpackbits(decoded(grid["bits"], "u1"))[: grid["rows"] * grid["columns"]]
    cells = bits.reshape(grid["rows"], grid["columns"])
    assert (len(drawn) == np.isfinite(y).sum()) == (grid["rows"] == 0)
    x = genome.x(slice(0, len(y)))
    for v in np.flatnonzero(np.isfinite(y)):
        exact = drawn.get((int(genome.contig[v]), int(genome.position[v])))
        if exact is not None and abs(exact - y[v]) <= points["height"] / 65535:
            continue
        row = int(scaled(y[v : v + 1])[0] * grid["per_unit"])
        assert cells[row, min(int(x[v] * grid["columns"]), grid["columns"] - 1)]


def test_the_most_significant_variants_are_drawn_one_by_one() -> None:
    results = make_results(61, 8_000, seed=9)
    panel = panels_of(results)[0]
    y = results.values["neg_log10_p"][0, 0]
    best = np.sort(np.argsort(-np.nan_to_num(y, nan=-1.0), kind="stable")[: Budget.of(61).points])
    assert decoded(panel.data["points"]["position"], "<u4").tolist() == results.table.position[best].tolist()


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_panels_do_not_depend_on_the_size_of_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    results = make_results(1, 700, seed=3)
    # Ties straddle the border between the best and the rest.
    results.values["neg_log10_p"] = np.round(results.values["neg_log10_p"], 1)
    monkeypatch.setattr(Budget, "of", classmethod(lambda cls, _: cls(100, 10, 50, 20)))
    expected = panels_of(results)[0].data
    monkeypatch.setattr(result_source, "BLOCK", block)
    assert panels_of(results)[0].data == expected


def test_a_panel_does_not_depend_on_the_other_traits_of_its_batch() -> None:
    results = make_results(40, 2_000, seed=5)
    turned = make_results(40, 2_000, seed=5)
    turned.traits = results.traits[::-1]
    turned.values = {name: values[:, ::-1] for name, values in results.values.items()}
    expected = {panel.trait: panel.data for panel in panels_of(results)}
    assert {panel.trait: panel.data for panel in panels_of(turned)} == expected


def test_best_keeps_no_more_than_twice_its_capacity() -> None:
    best = Best(10)
    rng = np.random.default_rng(0)
    values = rng.random(1000).astype(np.float32)
    for start in range(0, 1000, 5):
        best.add(np.arange(start, start + 5), values[start : start + 5], np.zeros(5, int))
        assert len(best.index) <= 20
    best.trim()
    assert sorted(best.index) == sorted(np.argsort(-values)[:10])


def test_of_equals_at_the_border_none_is_best() -> None:
    best = Best(2)
    best.add(np.arange(5), np.array([3, 1, 1, 1, 1], np.float32), np.zeros(5, int))
    best.add(np.arange(5, 6), np.array([1], np.float32), np.zeros(1, int))
    best.trim()
    assert (best.index.tolist(), best.threshold) == ([0], 1.0)


def test_leads_survive_the_thinning_of_very_many_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    results = make_results(1, 20_000, seed=3)
    expected = panels_of(results, significance=1e-2)[0]
    monkeypatch.setattr(tally, "MAX_SIGNIFICANT", 100)
    thinned = panels_of(results, significance=1e-2)[0]
    assert thinned.data["n_significant"] == expected.data["n_significant"]
    assert thinned.data["leads"]["position"][:5] == expected.data["leads"]["position"][:5]
    genome = read_genome(results)
    resolution = Resolution(100, 10, 100, 2.0, 500_000)
    (one,) = tally_traits(results, genome, 0, slice(0, 1), resolution)
    index, value = one.candidates()
    cells = list(zip(genome.contig[index], genome.position[index] // 500, strict=True))
    assert len(set(cells)) == len(cells)
    np.testing.assert_array_equal(value, results.values["neg_log10_p"][0, 0, index])


def test_contigs_stand_side_by_side_in_store_order() -> None:
    results = make_results(1, 2_000, contigs=12, prefix="chr")
    results.table.contig[:] = np.where(results.table.contig == "chr2", "HLA:01*<b>", results.table.contig)
    genome = read_genome(results)
    assert genome.contigs[:3] == ("chr1", "HLA:01*<b>", "chr3")
    x = genome.x(slice(0, 2_000))
    assert np.all(np.diff(x) >= 0)
    assert x[0] >= 0
    assert x[-1] <= 1


def test_thousands_of_contigs_fit_on_the_axis() -> None:
    results = make_results(1, 5_000, contigs=1)
    results.table.contig[:] = [f"scaffold_{k // 2}" for k in range(5_000)]
    genome = read_genome(results)
    assert np.all(genome.width > 0)
    assert genome.offset[-1] + genome.width[-1] == pytest.approx(1.0)


# ---- the page -----------------------------------------------------------------------------------------


def test_page_loads_nothing_and_allows_only_its_own_script(tmp_path: Path) -> None:
    page = page_of(make_results(2, 2_000), tmp_path)
    assert not re.search(r"(src|href|action)\s*=\s*[\"']?(https?:)?//", page)
    assert "url(" not in page
    assert "@import" not in page
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page


EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


def test_names_from_files_are_only_ever_text(tmp_path: Path) -> None:
    results = make_results(2, 300, contigs=1)
    results.traits = (EVIL, "plain")
    results.strata = ("<b>EUR</b>",)
    results.table.variant_id[:] = EVIL
    results.table.contig[:] = EVIL
    results.table.alt[:] = "<INS:ME>"
    provenance = make_provenance(results)
    provenance["name"] = EVIL
    provenance["warnings"] = [EVIL]
    provenance["samples"]["accounting"][1]["reason"] = EVIL
    provenance["covariates"]["dropped"][0]["name"] = EVIL
    provenance["inputs"][0]["path"] = EVIL
    provenance["trait_notes"] = [{"trait": EVIL, "stratum": "<b>EUR</b>", "message": EVIL}]
    page = page_of(results, tmp_path, provenance=provenance)
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "<b>EUR" not in page
    assert "<INS" not in page
    panel = re.search(r'id="panel-0">(.*?)</script>', page, re.DOTALL)
    assert panel is not None
    assert json.loads(panel[1])["trait"] == EVIL
    assert json.loads(panel[1])["notes"] == [EVIL]


def test_examples_of_person_ids_never_reach_the_page(tmp_path: Path) -> None:
    results = make_results(1, 300)
    provenance = make_provenance(results)
    provenance["samples"]["accounting"][1]["examples"] = ["NA12878", "NA12891"]
    assert "NA12878" not in page_of(results, tmp_path, provenance=provenance)


def test_every_exclusion_is_in_the_accounting() -> None:
    results = make_results(2, 1_000)
    provenance = make_provenance(results)
    tables = {table.title: table.rows for table in accounting(status_counts(panels_of(results)), provenance)}
    assert ("missing covariate", "100", "left out") in tables["Samples"]
    assert ("minor-allele count below 5", "450") in tables["Variants"]
    assert tables["Covariates that were dropped"] == [("array", "a combination of sex[female] and pc1")]
    tests = {name: int(count.replace(",", "")) for name, count in tables["Tests by status"]}
    assert sum(tests.values()) == 2_000


def test_page_shows_warnings_notes_and_troubled_traits(tmp_path: Path) -> None:
    results = make_results(2, 500, strata=("EUR", "AFR"))
    provenance = make_provenance(results)
    provenance["traits"][1].update(status="constant", message="one value only")
    provenance["trait_notes"] = [{"trait": "trait_001", "stratum": "AFR", "message": "few samples"}]
    page = page_of(results, tmp_path, provenance=provenance)
    notes = [json.loads(text)["notes"] for text in re.findall(r'id="panel-\d+">(.*?)</script>', page)]
    assert notes == [[], ["one value only"], ["few samples"], ["one value only"]]
    assert "it was dropped" in page
    assert "<td>AFR</td>" in page


def test_page_without_provenance(tmp_path: Path) -> None:
    assert "trait_001" in write_report(tmp_path, cube=make_results(1, 100)).read_text()


def test_same_results_make_the_same_page(tmp_path: Path) -> None:
    pages = []
    for name in ("one", "two"):
        folder = tmp_path / name / "run"
        folder.mkdir(parents=True)
        pages.append(page_of(make_results(3, 3_000), folder))
    assert pages[0] == pages[1]


def test_five_hundred_traits_stay_below_20_megabytes(tmp_path: Path) -> None:
    results = make_results(500, 20_000, peaks=3)
    path = write_report(tmp_path, cube=results, provenance=make_provenance(results))
    assert path.stat().st_size < 20e6
    assert path.read_text().count('<script type="application/json" id="panel-') == 500


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="No space left") as caught:
        write_report(tmp_path, cube=make_results(1, 100))
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_damaged_provenance_document_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text(text)
    with pytest.raises(FileFormatError, match="provenance document"):
        write_report(tmp_path, cube=make_results(1, 100))


def test_allele_codes_tell_bases_insertions_and_deletions() -> None:
    table = make_variants(6, contigs=1)
    table.ref[:] = ["A", "T", "A", "ACG", "A", "AC"]
    table.alt[:] = ["C", "G", "AT", "A", "<DEL>", "GT"]
    results = make_results(1, 6, contigs=1)
    results.table = table
    assert read_genome(results).allele.tolist() == [1, 14, 16, 17, 18, 18]


@pytest.mark.reference
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("case", ["plain", "evil", "empty", "binary"])
def test_page_draws_in_a_browser_without_errors(case: str, tmp_path: Path) -> None:
    results = make_results(3, 3_000, peaks=5)
    results.values["neg_log10_p"][0, 0, 7] = 400.0
    results.values["neg_log10_p"][0, 2] = np.nan
    results.values["status"][0, 2] = Status.TRAIT_CONSTANT
    if case == "evil":
        results.traits = (EVIL, "plain", "nothing")
        results.table.variant_id[:] = EVIL
    if case == "empty":
        results.values["neg_log10_p"][:] = np.nan
    if case == "binary":
        results = make_binary(results)
    page_of(results, tmp_path)
    command = [
        *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"),
        (tmp_path / "report.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count("<article") == 3
    assert done.stdout.count("<canvas") == (0 if case == "empty" else 4)
    assert done.stdout.count(">Odds ratio (95 % CI)<") == (2 if case == "binary" else 0)
    assert done.stdout.count("No variant has a result for this trait.") >= (3 if case == "empty" else 1)
