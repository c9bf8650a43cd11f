"""The place an ingest writes to: checks before work starts, and what a full or read-only disk means."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from allscan.engine.ingest.fingerprints import source_bytes
from allscan.engine.ingest.publishing import is_there
from allscan.engine.store import open_store
from allscan.errors import WRITE_REFUSALS, AllscanError, InputError, OutputError, free_space, output_error, size_text
from allscan.storage import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from allscan.engine.ingest.batch import SourceHeader
    from allscan.storage import Place

# Bytes of a store for each byte of its sources, at the low end of what was seen: to refuse only what
# cannot work. The staged parts take as much again.
_STORE_PER_SOURCE_BYTE = {"bed": 0.1, "pgen": 0.5, "bgen": 0.3, "vcf": 0.1, "vcz": 0.3}


def check_output(out: Place, partial: Path, sources: Sequence[Path], overwrite: bool) -> None:
    """Refuse an output path that cannot or must not be written.

    Raises
    ------
    InputError
        If it is one of the sources.
    OutputError
        If something that is not to be overwritten is there, or its folder cannot be written to.
    """
    if any(out.absolute() == source.absolute() for source in sources):
        raise InputError(
            f"{out.name} is both the source and the output",
            where=str(out),
            fix="give the store another name than the file it is made of",
        )
    there = is_there(out)
    if there and overwrite:
        _check_is_store(out)
    elif there:
        raise OutputError(
            f"{out.name} exists already",
            where=str(out),
            fix="give another output path, or replace the store: --overwrite",
        )
    with translated(partial):
        partial.parent.mkdir(parents=True, exist_ok=True)
        # Even where permissions look right, only writing tells (read-only mounts, quotas, the root user).
        partial.mkdir(exist_ok=True)
        probe = partial / f"probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    if is_remote(out):
        _check_writable(out)


def _check_writable(out: Place) -> None:
    """Write and remove an object beside the store: rights are told by writing only."""
    probe = out.with_name(f".{out.name}-probe-{os.getpid()}")
    probe.write_bytes(b"")
    probe.unlink()


def _check_is_store(out: Place) -> None:
    try:
        open_store(out)
    except AllscanError as error:
        raise OutputError(
            f"{out.name} exists and is not a genotype store; it is not overwritten",
            where=str(out),
            fix="give another output path, or remove what is there yourself",
        ) from error


def check_space(partial: Path, headers: Sequence[SourceHeader], kept_fraction: float, staged: int) -> None:
    """Refuse to begin where the disk cannot hold the store and its staged parts.

    Parameters
    ----------
    partial
        The staging folder, on whose disk the store is made.
    headers
        Of the sources.
    kept_fraction
        Share of the samples that are kept.
    staged
        Bytes that are staged already.

    Raises
    ------
    OutputError
        With the space that is needed at least, and the space there is.
    """
    needed = sum(
        2 * _STORE_PER_SOURCE_BYTE.get(header.kind, 0.1) * source_bytes(Path(header.path)) for header in headers
    )
    needed = needed * kept_fraction - staged
    free = free_space(partial.parent)
    if free < needed:
        raise OutputError(
            f"the disk is too full: at least {size_text(needed)} are needed while the store is made, "
            f"{size_text(free)} are free",
            where=str(partial.parent),
            fix="free space, or write the store to another disk",
        )


@contextmanager
def translated(out: Place) -> Iterator[None]:
    """Say what a failed write means, and that what is finished is kept.

    Raises
    ------
    OutputError
        In place of an OSError about space or permissions.
    """
    try:
        yield
    except AllscanError:
        raise
    except OSError as error:
        # Any other may be about a source.
        if error.errno not in WRITE_REFUSALS:
            raise
        raise output_error(
            error,
            out,
            again="run the same ingest again: it goes on where it stopped",
            elsewhere="write to a folder where you may create files and no file is in the way",
        ) from error
