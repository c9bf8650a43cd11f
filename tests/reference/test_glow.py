"""Level 1 of Glow's whole-genome regression, from Glow's own level 0 (``sgkit_regenie``).

Glow differs from REGENIE, and so from us, in two ways that a comparison must undo: it fits the covariates beside the
columns, within each fold and with a penalty of 1, and its penalties are ``p × traits / h²``. Given Glow's covariate
effects as an offset, fold by fold, and its penalty, our predictions are its own, to 1e-6. Its stored LOCO offsets are
of another version of Glow, whose level 0 was not kept: they are not compared.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from allscan.kernels.stacking_linear import LINEAR_FOLDS
from tests.kernels.stacking_cases import InMemory

pytestmark = pytest.mark.reference

FOLD_SIZE = 10
GLOW_GRID = (0.99, 0.75, 0.5, 0.25, 0.01)


def standardised(table: pd.DataFrame) -> pd.DataFrame:
    return (table - table.mean()) / table.std(ddof=0)


def glow_fit(covariates, columns, y, train, penalty):
    """Effects of covariates and of columns, by the normal equations of the training rows."""
    x = np.column_stack([covariates, columns])[train]
    penalties = np.repeat([1.0, penalty], [covariates.shape[1], columns.shape[1]])
    effects = np.linalg.solve(x.T @ x + np.diag(penalties), x.T @ y[train])
    return effects[: covariates.shape[1]], effects[covariates.shape[1] :]


def glow_penalty(covariates, columns, y, folds, penalties):
    """The penalty of the best mean R² of the folds."""
    r2 = np.zeros(len(penalties))
    for g, penalty in enumerate(penalties):
        for fold in range(5):
            here = folds == fold
            of_covariates, of_columns = glow_fit(covariates, columns, y, ~here, penalty)
            left = y[here] - covariates[here] @ of_covariates - columns[here] @ of_columns
            r2[g] += 1 - left @ left / np.sum((y[here] - y[here].mean()) ** 2)
    return penalties[int(r2.argmax())]


@pytest.mark.parametrize(("dataset", "run"), [("sim_sm_01", "sim_sm_01-wgr_01"), ("sim_sm_02", "sim_sm_02-wgr_02")])
def test_predictions_of_glow(reference, dataset, run):
    folder = reference("sgkit_regenie")
    traits = standardised(pd.read_csv(folder / "dataset" / dataset / "traits.csv", index_col=0))
    covariates = standardised(pd.read_csv(folder / "dataset" / dataset / "covariates.csv", index_col=0)).to_numpy()
    level_0 = pd.read_csv(folder / "result" / run / "reduced_blocks_flat.csv.gz")
    level_0["row"] = (level_0.sample_block - 1) * FOLD_SIZE + level_0.sample_value_index
    level_0["value"] = (level_0.sample_value - level_0.mu) / level_0.sig  # Glow standardises within folds
    expected = pd.read_csv(folder / "result" / run / "predictions.csv", index_col=0)
    folds = np.arange(len(traits)) // FOLD_SIZE
    for trait in traits:
        table = level_0[level_0.label == trait].pivot(index="row", columns="header", values="value")
        columns, y = table.to_numpy(), traits[trait].to_numpy()
        chromosome = np.array([int(name.split("_")[1]) - 1 for name in table.columns])
        n, p = columns.shape
        grid = np.array([1000.0]) if dataset == "sim_sm_01" else p * traits.shape[1] / np.array(GLOW_GRID)
        penalty = glow_penalty(covariates, columns, y, folds, grid)
        # Ours are at unit variance by n − 1, Glow's by n.
        h2 = p / (p + penalty * (n - 1) / n)
        predicted = np.empty(n)
        for fold in range(5):
            here = folds == fold
            offset = covariates @ glow_fit(covariates, columns, y, ~here, penalty)[0]
            stack = LINEAR_FOLDS.fit(InMemory(columns), y, chromosome, (h2,), here.astype(np.int64), offset)
            predicted[here] = (offset + stack.total)[here]
        np.testing.assert_allclose(predicted, expected[trait], rtol=1e-6, atol=1e-6)
