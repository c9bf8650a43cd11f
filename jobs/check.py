"""The check: open everything a job names, align the samples, and say what would be analysed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

import allscan
from allscan.documents.validation import key_name
from allscan.engine.association_tests import find_test
from allscan.engine.chromosomes import PloidyClass, parse_region
from allscan.engine.columns import cube_columns
from allscan.engine.design import FEMALE, MALE, POOLED, UNKNOWN_SEX, Strata, Stratum
from allscan.engine.marker_names import read_marker_list
from allscan.engine.meta.studies import has_one_effect
from allscan.engine.named_variants import find_variants
from allscan.engine.plan import ScanSpec, VariantFilter, select_rows
from allscan.engine.ploidy import count_classes
from allscan.engine.trait_parts import traits_by_kind
from allscan.errors import InputError, JobError
from allscan.jobs.check_report import CheckReport, trait_line
from allscan.jobs.designs import Designs, merged_sex
from allscan.jobs.genotypes import open_genotypes
from allscan.jobs.groups import groups_place
from allscan.jobs.input_files import InputFile, hash_input
from allscan.jobs.local_ancestry import (
    open_local_ancestry,
    refuse_test_without_ancestry,
    without_local_ancestry,
)
from allscan.jobs.machine import machine_warnings
from allscan.jobs.methods import job_tests
from allscan.jobs.null_model import ROLE as NULL_MODEL
from allscan.jobs.null_model import load_null_model
from allscan.jobs.relatedness import read_relatives, refuse_other_test, refuse_relatives_of_cases
from allscan.jobs.strata import align_cohort
from allscan.jobs.whole_genome import FittedNullModel
from allscan.kernels.association import Missing, Model, Precision
from allscan.kernels.basis import orthonormal_basis
from allscan.phenotypes.names import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from allscan.engine.store import GenotypeStore
    from allscan.jobs.designs import DesignOfStratum
    from allscan.jobs.job import Job
    from allscan.jobs.null_model import LoadedNullModel
    from allscan.jobs.relatedness import RelatednessModel
    from allscan.jobs.strata import Stratification
    from allscan.jobs.structured import StructureInJob


@dataclass(frozen=True)
class CheckedJob:
    """Everything a plan and a scan need, and the report of how it came about."""

    store: GenotypeStore
    designs: tuple[DesignOfStratum, ...]
    stratifications: tuple[Stratification, ...]
    spec: ScanSpec
    inputs: tuple[InputFile, ...]
    science: dict[str, Any]  # key path → value or content hash: what may not change within a run folder
    report: CheckReport
    structure: StructureInJob | None

    @property
    def awaits_structure(self) -> bool:
        """Whether components and groups are not known yet."""
        return self.structure is not None and not self.structure.is_built

    @property
    def null_model(self) -> LoadedNullModel | FittedNullModel | RelatednessModel | None:
        """That of the first stratum; those of the others are made in the same way."""
        return self.designs[0].null_model

    @property
    def strata(self) -> Strata:
        """As the engine is handed them."""
        return tuple(Stratum(one.name, one.design) for one in self.designs)


def check_job(job: Job) -> CheckedJob:
    """Open, read and align everything that a job names.

    Raises
    ------
    InputError
        A file is missing, damaged, or not what the job says; nobody is left to analyse.
    """
    store = open_genotypes(job.resolve(job.spec.store), job.spec.store, job.locate("genotypes"))
    inputs = hash_inputs(job)
    loaded = load_null_model(job)
    inputs += () if loaded is None else loaded.inputs
    filter_, n_in_regions, variant_notes = _variant_filter(job, store)
    refuse_relatives_of_cases(job)
    spec = _scan_spec(job, filter_)
    local = open_local_ancestry(job, store)
    spec = replace(spec, local_ancestry=local)
    cohort = align_cohort(job, store, without_local_ancestry(local, store), least_cases=_least_cases(spec))
    inputs += cohort.inputs
    traits, table = cohort.pooled.traits, cohort.pooled.table
    kinds = traits_by_kind(np.array([trait.kind == "binary" for trait in traits.specs]))
    if len(kinds) == 1:
        spec = spec.of_kind(*kinds)  # a pattern may have found no trait of the other
    tests = tuple(find_test(spec.of_kind(kind).test) for kind in kinds)
    for test in tests:
        refuse_other_test(job, test)
        refuse_test_without_ancestry(job, test)
    section = job.spec.null_model
    relatives = None if section is None else read_relatives(job, section, store)
    inputs += () if relatives is None else relatives.inputs
    designs = Designs(job, store, traits.specs, tests, loaded, relatives)
    strata = tuple(designs.of(one.name, one.table, one.run) for one in cohort.strata)
    inputs += tuple(file for one in strata for file in one.inputs if file not in inputs)
    null_model = strata[0].null_model
    sex, _ = merged_sex(table, store)
    n_sex_linked = _count_sex_linked(store)
    report = CheckReport(
        name=job.spec.name,
        genotypes=job.spec.store,
        n_samples=store.n_samples,
        n_variants=store.n_variants,
        reference_build=store.reference_build,
        contigs=store.contigs,
        accounting=table.accounting,
        n_analysed=len(table.store_rows),
        sex={
            "male": int((sex == MALE).sum()),
            "female": int((sex == FEMALE).sum()),
            "unknown": int((sex == UNKNOWN_SEX).sum()),
        },
        traits=tuple(trait_line(status, spec_) for status, spec_ in zip(table.trait_status, traits.specs, strict=True)),
        formula=job.spec.covariates.formula if job.spec.covariates is not None else None,
        covariates=table.covariate_names,
        dropped_covariates=dropped_covariates(table.covariates, table.covariate_names),
        null_model=() if null_model is None else tuple(null_model.lines()),
        filters=_told_filters(job),
        n_in_regions=n_in_regions,
        n_sex_linked=n_sex_linked,
        notes=(*variant_notes, *cohort.notes),
        warnings=(
            *cohort.warnings,
            *_of_strata(strata, table.warnings),
            *_not_combined(cohort.stratifications, [spec.of_kind(kind) for kind in kinds]),
            *_sex_chromosome_warnings(n_sex_linked, sex, store),
            *machine_warnings(),
        ),
        strata=cohort.stratifications,
    )
    science = science_of(job, inputs) | {"genotypes": f"store {store.fingerprint()}"}
    if local is not None:
        science["local_ancestry"] = f"store {local.fingerprint}"
    if isinstance(null_model, FittedNullModel):
        science["null_model.genotypes"] = f"store {null_model.store.fingerprint()}"
    return CheckedJob(store, strata, cohort.stratifications, spec, inputs, science, report, cohort.structure)


def _not_combined(stratifications: Sequence[Stratification], specs: Sequence[ScanSpec]) -> tuple[str, ...]:
    """What is to be said where groups are asked to be combined, and cannot be."""
    wanted = [one.name for one in stratifications if one.has_meta]
    if not wanted or all(has_one_effect(cube_columns(spec)) for spec in specs):
        return ()
    return (f"groups of {listed(wanted)} are not combined: the model has not one effect per variant",)


def _of_strata(strata: Sequence[DesignOfStratum], known: Sequence[str]) -> tuple[str, ...]:
    """Warnings of the strata's designs; what is true of everybody is said once."""
    told = dict.fromkeys(known)
    for one in strata:
        # Among women, everybody is a woman.
        expected = f"the covariate {one.name.partition('=')[0]} has only one level"
        for warning in (*one.table.warnings, *one.warnings):
            if warning not in told and not warning.startswith(expected):
                told[warning if one.name == POOLED else f"stratum {one.name}: {warning}"] = None
    return tuple(told)[len(dict.fromkeys(known)) :]


