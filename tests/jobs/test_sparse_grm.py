"""Jobs with a mixed model of relatives: `null_model: {method: sparse_grm}`."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from allscan.engine.manifest import MANIFEST
from allscan.engine.plan import plan_scan
from allscan.engine.results import ResultsCube
from allscan.errors import InputError, JobChangedError, JobError
from allscan.jobs.check import check_job
from allscan.jobs.job import Job
from allscan.jobs.run import run_job
from allscan.kernels.association import NullData, ScanOptions
from allscan.kernels.block import encode_block
from allscan.kernels.counts import count_genotypes, sample_sets
from allscan.kernels.missingness import missingness_patterns
from allscan.kernels.mixed import MIXED
from allscan.kernels.relatedness import make_relatedness

if TYPE_CHECKING:
    from tests.jobs.conftest import Cohort, CommandLine

SECTION = {"method": "sparse_grm", "relatedness": "relatives.tsv"}
CELLS = ("beta", "standard_error", "neg_log10_p", "status")


def write_relatives(cohort: Cohort, name: str = "relatives.tsv", *, extra: str = "", step: int = 3) -> Path:
    """Trios of people who stand together: the first is a sibling of the others. The last of each is a distant relative
    of the next trio's last, below the cut-off."""
    lines = ["i.s\tj.s\tkin"]
    for first in range(0, len(cohort.ids) - 2, step):
        one, two, three = cohort.ids[first : first + 3]
        lines += [f"{one}\t{two}\t0.25", f"{three}\t{one}\t0.24"]
    lines += [f"{one}\t{two}\t0.02" for one, two in pairwise(cohort.ids[2::3])]
    path = cohort.folder / name
    path.write_text("\n".join(lines) + "\nNOBODY\tNEITHER\t0.25\n" + extra)
    return path


