"""The table of a phenome-wide scan: a row for each predictor × trait, with what all of them together make of its p."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import metadata
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from allscan.engine.hits import names_of
from allscan.jobs.predictor_scan import read_cells
from allscan.jobs.result_source import of_binary_traits
from allscan.jobs.run_folder import writing
from allscan.kernels.association import Status
from allscan.kernels.multiple_testing import benjamini_hochberg, bonferroni
from allscan.storage.parquet import write_table as write_parquet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from allscan.jobs.result_source import ResultSource
    from allscan.storage import Place

PHEWAS_TABLE = "phewas.parquet"
NORMAL_95 = 1.959963984540054
"""Of a 95 % interval: standard errors to either side."""
ROW_GROUP = 1 << 17

COLUMNS: dict[str, tuple[pa.DataType, str, str]] = {
    "predictor": (pa.string(), "Name of the variant or column", ""),
    "contig": (pa.string(), "Of a variant: contig, as the genotypes spell it", ""),
    "position": (pa.int32(), "Of a variant: 1-based position of REF", ""),
    "ref": (pa.string(), "Of a variant: reference allele", ""),
    "effect_allele": (pa.string(), "Of a variant: alternate allele", ""),
    "per": (pa.string(), "What effects are per", ""),
    "stratum": (pa.string(), "Stratum of people", ""),
    "trait": (pa.string(), "Name of the trait", ""),
    "label": (pa.string(), "What a reader calls it", ""),
    "category": (pa.string(), "Group that it stands in", ""),
    "kind": (pa.string(), "quantitative or binary", ""),
    "test": (pa.string(), "Association test", ""),
    "status": (pa.string(), "How the result was found, or why there is none", ""),
    "n": (pa.int32(), "People in whom the pair was tested", "people"),
    "cases": (pa.int32(), "Of a binary trait: cases among them", "people"),
    "controls": (pa.int32(), "Of a binary trait: controls among them", "people"),
    "carriers": (pa.int32(), "Who carry the effect allele, or have the larger of a predictor's two values", "people"),
    "effect_allele_frequency": (pa.float32(), "Of a variant: frequency of the effect allele among called alleles", ""),
    "beta": (pa.float64(), "Effect per copy or unit: units of the trait, or log odds", ""),
    "standard_error": (pa.float64(), "Standard error of beta", ""),
    "ci_lower": (pa.float64(), "Lower end of the 95 % interval of beta (normal)", ""),
    "ci_upper": (pa.float64(), "Upper end of the 95 % interval of beta (normal)", ""),
    "odds_ratio": (pa.float64(), "Of a binary trait: exp(beta)", ""),
    "neg_log10_p": (pa.float64(), "Two-sided p of beta = 0", "-log10 p"),
    "neg_log10_q": (pa.float64(), "Benjamini and Hochberg's q among the traits of the predictor", "-log10 q"),
    "neg_log10_q_all": (pa.float64(), "The same among all rows of the table", "-log10 q"),
    "bonferroni": (pa.bool_(), "Whether p is at most the level over the traits tested for the predictor", ""),
    "bonferroni_all": (pa.bool_(), "Whether p is at most the level over all tests of the table", ""),
    "note": (pa.string(), "What is to be said of the trait, such as covariates that drop out of it", ""),
}
"""Type, meaning, unit."""

_DICTIONARIES = [name for name, (kind, *_) in COLUMNS.items() if kind == pa.string()]


class Predictors(NamedTuple):
    """What the traits were tested against."""

    name: Sequence[str]
    contig: Sequence[str | None]
    position: Sequence[int | None]
    ref: Sequence[str | None]
    effect_allele: Sequence[str | None]
    per: Sequence[str]  # what effects are per


@dataclass(frozen=True)
class PhewasRows:
    """All results, (strata, predictors, traits) each; NaN, or −1 of counts, where there is none."""

    predictors: Predictors
    strata: tuple[str, ...]
    traits: tuple[dict[str, Any], ...]  # as in the provenance
    tests: tuple[str, ...]  # of each trait
    numbers: Mapping[str, NDArray[Any]]  # by name of the column, and "status" as code
    level: float  # of significance

    @property
    def shape(self) -> tuple[int, int, int]:
        """Strata, predictors, traits."""
        return len(self.strata), len(self.predictors.name), len(self.traits)

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """−log10 p of Bonferroni's correction for the traits of each predictor, (strata, predictors)."""
        tested = (~np.isnan(self.numbers["neg_log10_p"])).sum(axis=2)
        return np.array([[bonferroni(int(n), self.level) for n in row] for row in tested]).reshape(tested.shape)

    @property
    def threshold_of_all(self) -> float:
        """The same for all tests."""
        return bonferroni(int((~np.isnan(self.numbers["neg_log10_p"])).sum()), self.level)

    @property
    def q(self) -> NDArray[np.float64]:
        """−log10 q among the traits of each predictor, of the shape of the results."""
        p = self.numbers["neg_log10_p"]
        flat = p.reshape(-1, p.shape[2])
        return np.array([benjamini_hochberg(row) for row in flat]).reshape(p.shape)