def named_files(job: Job) -> list[tuple[tuple[str | int, ...], str]]:
    """Key path and spelling of everything that the job reads beside its genotypes."""
    spec = job.spec
    named: list[tuple[tuple[str | int, ...], str]] = [(("traits", "file"), spec.traits.file)]
    if spec.traits.descriptions is not None:
        named.append((("traits", "descriptions"), spec.traits.descriptions))
    if spec.predictors is not None:
        named.append((("predictors", "file"), spec.predictors.file))
    if isinstance(spec.variants.ids, str):
        named.append((("variants", "ids"), spec.variants.ids))
    if spec.covariates is not None:
        if isinstance(spec.covariates.file, str):
            named.append((("covariates", "file"), spec.covariates.file))
        else:
            named += [(("covariates", "file", i), path) for i, path in enumerate(spec.covariates.files)]
    named += [
        (("strata", i, "file"), section.file) for i, section in enumerate(spec.strata) if section.file is not None
    ]
    named += [(("samples", "keep", i), path) for i, path in enumerate(spec.samples.keep)]
    named += [(("samples", "exclude", i), path) for i, path in enumerate(spec.samples.exclude)]
    if spec.null_model is not None and spec.null_model.load is not None:
        named.append((tuple(NULL_MODEL.split(".")), spec.null_model.load))
    if spec.null_model is not None and spec.null_model.relatedness is not None:
        named.append((("null_model", "relatedness"), spec.null_model.relatedness))
    return named


def hash_inputs(job: Job) -> tuple[InputFile, ...]:
    """The files that a job names, by content."""
    inputs = []
    groups = groups_place(job)
    if groups is not None:
        inputs.append(hash_input("ancestry.groups", groups, str(job.spec.ancestry and job.spec.ancestry.groups)))
    for key_path, spelled in named_files(job):
        if key_name(key_path) == NULL_MODEL:
            continue  # which knows its hash
        path = job.resolve(spelled)
        where = job.locate(*key_path)
        try:
            inputs.append(hash_input(key_name(key_path), path, spelled))
        except FileNotFoundError:
            raise JobError(
                f"there is no file {spelled!r}",
                where=where,
                fix="check the path; it is relative to the job file",
            ) from None
        except OSError as error:
            raise JobError(f"the file {spelled!r} cannot be read: {error.strerror}", where=where) from error
    return tuple(inputs)


def _count_sex_linked(store: GenotypeStore) -> int:
    counts = count_classes(store)
    return sum(counts.get(kind, 0) for kind in (PloidyClass.X, PloidyClass.Y))


