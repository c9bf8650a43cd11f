"""What the results cube rounds: float32 costs at most 6e-8 of a number."""

from __future__ import annotations

import numpy as np
import pytest
from peers import FLOAT32, design, results, scan

from allscan.engine.chromosomes import PloidyClass
from allscan.engine.plan import ScanSpec
from allscan.engine.ploidy import fit_class_null
from allscan.kernels.association import Missing
from allscan.kernels.counts import count_genotypes
from allscan.kernels.linear import LINEAR
from allscan.kernels.narrowing import choose_people, narrow

pytestmark = pytest.mark.reference


def test_float32_storage_costs_6e_8(kg489, tmp_path):
    """The kernel's float64 against what the cube gives back, for every variant and trait."""
    aligned = design(kg489.store, kg489.traits, kg489.covariates)
    spec = ScanSpec(missing=Missing.EXCLUDE)
    cube = scan(kg489.store, aligned, tmp_path / "run", missing=Missing.EXCLUDE)
    state, _ = fit_class_null(PloidyClass.AUTOSOME, LINEAR, aligned, spec, np.arange(4))
    assert state is not None
    people = choose_people(aligned.store_rows, kg489.store.n_samples)
    names = ("beta", "standard_error", "neg_log10_p")
    exact = {name: np.empty((kg489.store.n_variants, 4)) for name in names}
    for index in range(kg489.store.n_blocks):
        start, stop = kg489.store.block_range(index)
        block = narrow(kg489.store.read_block(index), people)
        out = {name: exact[name][start:stop] for name in names}
        out["status"] = np.empty((stop - start, 4), np.uint8)
        LINEAR.score_block(block, count_genotypes(block, state.sets), state.null, spec.options, out)
    worst = 0.0
    for t, trait in enumerate(kg489.traits.columns):
        ours = results(cube, trait)
        for name in names:
            kept, value = ours[name].to_numpy(float), exact[name][:, t]
            assert (np.isnan(kept) == np.isnan(value)).all()
            relative = np.abs(kept - value)[value != 0] / np.abs(value[value != 0])
            worst = max(worst, float(np.nanmax(relative)))
    assert 2e-8 < worst <= FLOAT32
