"""Contigs that a file declares, and the reference build that their lengths give away."""

from __future__ import annotations

import re

# Lengths of chromosomes that differ between the builds; either spelling of the name (chr1, 1).
_BUILDS = {
    "GRCh37": {
        "1": 249250621,
        "2": 243199373,
        "10": 135534747,
        "20": 63025520,
        "22": 51304566,
        "X": 155270560,
    },
    "GRCh38": {
        "1": 248956422,
        "2": 242193529,
        "10": 133797422,
        "20": 64444167,
        "22": 50818468,
        "X": 156040895,
    },
}
_CONTIG = re.compile(r"^##contig=<(.*)>\s*$")
_FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^,]*)')


def contig_line(line: str) -> tuple[str, int] | None:
    """Name and length (0 if not given) of a VCF ``##contig`` header line, None for any other line."""
    found = _CONTIG.match(line)
    if found is None:
        return None
    fields = {key.lower(): value for key, value in _FIELD.findall(found[1])}
    length = fields.get("length", "0")
    return fields.get("id", ""), int(length) if length.isdigit() else 0


def reference_build(contigs: tuple[str, ...], lengths: tuple[int, ...]) -> str | None:
    """``GRCh37`` or ``GRCh38`` if the declared lengths are those of one build and not of the other."""
    named = {name.removeprefix("chr"): length for name, length in zip(contigs, lengths, strict=True)}
    agreeing = [
        build for build, known in _BUILDS.items() if any(named.get(name) == length for name, length in known.items())
    ]
    return agreeing[0] if len(agreeing) == 1 else None
