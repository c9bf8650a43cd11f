"""What each task of a scan is made of, as hashes: who asks whether a result still holds compares these.

A result (stratum, trait, variant) follows from the program, the parameters, the trait's test, its values in the people
of the stratum who have one, with their covariates and sex, and the variant's genotypes; not from the names of any of
them, from where they stand, or from people and traits beside them. Each of these has a hash here, and the hash of a
task is that of its parts. What differs between two manifests is therefore what has to be computed again, and no more.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import allscan.kernels
from allscan.engine.hashing import content_hash
from allscan.engine.ploidy import CLASSES, all_males, chromosome_of_code, null_codes, offset_chromosomes
from allscan.engine.trait_parts import TraitLayout, TraitPart, one_part, traits_by_kind
from allscan.errors import FileFormatError
from allscan.kernels.missingness import trait_patterns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.design import Design, Strata
    from allscan.engine.plan import ScanPlan, ScanSpec, ScanTask
    from allscan.engine.store import GenotypeStore

MANIFEST = "manifest.json"
RESULTS_VERSION = 2
"""Of the results cube."""
FORMAT_VERSION = 1

EVERYTHING = {"program": "the program", "parameters": "the parameters of the scan"}
"""Parts on which every result depends, in words."""


@dataclass(frozen=True)
class Manifest:
    """Hashes of the parts of a scan."""

    common: dict[str, str]  # by the keys of EVERYTHING
    traits: tuple[tuple[str, ...], ...]  # by stratum
    runs: tuple[str, ...]  # of variants
    traits_per_task: int
    variants_per_task: int
    kinds: tuple[tuple[str, tuple[int, ...], int], ...] = ()  # as ScanPlan.kinds
    males: str = ""  # of all strata: whose impossible calls are counted

    @cached_property
    def digest(self) -> str:
        """Hash of the whole scan."""
        return content_hash(json.dumps(self._fields(), sort_keys=True))

    def _fields(self) -> dict[str, Any]:
        fields = asdict(self)
        if not self.kinds:
            del fields["kinds"]
        return fields

    @cached_property
    def layout(self) -> TraitLayout:
        """The traits, cut into batches."""
        parts = tuple(TraitPart(kind, np.array(traits, np.int64), size) for kind, traits, size in self.kinds)
        return TraitLayout(parts or one_part(len(self.traits[0]), self.traits_per_task))

    @property
    def all_traits(self) -> set[str]:
        """Hashes of the traits in all strata."""
        return {part for of_stratum in self.traits for part in of_stratum}

    @cached_property
    def everything(self) -> str:
        """Hash of what every result depends on."""
        return content_hash(json.dumps(self.common, sort_keys=True))

    def of_task(self, task: ScanTask) -> str:
        """Hash of one task."""
        return content_hash(self._batches[task.batch], self.runs[task.index])

    @cached_property
    def _batches(self) -> list[str]:
        """Hash of all that the tasks of a batch share: its traits in every stratum."""
        return [
            content_hash(self.everything, *(traits[k] for traits in self.traits for k in batch.traits))
            for batch in self.layout.batches
        ]

    def to_json(self) -> str:
        """The manifest as a file of the run folder."""
        return json.dumps({"format_version": FORMAT_VERSION, **self._fields()}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> Manifest:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        FileFormatError
            If it is damaged, or of another version of the program.
        """
        try:
            fields = json.loads(text)
            if fields.pop("format_version") != FORMAT_VERSION:
                raise ValueError("it is of another version")
            fields["traits"] = tuple(tuple(map(str, of_stratum)) for of_stratum in fields["traits"])
            fields["runs"] = tuple(map(str, fields["runs"]))
            fields["kinds"] = tuple((kind, tuple(traits), size) for kind, traits, size in fields.get("kinds", ()))
            return cls(**fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FileFormatError(
                f"the list of what the tasks are made of cannot be read: {error}",
                where=where,
                fix="delete the run folder and run the job again",
            ) from error


def manifest_of(store: GenotypeStore, strata: Strata, spec: ScanSpec, plan: ScanPlan) -> Manifest:
    """Hash the parts of a planned scan."""
    parameters = asdict(spec) | {name: int(getattr(spec, name)) for name in ("model", "missing", "precision")}
    # Which test it is belongs to the trait: another kind of traits beside it changes nothing.
    for name in ("test", "test_options", "tests"):
        del parameters[name]
    if spec.local_ancestry is not None:
        parameters["local_ancestry"] = spec.local_ancestry.fingerprint
    # Regions and rows say which variants there are, and the hashes of the runs say that.
    selecting = ("regions", "rows")
    parameters["filter"] = {name: value for name, value in parameters["filter"].items() if name not in selecting}
    common = {
        "program": content_hash(program_digest(), str(RESULTS_VERSION)),
        "parameters": content_hash(json.dumps(parameters, sort_keys=True, default=str)),
    }
    tests = _tests(strata[0].design, spec)
    return Manifest(
        common=common,
        traits=tuple(_of_traits(design, tests) for _, design in strata),
        runs=_runs(store, plan, offset_chromosomes(strata)),
        traits_per_task=plan.traits_per_task,
        variants_per_task=plan.variants_per_task,
        kinds=tuple((part.kind, tuple(part.traits.tolist()), part.per_task) for part in plan.kinds),
        males=_males(strata, store.n_samples),
    )


def _males(strata: Strata, n_samples: int) -> str:
    males = all_males(strata, n_samples)
    return "" if males is None else content_hash(males.packed)


def _tests(design: Design, spec: ScanSpec) -> list[str]:
    """The test of each trait, with its options."""
    tests = [""] * len(design.trait_names)
    for kind, traits in traits_by_kind(design.is_binary).items():
        of_kind = spec.of_kind(kind)
        told = json.dumps([of_kind.test, dict(of_kind.test_options)], sort_keys=True, default=str)
        for trait in traits:
            tests[trait] = told
    return tests


def _of_traits(design: Design, tests: list[str]) -> tuple[str, ...]:
    """Hash of each trait: its test, values and offsets, and the people who have one, with all that is known of them."""
    rows = _row_hashes(design)
    of_trait, first = trait_patterns(design.traits)
    present = [~np.isnan(design.traits[:, trait]) for trait in first]
    people = [content_hash(rows[who], *_relations(design, who)) for who in present]
    hashes = []
    for trait, pattern in enumerate(of_trait):
        offset = () if design.offsets is None else (design.offsets.digest(trait),)
        hashes.append(content_hash(people[pattern], design.traits[present[pattern], trait], *offset, tests[trait]))
    return tuple(hashes)


def _relations(design: Design, who: NDArray[np.bool_]) -> tuple[NDArray[np.float64] | NDArray[np.int64], ...]:
    """How some of the samples are related to each other."""
    related = design.relatedness
    if related is None:
        return ()
    among = who[related.first] & who[related.second]
    first, second = (design.store_rows[samples[among]] for samples in (related.first, related.second))
    return first, second, related.value[among], related.diagonal[who]


def _row_hashes(design: Design) -> NDArray[np.uint64]:
    """128 bits for each analysed person: row of the store, sex, covariates; shape (samples, 2)."""
    columns = [design.store_rows, design.sex, *design.covariates.T]
    out = np.empty((design.n_samples, 2), np.uint64)
    for half, seed in enumerate((0x9E3779B97F4A7C15, 0xD1B54A32D192ED03)):
        state = np.full(design.n_samples, seed, np.uint64)
        for column in columns:
            # 0.0 and -0.0 are the same number.
            state = _mix(state ^ (np.asarray(column, np.float64) + 0.0).view(np.uint64))
        out[:, half] = state
    return out


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (doi:10.1145/2660193.2660195): every bit depends on every bit."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _runs(store: GenotypeStore, plan: ScanPlan, chromosomes: tuple[str, ...]) -> tuple[str, ...]:
    size = store.block_variants
    contents = store.block_checksums
    hashes = []
    for index in range(plan.n_runs):
        rows = plan.run_rows(index)
        blocks, of_row = np.unique(rows // size, return_inverse=True)
        first, last = int(rows[0]), int(rows[-1]) + 1
        quality = store.column("variant_info", first, last)[rows - first]
        codes = null_codes(store, rows, chromosomes)
        kinds = (codes % CLASSES).astype(np.uint8)
        rest = _rest_of_genome(codes, chromosomes) if chromosomes else ()
        hashes.append(content_hash(contents[blocks], of_row * size + rows % size, kinds, quality, *rest))
    return tuple(hashes)


def _rest_of_genome(codes: NDArray[np.uint16], chromosomes: tuple[str, ...]) -> tuple[str, NDArray[np.uint16]]:
    """What says, of each variant, without which chromosome the prediction is that is taken off."""
    used, of_variant = np.unique(codes, return_inverse=True)
    names = json.dumps([chromosome_of_code(int(code), chromosomes) for code in used])
    return names, of_variant.astype(np.uint16)


def changes(before: Manifest, now: Manifest) -> list[str]:
    """What differs between two scans, in words."""
    told = [words for name, words in EVERYTHING.items() if before.common.get(name) != now.common.get(name)]
    if told:
        return [f"{words} changed: everything is computed again" for words in told]
    for plural, of_before, of_now in (
        ("traits (values, people, their covariates, null models, tests)", before.all_traits, now.all_traits),
        ("runs of variants", set(before.runs), set(now.runs)),
    ):
        kept = len(of_before & of_now)
        if of_before != of_now:
            added, gone = len(of_now) - kept, len(of_before) - kept
            told.append(f"{plural}: {kept:,} as before, {added:,} new or changed, {gone:,} no longer there")
    # What is only renamed or reordered.
    return told or ["the order of traits, strata or variants changed"]


@cache
def program_digest() -> str:
    """Hash of the sources that compute results: the kernels, and what the engine makes of genotypes and traits."""
    engine = Path(__file__).parent
    sources = [path for folder in allscan.kernels.__path__ for path in sorted(Path(folder).glob("*.py"))]
    sources += [engine / name for name in ("ploidy.py", "scoring.py", "chromosomes.py", "offsets.py")]
    sources += [engine / "local_ancestry" / name for name in ("scoring.py", "store.py")]
    return content_hash(*(path.read_bytes() for path in sources))
