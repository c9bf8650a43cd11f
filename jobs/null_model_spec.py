"""The section `null_model` of the job file."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from allscan.documents.sections import FilePath, Section, Text

WHOLE_GENOME = "whole_genome"
SPARSE_GRM = "sparse_grm"
MIXED = "mixed"
"""The test that goes with a sparse relationship matrix."""
AVERAGE = "average"
"""Its option ``variance``, as it goes with predictions: the cost of a variant is then that of linear regression."""


class MarkersSection(Section):
    """Which variants the whole-genome model is made of. Everything is counted among the people who have covariates."""

    min_maf: float = Field(default=0.01, ge=0, lt=0.5, description="Least minor allele frequency.")
    min_mac: float | None = Field(
        default=None,
        ge=0,
        description="Least minor allele count. Left out: 100, or 2 % of the people where that is less, at least 10.",
    )
    max_missing_rate: float = Field(default=0.05, ge=0, le=1, description="Greatest share of missing genotypes.")
    prune_r2: float | None = Field(
        default=0.9,
        gt=0,
        le=1,
        description="Of two markers with a greater r² within the window, one goes. `null`: all stay.",
    )
    window_kb: int = Field(default=1000, ge=1, description="How far apart two markers are compared, in kb.")
    max_markers: int | None = Field(
        default=500_000, ge=1, description="More than these are thinned evenly along the genome. `null`: all stay."
    )
    exclude: list[Text] = Field(
        default=[],
        description=(
            "Regions that no marker is taken from; `long_range_ld` is the usual list of those where markers correlate "
            "over megabases."
        ),
        examples=[["long_range_ld", "6:25000000-35000000"]],
    )


class NullModelSection(Section):
    """What the rest of the genome predicts of each trait, taken off before a variant is tested."""

    method: Literal["whole_genome", "sparse_grm"] | None = Field(
        default=None,
        description=(
            "`whole_genome`: fit stacked ridge regression (as REGENIE's step 1) on markers of the whole genome before "
            "the scan. `null_model: whole_genome` says the same with everything as it is by default. `sparse_grm`: a "
            "mixed model with the covariance of relatives (as fastGWA); the `test` is then `mixed`."
        ),
    )
    relatedness: FilePath | None = Field(
        default=None,
        description=(
            "The pairs of relatives: a table with two ids and the kinship (of KING, of `plink2 --make-king-table`, of "
            "All of Us), or `PREFIX.grm.sp` of `gcta64 --make-bK-sparse`. `sparse_grm` needs it; with predictions of "
            "the rest of the genome (`whole_genome`, `load`) it gives the variances among relatives."
        ),
        examples=["relatedness.tsv", "king.kin0"],
    )
    cutoff: float = Field(
        default=0.05,
        gt=0,
        le=1,
        description="Pairs with less relatedness (twice the kinship) count as unrelated.",
    )
    load: FilePath | None = Field(
        default=None,
        description=(
            "Predictions that were made before: the folder of a run that fitted a null model, its folder `null_model`, "
            "or a `_pred.list` of `regenie --step 1`."
        ),
        examples=["runs/earlier", "step1_pred.list"],
    )
    genotypes: FilePath | None = Field(
        default=None, description="Genotype store that the markers are taken from. Left out: that of the scan."
    )
    markers: MarkersSection = Field(default=MarkersSection(), description="Which variants the model is made of.")
    block_markers: int = Field(default=1000, ge=10, le=5000, description="Markers of a block, at most.")
    folds: int = Field(default=5, ge=2, le=20, description="Folds of the cross-validation.")
    leave_one_out: bool = Field(
        default=False,
        description="Leave out one person at a time in place of folds: for a few thousand people at most.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.method is None) == (self.load is None):
            raise ValueError("write either `method: whole_genome` (or `sparse_grm`) or `load: PATH`")
        of_fit = self.model_fields_set & {"genotypes", "markers", "block_markers", "folds", "leave_one_out"}
        if self.load is not None and of_fit:
            raise ValueError(f"`{sorted(of_fit)[0]}` is of a model that is fitted; this one is loaded")
        if self.method == SPARSE_GRM and of_fit:
            raise ValueError(f"`{sorted(of_fit)[0]}` is of `method: {WHOLE_GENOME}`")
        if self.method == SPARSE_GRM and self.relatedness is None:
            raise ValueError(f"`method: {SPARSE_GRM}` needs the pairs of relatives: write `relatedness: FILE`")
        if self.relatedness is None and "cutoff" in self.model_fields_set:
            raise ValueError("`cutoff` is of pairs of relatives: write `relatedness: FILE`")
        if self.relatedness is not None and self.leave_one_out:
            raise ValueError("`leave_one_out` predicts people by their relatives: with `relatedness`, write `folds`")
        return self


def null_model_of(value: Any) -> Any:
    """One form for both ways of writing the section."""
    return {"method": value} if isinstance(value, str) else value
