"""Files on disks and in object storage: one vocabulary for both.

A place is a ``pathlib.Path`` or an :class:`ObjectPlace`. The functions here do for both what the methods of a path
cannot do for objects: write so that a file is whole or not there, read stretches, list and remove.
"""

from allscan.storage.files import (
    Opened,
    copy_tree,
    create_exclusive,
    each,
    files_below,
    first_bytes,
    flush,
    is_remote,
    one_match,
    open_stream,
    opened,
    read_from,
    remove_tree,
    size_of,
    upload_tree,
    write_atomically,
    write_files,
    zarr_store,
)
from allscan.storage.places import ObjectPlace, Place, StorageOptions, is_url, local_path, place_of

__all__ = [
    "ObjectPlace",
    "Opened",
    "Place",
    "StorageOptions",
    "copy_tree",
    "create_exclusive",
    "each",
    "files_below",
    "first_bytes",
    "flush",
    "is_remote",
    "is_url",
    "local_path",
    "one_match",
    "open_stream",
    "opened",
    "place_of",
    "read_from",
    "remove_tree",
    "size_of",
    "upload_tree",
    "write_atomically",
    "write_files",
    "zarr_store",
]
