"""The report of a trait table: what it says is so, and no small count is in it or follows from it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

from allscan.disclosure import FEW, SMALL
from allscan.errors import OutputError
from allscan.jobs import phenotype_report
from allscan.jobs.phenotype_report import correlation, people, reading, write_report
from allscan.jobs.phenotype_report.nested import CaseSets
from allscan.jobs.phenotype_report.people import read_cohort
from allscan.phenotypes.build.artefact import Columns, TraitTableFolder, open_trait_table, write_trait_table
from allscan.phenotypes.build.covariates import Covariate
from allscan.phenotypes.phenotype import BINARY, QUANTITATIVE, Phenotype, Step
from tests.jobs.conftest import CommandLine

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
UNTOLD = "–"


class Table:
    """A trait table in the making."""

    def __init__(self, n: int, seed: int = 0, **covariates: np.ndarray) -> None:
        self.random = np.random.default_rng(seed)
        self.n = n
        self.ids = np.sort(self.random.choice(np.arange(7_000_000, 8_000_000), n, replace=False))
        self.covariates = covariates or {
            "age": self.random.uniform(21, 79, n),
            "sex": self.random.choice([1.0, 2.0], n),
            "record_years": self.random.gamma(2.0, 4.0, n),
            "group": self.random.choice(np.array(["afr", "amr", "eur"], dtype=object), n, p=[0.2, 0.3, 0.5]),
        }
        self.traits: list[Phenotype] = []

    def add(self, name: str, values: np.ndarray, **more: Any) -> Table:
        kind = BINARY if values.dtype.kind in "bi" else QUANTITATIVE
        made = values.astype(np.int8 if kind == BINARY else np.float64)
        more.setdefault("steps", (Step("in the records", self.n),))
        self.traits.append(Phenotype(name, kind, made, **more))
        return self

    def binary(self, name: str, prevalence: float, missing: float = 0.0, **more: Any) -> Table:
        cases = (self.random.random(self.n) < prevalence).astype(np.int8)
        cases[self.random.random(self.n) < missing] = -1
        return self.add(name, cases, **more)

    def write(self, folder: Path, **changes: Any) -> TraitTableFolder:
        columns = Columns()
        for trait in self.traits:
            columns.add(trait)
        covariates = [Covariate(name, values, f"the {name}") for name, values in self.covariates.items()]
        records = {"source": "omop", "cdr": "R8", "until": "2023-10-01", "fingerprint": "ee" * 32}
        provenance = {
            "digest": "ab" * 32,
            "name": "Synthetic",
            "allscan": "0",
            "built": "2026-01-01T00:00:00+00:00",
            "made_of": {"records": records, "exclusion": {"sha256": "cc" * 32, "people": 3}, "definitions": []},
            "people": self.n,
            "accounting": [
                {"what": "in the table of people", "people": self.n + 3},
                {"what": "left out by a list", "people": 3},
                {"what": "in the trait table", "people": self.n},
            ],
            "tables": ["person"],
            "quality": [{"table": "visit_occurrence", "what": "rows without a date", "rows": 17}],
            "notes": [f"2 people have no age, {self.n:,} people are there"],
            "left_out": [{"name": "rare", "why": "fewer than 100 cases"}],
            "covariates": [{"name": "age", "description": "years"}],
            **changes,
        }
        return write_trait_table(folder, self.ids, columns, covariates, provenance)


def page_of(table: Table, folder: Path, **changes: Any) -> str:
    return write_report(table.write(folder, **changes)).read_text(encoding="utf-8")


def embedded(page: str, name: str) -> Any:
    found = re.search(rf'id="{name}">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def panels_of(page: str) -> list[dict[str, Any]]:
    return [embedded(page, f"panel-{k}") for k in range(page.count('id="panel-'))]


def number(text: str) -> int | None:
    return int(text.replace(",", "")) if text[:1].isdigit() else None


# ---- what it says is so ------------------------------------------------------------------------------------


def test_counts_are_those_of_the_table(tmp_path: Path) -> None:
    table = Table(30_000).binary("common", 0.3, 0.2).binary("rarer", 0.08, 0.1)
    page = page_of(table, tmp_path)
    classes = embedded(page, "common")["classes"]
    assert [one["title"] for one in classes] == ["Sex", "Age, years", "Group"]
    assert classes[1]["labels"] == ["20–29", "30–39", "40–49", "50–59", "60–69", "70–79"]
    age, sex, group = (table.covariates[name] for name in ("age", "sex", "group"))
    masks = [[sex == 1, sex == 2], [age // 10 == k for k in range(2, 8)], [group == g for g in ("afr", "amr", "eur")]]
    years = table.covariates["record_years"]
    for trait, panel in zip(table.traits, panels_of(page), strict=True):
        cases, present = trait.values == 1, trait.values >= 0
        assert panel["n"] == f"{present.sum():,}"
        assert panel["cases"] == f"{cases.sum():,}"
        assert panel["controls"] == f"{(present & ~cases).sum():,}"
        assert panel["prevalence"] == pytest.approx(cases.sum() / present.sum(), rel=1e-3)
        assert panel["missing"] == pytest.approx(1 - present.mean(), rel=1e-3)
        assert panel["classes"] == [[[int((m & present).sum()), int((m & cases).sum())] for m in ms] for ms in masks]
        for found, mask in zip(panel["compared"][1], (cases, present & ~cases), strict=True):
            assert found == pytest.approx(np.quantile(years[mask], [0.25, 0.5, 0.75]), rel=1e-3)
    for one, ms in zip(classes, masks, strict=True):
        assert one["people"] == [int(m.sum()) for m in ms]


def test_distributions_are_those_of_the_table(tmp_path: Path) -> None:
    table = Table(5_000)
    values = table.random.normal(120, 15, table.n)
    values[table.random.random(table.n) < 0.3] = np.nan
    table.add("pressure", values, units="mmHg").add("score", np.rint(table.random.uniform(0, 4, table.n)))
    panel, score = panels_of(page_of(table, tmp_path))
    known = values[~np.isnan(values)]
    assert panel["summary"]["mean"] == pytest.approx(known.mean(), rel=1e-3)
    assert panel["summary"]["sd"] == pytest.approx(known.std(ddof=1), rel=1e-3)
    for share, value in panel["summary"]["quantiles"]:
        assert value == pytest.approx(np.quantile(known, share), rel=1e-3)
    assert [share for share, _ in panel["summary"]["quantiles"]] == [0.05, 0.25, 0.5, 0.75, 0.95]
    edges = [-np.inf, *panel["histogram"]["edges"], np.inf]
    assert panel["histogram"]["counts"] == np.histogram(known, edges)[0].tolist()
    women = known[table.covariates["sex"][~np.isnan(values)] == 2]
    assert panel["spread"][0][1] == pytest.approx(np.quantile(women, [0.25, 0.5, 0.75]), rel=1e-3)
    assert score["histogram"]["edges"] == [0.5, 1.5, 2.5, 3.5]
    assert score["histogram"]["counts"] == np.bincount(table.traits[1].values.astype(int)).tolist()


def test_correlations_are_those_of_the_people_who_have_both(tmp_path: Path) -> None:
    table = Table(4_000)
    base = table.random.normal(size=table.n)
    for k in range(3):
        made = base + table.random.normal(size=table.n) * (k + 1) + 1e4 * k
        made[table.random.random(table.n) < 0.2] = np.nan
        table.add(f"q{k}", made)
    for k in range(3):
        made = (base + table.random.normal(size=table.n) > 0.5 * k).astype(np.int8)
        made[table.random.random(table.n) < 0.1] = -1
        table.add(f"b{k}", made)
    table.add("constant", np.ones(table.n))
    found = embedded(page_of(table, tmp_path), "common")["related"]
    columns = [np.where(t.values == -1, np.nan, t.values) if t.kind == BINARY else t.values for t in table.traits]
    assert found["traits"] == list(range(7))
    assert sorted(found["order"]) == list(range(7))
    for one in range(7):
        for two in range(one):
            both = ~np.isnan(columns[one]) & ~np.isnan(columns[two])
            if one == 6:
                assert found["r"][one][two] == correlation.NONE
            else:
                expected = np.corrcoef(columns[one][both], columns[two][both])[0, 1]
                assert found["r"][one][two] == pytest.approx(100 * expected, abs=0.51)


def test_of_many_traits_the_picture_has_those_of_which_most_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correlation, "MOST", 3)
    table = Table(3_000)
    for k, prevalence in enumerate([0.05, 0.2, 0.9, 0.5, 0.3]):
        table.binary(f"b{k}", prevalence)
    assert embedded(page_of(table, tmp_path), "common")["related"]["traits"] == [1, 3, 4]


def test_the_page_does_not_depend_on_how_many_columns_are_read_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(2_000)
    for k in range(25):
        table.binary(f"b{k}", 0.02 * k, 0.01 * (k % 7))
        table.add(f"q{k}", np.where(table.random.random(table.n) < 0.1, np.nan, table.random.normal(size=table.n)))
    folder = table.write(tmp_path)
    page = write_report(folder).read_text()
    monkeypatch.setattr(reading, "BYTES", 3 * 9 * table.n)
    assert write_report(folder).read_text() == page
    lacked = sum((np.isnan(t.values) if t.kind == QUANTITATIVE else t.values < 0) for t in table.traits)
    assert f'<td>none</td><td class="number">{np.count_nonzero(lacked == 0):,}</td>' in page


def test_everything_that_a_reader_asks_for_is_there(tmp_path: Path) -> None:
    table = Table(2_000)
    recipe = {"definition": {"id": "t2d", "version": "1.2", "sha256": "fe" * 32}, "codes": [{"concepts": 12}]}
    table.binary("t2d", 0.2, label="Type 2 diabetes", category="endocrine", recipe=recipe, warnings=("rare here",))
    page = page_of(table, tmp_path)
    for text in (
        "Type 2 diabetes",
        "endocrine",
        "R8",
        "2023-10-01",
        "ee" * 32,
        "cc" * 32,
        "fewer than 100 cases: rare",
    ):
        assert text in page
    panel = panels_of(page)[0]
    assert ["definition version", "1.2"] in panel["recipe"]
    assert ["codes 1 concepts", "12"] in panel["recipe"]
    assert panel["notes"] == ["rare here"]
    assert "t2d: rare here" in page


# ---- what it does not say ----------------------------------------------------------------------------------


def known_of(page: str, panel: dict[str, Any]) -> tuple[list[np.ndarray], list[int], list[np.ndarray], list[int], Any]:
    """Everything that the page says of a trait's people, as equations over people by sex, age, group and status."""
    classes = embedded(page, "common")["classes"]
    shape = (*(len(one["labels"]) for one in classes), 3)
    equations, values, at_most, most = [], [], [], []

    def say(value: int | None, where: tuple[Any, ...], status: tuple[int, ...]) -> None:
        if value is not None:
            mask = np.zeros(shape)
            mask[(*where, list(status))] = 1
            equations.append(mask.ravel())
            values.append(value)

    everywhere = (slice(None),) * len(classes)
    say(number(panel["n"]), everywhere, (0, 1))
    say(number(panel["cases"]), everywhere, (0,))
    say(number(panel["controls"]), everywhere, (1,))
    for text, status in ((panel["n"], (2,)), (panel["cases"], (0,)), (panel["controls"], (1,))):
        if text == FEW or text.startswith("≥"):
            mask = np.zeros(shape)
            mask[(*everywhere, list(status))] = 1
            at_most += [mask.ravel(), -mask.ravel()]
            most += [SMALL, -1]
    for axis, one in enumerate(classes):
        for level, count in enumerate(one["people"]):
            where = tuple(level if k == axis else slice(None) for k in range(len(classes)))
            say(count, where, (0, 1, 2))
            n, cases = panel["classes"][axis][level] or [None, None]
            say(n, where, (0, 1))
            say(cases, where, (0,))
    return equations, values, at_most, most, shape


