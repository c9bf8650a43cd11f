"""Markers that the user names: by identifier, or by position and alleles."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.chromosomes import same_contig
from allscan.engine.markers import NAMED_RULES, MarkerRules, Markers, choose_markers, read_alleles
from allscan.errors import FileFormatError, InputError
from allscan.storage import place_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa
    from numpy.typing import NDArray

    from allscan.engine.scan import TaskRunner
    from allscan.engine.store import GenotypeStore
    from allscan.storage import Place

TASK_ROWS = 1 << 18
"""Variants among which one task looks."""
NO_ID = "."
MOST_DIGITS = 9
"""Of a position: those of a human genome have nine."""
_SHOWN = 5


class _Named(NamedTuple):
    """What is looked for."""

    store: GenotypeStore
    ids: pa.StringArray
    sites: NDArray[np.int64]  # ascending: places (see _place) that are asked for
    at_site: dict[int, list[tuple[int, frozenset[str]]]]  # place → numbers of names, and their alleles


def read_marker_list(path: str | Place) -> list[str]:
    """Names in a file that has one on each line, as PLINK's ``--extract`` takes it; empty lines are skipped.

    Raises
    ------
    InputError
        If there is no such file, it has no names, or a line has more than one word.
    """
    place = place_of(path)
    try:
        lines = place.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise FileFormatError("the list of markers is not text", where=str(path), fix="write one id a line") from error
    except OSError as error:
        raise InputError(
            f"the list of markers cannot be read: {error.strerror or error}", where=str(path), fix="check the path"
        ) from error
    names = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if len(words) > 1:
            raise FileFormatError(
                f"{len(words)} words on a line of the list of markers",
                where=f"{path}, line {number}",
                fix="write one id, or chromosome:position:ref:alt, on each line",
            )
        names += words
    if not names:
        raise InputError("the list of markers is empty", where=str(path), fix="write one id on each line")
    return names


def named_markers(
    store: GenotypeStore,
    names: Iterable[str],
    sample_rows: NDArray[np.int64],
    executor: TaskRunner,
    rules: MarkerRules = NAMED_RULES,
) -> Markers:
    """The markers of a list that the store has and that vary among the people analysed.

    Parameters
    ----------
    names
        Identifiers, or ``chromosome:position:ref:alt`` with the alleles in either order. All variants of an
        identifier are taken.
    sample_rows : (people,) int64
        Store rows of the people analysed, ascending.
    rules
        What the markers must meet; the default drops only those that do not vary, or repeat another.

    Raises
    ------
    InputError
        If the store has none of them, or none varies.
    """
    given = list(names)
    wanted = list(dict.fromkeys(given))
    rows, of_row = find_names(store, wanted, executor)
    known = np.zeros(len(wanted), np.bool_)
    known[of_row] = True
    unknown = tuple(wanted[k] for k in np.flatnonzero(~known))
    if not len(rows):
        raise InputError(
            f"the store has none of the {len(wanted):,} markers named, such as {', '.join(unknown[:_SHOWN])}",
            where=str(store.path),
            fix="name them as the store does (allscan info shows some), or as chromosome:position:ref:alt",
        )
    notes = []
    if len(given) > len(wanted):
        notes.append(f"{len(given) - len(wanted):,} names of markers are given more than once")
    if unknown:
        more = ", …" if len(unknown) > _SHOWN else ""
        notes.append(f"{len(unknown):,} of the markers named are not in the store: {', '.join(unknown[:_SHOWN])}{more}")
    several = int((np.bincount(of_row) > 1).sum())
    if several:
        notes.append(f"{several:,} names of markers mean several variants, which are all taken")
    markers = choose_markers(store, sample_rows, rules, executor, among=np.unique(rows))
    return replace(markers, unknown=unknown, notes=tuple(notes))


def find_names(
    store: GenotypeStore, wanted: list[str], executor: TaskRunner | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Store rows, and the number of the name of each, in no order; a row may have two names.

    Parameters
    ----------
    store
        Where they are looked for.
    wanted
        Identifiers, or ``chromosome:position:ref:alt`` with the alleles in either order; each once.
    executor
        What looks through the store; left out, this thread does.
    """
    from allscan.arrow import string_array

    # What has no identifier cannot be asked for by it.
    ids = string_array("" if name == NO_ID else name for name in wanted)
    at_site = _sites(store, wanted)
    named = _Named(store, ids, np.array(sorted(at_site), np.int64), at_site)
    tasks = [(start, min(start + TASK_ROWS, store.n_variants)) for start in range(0, store.n_variants, TASK_ROWS)]
    if executor is None:
        found = [_find_in_rows(named, task) for task in tasks]
    else:
        found = [pairs for _, pairs in executor.run(_find_in_rows, named, tasks, memory_bytes=128 << 20)]
    pairs = np.unique(np.concatenate(found), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _place(contig: int, position: int) -> int:
    return contig << 32 | position


def _sites(store: GenotypeStore, wanted: list[str]) -> dict[int, list[tuple[int, frozenset[str]]]]:
    """Names that are a position and alleles, by place."""
    contigs: dict[str, list[int]] = {}
    sites: dict[int, list[tuple[int, frozenset[str]]]] = {}
    for number, name in enumerate(wanted):
        parts = name.rsplit(":", 3)
        if len(parts) != 4 or not (parts[1].isascii() and parts[1].isdigit()) or len(parts[1]) > MOST_DIGITS:
            continue
        if parts[0] not in contigs:
            contigs[parts[0]] = [k for k, contig in enumerate(store.contigs) if same_contig(contig, parts[0])]
        for contig in contigs[parts[0]]:
            sites.setdefault(_place(contig, int(parts[1])), []).append((number, frozenset(parts[2:])))
    return sites


def _find_in_rows(named: _Named, rows: tuple[int, int]) -> NDArray[np.int64]:
    """Rows among some (first, one past the last), and numbers of their names, shape (found, 2)."""
    import pyarrow.compute as pc

    from allscan.arrow import numbers

    store, (start, stop) = named.store, rows
    by_id = numbers(pc.index_in(store.strings("variant_id", start, stop), value_set=named.ids), np.int32, -1)
    found = [(start + int(k), int(by_id[k])) for k in np.flatnonzero(by_id >= 0)]
    if len(named.sites):
        contig = store.column("variant_contig", start, stop).astype(np.int64)
        places = contig << 32 | store.column("variant_position", start, stop)
        at = np.minimum(np.searchsorted(named.sites, places), len(named.sites) - 1)
        here = np.flatnonzero(named.sites[at] == places)
        for k, alleles in zip(here, read_alleles(store, start + here), strict=True):
            found += [(start + int(k), number) for number, those in named.at_site[int(places[k])] if those == alleles]
    return np.array(found, np.int64).reshape(-1, 2)
