"""Parquet tables that say what they are: format and version, and more, stand in the metadata of their schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from allscan.errors import FileFormatError, InputError, writing

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from allscan.storage import Place


class TableKind(NamedTuple):
    """A kind of such tables."""

    format: str
    version: int
    holds: str  # what, for messages

    def refusal(self, place: Place) -> FileFormatError:
        """What to say of a file that is something else."""
        return FileFormatError(
            f"this file holds no {self.holds}", where=str(place), fix=f"take a file that was written for {self.holds}"
        )


def write_described(place: Place, kind: TableKind, columns: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write a table.

    Parameters
    ----------
    columns
        Arrays by name.
    about
        What is said beside format and version.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    import pyarrow as pa

    from allscan.storage.parquet import write_table

    said = {"format": kind.format, "format_version": kind.version, **about}
    table = pa.table(dict(columns)).replace_schema_metadata({kind.format: json.dumps(said)})
    with writing(place, again="run the same command again", elsewhere="choose another folder"):
        write_table(place, table)


def read_described(place: Place, kind: TableKind) -> tuple[pa.Table, dict[str, Any]]:
    """Read a table, and what is said of it.

    Raises
    ------
    InputError
        There is no such file.
    FileFormatError
        The file is something else, or of another version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = place.read_bytes()
    except OSError as error:
        raise InputError(
            f"the {kind.holds} cannot be read: {error.strerror or error}", where=str(place), fix="check the path"
        ) from error
    try:
        table = pq.read_table(pa.BufferReader(content))
        about = json.loads((table.schema.metadata or {})[kind.format.encode()])
        version = about["format_version"]
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise kind.refusal(place) from error
    if version != kind.version:
        raise FileFormatError(
            f"the {kind.holds} have format version {version}; this program reads {kind.version}",
            where=str(place),
            fix="make them again",
        )
    return table, about