@pytest.mark.parametrize("seed", range(8))
def test_small_counts_cannot_be_worked_out(tmp_path: Path, seed: int) -> None:
    table = Table(int(np.random.default_rng(seed).integers(90, 900)), seed)
    for k, (prevalence, missing) in enumerate(
        [(0.05, 0.3), (0.1, 0.01), (0.5, 0.5), (0.97, 0.02), (0.02, 0.0), (0.3, 0.0)]
    ):
        table.binary(f"b{k}", prevalence, missing)
    one_sex = np.where(table.covariates["sex"] == 2, table.random.random(table.n) < 0.2, -1).astype(np.int8)
    old = ((table.covariates["age"] > 68) & (table.random.random(table.n) < 0.7)).astype(np.int8)
    table.add("women", one_sex).add("old", old)
    page = page_of(table, tmp_path)
    sizes = [np.array(one["people"]) for one in embedded(page, "common")["classes"]]
    assert all((size > SMALL).all() for size in sizes)
    cohort = read_cohort(tmp_path / "covariates.parquet", table.n)
    for trait, panel in zip(table.traits, panels_of(page), strict=True):
        status = np.choose(trait.values + 1, [2, 1, 0])  # missing, control, case
        equations, values, at_most, most, shape = known_of(page, panel)
        for axis, one in enumerate(cohort.classes):
            for level in range(len(one.labels)):
                for which in range(3):
                    count = int(((one.code == level) & (status == which)).sum())
                    if not 1 <= count <= SMALL:
                        continue
                    target = np.zeros(shape)
                    target[(*(level if k == axis else slice(None) for k in range(len(shape) - 1)), which)] = 1
                    least, greatest = (
                        sign
                        * linprog(
                            sign * target.ravel(),
                            A_eq=np.array(equations),
                            b_eq=values,
                            A_ub=np.array(at_most) if at_most else None,
                            b_ub=most if at_most else None,
                            method="highs",
                        ).fun
                        for sign in (1, -1)
                    )
                    assert least <= 1 + 1e-6
                    assert greatest >= SMALL - 1e-6


