"""Genotype files of a simulated cohort, written block by block: PLINK 2 pgen and PLINK 1 bed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TextIO

import numpy as np

from allscan.engine.ingest.batch import MISSING_CALL
from allscan.engine.simulation.genome import CHROMOSOME_LENGTH, REFERENCE_BUILD
from allscan.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from allscan.engine.simulation.pedigree import Pedigree
    from allscan.engine.simulation.regions import RegionCalls

FILES = {
    "pgen": ("genotypes.pgen", "genotypes.pvar", "genotypes.psam"),
    "bed": ("genotypes.bed", "genotypes.bim", "genotypes.fam"),
}
"""Files of each format, the one to hand to `allscan ingest` first."""

_PGEN_MISSING = -9
_BED_MAGIC = bytes([0x6C, 0x1B, 0x01])
# Two bits per call in a .bed whose first allele is ALT, for 0, 1, 2 copies of ALT and missing (-1, last).
_BED_CODE = np.array([0b11, 0b10, 0b00, 0b01], dtype=np.uint8)


class GenotypeWriter(Protocol):
    """Appends regions in genomic order."""

    def append(self, region: RegionCalls) -> None:
        """Write all variants of a region."""
        ...

    def close(self) -> None:
        """Finish the files. Files that were not closed are not valid."""
        ...

    def abandon(self) -> None:
        """Let go of files that will not be finished."""
        ...


def open_writers(
    folder: Path, formats: Sequence[str], pedigree: Pedigree, n_variants: int, chromosomes: Sequence[str]
) -> list[GenotypeWriter]:
    """Start the files of every format.

    Raises
    ------
    MissingDependencyError
        If a pgen is wanted and pgenlib is not installed.
    """
    writers: list[GenotypeWriter] = []
    for name in formats:
        if name == "pgen":
            writers.append(PgenFiles(folder, pedigree, n_variants, chromosomes))
        else:
            writers.append(BedFiles(folder, pedigree))
    return writers


class PgenFiles:
    """``genotypes.pgen``, ``.pvar`` and ``.psam``."""

    def __init__(self, folder: Path, pedigree: Pedigree, n_variants: int, chromosomes: Sequence[str]) -> None:
        try:
            import pgenlib
        except ImportError as error:
            raise MissingDependencyError(
                "writing .pgen files needs the package pgenlib, which is not installed",
                fix='pip install "allscan[formats]", or write bed files (formats: bed)',
            ) from error
        pgen, pvar, psam = FILES["pgen"]
        with (folder / psam).open("w", encoding="ascii", newline="\n") as people:
            people.write("#IID\tPAT\tMAT\tSEX\n")
            for iid, father, mother, sex in _people(pedigree):
                people.write(f"{iid}\t{father}\t{mother}\t{sex}\n")
        self._pvar: TextIO = (folder / pvar).open("w", encoding="ascii", newline="\n")
        self._pvar.write(f"##fileformat=VCFv4.3\n##reference={REFERENCE_BUILD}\n")
        for name in chromosomes:
            self._pvar.write(f"##contig=<ID={name},length={CHROMOSOME_LENGTH[name]}>\n")
        self._pvar.write("#CHROM\tPOS\tID\tREF\tALT\n")
        self._pgen: Any = pgenlib.PgenWriter(
            str(folder / pgen).encode(), pedigree.n_samples, variant_ct=n_variants, nonref_flags=False
        )

    def append(self, region: RegionCalls) -> None:
        """Write all variants of a region."""
        coded = np.where(region.calls == MISSING_CALL, np.int8(_PGEN_MISSING), region.calls)
        self._pgen.append_biallelic_batch(np.ascontiguousarray(coded))
        for name, position, ref, alt in zip(region.variant_id, region.position, region.ref, region.alt, strict=True):
            self._pvar.write(f"{region.region.chromosome}\t{position}\t{name}\t{ref}\t{alt}\n")

    def close(self) -> None:
        """Finish the files."""
        self._pgen.close()
        self._pvar.close()

    def abandon(self) -> None:
        """Let go of files that will not be finished."""
        self._pgen = None  # closing it would complain of the variants that are not there
        self._pvar.close()


class BedFiles:
    """``genotypes.bed``, ``.bim`` and ``.fam``; the first allele of the .bim is ALT."""

    def __init__(self, folder: Path, pedigree: Pedigree) -> None:
        bed, bim, fam = FILES["bed"]
        with (folder / fam).open("w", encoding="ascii", newline="\n") as people:
            for iid, father, mother, sex in _people(pedigree):
                people.write(f"0\t{iid}\t{father}\t{mother}\t{sex}\t-9\n")
        self._bim: TextIO = (folder / bim).open("w", encoding="ascii", newline="\n")
        self._bed = (folder / bed).open("wb")
        self._bed.write(_BED_MAGIC)

    def append(self, region: RegionCalls) -> None:
        """Write all variants of a region."""
        self._bed.write(pack_bed(region.calls).tobytes())
        for name, position, ref, alt in zip(region.variant_id, region.position, region.ref, region.alt, strict=True):
            self._bim.write(f"{region.region.chromosome}\t{name}\t0\t{position}\t{alt}\t{ref}\n")

    def close(self) -> None:
        """Finish the files."""
        self._bed.close()
        self._bim.close()

    def abandon(self) -> None:
        """Let go of files that will not be finished."""
        self.close()


def pack_bed(calls: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Calls (variants, samples) as the rows of a variant-major .bed, (variants, ceil(samples / 4))."""
    n_variants, n_samples = calls.shape
    code = np.zeros((n_variants, 4 * -(-n_samples // 4)), dtype=np.uint8)
    code[:, :n_samples] = _BED_CODE[calls]  # -1 is the last entry
    code = code.reshape(n_variants, -1, 4)
    return np.asarray(code[:, :, 0] | code[:, :, 1] << 2 | code[:, :, 2] << 4 | code[:, :, 3] << 6)


def _people(pedigree: Pedigree) -> list[tuple[str, str, str, int]]:
    """Id, father, mother and sex of each member; parents outside the cohort are 0, as PLINK wants it."""
    father, mother = pedigree.parents_of_members()
    inside = set(pedigree.member.tolist())

    def name(individual: int) -> str:
        return str(pedigree.individual_id[individual]) if individual in inside else "0"

    sex = pedigree.sex[pedigree.member]
    return [
        (str(iid), name(int(father[row])), name(int(mother[row])), int(sex[row]))
        for row, iid in enumerate(pedigree.member_id)
    ]
