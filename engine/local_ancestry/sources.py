"""Sources of local ancestry: FLARE's VCF, MSP tables of RFMix and Gnomix, `.lanc` of admix-kit, with phased genotypes.

Every source gives sites in order with the alleles of both haplotypes. FLARE's output has the ancestries beside them;
the others have them in a file of their own: as windows of the chromosome, or as runs of a .pgen file's variants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.ingest.optional import optional_import
from allscan.engine.ingest.pgen import read_pgen_header, read_psam
from allscan.engine.ingest.tables import open_bytes, read_lines, sibling
from allscan.engine.local_ancestry.text import PhasedSite, numbered, read_vcf_header, read_vcf_sites
from allscan.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_MSP_COLUMNS = 6
_PAIR = "give the phased genotypes of each file of ancestries: --phased FILE, as many and in the same order"


class Window(NamedTuple):
    """A stretch of a chromosome in which no haplotype changes its ancestry."""

    contig: str
    start: int
    stop: int  # one past its last position
    ancestry: NDArray[np.uint8]  # (2 × samples,)


@dataclass(frozen=True)
class LocalSource:
    """One file of ancestries and the phased genotypes that belong to it (the same file, of FLARE)."""

    kind: str  # flare, msp or lanc
    path: Path
    phased: Path
    samples: tuple[str, ...]  # of the ancestries
    phased_samples: tuple[str, ...]
    ancestries: tuple[str, ...]

    def sites(self) -> Iterator[PhasedSite]:
        """Phased genotypes, with ancestries if the file has both."""
        if self.phased.suffix == ".pgen":
            return _pgen_sites(self.phased)
        if self.phased.suffix == ".bcf":
            return _bcf_sites(self.phased)
        return read_vcf_sites(self.phased)

    def windows(self) -> Iterator[Window]:
        """Windows of an MSP table, in file order."""
        return _msp_windows(self.path, len(self.samples), len(self.ancestries))

    def runs(self) -> Runs:
        """Runs of a .lanc file."""
        return read_lanc(self.path, len(self.samples), len(self.ancestries))


def open_sources(
    paths: Sequence[Path], phased: Sequence[Path], ancestries: tuple[str, ...] | None
) -> tuple[LocalSource, ...]:
    """Open the files of local ancestry.

    Parameters
    ----------
    paths
        Files of ancestries.
    phased
        Phased genotypes for each of them; none for FLARE's output, and for .lanc the .pgen beside it.
    ancestries
        Names, for .lanc files, which have only numbers.

    Raises
    ------
    InputError, FileFormatError
        If a file is none of these, has no partner, or the files have other ancestries.
    """
    if phased and len(phased) != len(paths):
        raise InputError(
            f"there are {len(paths)} files of ancestries and {len(phased)} of phased genotypes",
            fix=_PAIR,
        )
    sources = tuple(_open(path, phased[k] if phased else None, ancestries) for k, path in enumerate(paths))
    for source in sources[1:]:
        if source.ancestries != sources[0].ancestries:
            raise InputError(
                f"the files number the ancestries differently: {', '.join(sources[0].ancestries)} and "
                f"{', '.join(source.ancestries)}",
                where=f"{sources[0].path} and {source.path}",
                fix="give files of one run of the program that inferred them",
            )
    return sources


def _open(path: Path, phased: Path | None, names: tuple[str, ...] | None) -> LocalSource:
    if not path.is_file():
        raise InputError(f"there is no file {path.name}", where=str(path), fix="check the path")
    if path.suffix == ".lanc":
        return _open_lanc(path, phased, names)
    with open_bytes(path) as stream:
        head = stream.read(64)
    if head.startswith(b"##fileformat=VCF"):
        header = read_vcf_header(path)
        if not header.ancestries:
            raise FileFormatError(
                f"{path.name} is a VCF file without ancestries",
                where=f"{path}, its header",
                fix="FLARE's output has a line ##ANCESTRY and the fields AN1 and AN2; of phased genotypes say --phased",
            )
        if phased is not None:
            raise InputError(
                "FLARE's output has the phased genotypes in it",
                where=str(path),
                fix="leave out --phased, or give MSP and .lanc files only",
            )
        return LocalSource("flare", path, path, header.samples, header.samples, header.ancestries)
    if head.startswith(b"#Subpopulation order/codes:"):
        if phased is None:
            raise InputError(f"{path.name} has no alleles in it", where=str(path), fix=_PAIR)
        samples, ancestries = _msp_header(path)
        return LocalSource("msp", path, phased, samples, _phased_samples(phased), ancestries)
    raise FileFormatError(
        f"{path.name} is no file of local ancestry",
        where=str(path),
        fix="give FLARE's .anc.vcf.gz, the .msp.tsv of RFMix or Gnomix, or a .lanc file",
    )


def _open_lanc(path: Path, phased: Path | None, names: tuple[str, ...] | None) -> LocalSource:
    if not names:
        raise InputError(
            f"{path.name} has numbers of ancestries, and not their names",
            where=str(path),
            fix="name them in the order of their numbers: --ancestries afr,eur",
        )
    partner = path.with_suffix(".pgen") if phased is None else phased
    if not partner.is_file():
        raise InputError(
            f"{path.name} has no alleles in it, and there is no {partner.name}", where=str(path), fix=_PAIR
        )
    samples = _phased_samples(partner)
    return LocalSource("lanc", path, partner, samples, samples, names)


def _phased_samples(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        raise InputError(f"there is no file {path.name}", where=str(path), fix="check the path")
    if path.suffix == ".pgen":
        return tuple(read_psam(sibling(path, ".psam", ".fam"))[0])
    if path.suffix == ".bcf":
        cyvcf2 = optional_import("cyvcf2", "cyvcf2", path)
        return tuple(cyvcf2.VCF(str(path)).samples)
    return read_vcf_header(path).samples


def _bcf_sites(path: Path) -> Iterator[PhasedSite]:
    cyvcf2 = optional_import("cyvcf2", "cyvcf2", path)
    vcf = cyvcf2.VCF(str(path))
    n = len(vcf.samples)
    try:
        for record in vcf:
            calls = record.genotype.array()
            alleles = np.full((n, 2), -1, np.int8)
            width = min(2, calls.shape[1] - 1)
            alleles[:, :width] = np.clip(calls[:, :width], -1, 127)
            phased = calls[:, -1].astype(bool) & (width == 2)
            yield PhasedSite(record.CHROM, record.POS, record.REF, tuple(record.ALT), alleles.reshape(-1), phased, None)
    except Exception as error:  # cyvcf2 raises a bare one
        raise FileFormatError(
            f"{path.name} cannot be read: {error}", where=str(path), fix="copy or create it again"
        ) from error


def _pgen_sites(path: Path) -> Iterator[PhasedSite]:
    pgenlib = optional_import("pgenlib", "pgenlib", path)
    n = read_pgen_header(path).n_samples
    alleles, phased = np.empty(2 * n, np.int32), np.empty(n, np.uint8)
    rows = list(_pvar_rows(sibling(path, ".pvar", ".pvar.zst", ".bim", ".bim.zst")))
    counts = np.array([1 + len(alternates.split(",")) for _, _, _, alternates in rows], np.uintp)
    offsets = None
    if (counts > 2).any():
        offsets = np.concatenate([np.zeros(1, np.uintp), np.cumsum(counts, dtype=np.uintp)])
    with pgenlib.PgenReader(bytes(path), raw_sample_ct=n, variant_ct=len(rows), allele_idx_offsets=offsets) as reader:
        for number, (contig, position, ref, alternates) in enumerate(rows):
            try:
                reader.read_alleles_and_phasepresent(number, alleles, phased)
            except (OSError, RuntimeError, ValueError) as error:
                raise FileFormatError(
                    f"{path.name} cannot be read: {error}",
                    where=f"{path}, variant {number + 1}",
                    fix="copy or create it again (plink2 --validate checks it)",
                ) from error
            calls = np.where(alleles >= 0, np.minimum(alleles, 127), -1).astype(np.int8)
            # A homozygous call has no phase to know.
            known = phased.astype(bool) | (calls[::2] == calls[1::2])
            yield PhasedSite(contig, position, ref, tuple(alternates.split(",")), calls, known, None)


def _pvar_rows(path: Path) -> Iterator[tuple[str, int, str, str]]:
    """Contig, position, REF and ALT of the variants of a .pvar or .bim file."""
    places: list[int] | None = None
    for number, line in enumerate(read_lines(path), start=1):
        if line.startswith("##") or not line.strip():
            continue
        fields = line.split()
        if line.startswith("#"):
            places = [fields.index(name) for name in ("#CHROM", "POS", "REF", "ALT")]
            continue
        # A .bim file, and a .pvar without a header, which has its columns: with or without centimorgans.
        where = places or ([0, 3, 5, 4] if len(fields) > 5 else [0, 2, 4, 3])
        try:
            contig, position, ref, alt = (fields[k] for k in where)
            yield contig, int(position), ref, alt
        except (IndexError, ValueError) as error:
            raise FileFormatError(
                f"{path.name} cannot be read: {line[:60]!r}",
                where=f"{path}, line {number}",
                fix="its columns are #CHROM POS ID REF ALT",
            ) from error


def _msp_header(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Samples and ancestries of an MSP table."""
    with open_bytes(path) as stream:
        text = b""
        while text.count(b"\n") < 2 and (more := stream.read(1 << 20)):
            text += more
    lines = text.decode("utf-8", "replace").splitlines()
    ancestries: dict[int, str] = {}
    for item in lines[0].partition(":")[2].split():
        name, _, number = item.partition("=")
        if number.isdigit():
            ancestries[int(number)] = name
    columns = lines[1].split("\t") if len(lines) > 1 else []
    names = columns[_MSP_COLUMNS:]
    samples = tuple(name.removesuffix(".0") for name in names[::2])
    if not ancestries or columns[:3] != ["#chm", "spos", "epos"] or names != [
        f"{sample}.{h}" for sample in samples for h in (0, 1)
    ]:  # fmt: skip
        raise FileFormatError(
            f"the header of {path.name} is not that of an MSP table",
            where=f"{path}, lines 1 and 2",
            fix="its first line numbers the ancestries (AFR=0 …); its second is #chm spos epos sgpos egpos n snps "
            "ID.0 ID.1 …, with both haplotypes of each sample side by side",
        )
    return samples, numbered(ancestries, path)