def test_no_small_count_is_told_anywhere(tmp_path: Path) -> None:
    table = Table(400, 3)
    for k in range(24):
        table.binary(
            f"b{k}", 0.01 * k, 0.02 * (k % 9), notes=(f"{k} people had a code", f"{table.n - k} people had none")
        )
        table.add(f"q{k}", np.where(table.random.random(table.n) < 0.04 * k, np.nan, table.random.normal(size=table.n)))
    for trait in table.traits:
        present = int((trait.values != -1).sum() if trait.kind == BINARY else (~np.isnan(trait.values)).sum())
        steps = (Step("in the records", table.n), Step("with a value", present), Step("old", 9, "count"))
        object.__setattr__(trait, "steps", steps)
    page = page_of(table, tmp_path)

    def fine(count: int | None) -> bool:
        return count is None or count == 0 or count > SMALL

    for panel, trait in zip(panels_of(page), table.traits, strict=True):
        told = [number(panel["n"]), number(panel.get("cases", "")), number(panel.get("controls", ""))]
        assert all(fine(count) and (count is None or fine(table.n - count)) for count in told)
        assert all(fine(count) for rows in panel["classes"] for row in rows if row for count in row)
        counts = [number(text) for _, text, _ in panel["steps"]]
        assert all(fine(a) and (a is None or b is None or fine(abs(a - b))) for a in counts for b in [*counts, *told])
        assert panel["steps"][2][1] == FEW
        if panel.get("histogram"):
            assert min(count for count in panel["histogram"]["counts"] if count) >= SMALL
            assert panel["histogram"]["rounded"] or sum(panel["histogram"]["counts"]) == number(panel["n"])
        if trait.kind == BINARY:
            both = [number(note.split()[0]) for note in panel["notes"]]
            assert all(fine(count) and (count is None or fine(table.n - count)) for count in both)
    assert f"{table.n + 3}" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert ">17<" not in page
    shown = [number(text) for text in re.findall(r'<td class="number"[^>]*>([\d,]+)</td>', page)]
    traits_by_share = set(range(1, 49))  # of these tables, counts of traits
    assert all(fine(count) or count in traits_by_share for count in shown)


