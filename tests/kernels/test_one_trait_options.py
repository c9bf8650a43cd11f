"""A test in the one-trait form is told the options of the job, when it fits and when it scores."""

from __future__ import annotations

import numpy as np
import pytest

from allscan.kernels.association import Missing, NullData, OutputColumn, ScanOptions
from allscan.kernels.block import encode_block
from allscan.kernels.counts import count_genotypes, sample_sets
from allscan.kernels.missingness import missingness_patterns
from allscan.kernels.one_trait import one_trait_test


@pytest.mark.parametrize("missing", list(Missing))
def test_options_of_the_job_win_over_the_defaults(missing: Missing) -> None:
    test = one_trait_test(
        "echo",
        title="Tells its options",
        doi="",
        fit=lambda _trait, _covariates, options: options["ridge"],
        score=lambda _predictors, fitted, options: {"fitted": fitted, "scored": options["ridge"] + options["other"]},
        columns=(OutputColumn("fitted", "as fitted"), OutputColumn("scored", "as scored")),
        options={"ridge": 1.0, "other": 10.0},
    )
    genotypes = np.array([[0, 1, 2, 1], [0, 1, -1, 2]], np.int8)  # the second is fitted again under EXCLUDE
    traits = np.arange(4.0)[:, None]
    member, set_of_trait = missingness_patterns(traits)
    data = NullData(traits, np.ones((4, 1)), ("intercept",), np.ones(4), member, set_of_trait)
    options = ScanOptions(missing=int(missing))
    null, _ = test.fit_null(data, options, {"ridge": 5.0})
    block = encode_block(genotypes)
    out = {name: np.empty((2, 1)) for name in ("fitted", "scored")} | {"status": np.empty((2, 1), np.uint8)}
    test.score_block(block, count_genotypes(block, sample_sets(member)), null, options, out)
    assert out["fitted"].tolist() == [[5.0], [5.0]]
    assert out["scored"].tolist() == [[15.0], [15.0]]
