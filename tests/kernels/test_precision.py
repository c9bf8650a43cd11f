"""Sums in single precision keep the stated bound: |Δ −log10 p| ≤ 1e-4 · max(1, −log10 p)."""

from __future__ import annotations

import numpy as np
import pytest

from allscan.kernels.association import Missing, Precision, ScanOptions, Status
from allscan.kernels.linear_shared import FLOAT32_SAMPLES
from benchmarks import precision
from tests.kernels.linear_runs import SHARED, Closeness, assert_same, run

# The bound is stated for 500,000 people; so few leave a tenth of it, and a wrong sum shows long before the bound does.
SHARE_OF_BOUND = 0.1


@pytest.mark.parametrize("samples", [12_000, 20_000])
def test_bound_from_nothing_to_300_digits(samples: int) -> None:
    cohort = precision.make_cohort(samples, 48, 24, seed=samples)
    for missing in Missing:
        rows = precision.compare(cohort, missing)
        assert rows[-1].high == 400.0
        assert [row.low for row in rows] == list(precision.RANGES[:-1])
        assert sum(row.count for row in rows) > 1000
        for row in rows:
            assert row.worst_of_bound <= SHARE_OF_BOUND, row
            assert row.worst_beta <= precision.BOUND, row
        assert 0.0 < rows[0].median < rows[-1].median  # the two are not the same sums


def test_the_table_as_it_is_run_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    precision.main(["--samples", "2000", "3000", "--variants", "16", "--traits", "6"])
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines[1:-2]} == {"2000", "3000"}
    assert {line.split()[1] for line in lines[1:-2]} == {"impute_mean", "exclude"}
    assert "GB of memory" in lines[-1]


def test_a_broken_bound_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "BOUND", 1e-9)
    with pytest.raises(SystemExit, match="bound is broken"):
        precision.main(["--samples", "2000", "--variants", "8", "--traits", "4"])


@pytest.mark.parametrize("factor", [1e-8, 1e8])
@pytest.mark.parametrize("missing", Missing)
def test_units_of_a_trait_do_not_matter(factor: float, missing: Missing) -> None:
    rng = np.random.default_rng(5)
    n = 12_000
    dosage = rng.binomial(2, 0.3, (8, n)).astype(np.float64)
    dosage[rng.random(dosage.shape) < 0.01] = np.nan
    covariates = np.column_stack([np.ones(n), rng.normal(1960.0, 12.0, n)])
    traits = rng.normal(5.0, 1.0, (n, 2)) + 0.3 * np.nan_to_num(dosage[:2].T)
    traits[rng.random(n) < 0.1, 1] = np.nan
    options = ScanOptions(missing=int(missing), precision=int(Precision.FLOAT32))
    one, other = (run(dosage, y, covariates, options) for y in (traits, traits * factor))
    other["beta"] /= factor
    other["standard_error"] /= factor
    assert (one["status"] == Status.OK).all()
    assert_same(other, one, Closeness(errors=1e-5, relative=1e-6, tail=1e-5))


@pytest.mark.parametrize(
    ("samples", "meant"), [(FLOAT32_SAMPLES - 1, Precision.FLOAT64), (FLOAT32_SAMPLES, Precision.FLOAT32)]
)
def test_many_samples_turn_single_precision_on(samples: int, meant: Precision) -> None:
    rng = np.random.default_rng(6)
    dosage = rng.binomial(2, 0.3, (4, samples)).astype(np.float64)
    traits = rng.normal(size=(samples, 3))
    found = {
        choice: run(dosage, traits, np.ones((samples, 1)), ScanOptions(precision=int(choice)), form=SHARED)["beta"]
        for choice in Precision
    }
    np.testing.assert_array_equal(found[Precision.AUTO], found[meant])
    assert (found[Precision.FLOAT32] != found[Precision.FLOAT64]).any()