def _sex_chromosome_warnings(n_sex_linked: int, sex: NDArray[np.int8], store: GenotypeStore) -> tuple[str, ...]:
    if not n_sex_linked:
        return ()
    warnings = []
    unknown = int((sex == UNKNOWN_SEX).sum())
    if unknown:
        warnings.append(
            f"sex of {unknown:,} of {len(sex):,} analysed people is unknown, and {n_sex_linked:,} variants "
            "lie on chromosomes X and Y"
        )
    if store.reference_build is None:
        warnings.append(
            "the store names no reference build, so that the pseudo-autosomal regions are not known: all of "
            "X is taken as X (give `--build` to `allscan ingest`)"
        )
    return tuple(warnings)


def _variant_filter(job: Job, store: GenotypeStore) -> tuple[VariantFilter, int, tuple[str, ...]]:
    section = job.spec.variants
    ids, where = section.ids, job.locate("variants", "ids")
    try:
        names = read_marker_list(job.resolve(ids)) if isinstance(ids, str) else ids
        named = None if names is None else find_variants(store, names)
    except InputError as error:
        raise JobError(error.what, where=f"{error.where}, named in {where}", fix=error.fix) from error
    filter_ = VariantFilter(
        min_mac=section.min_mac,
        min_maf=section.min_maf,
        max_missing_rate=section.max_missing_rate,
        min_info=section.min_info,
        regions=tuple(parse_region(text) for text in section.regions),
        rows=None if named is None else tuple(named.rows.tolist()),
    )
    try:
        rows = select_rows(store, filter_)
    except InputError as error:
        raise JobError(error.what, where=job.locate("variants", "regions"), fix=error.fix) from error
    notes: tuple[str, ...] = ()
    if named is not None and named.several:
        notes = (f"names of several variants, which are all tested: {listed(named.several)}",)
    return filter_, store.n_variants if rows is None else len(rows), notes


def _told_filters(job: Job) -> tuple[str, ...]:
    section = job.spec.variants
    of_trait = "among the samples analysed for the trait"
    told = ["named by the job"] if section.ids is not None else []
    told += [f"in {', '.join(section.regions)}"] if section.regions else []
    if section.min_mac > 0:
        told.append(f"minor allele count at least {section.min_mac:g} {of_trait}")
    if section.min_maf > 0:
        told.append(f"minor allele frequency at least {section.min_maf:g} {of_trait}")
    if section.max_missing_rate < 1:
        told.append(f"missing rate at most {section.max_missing_rate:g} {of_trait}")
    if section.min_info > 0:
        told.append(f"imputation quality at least {section.min_info:g}, where there is one")
    return tuple(told)


def _scan_spec(job: Job, filter_: VariantFilter) -> ScanSpec:
    spec = job.spec
    of_kinds = ScanSpec(
        tests=job_tests(job),
        model=Model[spec.model.upper()],
        missing=Missing[spec.missing_genotypes.upper()],
        precision=Precision[spec.precision.upper()],
        filter=filter_,
        hits_neg_log10_p=spec.results.hits_neg_log10_p,
        x_male_dosage=spec.chromosome_x.male_dosage,
        x_sex_covariate=spec.chromosome_x.sex_covariate,
    )
    return of_kinds if len(of_kinds.tests) > 1 else of_kinds.of_kind(*of_kinds.tests)


def _least_cases(spec: ScanSpec) -> int:
    """Cases (and controls) of a binary trait that its test asks for."""
    binary = spec.of_kind("binary") if not spec.tests or "binary" in spec.tests else None
    if binary is None:
        return 1
    options = {**(find_test(binary.test).options or {}), **binary.test_options}
    return int(options.get("min_cases", 1))


def dropped_covariates(covariates: NDArray[np.float64], names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Covariates (samples, covariates) that are not used, and why."""
    _, dropped = orthonormal_basis(covariates)
    reasons = []
    for column in dropped:
        constant = np.ptp(covariates[:, column]) == 0 if len(covariates) else True
        reason = "constant" if constant else "a linear combination of the covariates before it"
        reasons.append((names[column], reason))
    return tuple(reasons)


def science_of(job: Job, inputs: tuple[InputFile, ...]) -> dict[str, Any]:
    """Everything that decides the results, flat: contents of files instead of their names."""
    keys = job.spec.model_dump()
    for presentation in ("name", "mode", "output", "report", "runtime"):
        del keys[presentation]
    for of_all in ("type", "transform"):
        del keys["traits"][of_all]
    for name, options in job.spec.traits.columns.items():
        kind, transform = job.spec.traits.kind_of(options), job.spec.traits.transform_of(options)
        keys["traits"]["columns"][name].update(type=kind, transform=transform)
    science = _flat(keys, ())
    for file in inputs:
        science[file.role] = file.content
    science["allscan version"] = allscan.__version__
    return science


def _flat(value: Any, path: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {".".join(path): value}
    flat: dict[str, Any] = {}
    for key, below in value.items():
        flat.update(_flat(below, (*path, key)))
    return flat
