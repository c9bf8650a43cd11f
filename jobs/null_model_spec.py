"""The section `null_model` of the job file."""

from __future__ import annotations

from pydantic import Field

from allscan.jobs.spec_types import FilePath, Section


class NullModelSection(Section):
    """What the rest of the genome predicts of each trait, taken off before a variant is tested."""

    load: FilePath = Field(
        description=(
            "Predictions that were made before: the folder of a run that fitted a null model, its folder `null_model`, "
            "or a `_pred.list` of `regenie --step 1`."
        ),
        examples=["runs/earlier", "step1_pred.list"],
    )
