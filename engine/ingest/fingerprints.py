"""What an ingest was made of: fingerprints that say whether finished work still holds, and file hashes."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allscan.engine.chunk_files import stored_checksum

if TYPE_CHECKING:
    from collections.abc import Mapping

    from allscan.engine.ingest.batch import SourceHeader

# Files beside a genotype file that decide what is read from it: PLINK's tables, sample files, indexes.
_SIBLING_SUFFIXES = (".bim", ".fam", ".pvar", ".pvar.zst", ".psam", ".sample")
_INDEX_SUFFIXES = (".bgi", ".tbi", ".csi")

WHOLE_FILE_BYTES = 64 << 20
"""Files up to this size are hashed whole, larger ones by their size, first and last MiB."""
_END_BYTES = 1 << 20


def digest(document: Any) -> str:
    """Short hash of a JSON-like document."""
    text = json.dumps(document, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def source_identity(header: SourceHeader, options: Mapping[str, Any]) -> dict[str, Any]:
    """All that makes a source the one it is: its files' sizes and times, its samples, how it is read."""
    path = Path(header.path)
    files = [path]
    files += [path.with_name(path.stem + suffix) for suffix in _SIBLING_SUFFIXES]
    files += [path.with_name(path.name + suffix) for suffix in _INDEX_SUFFIXES]
    if options.get("sample_file"):
        files.append(Path(options["sample_file"]))
    return {
        "path": str(path.absolute()),
        "kind": header.kind,
        "files": [state for file in files for state in _states(file)],
        "samples": digest(list(header.sample_ids)),
        "sex": digest(header.sample_sex.tolist()),
        "contigs": digest([header.contigs, header.contig_lengths]),
        "records": header.n_records,
        "options": {key: str(value) for key, value in sorted(options.items())},
    }


def _states(path: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of a file, or of all files of a folder together; nothing if absent."""
    if path.is_dir():
        states = [file.stat() for file in path.rglob("*") if file.is_file()]
        return [(path.name, sum(s.st_size for s in states), max((s.st_mtime_ns for s in states), default=0))]
    if path.exists():
        state = path.stat()
        return [(path.name, state.st_size, state.st_mtime_ns)]
    return []


def source_bytes(path: Path) -> int:
    """Size of a genotype file or folder; 0 if it does not exist."""
    return sum(size for _, size, _ in _states(path))


def describe_source(header: SourceHeader) -> dict[str, Any]:
    """Provenance of a source for the attributes of a store: name, size, time of change and SHA-256."""
    path = Path(header.path)
    described: dict[str, Any] = {"name": path.name, "kind": header.kind}
    states = _states(path)
    if states:
        _, size, changed = states[0]
        described["bytes"] = size
        described["modified"] = datetime.fromtimestamp(changed / 1e9, UTC).isoformat(timespec="seconds")
        described["sha256_of"], described["sha256"] = _hash(path, size)
    return described


def _hash(path: Path, size: int) -> tuple[str, str]:
    hasher = hashlib.sha256()
    if path.is_dir():
        # Chunks are many, and their names and sizes tell one store from another.
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            hasher.update(f"{file.relative_to(path)}\0{file.stat().st_size}\n".encode())
            if file.name in ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"):
                hasher.update(file.read_bytes())
        return "names and sizes of all files, content of the metadata", hasher.hexdigest()
    with path.open("rb") as stream:
        if size <= WHOLE_FILE_BYTES:
            return "whole file", hashlib.file_digest(stream, "sha256").hexdigest()
        hasher.update(f"{size}\n".encode())
        hasher.update(stream.read(_END_BYTES))
        stream.seek(size - _END_BYTES)
        hasher.update(stream.read(_END_BYTES))
    return "size, first and last MiB", hasher.hexdigest()


def content_checksum(store: Path) -> str:
    """Hash of everything a store holds, from the names, sizes and checksums of its chunks.

    Every chunk ends with the CRC-32C of its content. Group attributes, which hold dates, have no part.
    """
    hasher = hashlib.sha256()
    for file in sorted(file for file in store.rglob("*") if file.is_file() and "c" in file.parts):
        size, checksum = stored_checksum(file)
        hasher.update(f"{file.relative_to(store)}\0{size}\0".encode() + checksum.to_bytes(4, "little"))
    return hasher.hexdigest()
