"""The last step of an ingest: the finished store goes to its place, on a disk or in object storage."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from allscan.engine.ingest.staging import PARTIAL
from allscan.errors import OutputError
from allscan.storage import ObjectPlace, files_below, is_remote, remove_tree, upload_tree, write_atomically

if TYPE_CHECKING:
    from allscan.storage import Place

METADATA = "zarr.json"
"""Of the group: what makes a store of the files below. In object storage it is put last."""
UPLOAD = ".upload.json"
"""Tells of a store in object storage that is not whole yet, and which one it will be."""


def staging_folder(out: Place, staging: Path | None) -> Path:
    """The folder on this machine in which a store is made.

    Parameters
    ----------
    out
        The store.
    staging
        Folder for the staging folders of stores in object storage; None: the working directory.
    """
    if isinstance(out, ObjectPlace):
        # Stores of one name in several buckets must not meet.
        place = hashlib.sha256(str(out).encode()).hexdigest()[:8]
        return (staging or Path.cwd()) / f"{out.name}.{place}{PARTIAL}"
    return out.with_name(out.name + PARTIAL)


def is_there(out: Place) -> bool:
    """Whether there is something at the place of a store, other than one whose upload was cut short.

    Raises
    ------
    OutputError
        There are objects which are not those of a store.
    """
    if not is_remote(out) or (out / METADATA).exists():
        return out.exists()
    if (out / UPLOAD).exists():
        return False
    if out.exists():
        raise OutputError(
            f"{out.name} holds other objects and no genotype store",
            where=str(out),
            fix="give another place, or remove what is there yourself",
        )
    return False


def publish(store: Path, out: Place, partial: Path, key: str) -> None:
    """Put a finished store in its place, in place of any that is there; then the staging folder goes.

    Parameters
    ----------
    store
        The store in the staging folder.
    out
        Its place.
    partial
        The staging folder.
    key
        Fingerprint of the ingest.
    """
    if isinstance(out, ObjectPlace):
        _upload(store, out, key)
    else:
        _sync(store)
        if out.exists():
            out.rename(partial / "replaced")
        store.rename(out)
    shutil.rmtree(partial)


def _upload(store: Path, out: ObjectPlace, key: str) -> None:
    mark = json.dumps({"key": key}).encode()
    begun = (out / UPLOAD).read_bytes() if (out / UPLOAD).exists() else None
    if begun != mark:
        # Without its metadata, what is there is a store no more; then the rest may go.
        (out / METADATA).unlink(missing_ok=True)
        write_atomically(out / UPLOAD, mark)
        for name in {name.partition("/")[0] for name, _ in files_below(out)} - {UPLOAD}:
            remove_tree(out / name)
    # Of a chunk that is there with its size, an upload of the same ingest was finished.
    done = {item for item in files_below(out) if "/c/" in item[0]}
    upload_tree(store, out, last=METADATA, without=done)
    (out / UPLOAD).unlink()


def _sync(store: Path) -> None:
    for file in store.rglob("*"):
        # Genotype blocks were synchronised as they were written; Zarr does not do so.
        if file.is_file() and "call_dosage" not in file.parts:
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