def test_ids_are_nowhere(tmp_path: Path) -> None:
    table = Table(300).binary("b", 0.4).add("q", np.random.default_rng(1).normal(size=300))
    page = page_of(table, tmp_path)
    assert not [person for person in table.ids.tolist() if str(person) in page]


def test_a_few_missing_are_not_told_by_their_rest(tmp_path: Path) -> None:
    table = Table(1_000)
    values = table.random.normal(size=table.n)
    values[:7] = np.nan
    cases = (np.arange(table.n) % 3 == 0).astype(np.int8)
    cases[:7] = -1
    binary, quantitative = panels_of(page_of(table.add("b", cases).add("q", values), tmp_path))
    assert binary["n"] == quantitative["n"] == "≥980"
    assert binary["cases"] == "331"
    assert (binary["controls"], binary["missing"], quantitative["missing"]) == (UNTOLD, None, None)
    assert quantitative["histogram"] is None or quantitative["histogram"]["rounded"]
    assert quantitative["spread"][0][0] is not None


def test_a_trait_inside_another_does_not_tell_their_difference(tmp_path: Path) -> None:
    table = Table(6_000)
    outer = (table.random.random(table.n) < 0.2).astype(np.int8)
    close, apart = outer.copy(), outer.copy()
    close[np.flatnonzero(outer)[:9]] = 0
    apart[(outer == 1) & (table.covariates["age"] > 40) & (table.random.random(table.n) < 0.3)] = 0
    apart[np.flatnonzero((outer == 1) & (table.covariates["age"] < 29))[:4]] = 0
    page = page_of(table.add("outer", outer).add("close", close).add("apart", apart), tmp_path)
    of_outer, of_close, of_apart = panels_of(page)
    assert of_outer["cases"] == f"{outer.sum():,}"
    assert of_close["cases"] == UNTOLD
    assert of_close["notes"] == ["The counts are hidden: outer has all cases of this trait, and ≤20 more."]
    assert of_close["classes"] == [[None] * 2, [None] * 6, [None] * 3]
    assert of_apart["cases"] == f"{apart.sum():,}"
    for rows, others in zip(of_apart["classes"], of_outer["classes"], strict=True):
        for row, other in zip(rows, others, strict=True):
            assert row is None or other is None or not 1 <= other[1] - row[1] <= SMALL
    assert of_apart["classes"][1][0] is None


