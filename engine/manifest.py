"""What each task of a scan is made of, as hashes: who asks whether a result still holds compares these.

A result (stratum, trait, variant) follows from the program, the parameters, the people with their covariates, the
members of the stratum, the trait's values, and the variant's genotypes; not from the names of any of them, nor
from where they stand. Each of these has a hash here, and the hash of a task is that of its parts. What differs between
two manifests is therefore what has to be computed again, and no more.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import allscan.kernels
from allscan.engine.ploidy import store_classes
from allscan.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from allscan.engine.design import Design
    from allscan.engine.plan import ScanPlan, ScanSpec, ScanTask
    from allscan.engine.store import GenotypeStore

MANIFEST = "manifest.json"
RESULTS_VERSION = 2
"""Of the results cube."""
FORMAT_VERSION = 1
_DIGITS = 32  # hexadecimal ones of a hash

EVERYTHING = {
    "program": "the program",
    "parameters": "the parameters of the scan",
    "people": "who is analysed, or their order",
    "covariates": "the covariates",
    "sex": "the recorded sex",
}
"""Parts on which every result depends, in words."""


@dataclass(frozen=True)
class Manifest:
    """Hashes of the parts of a scan."""

    common: dict[str, str]  # by the keys of EVERYTHING
    strata: tuple[str, ...]
    traits: tuple[str, ...]
    runs: tuple[str, ...]  # of variants
    traits_per_task: int
    variants_per_task: int

    @cached_property
    def digest(self) -> str:
        """Hash of the whole scan."""
        return _hash(json.dumps(asdict(self), sort_keys=True))

    @cached_property
    def everything(self) -> str:
        """Hash of what every result depends on."""
        return _hash(json.dumps(self.common, sort_keys=True))

    def of_task(self, task: ScanTask) -> str:
        """Hash of one task."""
        first = task.batch * self.traits_per_task
        traits = self.traits[first : first + self.traits_per_task]
        return _hash(self.everything, self.strata[task.stratum], *traits, self.runs[task.index])

    def to_json(self) -> str:
        """The manifest as a file of the run folder."""
        return json.dumps({"format_version": FORMAT_VERSION, **asdict(self)}, separators=(",", ":"))

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
            for name in ("strata", "traits", "runs"):
                fields[name] = tuple(map(str, fields[name]))
            return cls(**fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FileFormatError(
                f"the list of what the tasks are made of cannot be read: {error}",
                where=where,
                fix="delete the run folder and run the job again",
            ) from error


def manifest_of(store: GenotypeStore, design: Design, spec: ScanSpec, plan: ScanPlan) -> Manifest:
    """Hash the parts of a planned scan."""
    parameters = asdict(spec) | {name: int(getattr(spec, name)) for name in ("model", "missing", "precision")}
    # Regions say which variants there are, and the hashes of the runs say that.
    parameters["filter"] = {name: value for name, value in parameters["filter"].items() if name != "regions"}
    common = {
        "program": _hash(program_digest(), str(RESULTS_VERSION)),
        "parameters": _hash(json.dumps(parameters, sort_keys=True, default=str)),
        "people": _hash("\0".join(store.sample_ids[design.store_rows]), design.store_rows),
        "covariates": _hash(repr(design.covariates.shape), *_columns(design.covariates)),
        "sex": _hash(design.sex),
    }
    return Manifest(
        common=common,
        strata=tuple(_hash(design.members(g)) for g in range(len(design.strata))),
        traits=tuple(_hash(column) for column in _columns(design.traits)),
        runs=_runs(store, plan),
        traits_per_task=plan.traits_per_task,
        variants_per_task=plan.variants_per_task,
    )


def _runs(store: GenotypeStore, plan: ScanPlan) -> tuple[str, ...]:
    size = store.block_variants
    contents = store.block_checksums
    hashes = []
    for index in range(plan.n_runs):
        rows = plan.run_rows(index)
        blocks, of_row = np.unique(rows // size, return_inverse=True)
        first, last = int(rows[0]), int(rows[-1]) + 1
        quality = store.column("variant_info", first, last)[rows - first]
        hashes.append(_hash(contents[blocks], of_row * size + rows % size, store_classes(store, rows), quality))
    return tuple(hashes)


def changes(before: Manifest, now: Manifest) -> list[str]:
    """What makes results of ``before`` useless for ``now``, in words; empty when nothing does.

    The manifests of two jobs that differ only in which traits or variants they hold share the others' results.
    """
    told = [words for name, words in EVERYTHING.items() if before.common.get(name) != now.common.get(name)]
    if told:
        return [f"{words} changed: everything is computed again" for words in told]
    for plural, old, new in (
        ("strata", before.strata, now.strata),
        ("traits", before.traits, now.traits),
        ("runs of variants", before.runs, now.runs),
    ):
        kept = len(set(new) & set(old))
        added, gone = len(set(new)) - kept, len(set(old)) - kept
        if added or gone:
            told.append(f"{plural}: {kept:,} as before, {added:,} new or changed, {gone:,} no longer there")
    return told


@cache
def program_digest() -> str:
    """Hash of the sources that compute results: the kernels, and what the engine makes of genotypes and traits."""
    engine = Path(__file__).parent
    sources = [path for folder in allscan.kernels.__path__ for path in sorted(Path(folder).glob("*.py"))]
    sources += [engine / name for name in ("ploidy.py", "scoring.py", "chromosomes.py")]
    return _hash(*(path.read_bytes() for path in sources))


def _columns(matrix: NDArray[np.float64]) -> Iterable[NDArray[np.float64]]:
    return (matrix[:, k] for k in range(matrix.shape[1]))


def _hash(*parts: str | bytes | NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            content = np.ascontiguousarray(part).tobytes()
        else:
            content = part.encode() if isinstance(part, str) else part
        # With its length: parts that meet at another place are other parts.
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()[:_DIGITS]
