"""Fitting the whole-genome model: level 0 by block, level 1 by trait, each a task that is committed when it is done."""

from __future__ import annotations

WORK = "null_model.partial"
"""Predictions between the levels, beside the model; removed when it is whole."""
