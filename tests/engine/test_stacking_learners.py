"""Learners of level 1 are found by name, and one of another package is used like ours."""

from __future__ import annotations

import re
import sys
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType

import numpy as np
import pytest

from allscan.engine import plugins
from allscan.engine.stacking_learners import LEARNERS, find_learner
from allscan.errors import InputError
from allscan.kernels.stacking import Stack, StackStatus
from tests.kernels.stacking_cases import naive_linear, quantitative


class FirstColumn:
    """Predicts a trait by the first column, without having learnt anything."""

    name = "first_column"
    trait_kind = "quantitative"

    def fit(self, features, y, chromosome_of_column, heritabilities, folds, offset):
        total = features.strip(0, features.n)[:, 0]
        chromosomes = int(chromosome_of_column.max()) + 1
        loco = np.where(np.arange(chromosomes)[:, None] == chromosome_of_column[0], 0, total).astype(np.float32)
        return Stack(loco, total, 0, np.array([np.var(y - total)]), 0.0, StackStatus.OK, "")

    def memory_bytes(self, n, p, chromosomes, grid, folds):
        return 4 * n * (chromosomes + 1)


@pytest.fixture
def other_package(monkeypatch):
    """A package that provides a learner."""
    module = ModuleType("allscan_first_column")
    module.LEARNER = FirstColumn()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    points = EntryPoints([EntryPoint("first_column", "allscan_first_column:LEARNER", LEARNERS.group)])
    monkeypatch.setattr(plugins, "entry_points", lambda: points)
    plugins.forget_installed()
    yield
    plugins.forget_installed()


def test_ours_have_the_names_they_are_found_by():
    assert len(LEARNERS.built_in) == 4
    for name, _ in LEARNERS.built_in:
        learner = find_learner(name)
        assert learner.name == name
        assert learner.trait_kind == ("quantitative" if name.startswith("linear") else "binary")


def test_one_of_another_package(other_package):
    stack = quantitative().fit(find_learner("first_column"))
    assert not stack.loco[0].any()
    assert stack.loco[1].tobytes() == stack.total.tobytes()
    assert find_learner("linear_folds").name == "linear_folds"


def test_an_unknown_learner_is_told(other_package):
    with pytest.raises(InputError, match="no stacking learner 'linear_fold'; did you mean 'linear_folds'"):
        find_learner("linear_fold")
    with pytest.raises(InputError, match="is not of the protocol Learner"):
        find_learner("allscan.kernels.stacking_linear:LinearFolds")


def test_the_learner_of_the_developers_page(repository):
    page = (repository / "docs" / "developers" / "adding-a-learner.md").read_text()
    names: dict[str, object] = {}
    exec(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0], names)
    learner = names["LEARNER"]
    assert LEARNERS.is_one(learner)
    case = quantitative(n=400)
    stack = case.fit(learner)
    assert stack.status == StackStatus.OK
    assert stack.scores[0] == pytest.approx(np.mean((case.y - stack.total) ** 2), rel=1e-6)
    np.testing.assert_allclose(stack.loco.sum(axis=0), 3 * stack.total, rtol=1e-3, atol=1e-3)  # of four chromosomes
    # It predicts, though less than ridge regression does: some of the simulated weights are negative.
    assert naive_linear(case, case.folds, 0.5)[0] < stack.scores[0] < case.y.var()
    case.y[:] = 2.0
    assert case.fit(learner).status == StackStatus.TRAIT_CONSTANT