def _msp_windows(path: Path, n: int, n_ancestries: int) -> Iterator[Window]:
    with open_bytes(path) as stream:
        rest = b""
        number = 0
        while True:
            more = stream.read(4 << 20)
            lines = (rest + more).split(b"\n")
            rest = lines.pop() if more else b""
            for line in lines:
                number += 1
                if number <= 2 or not line.strip():
                    continue
                fields = line.rstrip(b"\r").split(b"\t", _MSP_COLUMNS)
                values = np.fromstring(fields[-1], np.int64, sep="\t") if len(fields) > _MSP_COLUMNS else np.empty(0)
                try:
                    start, stop = int(fields[1]), int(fields[2])
                except (IndexError, ValueError):
                    values = np.empty(0)
                if len(values) != 2 * n or values.min() < 0 or values.max() >= n_ancestries or stop < start:
                    raise FileFormatError(
                        f"a window of {path.name} does not hold the ancestries of {n} samples",
                        where=f"{path}, line {number}",
                        fix="copy or create the file again",
                    )
                yield Window(fields[0].decode(), start, stop, values.astype(np.uint8))
            if not more:
                return


class Runs(NamedTuple):
    """Ancestries as runs of variants: where they change, in the order of the variants."""

    n_variants: int
    ancestry: NDArray[np.uint8]  # (2 × samples,) at the first variant
    variant: NDArray[np.int64]  # (changes,) first variant of the new ancestry, increasing
    haplotype: NDArray[np.int32]
    value: NDArray[np.uint8]