def make_alike(cohort: Cohort) -> None:
    """Give the trios something in common in both traits."""
    rng = np.random.default_rng(5)
    shared = np.repeat(rng.normal(size=(len(cohort.ids) // 3 + 1, 2)), 3, axis=0)
    place = {person: k for k, person in enumerate(cohort.ids)}
    rows = [row.split("\t") for row in (cohort.folder / "traits.tsv").read_text().splitlines()]
    names = rows[0]
    for row in rows[1:]:
        for k, (name, size) in enumerate((("height", 1.2), ("ldl", 0.6))):
            at = names.index(name)
            if row[0] in place and row[at] not in ("NA", ""):
                row[at] = repr(float(row[at]) + float(shared[place[row[0]], k]) * size)
    (cohort.folder / "traits.tsv").write_text("\n".join("\t".join(row) for row in rows) + "\n")


def table(run: Path, trait: str) -> dict[str, np.ndarray]:
    return ResultsCube(run).trait_table(trait)


def assert_equal(one: Path, other: Path, trait: str) -> None:
    left, right = table(one, trait), table(other, trait)
    for name in CELLS:
        np.testing.assert_array_equal(left[name], right[name])


def test_a_run_is_the_kernel_on_the_same_people(cohort: Cohort, allscan_cli: CommandLine) -> None:
    make_alike(cohort)
    write_relatives(cohort)
    job = cohort.job(null_model=SECTION)
    checked = allscan_cli("check", job)
    assert checked.exit_code == 0, checked.output
    assert "relatives.tsv: mixed model with a sparse relationship matrix from kinship (test `mixed`)" in checked.output
    assert "the largest of 3" in checked.output
    assert "2 people of the file are not in the genotypes" in checked.output
    design = check_job(Job.from_yaml(job)).strata[0].design
    done = allscan_cli("run", job)
    assert done.exit_code == 0, done.output
    assert not any(person in done.output for person in ("NOBODY", *cohort.ids))
    assert "NOBODY" not in checked.output
    # By hand: the table's pairs, row by row.
    row = {person: k for k, person in enumerate(np.array(cohort.ids)[design.store_rows])}
    pairs = [line.split("\t") for line in (cohort.folder / "relatives.tsv").read_text().splitlines()[1:]]
    pairs = [pair for pair in pairs if pair[0] in row and pair[1] in row]
    relatedness = make_relatedness(
        np.array([row[one] for one, _, _ in pairs]),
        np.array([row[other] for _, other, _ in pairs]),
        2.0 * np.array([float(kinship) for *_, kinship in pairs]),
        design.n_samples,
    )
    member, set_of_trait = missingness_patterns(design.traits)
    data = NullData(
        design.traits,
        design.covariates,
        design.covariate_names,
        np.ones(design.n_samples),
        member,
        set_of_trait,
        relatedness,
    )
    null, _ = MIXED.fit_null(data, ScanOptions(), {})
    calls = cohort.calls[:, design.store_rows]
    block = encode_block(np.ascontiguousarray(calls))
    out = {name: np.empty((len(calls), 2)) for name in CELLS[:3]} | {"status": np.empty((len(calls), 2), np.uint8)}
    MIXED.score_block(block, count_genotypes(block, sample_sets(member)), null, ScanOptions(), out)
    for t, trait in enumerate(design.trait_names):
        found = table(cohort.folder / "run", trait)
        autosomal = np.isin(found["contig"], ["21", "22"])
        np.testing.assert_array_equal(found["status"][autosomal], out["status"][autosomal, t])
        for name in CELLS[:3]:
            np.testing.assert_allclose(found[name][autosomal], out[name][autosomal, t], rtol=2e-6, atol=1e-12)
    # And what the variance components are.
    provenance = json.loads((cohort.folder / "run" / "provenance.json").read_text())
    assert provenance["job"]["test"]["name"] == "mixed"
    model = provenance["null_model"]
    assert (model["method"], model["cutoff"], model["pairs"]) == ("sparse_grm", 0.05, len(relatedness.first))
    notes = {(note["trait"], note["message"]) for note in provenance["trait_notes"]}
    for t, trait in enumerate(design.trait_names):
        h2, error = null.components.heritability[t], null.components.heritability_error[t]
        assert (trait, f"heritability {h2:.4g}, standard error {error:.2g}") in notes
    (read,) = [entry for entry in provenance["inputs"] if entry["role"] == "null_model.relatedness"]
    assert read["path"] == "relatives.tsv"


def test_workers_and_resumption_change_no_bit(cohort: Cohort) -> None:
    write_relatives(cohort)
    for name, workers in (("one", 1), ("two", 2)):
        runtime = {"workers": workers, "memory": "2GB"}
        Job.from_yaml(cohort.job(f"{name}.yaml", null_model=SECTION, output=name, runtime=runtime)).run()
    stopped = Job.from_yaml(cohort.job("stopped.yaml", null_model=SECTION, output="stopped"))
    finished = 0

    def stop(progress: Any) -> None:
        nonlocal finished
        finished += progress.task is not None
        if finished == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(stopped, on_progress=stop)
    assert stopped.run().n_tests
    for trait in ("height", "ldl"):
        assert_equal(cohort.folder / "one", cohort.folder / "two", trait)
        assert_equal(cohort.folder / "one", cohort.folder / "stopped", trait)


def test_an_update_follows_the_relatives_of_each_trait(cohort: Cohort) -> None:
    """A pair of whom one has no ldl is no part of ldl's model."""
    write_relatives(cohort)
    job = Job.from_yaml(cohort.job(null_model=SECTION))
    job.run()
    design = check_job(job).strata[0].design
    ids = np.array(cohort.ids)[design.store_rows]
    height, ldl = (~np.isnan(design.traits[:, k]) for k in (0, 1))
    only_height = ids[height & ~ldl]
    partner = ids[height & ldl][0]
    assert len(only_height)
    before = json.loads((cohort.folder / "run" / MANIFEST).read_text())["traits"][0]
    write_relatives(cohort, extra=f"{only_height[1]}\t{partner}\t0.25\n")
    with pytest.raises(JobChangedError, match=r"null_model\.relatedness"):
        job.run()
    checked = check_job(job)
    now = plan_scan(checked.store, checked.strata, checked.spec, workers=1, memory_bytes=2 << 30).manifest.traits[0]
    assert [one == other for one, other in zip(before, now, strict=True)] == [False, True]
    run_job(job, update=True)
    fresh = Job.from_yaml(cohort.job("fresh.yaml", null_model=SECTION, output="fresh"))
    fresh.run()
    for trait in ("height", "ldl"):
        assert_equal(cohort.folder / "run", cohort.folder / "fresh", trait)


def test_relatives_that_are_too_distant_or_left_out_leave_linear_regression(cohort: Cohort) -> None:
    write_relatives(cohort)
    far = Job.from_yaml(cohort.job("far.yaml", null_model={**SECTION, "cutoff": 0.9}, output="far"))
    checked = check_job(far)
    assert any("nobody who is analysed has a relative" in warning for warning in checked.report.warnings)
    far.run()
    Job.from_yaml(cohort.job("plain.yaml", precision="float64", output="plain")).run()
    for trait in ("height", "ldl"):
        left, right = (table(cohort.folder / run, trait) for run in ("far", "plain"))
        for name in CELLS[:3]:
            np.testing.assert_allclose(left[name], right[name], rtol=1e-5, atol=1e-9)


def test_a_sparse_matrix_of_gcta(cohort: Cohort) -> None:
    """The same pairs, and a diagonal of ones: the same results as from the kinship."""
    write_relatives(cohort)
    place = {person: k for k, person in enumerate(cohort.ids)}
    rows = [line.split("\t") for line in (cohort.folder / "relatives.tsv").read_text().splitlines()[1:]]
    text = [f"{place[b]}\t{place[a]}\t{2 * float(k)!r}" for a, b, k in rows if a in place]
    text += [f"{k}\t{k}\t1" for k in range(len(cohort.ids))]
    (cohort.folder / "m.grm.sp").write_text("\n".join(text) + "\n")
    (cohort.folder / "m.grm.id").write_text("".join(f"0\t{person}\n" for person in cohort.ids))
    for name, file in (("table", "relatives.tsv"), ("matrix", "m.grm.sp")):
        job = Job.from_yaml(cohort.job(f"{name}.yaml", null_model={**SECTION, "relatedness": file}, output=name))
        job.run()
    for trait in ("height", "ldl"):
        assert_equal(cohort.folder / "table", cohort.folder / "matrix", trait)
    assert {file.role for file in check_job(job).inputs} >= {"null_model.relatedness", "null_model.relatedness, ids"}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"test": "mixed"}, r"'mixed' needs to know who is related.*method: sparse_grm"),
        ({"null_model": SECTION, "test": "linear"}, r"'linear' is no mixed model.*test: mixed or nothing"),
        ({"null_model": "sparse_grm"}, "needs the pairs of relatives"),
        ({"null_model": {"method": "sparse_grm"}}, "needs the pairs of relatives"),
        ({"null_model": {**SECTION, "folds": 3}}, "`folds` is of `method: whole_genome`"),
        ({"null_model": {"method": "whole_genome", "cutoff": 0.1}}, "`cutoff` is of pairs of relatives"),
        ({"null_model": {**SECTION, "cutoff": 0}}, "cutoff"),
        ({"null_model": {**SECTION, "relatedness": "nothing.tsv"}}, "there is no file 'nothing.tsv'"),
    ],
)
def test_jobs_that_are_refused(cohort: Cohort, allscan_cli: CommandLine, keys: dict[str, Any], message: str) -> None:
    write_relatives(cohort)
    done = allscan_cli("check", cohort.job(**keys))
    assert done.exit_code == 2
    assert "Traceback" not in done.output
    with pytest.raises(JobError, match=f"(?s){message}"):
        check_job(Job.from_yaml(cohort.folder / "job.yaml"))