def test_sets_that_contain_others_are_found() -> None:
    random = np.random.default_rng(5)
    cases = random.random((40, 999)) < 0.1
    for k in range(10, 30):
        cases[k] |= cases[random.integers(0, k)]
    cases[3] = False
    sets = CaseSets(999)
    sets.add(cases[:17])
    sets.add(cases[17:])
    for one, found in enumerate(sets.containing()):
        larger = [two for two in range(40) if cases[one].any() and cases[two].sum() > cases[one].sum()]
        assert found == [two for two in larger if not (cases[one] & ~cases[two]).any()]


def test_pairs_with_a_small_cell_are_not_correlated(tmp_path: Path) -> None:
    table = Table(2_000)
    one = np.zeros(table.n, np.int8)
    one[:100] = 1
    table.add("a", one).add("b", np.roll(one, 90)).add("c", np.roll(one, 50)).add("d", np.roll(one, 500))
    found = embedded(page_of(table, tmp_path), "common")["related"]["r"]
    # They share 10, 50 and no cases.
    assert (found[1][0], found[3][0]) == (correlation.FEW, -5)
    assert found[2][0] == 47


# ---- people ------------------------------------------------------------------------------------------------


def test_small_classes_go_together(tmp_path: Path) -> None:
    n = 1_000
    age = np.repeat([12.0, 35.0, 47.0, 62.0, 97.0, np.nan], [5, 400, 15, 560, 17, 3])
    sex = np.r_[np.ones(480), np.full(516, 2.0), [np.nan] * 4]
    group = np.array(["eur"] * 600 + ["afr"] * 380 + ["mid"] * 8 + ["sas"] * 12, dtype=object)
    Table(n, age=age, sex=sex, group=group).binary("b", 0.5).write(tmp_path)
    classes = read_cohort(tmp_path / "covariates.parquet", n).classes
    found = {one.title: dict(zip(one.labels, one.people.tolist(), strict=True)) for one in classes}
    assert found["Sex"] == {"men": 480, "women or sex not known": 520}
    assert found["Age, years"] == {"10–39": 405, "40 and older or age not known": 595}
    assert found["Group"] == {"afr or mid or sas": 400, "eur": 600}


def test_of_very_many_groups_the_largest_are_told(tmp_path: Path) -> None:
    group = np.array([f"g{k:03d}" for k in range(60) for _ in range(30 + k)], dtype=object)
    n = len(group)
    Table(n, group=group).binary("b", 0.5).write(tmp_path)
    (found,) = read_cohort(tmp_path / "covariates.parquet", n).classes
    assert len(found.labels) == people.MOST_GROUPS
    assert found.labels[-1] == "41 others"
    assert found.people.sum() == n


@pytest.mark.parametrize("n", [1, 12, 45])
def test_a_table_of_a_few_people(tmp_path: Path, n: int) -> None:
    table = Table(n).binary("b", 0.5).add("q", np.arange(n) + 0.5).add("none", np.full(n, np.nan))
    page = page_of(table, tmp_path)
    for panel in panels_of(page):
        assert number(panel["n"]) in (None, 0, 45)
        assert panel.get("histogram") is None or n == 45
    assert "Synthetic" in page


