"""What `allscan info` tells: a genotype store, and this machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.store import open_store
from allscan.jobs.machine import available_memory, describe_system, machine_warnings
from allscan.jobs.progress import format_bytes
from allscan.jobs.provenance import software_versions
from allscan.printable import printable
from allscan.storage import files_below

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from allscan.engine.ingest.pipeline import IngestReport
    from allscan.storage import Place

_FREQUENCIES = (
    ("below 0.1 %", 0.0, 0.001),
    ("0.1 to 1 %", 0.001, 0.01),
    ("1 to 5 %", 0.01, 0.05),
    ("above 5 %", 0.05, 0.51),
)


@dataclass(frozen=True)
class StoreDescription:
    """A genotype store in numbers. Holds no sample ids."""

    path: str
    n_variants: int
    n_samples: int
    sex: dict[str, int]
    reference_build: str | None
    contigs: dict[str, int]  # variants by contig
    minor_allele_frequency: dict[str, int]  # variants by class
    mean_missing_rate: float
    n_split: int  # rows that come from multiallelic sites
    n_imputed: int  # rows with an imputation quality
    block_variants: int
    n_blocks: int
    bytes_on_disk: int
    fingerprint: str
    attributes: dict[str, Any]  # as the ingest wrote them

    @classmethod
    def of(cls, path: Place) -> StoreDescription:
        """Describe the store at ``path``; reads its variant columns, not its genotypes.

        Raises
        ------
        InputError
            There is no store.
        """
        store = open_store(path)
        contig = store.variant_contig
        frequency = store.column("variant_allele_frequency")
        sex = store.sample_sex
        return cls(
            path=str(path),
            n_variants=store.n_variants,
            n_samples=store.n_samples,
            sex={name: int((sex == code).sum()) for name, code in (("male", 1), ("female", 2), ("unknown", 0))},
            reference_build=store.reference_build,
            contigs={name: int((contig == i).sum()) for i, name in enumerate(store.contigs) if (contig == i).any()},
            minor_allele_frequency=_frequency_classes(frequency),
            mean_missing_rate=float(store.column("variant_missing_rate").mean()),
            n_split=int((store.column("variant_n_alt") > 1).sum()),
            n_imputed=int((~np.isnan(store.column("variant_info"))).sum()),
            block_variants=store.block_variants,
            n_blocks=store.n_blocks,
            bytes_on_disk=sum(size for _, size in files_below(path)),
            fingerprint=store.fingerprint(),
            attributes=store.attrs,
        )

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def text(self) -> str:
        """As lines of text."""
        sex = ", ".join(f"{count:,} {name}" for name, count in self.sex.items() if count)
        genotypes = self.n_variants * self.n_samples
        lines = [
            f"store       {self.path}",
            f"variants    {self.n_variants:,} ({self.n_split:,} rows split from multiallelic sites)",
            f"samples     {self.n_samples:,} (sex: {sex})",
            f"build       {self.reference_build or 'not known'}",
            f"contigs     {', '.join(f'{name} {count:,}' for name, count in self.contigs.items())}",
            "frequency   "
            + ", ".join(f"{name} {count:,}" for name, count in self.minor_allele_frequency.items())
            + " (minor allele: variants)",
            f"missing     {self.mean_missing_rate:.4%} of genotypes",
            f"quality     {self.n_imputed:,} variants with an imputation quality",
            f"disk        {format_bytes(self.bytes_on_disk)} ({8 * self.bytes_on_disk / max(1, genotypes):.3f} bits a "
            f"genotype), {self.n_blocks:,} blocks of {self.block_variants:,} variants",
            f"content     {self.fingerprint}",
        ]
        lines += [f"source      {told_source(source)}" for source in self.attributes.get("sources", ())]
        lines += [f"note        {note}" for note in self.attributes.get("notes", ())]
        return printable("\n".join(lines))


def _frequency_classes(frequency: NDArray[np.float64]) -> dict[str, int]:
    minor = np.minimum(frequency, 1 - frequency)
    return {name: int(((minor >= low) & (minor < high)).sum()) for name, low, high in _FREQUENCIES}


def told_source(source: Mapping[str, Any]) -> str:
    """One line about a file that a store was made of."""
    words = [str(source.get("name") or source.get("path") or "?")]
    if source.get("bytes") is not None:
        words.append(format_bytes(source["bytes"]))
    if source.get("sha256"):
        words.append(f"sha256 {source['sha256'][:16]}…")
    return ", ".join(words)


def told_ingest(report: IngestReport) -> str:
    """What an ingest did, as lines of text."""
    again = " (it was complete already; nothing was done)" if report.already_complete else ""
    build = f", {report.reference_build}" if report.reference_build else ""
    return "\n".join(
        [
            f"store       {report.path}: {report.n_variants:,} variants × {report.n_samples:,} samples{build}{again}",
            f"disk        {format_bytes(report.bytes_on_disk)}",
            *(f"samples     {count:>11,}  {reason}" for reason, count in report.sample_counts.items() if count),
            *(f"variants    {count:>11,}  {reason}" for reason, count in report.variant_counts.items() if count),
            *(f"note        {note}" for note in report.notes),
        ]
    )


def describe_machine() -> dict[str, Any]:
    """This machine and the installed software, for `allscan info --system` and reports of bugs."""
    import scipy.linalg  # noqa: F401 - brings a BLAS of its own, to be told of too

    return {
        "system": {**describe_system(), "available_memory_bytes": available_memory()},
        "software": software_versions(),
        "warnings": list(machine_warnings()),
    }
