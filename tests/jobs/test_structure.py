"""Structures: what is built of a structure file, what scans read of it, and what the report does not tell."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from allscan.arrow import numbers, objects
from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.structure import pca as engine_pca
from allscan.errors import InputError, JobError, OutputError
from allscan.jobs.check_report import CheckReport
from allscan.jobs.cli import main
from allscan.jobs.job import Job
from allscan.jobs.structure import build as structure_build
from allscan.jobs.structure.build import build_structure
from allscan.jobs.structure.checkpoints import WORK
from allscan.jobs.structure.file import StructureJob
from allscan.jobs.structure.folder import TABLES, StructureFolder, is_structure, open_structure
from allscan.jobs.structure.inputs import Prepared, prepare
from allscan.jobs.structure.quality import COUNTING, OUTLIER
from allscan.jobs.structure.report import report_of
from allscan.jobs.structure.report.discs import discs
from allscan.jobs.structure.use import structure_of_job
from tests.engine.cohorts import Cohort, write_calls

PEOPLE, CHILDREN, MARKERS, SMALL_GROUP = 260, 20, 900, 12
POORLY_CALLED, MIXED = 150, 215
LEFT = PEOPLE + CHILDREN - 4


def populations(rng: np.random.Generator) -> NDArray[np.float64]:
    """Frequencies of three populations, (populations, markers)."""
    ancestral = rng.uniform(0.15, 0.85, MARKERS)
    return rng.beta(ancestral * 9, (1 - ancestral) * 9, (3, MARKERS))


def sites() -> tuple[NDArray[np.int16], NDArray[np.int32]]:
    contig = np.repeat(np.arange(3, dtype=np.int16), MARKERS // 3)
    return contig, np.tile(np.arange(MARKERS // 3, dtype=np.int32) * 1_100_000 + 1, 3)


def simulated(folder: Path) -> Cohort:
    """Three populations of which one is small, and children of pairs of people of the first."""
    rng = np.random.default_rng(8)
    own = populations(rng)
    known = np.repeat([0, 1], 40)
    calls = (rng.random((2, MARKERS, len(known))) < own[known].T).sum(axis=0).astype(np.int8)
    ids = np.array([f"known-{k}" for k in range(len(known))], dtype=object)
    write_calls(folder / "reference.zarr", calls, *sites(), ("1", "2", "3"), sample_ids=ids)
    (folder / "labels.tsv").write_text(
        "s\tpopulation\n" + "".join(f"{one}\t{'AB'[k]}\n" for one, k in zip(ids, known, strict=True))
    )
    population = np.repeat([0, 1, 2], [130, PEOPLE - 130 - SMALL_GROUP, SMALL_GROUP])
    haplotypes = (rng.random((2, MARKERS, PEOPLE)) < own[population].T).astype(np.int8)
    parents = haplotypes[:, :, : 2 * CHILDREN]
    passed = np.where(rng.random(parents.shape[1:]) < 0.5, parents[0], parents[1])
    calls = np.concatenate([haplotypes.sum(axis=0), passed[:, ::2] + passed[:, 1::2]], axis=1).astype(np.int8)
    calls[:, MIXED] = np.where(rng.random(MARKERS) < 0.5, 1, calls[:, MIXED])
    calls[rng.random(calls.shape) < 0.005] = -1
    calls[rng.random(MARKERS) < 0.15, POORLY_CALLED] = -1
    ids = np.array([f"person-{k:04d}" for k in range(PEOPLE + CHILDREN)], dtype=object)
    cohort = write_calls(folder / "cohort.zarr", calls, *sites(), ("1", "2", "3"), sample_ids=ids)
    names = np.array(["alpha", "beta", "gamma"])[np.concatenate([population, np.zeros(CHILDREN, int)])]
    rows = [f"{person}\t{name}" for person, name in zip(ids, names, strict=True)]
    rows[5] = f"{ids[5]}\toth"
    (folder / "groups.tsv").write_text("person_id\tgroup\n" + "\n".join(rows) + "\n")
    pairs = [f"{ids[2 * k + p]}\t{ids[PEOPLE + k]}\t0.25" for k in range(CHILDREN) for p in (0, 1)]
    (folder / "relatives.tsv").write_text("ID1\tID2\tKinship\n" + "\n".join(pairs) + "\n")
    (folder / "out.txt").write_text(f"{ids[100]}\n{ids[200]}\n")
    (folder / "mixed.txt").write_text(f"{ids[MIXED]}\n")
    return cohort


KEYS: dict[str, Any] = {
    "name": "A small cohort",
    "genotypes": "cohort.zarr",
    "samples": {"exclude": "out.txt"},
    "relatives": {"file": "relatives.tsv"},
    "components": {"count": 3, "umap": True},
    "groups": "groups.tsv",
    "output": "structure",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("structure")
    simulated(folder)
    return folder


def prepared(place: Path, **keys: Any) -> Prepared:
    return prepare(StructureJob.from_dict({**KEYS, **keys}, base=place))


@pytest.fixture(scope="module")
def built(place: Path) -> StructureFolder:
    return build_structure(prepared(place)).folder


def column(folder: StructureFolder, name: str) -> NDArray[Any]:
    column = folder.samples()[name]
    return objects(column) if name in ("person_id", "excluded", "group") else numbers(column, np.float64, np.nan)


def test_everybody_in_the_store_has_a_row(built: StructureFolder) -> None:
    assert column(built, "person_id").tolist() == [f"person-{k:04d}" for k in range(PEOPLE + CHILDREN)]
    excluded = column(built, "excluded")
    out = {row: excluded[row] for row in np.flatnonzero(excluded != None).tolist()}  # noqa: E711
    assert out == {
        100: "in a list of people to exclude",
        POORLY_CALLED: "call rate below 0.95",
        200: "in a list of people to exclude",
        MIXED: OUTLIER,
    }
    scores = np.column_stack([column(built, f"pc{k}") for k in (1, 2, 3)])
    assert np.flatnonzero(np.isnan(scores).any(axis=1)).tolist() == [100, POORLY_CALLED, 200]
    assert built.provenance["people"] == {
        "in_store": PEOPLE + CHILDREN,
        "excluded": {"in a list of people to exclude": 2, "call rate below 0.95": 1, OUTLIER: 1},
        "left": LEFT,
        "placed": LEFT + 1,
        "related": CHILDREN,
    }
    assert built.provenance["quality"]["outliers"]["snp_het_homvar_ratio"] == 1
    assert column(built, "call_rate")[POORLY_CALLED] < 0.9
    assert np.isnan(column(built, "call_rate")[100])
    variants = pq.read_table(built.path / "variants.parquet")
    assert len(variants) == MARKERS


def test_unrelated_people_define_the_components_and_children_fall_by_their_parents(built: StructureFolder) -> None:
    table = built.samples()
    related = objects(table["related"])
    assert np.flatnonzero(related == True).tolist() == list(range(PEOPLE, PEOPLE + CHILDREN))  # noqa: E712
    unrelated = related == False  # noqa: E712
    scores = np.column_stack([column(built, f"pc{k}") for k in (1, 2)])
    np.testing.assert_allclose((scores[unrelated] ** 2).mean(axis=0), 1, rtol=1e-6)
    assert np.abs(scores[unrelated].mean(axis=0)).max() < 0.02
    children = scores[PEOPLE:]
    middle = (scores[0 : 2 * CHILDREN : 2] + scores[1 : 2 * CHILDREN : 2]) / 2
    group = column(built, "group")
    spread = scores[:130][unrelated[:130]].std(axis=0)
    between = np.nanmean(scores[group == "alpha"], axis=0) - np.nanmean(scores[group == "beta"], axis=0)
    off = np.abs(children - middle).mean(axis=0)
    assert (off < 1.2 * spread).all()
    assert off[0] < 0.1 * np.abs(between[0])


def test_groups_and_components_within_them(built: StructureFolder) -> None:
    assert built.groups == ("alpha", "beta", "gamma")
    assert column(built, "group")[5] is None
    assert built.groups_with_components == ("alpha", "beta")
    assert built.provenance["groups"][2]["why"] == "fewer than 100 unrelated people"
    within = built.group_components()
    of_alpha = objects(within["group"]) == "alpha"
    assert of_alpha.sum() == 130 + CHILDREN - 2
    scores = numbers(within["pc1"], np.float64, np.nan)[of_alpha]
    own = objects(within["related"])[of_alpha] == False  # noqa: E712
    np.testing.assert_allclose((scores[own] ** 2).mean(), 1, rtol=1e-6)
    assert built.provenance["groups_accounting"]["in no group: labelled 'oth'"] == 1


def test_umap_is_a_picture_of_the_components_and_no_covariate(place: Path, built: StructureFolder) -> None:
    plane = np.column_stack([column(built, name) for name in ("umap1", "umap2")])
    placed = ~np.isnan(column(built, "pc1"))
    assert np.array_equal(~np.isnan(plane).any(axis=1), placed)
    group = column(built, "group")
    alpha, beta = (plane[placed & (group == name)] for name in ("alpha", "beta"))
    centres = np.stack([np.median(alpha, axis=0), np.median(beta, axis=0)])
    nearest = [np.linalg.norm(people[:, None] - centres, axis=2).argmin(axis=1) for people in (alpha, beta)]
    assert (nearest[0] == 0).mean() > 0.95
    assert (nearest[1] == 1).mean() > 0.95
    assert not {"umap1", "umap2"} & set(built.covariates)
    without = build_structure(prepared(place, components={"count": 3}, output="no_picture")).folder
    names = without.samples().column_names
    assert [name for name in built.samples().column_names if name not in names] == ["umap1", "umap2"]
    # Nothing else changes.
    pd.testing.assert_frame_equal(without.samples().to_pandas(), built.samples(names).to_pandas(), check_exact=True)
    assert "UMAP" not in report_of(without).read_text()
    page = report_of(built).read_text()
    figure = next(one for one in page.split("<figure>")[1:] if "UMAP1" in one).split("</figure>")[0]
    assert 2 <= figure.count("<ellipse") <= LEFT // 21
    assert "It must not be used" in page


def test_pairs_are_a_table_that_null_models_read(built: StructureFolder) -> None:
    from allscan.phenotypes.relatedness import read_relatedness

    found = read_relatedness(built.relatives)
    assert len(found.first) == 2 * CHILDREN
    assert found.value.tolist() == [0.5] * 2 * CHILDREN


@pytest.mark.parametrize("method", ["king", "pc_relate"])
def test_relatives_are_found(place: Path, method: str) -> None:
    # A contaminated sample seems to be related to many.
    samples = {"exclude": ["out.txt", "mixed.txt"]}
    keys = {"groups": None, "quality": "none", "relatives": method, "samples": samples}
    found = build_structure(prepared(place, **keys, output=f"by_{method}")).folder
    assert found.provenance["people"]["related"] == CHILDREN
    table = found.relatives_table()
    pairs = set(zip(objects(table["id1"]), objects(table["id2"]), strict=True))
    expected = {(f"person-{2 * k + p:04d}", f"person-{PEOPLE + k:04d}") for k in range(CHILDREN) for p in (0, 1)}
    assert pairs == expected - {pair for pair in expected if "person-0100" in pair}
    assert set(objects(table["relationship"])) <= {"parent and child", "full siblings"}
    assert found.provenance["relatives"]["max_kinship"] > 0.08, "few markers do not tell farther relatives from chance"
    assert "do not tell farther ones" in found.provenance["notes"][-1]
    assert not (found.path / "variants.parquet").exists()


def test_groups_are_learned_from_a_reference(place: Path) -> None:
    pytest.importorskip("sklearn")
    groups = {"reference": {"genotypes": "reference.zarr", "labels": "labels.tsv", "components": 2}}
    found = build_structure(prepared(place, groups=groups, output="learned")).folder
    assert found.groups == ("A", "B")
    group = column(found, "group")
    assert (group[:100] == "A").all()
    assert (np.delete(group[130 : PEOPLE - SMALL_GROUP], [POORLY_CALLED - 130, 70, MIXED - 130]) == "B").all()
    assert not np.isnan(column(found, "probability_A")[:100]).any()
    assert np.array(found.provenance["confusion"]).sum() == 80
    page = report_of(found).read_text()
    assert "known-" not in page
    assert "The reference when left out" in page


def tables_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES}


def test_neither_workers_nor_kills_change_a_byte(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_pca, "PART_MARKERS", 100)
    build_structure(prepared(place, output="one", runtime={"workers": 1}))
    expected = tables_of(place / "one")
    build_structure(prepared(place, output="three", runtime={"workers": 3}))
    assert tables_of(place / "three") == expected
    kills = 0
    for tasks in (1, 4, 9, 20, 30, 45, 60, 10**6):
        monkeypatch.setattr(structure_build, "stages_executor", mortal_after(tasks))
        try:
            build_structure(prepared(place, output="killed"))
        except KilledError:
            kills += 1
            assert not is_structure(place / "killed")
            with pytest.raises(InputError, match="not whole"):
                open_structure(place / "killed")
    assert 4 <= kills < 8, "some are killed, at several stages, and one comes to the end"
    assert tables_of(place / "killed") == expected
    assert not (place / "killed" / WORK).exists()


class KilledError(Exception):
    """In the place of a kill."""


def mortal_after(tasks: int) -> Any:
    from contextlib import contextmanager

    class Mortal:
        left = tasks

        def run(self, function: Any, shared: Any, given: Any, *, memory_bytes: int = 0) -> Iterator[tuple[Any, Any]]:
            assert memory_bytes > 0
            for task, found in EmbeddedExecutor(1).run(function, shared, given):
                if not self.left:
                    raise KilledError
                self.left -= 1
                yield task, found

    @contextmanager
    def executor(*_: Any) -> Iterator[Mortal]:
        yield Mortal()

    return executor


KILLED = """
import os, signal, sys
from allscan.jobs.structure.build import build_structure
from allscan.jobs.structure.file import StructureJob
from allscan.jobs.structure.inputs import prepare