def test_a_table_without_covariates_and_odd_traits(tmp_path: Path) -> None:
    n = 500
    table = Table(n, birth_year=np.full(n, 1950.0)).binary("b", 0.4).add("constant", np.full(n, 2.5))
    table.add("all", np.ones(n, np.int8)).add("nobody", np.full(n, -1, np.int8)).add("empty", np.full(n, np.nan))
    page = page_of(table, tmp_path, left_out=[], quality=[], notes=[], covariates=[])
    panels = panels_of(page)
    assert [panel["n"] for panel in panels] == ["500", "500", "500", "0", "0"]
    assert panels[1]["summary"]["sd"] == 0
    assert panels[1]["histogram"] is None
    assert panels[2]["cases"] == "500"
    assert embedded(page, "common")["classes"] == []


# ---- the page ----------------------------------------------------------------------------------------------


def test_page_loads_nothing_and_allows_only_its_own_script(tmp_path: Path) -> None:
    page = page_of(Table(200).binary("b", 0.5), tmp_path)
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "The whole provenance document" not in page


def evil(folder: Path) -> str:
    table = Table(400, group=np.array([EVIL, "plain"] * 200, dtype=object))
    more = {"label": EVIL, "category": EVIL, "notes": (EVIL,), "warnings": (EVIL,), "steps": (Step(EVIL, 400),)}
    table.binary("b", 0.5, **more, recipe={EVIL: EVIL}).add("q", table.random.normal(size=400), units=EVIL, **more)
    return page_of(table, folder, name=EVIL, left_out=[{"name": EVIL, "why": EVIL}], notes=[EVIL])


def test_names_from_files_are_only_ever_text(tmp_path: Path) -> None:
    page = evil(tmp_path)
    assert "<script>alert" not in page
    assert "<img" not in page
    assert panels_of(page)[0]["label"] == EVIL


def test_the_same_table_makes_the_same_page(tmp_path: Path) -> None:
    pages = [page_of(Table(700).binary("b", 0.3, 0.1).binary("c", 0.2), tmp_path / name) for name in ("one", "two")]
    assert pages[0] == pages[1]


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Table(100).binary("b", 0.5).write(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(phenotype_report, "write_atomically", full)
    with pytest.raises(OutputError, match="disk is full"):
        write_report(folder)
    assert not (tmp_path / "report.html").exists()


def test_the_command_writes_it_again(tmp_path: Path, allscan_cli: CommandLine) -> None:
    Table(300).binary("b", 0.4).write(tmp_path / "table")
    done = allscan_cli("phenotypes", "report", tmp_path / "table")
    assert done.exit_code == 0
    assert str(tmp_path / "table" / "report.html") in done.output
    assert "Synthetic" in (tmp_path / "table" / "report.html").read_text()
    refused = allscan_cli("phenotypes", "report", tmp_path)
    assert refused.exit_code == 2
    assert "no trait table" in refused.output


def test_a_new_table_has_no_old_report(tmp_path: Path) -> None:
    folder = Table(300).binary("b", 0.4).write(tmp_path)
    page = phenotype_report.report_of(folder).read_text()
    assert phenotype_report.report_of(folder).read_text() == page
    again = Table(300).binary("other", 0.4).write(tmp_path)
    assert not (tmp_path / "report.html").exists()
    assert "other" in phenotype_report.report_of(open_trait_table(again.path)).read_text()


@pytest.mark.reference
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("case", ["plain", "evil"])
def test_page_draws_in_a_browser_without_errors(case: str, tmp_path: Path) -> None:
    if case == "evil":
        evil(tmp_path)
    else:
        table = (
            Table(3_000)
            .binary("b", 0.5, 0.1)
            .binary("rare", 0.002)
            .add("q", np.random.default_rng(1).normal(size=3_000))
        )
        page_of(table, tmp_path)
    opened = {"plain": 2, "evil": 1}[case]
    command = [
        *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"),
        f"{(tmp_path / 'report.html').as_uri()}#trait-{opened}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count("<article") == 1
    assert done.stdout.count("<canvas") == 2  # the heat map, the histogram
    assert "Distribution" in done.stdout
