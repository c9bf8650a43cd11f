"""Opens a genotype file with the reader that its name or its first bytes call for."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from allscan.errors import InputError
from allscan.storage.compression import GZIP

if TYPE_CHECKING:
    from allscan.engine.ingest.batch import Source

DosageField = Literal["auto", "GT", "DS", "HDS", "GP", "PL"]
"""Which VCF FORMAT field the allele counts come from; ``auto``: DS if declared, else HDS, else GT."""

SUPPORTED = (
    "PLINK 1 (.bed), PLINK 2 (.pgen), BGEN 1.2 and 1.3 (.bgen), VCF (.vcf, .vcf.gz), BCF (.bcf), "
    "VCF Zarr (.vcz, .zarr, or either as .zip)"
)

_KINDS = {
    ".bed": "bed",
    ".bim": "bed",
    ".fam": "bed",
    ".pgen": "pgen",
    ".pvar": "pgen",
    ".pvar.zst": "pgen",
    ".psam": "pgen",
    ".bgen": "bgen",
    ".vcf": "vcf",
    ".vcf.gz": "vcf",
    ".vcf.bgz": "vcf",
    ".bcf": "vcf",
    ".vcz": "vcz",
    ".zarr": "vcz",
    ".vcz.zip": "vcz",
    ".zarr.zip": "vcz",
}
_MAIN_SUFFIX = {"bed": ".bed", "pgen": ".pgen"}
_CONVERSIONS = {
    ".ped": "plink1.9 --file PREFIX --make-bed",
    ".map": "plink1.9 --file PREFIX --make-bed",
    ".gen": "plink2 --gen FILE ref-first --sample FILE.sample --make-pgen",
    ".gen.gz": "plink2 --gen FILE ref-first --sample FILE.sample --make-pgen",
    ".haps": "plink2 --haps FILE ref-first --make-pgen",
    ".gds": "export it as VCF (SeqArray::seqGDS2VCF)",
    ".mt": "export it as VCF or BGEN (hail.export_bgen)",
    ".vds": "export it as VCF or BGEN (hail.export_bgen)",
}


def open_source(
    path: str | Path,
    *,
    field: DosageField = "auto",
    pass_only: bool = False,
    ref_first: bool = True,
    sample_file: str | Path | None = None,
) -> Source:
    """Open a genotype file.

    Parameters
    ----------
    path
        A genotype file, the name of a fileset without extension, or a VCF Zarr folder.
    field
        VCF, BCF and VCF Zarr: FORMAT field that allele counts come from. ``auto`` takes DS if the header
        declares it, else HDS, else GT; GP and PL are used only on request.
    pass_only
        VCF, BCF and VCF Zarr: leave out sites whose FILTER is neither ``PASS`` nor missing.
    ref_first
        BGEN: the first allele is REF (as UK Biobank, QCTOOL and PLINK 2's ``ref-first`` have it).
    sample_file
        BGEN: the ``.sample`` file, if it is not beside the file under the same name.

    Raises
    ------
    InputError, FileFormatError
        If there is no such file, no reader for it, or the reader refuses it.
    MissingDependencyError
        If the reader's package is not installed.
    """
    located = _locate(Path(path))
    kind = _kind(located)
    if kind == "bed":
        from allscan.engine.ingest.bed import BedSource

        return BedSource(located)
    if kind == "pgen":
        from allscan.engine.ingest.pgen import PgenSource

        return PgenSource(located)
    if kind == "bgen":
        from allscan.engine.ingest.bgen import BgenSource

        return BgenSource(located, ref_first=ref_first, sample_file=sample_file)
    if kind == "vcf":
        from allscan.engine.ingest.vcf import VcfSource

        return VcfSource(located, field=field, pass_only=pass_only)
    from allscan.engine.ingest.vcz import VczSource

    return VczSource(located, field=field, pass_only=pass_only)


def _locate(path: Path) -> Path:
    """The main file of a fileset: of ``x.bim`` or ``x`` that is ``x.bed``."""
    suffix = _known_suffix(path)
    main = _MAIN_SUFFIX.get(_KINDS.get(suffix, ""))
    if main and suffix != main:
        path = path.with_name(path.name.removesuffix(suffix) + main)
    if path.exists():
        return path
    if not suffix:
        found = [path.with_name(path.name + end) for end in (".pgen", ".bed", ".bgen")]
        existing = [candidate for candidate in found if candidate.is_file()]
        if len(existing) > 1:
            raise InputError(
                f"{path.name} can mean {' or '.join(candidate.name for candidate in existing)}",
                where=str(path),
                fix="give the name with its extension",
            )
        if existing:
            return existing[0]
    raise InputError(f"{path.name} does not exist", where=str(path), fix="check the path to the genotype file")


def _known_suffix(path: Path) -> str:
    name = path.name.lower()
    known = [suffix for suffix in (*_KINDS, *_CONVERSIONS) if name.endswith(suffix)]
    found = max(known, key=len, default="")
    return path.name[len(path.name) - len(found) :]


def _kind(path: Path) -> str:
    suffix = _known_suffix(path).lower()
    if suffix in _KINDS:
        return _KINDS[suffix]
    kind = None if suffix in _CONVERSIONS else _kind_by_content(path)
    if kind is None:
        how = _CONVERSIONS.get(suffix)
        raise InputError(
            f"{path.name} is not a genotype file of a kind that is read: {SUPPORTED}",
            where=str(path),
            fix=f"convert it: {how}" if how else "convert it with plink2 or bcftools, or check the path",
        )
    return kind


def _kind_by_content(path: Path) -> str | None:
    if path.is_dir():
        return "vcz" if any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zattrs")) else None
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError as error:
        raise InputError(
            f"{path.name} cannot be opened: {error.strerror}",
            where=str(path),
            fix="check the path and the permissions",
        ) from error
    if head[:2] == b"\x6c\x1b":
        return "bed" if head[2:3] in (b"\x00", b"\x01") else "pgen"
    if head[16:20] == b"bgen":
        return "bgen"
    if head[:4] == b"PK\x03\x04":
        return "vcz"
    if head.startswith(GZIP):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, 64)
        except zlib.error:
            return None
    return "vcf" if head.startswith((b"##fileformat=VCF", b"BCF")) else None