def test_a_pair_with_two_values_is_refused_by_count(cohort: Cohort) -> None:
    one, two = cohort.ids[:2]
    write_relatives(cohort, extra=f"{two}\t{one}\t0.1\n")
    with pytest.raises(
        InputError, match=r"(?s)1 pairs of relatives are listed twice.*relatives\.tsv, named in"
    ) as error:
        check_job(Job.from_yaml(cohort.job(null_model=SECTION)))
    assert one not in str(error.value)


def test_options_of_the_test_stay(cohort: Cohort) -> None:
    write_relatives(cohort)
    job = Job.from_yaml(cohort.job(null_model=SECTION, test={"options": {"heritability": 0.3}}))
    spec = check_job(job).spec
    assert (spec.test, dict(spec.test_options)) == ("mixed", {"heritability": 0.3, "variance": "exact"})


def test_memory_of_relatives_is_planned(cohort: Cohort) -> None:
    write_relatives(cohort)
    plans = []
    for keys in ({}, {"null_model": SECTION}):
        checked = check_job(Job.from_yaml(cohort.job(**keys)))
        plans.append(plan_scan(checked.store, checked.strata, checked.spec, workers=1, memory_bytes=4 << 30))
    assert plans[1].shared_memory_bytes > plans[0].shared_memory_bytes
    assert plans[1].task_memory_bytes > plans[0].task_memory_bytes
