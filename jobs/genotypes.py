"""The genotype stores that people name: in jobs, in structure files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allscan.engine.store import open_store
from allscan.errors import FileFormatError, JobError

if TYPE_CHECKING:
    from allscan.engine.store import GenotypeStore
    from allscan.storage import Place

RAW_GENOTYPES = (
    ".bed",
    ".bim",
    ".fam",
    ".pgen",
    ".pvar",
    ".psam",
    ".bgen",
    ".vcf",
    ".vcf.gz",
    ".vcf.bgz",
    ".bcf",
    ".vcz",
)


def open_genotypes(path: Place, named: str, where: str) -> GenotypeStore:
    """Open a genotype store.

    Parameters
    ----------
    path
        Where it is.
    named
        How it is spelled, and
    where
        the file, line and key that name it, for messages.

    Raises
    ------
    JobError
        There is none, or none that is finished, or a genotype file in its place; the message says what to do.
    FileFormatError
        It is damaged, or of another version.
    """
    name = path.name.lower()
    prefix_of = [suffix for suffix in (".bed", ".pgen") if path.with_name(path.name + suffix).exists()]
    if name.endswith(RAW_GENOTYPES) or (prefix_of and not path.exists()):
        raise JobError(
            f"{named!r} is a genotype file, not a genotype store",
            where=where,
            fix=f"make a store once, and name it here: allscan ingest {path} {path.name.split('.')[0]}.zarr",
        )
    if not path.exists():
        if path.with_name(path.name + ".partial").exists():
            raise JobError(
                f"the genotype store {named!r} is not finished",
                where=where,
                fix="run the same `allscan ingest` command again: it goes on where it stopped",
            )
        raise JobError(
            f"there is no genotype store {named!r}",
            where=where,
            fix="check the path (relative to the file that names it), or make the store: allscan ingest FILE OUT.zarr",
        )
    try:
        return open_store(path)
    except FileFormatError as error:
        raise FileFormatError(error.what, where=f"{error.where}, named in {where}", fix=error.fix) from error