def read_lanc(path: Path, n: int, n_ancestries: int) -> Runs:
    """Read a .lanc file: of each sample ``STOP:AB``, the ancestries of both haplotypes up to a variant.

    Raises
    ------
    FileFormatError
        If it is of other samples, or a run is not after the one before.
    """
    lines = read_lines(path)
    sizes = lines[0].split() if lines else []
    if len(sizes) != 2 or not all(size.isdigit() for size in sizes):
        raise _bad_lanc(path, 1, "it does not begin with the numbers of variants and samples")
    n_variants = int(sizes[0])
    if int(sizes[1]) != n or len(lines) != n + 1:
        raise _bad_lanc(path, 1, f"it has {sizes[1]} samples on {len(lines) - 1} lines, and the genotypes have {n}")
    first = np.empty((n, 2), np.uint8)
    variant: list[int] = []
    haplotype: list[int] = []
    value: list[int] = []
    for i, line in enumerate(lines[1:]):
        start, before = 0, (-1, -1)
        for run in line.split():
            stop, _, pair = run.partition(":")
            if not stop.isdigit() or len(pair) != 2 or not pair.isdigit() or not start < int(stop) <= n_variants:
                raise _bad_lanc(path, i + 2, f"a run is {run[:20]!r}")
            now = (int(pair[0]), int(pair[1]))
            if max(now) >= n_ancestries:
                raise _bad_lanc(path, i + 2, f"it has the ancestry {max(now)}, and {n_ancestries} are named")
            if start == 0:
                first[i] = now
            else:
                for h in range(2):
                    if now[h] != before[h]:
                        variant.append(start)
                        haplotype.append(2 * i + h)
                        value.append(now[h])
            start, before = int(stop), now
        if start != n_variants:
            raise _bad_lanc(path, i + 2, f"its runs end at variant {start} of {n_variants}")
    order = np.argsort(np.array(variant, np.int64), kind="stable")
    return Runs(
        n_variants,
        first.reshape(-1),
        np.array(variant, np.int64)[order],
        np.array(haplotype, np.int32)[order],
        np.array(value, np.uint8)[order],
    )


def _bad_lanc(path: Path, line: int, what: str) -> FileFormatError:
    return FileFormatError(
        f"{path.name} cannot be read: {what}",
        where=f"{path}, line {line}",
        fix="its first line is VARIANTS SAMPLES, then one line for each sample: STOP:AB STOP:AB …",
    )
