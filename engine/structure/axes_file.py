"""Principal components in a file: what it takes to place people of any store among them.

A Parquet table with a row for each marker: ``contig``, ``position``, ``ref``, ``alt``, the ``frequency`` of ALT, and
its loadings ``PC1``, ``PC2`` …; eigenvalues and reference build stand in the metadata of the schema. Nothing in it is
of a single person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.marker_names import find_names
from allscan.engine.store_writing import METADATA_BLOCKS
from allscan.engine.structure.described_table import TableKind, read_described, write_described
from allscan.engine.structure.pca import Axes
from allscan.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.scan import TaskRunner
    from allscan.engine.store import GenotypeStore
    from allscan.storage import Place

LEAST_SHARE = 0.8
"""Of a component's squared loadings that a store must have the markers of."""
_KIND = TableKind("allscan-axes", 1, "principal components")
_COLUMNS = ("contig", "position", "ref", "alt", "frequency")


class FoundAxes(NamedTuple):
    """Components of a file, for the markers that a store has."""

    axes: Axes
    n_stored: int  # markers of the file
    n_swapped: int  # markers found with REF and ALT exchanged


class _Sites(NamedTuple):
    """Places and alleles of some variants of a store."""

    contig: NDArray[np.int16]
    position: NDArray[np.int32]
    ref: list[str]
    alt: list[str]


def write_axes(place: Place, store: GenotypeStore, axes: Axes) -> None:
    """Write the components of a store's people.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    sites = _sites(store, axes.rows)
    columns = {
        "contig": [store.contigs[index] for index in sites.contig.tolist()],
        "position": sites.position,
        "ref": sites.ref,
        "alt": sites.alt,
        "frequency": axes.frequency,
        **{f"PC{k + 1}": axes.loadings[:, k] for k in range(len(axes.eigenvalues))},
    }
    about = {"reference_build": store.reference_build, "eigenvalues": axes.eigenvalues.tolist()}
    write_described(place, _KIND, columns, about)


def read_axes(place: Place, store: GenotypeStore, executor: TaskRunner | None = None) -> FoundAxes:
    """Components of a file, for the people of a store.

    Markers are found by contig, position and alleles, in either order but on the same strand. Where the store lacks
    some, what the others say of a component is scaled to the length of all.

    Raises
    ------
    InputError
        There is no such file, the store has another reference build, or too few of the markers.
    FileFormatError
        The file is something else.
    """
    table, about = read_described(place, _KIND)
    if not {*_COLUMNS, *(f"PC{k + 1}" for k in range(len(about["eigenvalues"])))} <= set(table.column_names):
        raise _KIND.refusal(place)
    builds = (about["reference_build"], store.reference_build)
    if all(builds) and builds[0] != builds[1]:
        raise InputError(
            f"the components are of {builds[0]}, the store of {builds[1]}",
            where=str(place),
            fix="take components of the store's reference build",
        )
    contig, position, ref, alt = (table[name].to_pylist() for name in _COLUMNS[:4])
    found = _find(contig, position, ref, alt, store, executor)
    eigenvalues = np.array(about["eigenvalues"], np.float64)
    frequency = table["frequency"].to_numpy()[found.marker]
    loadings = np.column_stack([table[f"PC{k + 1}"].to_numpy()[found.marker] for k in range(len(eigenvalues))])
    share = (loadings**2).sum(axis=0)
    if not (share >= LEAST_SHARE).all():
        raise InputError(
            f"the store has {len(found.row):,} of the {len(table):,} markers of the components, which are too few",
            where=str(place),
            fix="take components of markers that both have, or impute the store",
        )
    frequency = np.where(found.swapped, 1 - frequency, frequency)
    loadings = np.where(found.swapped[:, None], -loadings, loadings) / np.sqrt(share)
    return FoundAxes(Axes(found.row, frequency, loadings, eigenvalues), len(table), int(found.swapped.sum()))


class _Found(NamedTuple):
    """Markers of a file that a store has, in the order of the store."""

    row: NDArray[np.int64]  # of the store, ascending
    marker: NDArray[np.int64]  # of the file
    swapped: NDArray[np.bool_]  # whether REF and ALT are exchanged


def shared_markers(
    reference: GenotypeStore, rows: NDArray[np.int64], store: GenotypeStore, executor: TaskRunner | None = None
) -> NDArray[np.int64]:
    """Those of some rows of a store whose markers another has too, found as :func:`read_axes` does.

    Raises
    ------
    InputError
        The stores have different reference builds.
    """
    builds = (reference.reference_build, store.reference_build)
    if all(builds) and builds[0] != builds[1]:
        raise InputError(
            f"the reference is on {builds[0]}, the store on {builds[1]}",
            where=str(reference.path),
            fix="take a reference on the build of the store",
        )
    sites = _sites(reference, rows)
    contigs = [reference.contigs[index] for index in sites.contig.tolist()]
    found = _find(contigs, sites.position.tolist(), sites.ref, sites.alt, store, executor)
    return rows[np.unique(found.marker)]


def _find(
    contig: list[str],
    position: list[int],
    ref: list[str],
    alt: list[str],
    store: GenotypeStore,
    executor: TaskRunner | None,
) -> _Found:
    """The first row of the store with place and alleles of each marker."""
    names = [":".join(map(str, parts)) for parts in zip(contig, position, ref, alt, strict=True)]
    first = {name: k for k, name in reversed(list(enumerate(names)))}
    wanted = list(first)
    rows, of_row = find_names(store, wanted, executor)
    order = np.lexsort([of_row, rows])
    different, at = np.unique(rows[order], return_inverse=True)
    sites = _sites(store, different)
    found: dict[int, tuple[int, int, bool]] = {}
    for here, name in zip(at.tolist(), of_row[order].tolist(), strict=True):
        marker = first[wanted[name]]
        pair = (sites.ref[here], sites.alt[here])
        swapped = pair == (alt[marker], ref[marker])
        # An identifier that looks like a place may stand at another one.
        if sites.position[here] == position[marker] and (swapped or pair == (ref[marker], alt[marker])):
            found.setdefault(marker, (int(different[here]), marker, swapped))
    columns = np.array(sorted(found.values()), np.int64).reshape(-1, 3)
    return _Found(columns[:, 0], columns[:, 1], columns[:, 2] > 0)


def _sites(store: GenotypeStore, rows: NDArray[np.int64]) -> _Sites:
    """Places and alleles of ascending rows of a store; only the chunks that hold one are read."""
    chunk = store.block_variants * METADATA_BLOCKS
    sites = _Sites(np.empty(len(rows), np.int16), np.empty(len(rows), np.int32), [], [])
    for index in np.unique(rows // chunk):
        start = int(index) * chunk
        stop = min(start + chunk, store.n_variants)
        some = slice(*np.searchsorted(rows, [start, stop]))
        inside = rows[some] - start
        sites.contig[some] = store.column("variant_contig", start, stop)[inside]
        sites.position[some] = store.column("variant_position", start, stop)[inside]
        alleles = store.strings("variant_allele", start, stop)
        sites.ref.extend(alleles.take(2 * inside).to_pylist())
        sites.alt.extend(alleles.take(2 * inside + 1).to_pylist())
    return sites