def tell(stage, done, total):
    if stage == "components" and done == 3:
        os.kill(os.getpid(), signal.SIGKILL)

build_structure(prepare(StructureJob.from_yaml(sys.argv[1])), on_progress=tell)
"""


def test_a_killed_process_leaves_what_another_goes_on_with(place: Path, built: StructureFolder) -> None:
    (place / "killed.yaml").write_text(json.dumps({**KEYS, "output": "by_signal"}))
    done = subprocess.run([sys.executable, "-c", KILLED, str(place / "killed.yaml")], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert list((place / "by_signal" / WORK).glob("*/markers.npz"))
    assert len(list((place / "by_signal" / WORK).glob("*/components/*/*.pass"))) == 3
    stages: list[str] = []
    again = prepared(place, output="by_signal")
    build_structure(again, on_progress=lambda stage, _done, _total: stages.append(stage))
    assert COUNTING not in stages, "quality is not computed again"
    assert tables_of(place / "by_signal") == tables_of(place / "structure")


def test_what_is_there_and_holds_is_left_alone(place: Path, built: StructureFolder) -> None:
    assert build_structure(prepared(place, name="Another title", runtime={"workers": 2})).already
    other = prepared(place, components={"count": 3, "seed": 2})
    assert other.digest != built.digest
    assert other.built() is None
    (place / "elsewhere").mkdir()
    (place / "elsewhere" / "thesis.doc").write_text("")
    with pytest.raises(OutputError, match=r"thesis\.doc"):
        build_structure(prepared(place, output="elsewhere"))


JOB = {
    "name": "scan",
    "genotypes": "cohort.zarr",
    "traits": {"file": "traits.tsv", "columns": ["t"]},
    "output": "runs/scan",
}


def test_a_job_reads_components_groups_and_exclusions(place: Path, built: StructureFolder) -> None:
    job = Job.from_dict(JOB, base=place)
    used = structure_of_job(job, "structure", write=False)
    table = used.covariates()
    assert list(table.columns) == ["pc1", "pc2", "pc3"]
    assert len(table.sample_ids) == LEFT
    assert "person-0100" not in set(table.sample_ids)
    values = table.columns["pc1"].values
    assert values is not None
    assert np.array_equal(values, column(built, "pc1")[column(built, "excluded") == None])  # noqa: E711
    groups = used.group_labels()
    assert groups.names == ("alpha", "beta", "gamma")
    assert groups.code[:3].tolist() == [0, 0, 0]
    assert groups.code[5] == -1
    of_beta = used.covariates_of("beta")
    assert of_beta is not None
    assert len(of_beta.sample_ids) == PEOPLE - 130 - SMALL_GROUP - 3
    assert used.covariates_of("gamma") is None
    excluded, *others = used.excluded()
    assert len(others) == 2
    assert excluded.reason == "in a list of people to exclude"
    assert excluded.sample_ids.tolist() == ["person-0100", "person-0200"]


def of_groups(place: Path, name: str, label: Callable[[int], str], formula: str = "pc1 + pc2") -> CheckReport:
    """The check of a job with groups of a table of its own."""
    rng = np.random.default_rng(3)
    ids = [f"person-{k:04d}" for k in range(PEOPLE + CHILDREN)]
    lines = [f"{one}\t{label(k)}\t{rng.standard_normal()}" for k, one in enumerate(ids)]
    (place / f"{name}.tsv").write_text("\n".join(["person_id\tgroup\tt", *lines]) + "\n")
    own = {"traits": {"file": f"{name}.tsv", "columns": ["t"]}, "covariates": {"formula": formula}}
    groups = {"structure": "structure", "ancestry": {"groups": f"{name}.tsv", "min_people": 10}}
    return Job.from_dict({**JOB, **own, **groups}, base=place).check()


def test_people_of_other_groups_have_no_components_of_the_structures_group(place: Path, built: StructureFolder) -> None:
    # Persons 5 and 100 are in no group of the structure, and 100 is excluded by it.
    report = of_groups(place, "shifted", lambda k: "beta" if 100 <= k < 259 else "alpha")
    alpha, beta = report.strata[0].groups
    assert (beta.n, beta.n_members) == (259 - 130 - SMALL_GROUP - 2, 159)
    why = {line.text: line.count for line in beta.left_out}
    own = "without components of the structure's group 'beta'"
    assert why[own] == 29 + SMALL_GROUP - 1
    assert sum(why.values()) == beta.n_members - beta.n
    assert f"{why[own]:>9,}  {own}" in report.text()
    assert "of 159 in the group, less" in report.text()
    assert {"reason": own, "count": why[own]} in beta.to_json()["left_out"]
    told = next(warning for warning in report.warnings if "ancestry=beta" in warning)
    assert f"{why[own]} people, of the 159 people in the group, are not in the structure's group 'beta'" in told
    assert "leave out `ancestry.groups`" in told
    assert any(f"without components of the structure's group {alpha.name!r}" in line.text for line in alpha.left_out)


def test_a_group_that_is_hardly_the_structures_is_told(place: Path, built: StructureFolder) -> None:
    report = of_groups(place, "swapped", lambda k: "beta" if k < 90 or 140 <= k < 160 else "gamma" if k > 200 else "x")
    beta, gamma, x = report.strata[0].groups
    assert beta.n == 19
    assert any("90 people, most of the 110 people in the group" in warning for warning in report.warnings)
    # Of these the structure has no components of their own, and nobody is left out for that.
    assert not any(line.reason.startswith("without components") for line in (*gamma.left_out, *x.left_out))
    assert any("stratum ancestry=x: components are those of everybody" in note for note in report.notes)
    alone = of_groups(place, "strangers", lambda k: "beta" if k < 90 else "x")
    assert alone.strata[0].groups[0].stratum is None
    assert "NOT SCANNED: 0 people are analysed" in alone.text()
    assert any("90 people, most of the 90 people" in warning for warning in alone.warnings)


def test_groups_lose_nobody_for_components_that_are_not_used(place: Path, built: StructureFolder) -> None:
    report = of_groups(place, "unused", lambda k: "beta" if k < 90 else "x", formula="1")
    beta, _ = report.strata[0].groups
    assert (beta.n, beta.left_out) == (90, ())
    assert not any("ancestry=" in told for told in (*report.warnings, *report.notes))


def test_a_job_that_names_the_file_has_it_built(place: Path) -> None:
    (place / "file.yaml").write_text(json.dumps({**KEYS, "output": "of_job"}))
    job = Job.from_dict(JOB, base=place)
    before = structure_of_job(job, "file.yaml", write=False)
    assert before.folder is None
    assert before.components == ("pc1", "pc2", "pc3")
    assert before.groups == ("alpha", "beta", "gamma")
    assert not (place / "of_job").exists()
    after = structure_of_job(job, "file.yaml", write=True)
    assert after.folder is not None
    assert after.inputs == before.inputs, "a run that is resumed sees the same job"
    assert structure_of_job(job, "of_job", write=False).inputs[0].content == before.inputs[0].content
    with pytest.raises(JobError, match="no structure 'nowhere'"):
        structure_of_job(job, "nowhere", write=False)


def test_the_report_tells_no_person_and_no_small_count(built: StructureFolder) -> None:
    page = report_of(built).read_text()
    assert "person-" not in page
    body = page[page.index("<main>") : page.index('id="provenance"')]
    cells = [int(cell.replace(",", "")) for cell in re.findall(r'<td class="number">([\d,]+)</td>', body)]
    assert cells
    assert "≤20" in body
    people = body[body.index("<h3>People</h3>") :]
    people = people[: people.index("</table>")]
    assert not [n for n in map(int, re.findall(r">(\d+)</td>", people)) if 0 < n <= 20]
    assert "alpha" in page


@pytest.mark.parametrize(("n", "least"), [(21, 21), (41, 21), (42, 21), (1000, 21), (5000, 100)])
def test_a_disc_stands_for_enough_people(n: int, least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(n)
    x, y = rng.standard_normal((2, n))
    found = discs(x, y, least)
    assert n // (2 * least) <= len(found) <= n // least
    if len(found) > 1:
        return
    assert (found[0].x, found[0].dy) == (float(f"{x.mean():.3g}"), float(f"{y.std():.3g}"))


def test_the_command_line(place: Path, tmp_path: Path) -> None:
    keys = {**KEYS, "output": str(tmp_path / "made")}
    (place / "cli.yaml").write_text(json.dumps(keys))
    runner = CliRunner()
    checked = runner.invoke(main, ["structure", "check", str(place / "cli.yaml")])
    assert checked.exit_code == 0, checked.output
    assert "278  looked at" in checked.output
    assert not (tmp_path / "made").exists()
    first = runner.invoke(main, ["structure", "build", str(place / "cli.yaml"), "--workers", "1"])
    assert first.exit_code == 0, first.output
    assert "person-" not in first.output
    again = runner.invoke(main, ["structure", "build", str(place / "cli.yaml")])
    assert "was there, and still holds" in again.output
    (tmp_path / "made" / "report.html").unlink()
    assert runner.invoke(main, ["structure", "report", str(tmp_path / "made")]).exit_code == 0
    assert (tmp_path / "made" / "report.html").is_file()
    log = (tmp_path / "made" / "run.log.jsonl").read_text()
    assert "person-" not in log
    assert "structure_complete" in log


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"genotypes": "none.zarr"}, "there is no genotype store 'none.zarr'"),
        ({"genotypes": "cohort.bed"}, "'cohort.bed' is a genotype file, not a genotype store"),
        ({"groups": "none.tsv"}, "the file 'none.tsv' cannot be read"),
        ({"relatives": {"file": "relatives.tsv", "method": "king"}}, "remove one of the two"),
        ({"groups": {"min_probability": 0.5}}, "write one of the two"),
        ({"components": {"count": 1000}}, "less than or equal to 100"),
        ({"components": {"count": 1, "umap": True}}, "`umap` needs two components"),
        ({"markers": {"exclude": ["77:1-2"]}}, "no contig '77'"),
        ({"samples": {"keep": "out.txt"}}, "2 people are left"),
        ({"marker": {}}, "did you mean 'markers'"),
    ],
)
def test_what_is_wrong_is_refused_before_work_starts(place: Path, keys: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        prepared(place, **keys)


def test_for_notebooks(built: StructureFolder) -> None:
    found = built.to_xarray()
    assert found["principal_component"].shape == (PEOPLE + CHILDREN, 3)
    assert found["eigenvalue"].dims == ("components",)
    assert found["umap1"].dims == ("samples",)
    assert found["group"].values[0] == "alpha"


def test_axes_place_other_people(place: Path, built: StructureFolder) -> None:
    from allscan.engine.store import GenotypeStore
    from allscan.engine.structure.axes_file import read_axes

    found = read_axes(built.axes, GenotypeStore(place / "cohort.zarr"))
    assert len(found.axes.rows) == built.provenance["markers"]["count"]
    assert pq.read_schema(built.axes).names[:2] == ["contig", "position"]