def rows_of_predictors(folder: Place, provenance: Mapping[str, Any], level: float) -> PhewasRows:
    """The results of a run that scanned columns of a table.

    Raises
    ------
    CorruptChunkError
        The results of a task cannot be read.
    """
    columns = provenance["predictors"]["columns"]
    traits = tuple(provenance["traits"])
    cells = read_cells(folder, len(columns), len(traits))
    shape = (1, len(traits), len(columns))

    def cube(values: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(values.reshape(shape).transpose(0, 2, 1))

    none = [None] * len(columns)
    numbers = {name: cube(getattr(cells, name)) for name in cells._fields if name != "left_out"}
    numbers["cases"] = np.where(_is_binary(traits), numbers["cases"], -1)
    numbers["effect_allele_frequency"] = np.full(numbers["n"].shape, np.nan)
    names = Predictors(
        [column["name"] for column in columns], none, none, none, none, [column["unit"] for column in columns]
    )
    tests = tuple(f"{'logistic' if binary else 'linear'} regression" for binary in _is_binary(traits))
    return PhewasRows(names, ("all",), traits, tests, numbers, level)


def rows_of_variants(
    source: ResultSource, variants: NDArray[np.int64], provenance: Mapping[str, Any], level: float
) -> PhewasRows:
    """The results of some variants, in ascending order, in all traits."""
    named = names_of(source, variants)
    contigs = [named.contigs[code] for code in named.contig]
    alleles = named.ref.to_pylist(), named.alt.to_pylist()
    ids = [
        name if name not in ("", ".") else f"{contig}:{position}:{ref}:{alt}"
        for name, contig, position, ref, alt in zip(
            named.variant_id.to_pylist(), contigs, named.position.tolist(), *alleles, strict=True
        )
    ]
    described = {trait["name"]: trait for trait in provenance.get("traits", ())}
    traits = tuple(described.get(name, {"name": name}) for name in source.traits)
    binary = of_binary_traits(source)
    columns = ["n", "effect_allele_frequency", "beta", "standard_error", "neg_log10_p", "status"]
    columns += ["cases", "carriers_cases", "carriers_controls"] if binary else []
    shape = (len(source.strata), len(variants), len(traits))
    dtypes = {column.name: column.dtype for column in source.columns}
    found: dict[str, NDArray[Any]] = {name: np.empty(shape, dtypes[name]) for name in columns}
    for name in columns:
        for stratum in range(shape[0]):
            for rows in _pieces(variants, source.chunk_variants):
                here = slice(int(variants[rows.start]), int(variants[rows.stop - 1]) + 1)
                block = source.block(name, stratum, slice(0, len(traits)), here)
                found[name][stratum, rows] = block[:, variants[rows] - here.start].T
    numbers: dict[str, NDArray[Any]] = {
        name: found[name].astype(np.float64) for name in ("beta", "standard_error", "neg_log10_p")
    }
    for name in ("n", "status"):
        numbers[name] = found[name].astype(np.int64)
    none = np.full(shape, -1, np.int64)
    numbers["cases"] = np.where(_is_binary(traits), found["cases"], -1) if binary else none
    carriers = found["carriers_cases"] + found["carriers_controls"] if binary else none
    numbers["carriers"] = np.where(_is_binary(traits), carriers, -1)
    numbers["effect_allele_frequency"] = found["effect_allele_frequency"].astype(np.float64)
    model = str(source.attrs.get("model", "additive"))
    what = {"dominant": "carriers of {} against others", "recessive": "two copies of {} against fewer"}
    per = [what.get(model, "copy of {}").format(alt) for alt in alleles[1]]
    predictors = Predictors(ids, contigs, named.position.tolist(), *alleles, per)
    test_of = {trait: str(kind.attrs.get("test", "")) for kind in source.kinds for trait in kind.traits}
    tests = tuple(test_of[name] for name in source.traits)
    return PhewasRows(predictors, tuple(source.strata), traits, tests, numbers, level)


def _pieces(variants: NDArray[np.int64], size: int) -> list[slice]:
    """Runs of variants that lie in the same chunk of the results."""
    cuts = np.flatnonzero(np.diff(variants // size)) + 1
    ends = [0, *cuts.tolist(), len(variants)]
    return [slice(start, stop) for start, stop in pairwise(ends) if stop > start]


def _is_binary(traits: Sequence[Mapping[str, Any]]) -> NDArray[np.bool_]:
    return np.array([trait.get("kind") == "binary" for trait in traits], np.bool_)


def to_table(rows: PhewasRows, notes: Mapping[tuple[str, str], Sequence[str]]) -> pa.Table:
    """The results as an Arrow table, by stratum, predictor and trait.

    Parameters
    ----------
    rows
        The results.
    notes
        What is to be said, by trait and stratum.
    """
    strata, predictors, traits = rows.shape
    at_stratum, at_predictor, at_trait = (index.ravel() for index in np.indices(rows.shape))
    number = {name: values.ravel() for name, values in rows.numbers.items()}
    beta, error, p = number["beta"], number["standard_error"], number["neg_log10_p"]
    of_trait = _is_binary(rows.traits)[at_trait]
    q = rows.q.ravel()
    of_predictor = rows.thresholds[at_stratum, at_predictor]

    def texts(values: Sequence[Any], index: NDArray[Any], kind: pa.DataType) -> pa.Array:
        return pa.array(list(values), kind).take(pa.array(index))

    def of_traits(key: str) -> pa.Array:
        return texts([trait.get(key) or "" for trait in rows.traits], at_trait, pa.string())

    def counts(values: NDArray[Any]) -> pa.Array:
        return pa.array(values, pa.int32(), mask=values < 0)

    note = ["; ".join(notes.get((trait["name"], stratum), ())) for stratum in rows.strata for trait in rows.traits]
    columns: dict[str, pa.Array] = {
        "predictor": texts(rows.predictors.name, at_predictor, pa.string()),
        **{
            name: texts(getattr(rows.predictors, name), at_predictor, COLUMNS[name][0])
            for name in ("contig", "position", "ref", "effect_allele", "per")
        },
        "stratum": texts(rows.strata, at_stratum, pa.string()),
        "trait": of_traits("name"),
        "label": of_traits("label"),
        "category": of_traits("category"),
        "kind": of_traits("kind"),
        "test": texts(rows.tests, at_trait, pa.string()),
        "status": texts([status.name for status in Status], number["status"], pa.string()),
        **{name: counts(number[name]) for name in ("n", "cases", "carriers")},
        "controls": counts(np.where(number["cases"] < 0, -1, number["n"] - number["cases"])),
        "beta": beta,
        "standard_error": error,
        "ci_lower": beta - NORMAL_95 * error,
        "ci_upper": beta + NORMAL_95 * error,
        "odds_ratio": np.where(of_trait, np.exp(beta), np.nan),
        "neg_log10_p": p,
        "neg_log10_q": q,
        "neg_log10_q_all": benjamini_hochberg(p),
        "effect_allele_frequency": number["effect_allele_frequency"],
        "bonferroni": _passed(p, of_predictor),
        "bonferroni_all": _passed(p, np.full(len(p), rows.threshold_of_all)),
        "note": texts(note, at_stratum * traits + at_trait, pa.string()),
    }
    fields = [
        pa.field(name, kind, metadata={"description": meaning, "unit": unit})
        for name, (kind, meaning, unit) in COLUMNS.items()
    ]
    about = {
        "format": "allscan-phewas",
        "format_version": 1,
        "software": f"allscan {metadata.version('allscan')}",
        "level": rows.level,
        "bonferroni_neg_log10_p_all": rows.threshold_of_all,
        "predictors": predictors,
        "traits": traits,
        "strata": strata,
    }
    schema = pa.schema(fields, metadata={"allscan": json.dumps(about)})
    # NaN becomes null: databases keep the two apart, and these values are missing.
    arrays = [
        columns[field.name]
        if isinstance(columns[field.name], pa.Array)
        else pa.array(columns[field.name], field.type, from_pandas=True)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _passed(p: NDArray[np.float64], threshold: NDArray[np.float64]) -> pa.Array:
    tested = ~np.isnan(p)
    passed = np.zeros(len(p), np.bool_)
    passed[tested] = p[tested] >= threshold[tested]
    return pa.array(passed, mask=~tested)


def write_table(path: Place, table: pa.Table) -> None:
    """Write the table, whole or not at all.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    options = {"use_dictionary": _DICTIONARIES, "use_byte_stream_split": floats, "row_group_size": ROW_GROUP}
    with writing(path):
        write_parquet(path, table, **options)
