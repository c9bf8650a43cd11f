"""A meta-analysis into its cube: values, hits, thresholds, resumption, and what must not matter."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.meta.axes import scaled_axes
from allscan.engine.meta.cube import MetaCube
from allscan.engine.meta.dataset import open_meta
from allscan.engine.meta.run import META_COMMITS, run_meta, study_inflation
from allscan.engine.meta.spec import MetaSpec, StudySet
from allscan.errors import InputError
from allscan.kernels.association import Status
from allscan.kernels.meta import fixed_effects, leave_one_out, random_effects, weighted_deviates
from allscan.kernels.meta_re2 import re2
from tests.engine.meta.studies_in_memory import StudiesInMemory, random_studies

SPEC = MetaSpec(hits_neg_log10_p=3.0)
ALL = StudySet("all", (0, 1, 2, 3, 4))
SOME = StudySet("some", (0, 2))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def whole(cube: MetaCube, column: str, one: int = 0) -> np.ndarray:
    return cube.block(column, one, slice(0, len(cube.traits)), slice(0, cube.n_variants))


def test_values_are_those_of_the_kernels(tmp_path: Path) -> None:
    studies = random_studies()
    summary = run_meta(studies, [ALL, SOME], SPEC, EmbeddedExecutor(1), tmp_path)
    cube = MetaCube(tmp_path)
    assert cube.strata == ("all", "some")
    assert summary.sets == {"all": studies.names, "some": ("study0", "study2")}
    for one, members in enumerate([ALL.members, SOME.members]):
        for t in range(3):
            beta, error = studies.beta[list(members), t], studies.standard_error[list(members), t]
            fixed, random = fixed_effects(beta, error), random_effects(beta, error)
            enough = fixed.n_studies >= 2
            np.testing.assert_array_equal(whole(cube, "n_studies", one)[t], fixed.n_studies)
            for name, values in (
                ("beta", fixed.beta),
                ("neg_log10_p", fixed.neg_log10_p),
                ("neg_log10_p_q", fixed.q_neg_log10_p),
                ("i_squared", fixed.i_squared),
                ("standard_error_random", random.standard_error),
                ("tau_squared", random.tau_squared),
                ("neg_log10_p_re2", re2(beta, error).neg_log10_p),
            ):
                np.testing.assert_array_equal(whole(cube, name, one)[t], np.where(enough, values, np.nan).astype("f4"))
            z = np.sign(beta) * np.abs(beta / error)
            by_size = weighted_deviates(z, studies.n[list(members), t]).neg_log10_p
            np.testing.assert_allclose(
                whole(cube, "neg_log10_p_sample_size", one)[t][enough], by_size[enough], rtol=1e-5
            )
            status = whole(cube, "status", one)[t]
            expected = np.where(enough, Status.OK, np.where(fixed.n_studies > 0, Status.FILTERED, Status.NOT_TESTED))
            np.testing.assert_array_equal(status, expected)
            n = np.where(np.isfinite(beta), studies.n[list(members), t], 0).sum(axis=0)
            np.testing.assert_array_equal(whole(cube, "n", one)[t], n)
    assert summary.n_tests == sum(counts["OK"] for counts in summary.statuses.values())


def test_hits_tell_of_each_study_and_of_the_rest_without_it(tmp_path: Path) -> None:
    studies = random_studies()
    summary = run_meta(studies, [ALL], SPEC, EmbeddedExecutor(1), tmp_path)
    hits = pq.read_table(tmp_path / "meta_hits.parquet").to_pylist()
    cube = MetaCube(tmp_path)
    tests = [f"neg_log10_p{method}" for method in ("", "_random", "_re2", "_sample_size", "_axes")]
    reached = np.logical_or.reduce([whole(cube, name) >= 3.0 for name in tests])
    assert summary.n_hits == len(hits) == np.count_nonzero(reached) > 5
    assert [(h["trait"], h["position"]) for h in hits] == [
        (f"t{t}", 1000 * (v + 1)) for t, v in zip(*np.nonzero(reached), strict=True)
    ]
    hit = hits[3]
    t, v = int(hit["trait"][1:]), hit["position"] // 1000 - 1
    beta, error = studies.beta[:, t, v], studies.standard_error[:, t, v]
    present = np.flatnonzero(np.isfinite(beta))
    assert [one["study"] for one in hit["studies"]] == [f"study{s}" for s in present]
    without = leave_one_out(beta[:, None], error[:, None])
    for one, s in zip(hit["studies"], present, strict=True):
        assert one["beta"] == np.float32(beta[s])
        assert one["beta_without"] == np.float32(without.beta[s, 0])
        assert one["neg_log10_p_without"] == np.float32(without.neg_log10_p[s, 0])


def test_no_hits_make_an_empty_table(tmp_path: Path) -> None:
    run_meta(random_studies(), [ALL], replace(SPEC, hits_neg_log10_p=1e6), EmbeddedExecutor(1), tmp_path)
    table = pq.read_table(tmp_path / "meta_hits.parquet")
    assert len(table) == 0
    assert {"trait", "beta", "studies"} <= set(table.column_names)


def test_workers_and_resumption_change_no_byte(tmp_path: Path) -> None:
    studies = random_studies(traits=40, variants=300)
    run_meta(studies, [ALL, SOME], SPEC, EmbeddedExecutor(1), tmp_path / "one")
    run_meta(studies, [ALL, SOME], SPEC, EmbeddedExecutor(2), tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    commits = sorted((tmp_path / "two" / META_COMMITS).iterdir())
    assert len(commits) == 2
    commits[1].unlink()
    told: list[tuple[int, int]] = []
    again = run_meta(
        studies, [ALL, SOME], SPEC, EmbeddedExecutor(1), tmp_path / "two", lambda done, of: told.append((done, of))
    )
    assert again.tasks_resumed == 1
    assert told == [(1, 2), (2, 2)]
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_results_of_other_inputs_are_replaced(tmp_path: Path) -> None:
    studies = random_studies()
    run_meta(studies, [ALL], SPEC, EmbeddedExecutor(1), tmp_path / "a")
    other = replace(studies, beta=-studies.beta)
    assert run_meta(other, [ALL], SPEC, EmbeddedExecutor(1), tmp_path / "a").tasks_resumed == 0
    run_meta(other, [ALL], SPEC, EmbeddedExecutor(1), tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_thresholds_leave_studies_out_where_they_tell_too_little(tmp_path: Path) -> None:
    studies = random_studies(missing=0.0)
    spec = replace(SPEC, min_maf=0.1, min_mac=900.0, min_n=800.0, min_studies=1)
    run_meta(studies, [ALL], spec, EmbeddedExecutor(1), tmp_path)
    minor = np.minimum(studies.frequency, 1 - studies.frequency)
    counts = (minor >= 0.1) & (2 * studies.n * minor >= 900) & (studies.n >= 800)
    assert 0.1 < counts.mean() < 0.9
    cube = MetaCube(tmp_path)
    np.testing.assert_array_equal(whole(cube, "n_studies"), counts.sum(axis=0))
    expected = fixed_effects(np.where(counts, studies.beta, np.nan)[:, 1], studies.standard_error[:, 1])
    np.testing.assert_array_equal(whole(cube, "beta")[1], expected.beta.astype("f4"))


def test_genomic_control_widens_the_errors_of_inflated_studies_only(tmp_path: Path) -> None:
    studies = random_studies(traits=1, variants=3000, missing=0.0)
    studies.standard_error[1] *= 0.5  # too sure of itself: λ is near 4
    studies.neg_log10_p[1] = fixed_effects(studies.beta[1], studies.standard_error[1]).neg_log10_p
    found = study_inflation(studies, SPEC, EmbeddedExecutor(2), 512)
    assert found[1, 0] == pytest.approx(4.0, rel=0.15)
    summary = run_meta(studies, [ALL], replace(SPEC, genomic_control=True), EmbeddedExecutor(1), tmp_path)
    assert summary.inflation["study1"]["t0"] == pytest.approx(found[1, 0], abs=1e-6)
    root = np.sqrt(np.maximum(found, 1.0))
    expected = fixed_effects(studies.beta[:, 0], studies.standard_error[:, 0] * root)
    np.testing.assert_array_equal(whole(MetaCube(tmp_path), "beta")[0], expected.beta.astype("f4"))


def test_binary_traits_weigh_by_effective_size(tmp_path: Path) -> None:
    studies = random_studies(binary=True, missing=0.0)
    run_meta(studies, [ALL], SPEC, EmbeddedExecutor(1), tmp_path)
    cube = MetaCube(tmp_path)
    assert studies.cases is not None
    np.testing.assert_array_equal(whole(cube, "cases"), studies.cases.sum(axis=0))
    effective = 4 / (1 / studies.cases + 1 / (studies.n - studies.cases))
    np.testing.assert_allclose(whole(cube, "effective_n"), effective.sum(axis=0), rtol=1e-6)
    (kind,) = cube.kinds
    assert kind.kind == "binary"
    assert "cases" in {column.name for column in kind.columns}


def test_meta_regression_follows_the_frequencies(tmp_path: Path) -> None:
    studies = random_studies(studies=6, traits=1, variants=2000, missing=0.0)
    studies = replace(studies, position=np.arange(1, 2001, dtype=np.int32) * 50_000)
    # The effect of variant 7 rises along the axis from which the frequencies come.
    place = np.linspace(-1.0, 1.0, 6)
    studies.beta[:, 0, 7] = 0.3 * place
    studies.standard_error[:, 0, 7] = 0.02
    members = StudySet("all", tuple(range(6)))
    summary = run_meta(studies, [members], replace(SPEC, axes=1), EmbeddedExecutor(2), tmp_path)
    axis = np.array(summary.axes["all"])[:, 0]
    assert abs(np.corrcoef(axis, place)[0, 1]) > 0.99
    cube = MetaCube(tmp_path)
    assert whole(cube, "neg_log10_p_ancestry")[0, 7] > 50
    assert whole(cube, "neg_log10_p_residual")[0, 7] < 3
    assert whole(cube, "neg_log10_p")[0, 7] < 5


def test_axes_of_points_on_a_plane_are_their_distances() -> None:
    points = np.random.default_rng(1).normal(size=(7, 2))
    square = np.square(points[:, None] - points[None]).sum(axis=2)
    axes = scaled_axes(square, 4)
    assert axes is not None
    assert axes.shape == (7, 2)
    np.testing.assert_allclose(np.square(axes[:, None] - axes[None]).sum(axis=2), square, atol=1e-12)
    assert scaled_axes(np.zeros((4, 4)), 1) is None


def test_xarray_reads_it(tmp_path: Path) -> None:
    studies = random_studies()
    run_meta(studies, [ALL, SOME], SPEC, EmbeddedExecutor(1), tmp_path)
    data = open_meta(tmp_path)
    assert data.sizes == {"stratification": 2, "trait": 3, "variant": 400}
    at = data.sel(stratification="some", trait="t1")
    np.testing.assert_array_equal(at.beta.values, whole(MetaCube(tmp_path), "beta", 1)[1])
    assert at.variant_position.values[4] == 5000
    assert json.loads(json.dumps(data.attrs["studies"])) == {"all": list(studies.names), "some": ["study0", "study2"]}


def test_mixed_kinds_show_as_scans_do(tmp_path: Path) -> None:
    class Mixed(StudiesInMemory):
        @property
        def binary(self) -> np.ndarray:
            return np.array([False, True, False])

        def read(self, members, traits, variants):  # type: ignore[no-untyped-def]
            blocks = super().read(members, traits, variants)
            return [b if k == 1 else b._replace(cases=None, effective_n=b.n) for k, b in enumerate(blocks)]

    plain = random_studies(binary=True)
    studies = Mixed(**{name: getattr(plain, name) for name in plain.__dataclass_fields__ if name != "reads"})
    run_meta(studies, [ALL], SPEC, EmbeddedExecutor(1), tmp_path)
    quantitative, binary = MetaCube(tmp_path).kinds
    assert quantitative.traits == ("t0", "t2")
    assert "cases" not in {column.name for column in quantitative.columns}
    assert binary.traits == ("t1",)
    np.testing.assert_array_equal(
        quantitative.block("n", 0, slice(1, 2), slice(0, 9)), MetaCube(tmp_path).block("n", 0, slice(2, 3), slice(0, 9))
    )
    assert pq.read_table(tmp_path / "meta_hits.parquet").num_rows > 0


def test_what_is_no_meta_analysis_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no meta-analysis here"):
        MetaCube(tmp_path)
    with pytest.raises(InputError, match="no method"):
        MetaSpec(methods=("bayes",))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="0 studies"):
        MetaSpec(min_studies=0)
