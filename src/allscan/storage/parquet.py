"""Parquet in any place: object storage as Arrow's file system for reading, and tables written whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from allscan.storage import objects
from allscan.storage.files import ObjectStream, write_atomically
from allscan.storage.places import ObjectPlace, Place

if TYPE_CHECKING:
    from collections.abc import Sequence


def arrow_place(place: Place) -> tuple[str, fs.FileSystem | None]:
    """What Arrow calls a place, and the file system it is in; None is that of this machine."""
    if not isinstance(place, ObjectPlace):
        return str(place), None
    return place.key, fs.PyFileSystem(_Handler(place))


def write_table(place: Place, table: pa.Table, **options: Any) -> None:
    """Write a table, whole or not at all.

    Parameters
    ----------
    options
        Of :func:`pyarrow.parquet.write_table`, beside the compression.

    Raises
    ------
    OSError
        It cannot be written.
    """
    target = pa.BufferOutputStream()
    pq.write_table(table, target, compression="zstd", **options)
    write_atomically(place, target.getvalue().to_pybytes())


class _Handler(fs.FileSystemHandler):  # type: ignore[misc] # pyarrow has no types
    """One bucket, for reading."""

    def __init__(self, place: ObjectPlace) -> None:
        self._bucket = ObjectPlace(place.scheme, place.bucket, "", place.options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Handler) and self._bucket == other._bucket

    def __hash__(self) -> int:
        return hash(self._bucket)

    def get_type_name(self) -> str:
        return "allscan"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: Sequence[str]) -> list[fs.FileInfo]:
        return [self._info(path) for path in paths]

    def _info(self, path: str) -> fs.FileInfo:
        place = self._bucket / path
        found = objects.find(place)
        if found is not None:
            return fs.FileInfo(path, fs.FileType.File, size=found["size"])
        return fs.FileInfo(path, fs.FileType.Directory if objects.has_any(place) else fs.FileType.NotFound)

    def get_file_info_selector(self, selector: Any) -> list[fs.FileInfo]:
        below = self._bucket / selector.base_dir
        return [
            fs.FileInfo(f"{selector.base_dir}/{name}", fs.FileType.File, size=size)
            for name, size in objects.listed(below)
            if selector.recursive or "/" not in name
        ]

    def open_input_file(self, path: str) -> pa.PythonFile:
        return pa.PythonFile(ObjectStream(self._bucket / path), mode="r")

    open_input_stream = open_input_file

    def _refused(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("this file system is for reading")

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _refused
    delete_file = move = copy_file = open_output_stream = open_append_stream = _refused
