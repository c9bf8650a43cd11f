"""Pairs of relatives in a Parquet table, which a job may name as the relatives of its mixed model.

Ids and kinship have the names that :mod:`allscan.phenotypes.relatedness` knows; what each was found by stands beside
them: ``king`` and, where principal components were given, ``pc_relate`` with the probabilities to share no, one and two
alleles by descent. ``kinship`` itself is at most that of twins, which chance and inbreeding may lift the others above.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.structure.described_table import TableKind, read_described, write_described
from allscan.engine.structure.kinship import THIRD_DEGREE, Pairs, Relationship, relationships
from allscan.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.store import GenotypeStore
    from allscan.kernels.pc_relate import Sharing
    from allscan.storage import Place

_KIND = TableKind("allscan-relatives", 1, "relatives")
TWINS = 0.5
WORDS = {
    Relationship.UNRELATED: "distant",
    Relationship.THIRD: "third degree",
    Relationship.SECOND: "second degree",
    Relationship.SIBLINGS: "full siblings",
    Relationship.PARENT_CHILD: "parent and child",
    Relationship.SAME: "duplicates or twins",
}
"""What the column ``relationship`` says; tables of reports say it too."""


def write_relatives(
    place: Place,
    store: GenotypeStore,
    pairs: Pairs,
    sharing: Sharing | None = None,
    *,
    min_kinship: float | None = THIRD_DEGREE,
) -> None:
    """Write pairs of relatives.

    Parameters
    ----------
    sharing
        PC-Relate estimates of the same pairs: ``kinship`` is then theirs, and KING-robust otherwise.
    min_kinship
        What pairs of the table have at least, for its metadata.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    import pyarrow as pa

    ids = pa.array([str(name) for name in store.sample_ids], pa.string())
    kinship, unshared = (pairs.best, pairs.unshared) if sharing is None else (sharing.kinship, sharing.k0)
    kinds = relationships(kinship, unshared)
    columns = {
        "id1": ids.take(pa.array(pairs.first)),
        "id2": ids.take(pa.array(pairs.second)),
        "kinship": np.minimum(kinship, TWINS),
        "relationship": pa.array([WORDS[Relationship(kind)] for kind in kinds.tolist()], pa.string()),
        "king": pairs.kinship,
        "king_adjusted": pa.array(pairs.adjusted, from_pandas=True),
        "ibs0": pairs.ibs0,
        "het_het": pairs.het_het,
        "unshared": pairs.unshared,
        "n_markers": pairs.n_markers,
    }
    if sharing is not None:
        columns |= {"pc_relate": sharing.kinship, "k0": sharing.k0, "k1": sharing.k1, "k2": sharing.k2}
    write_described(place, _KIND, columns, {"min_kinship": min_kinship})


def read_relatives(place: Place, store: GenotypeStore) -> tuple[Pairs, Sharing | None]:
    """Pairs of a table, and their PC-Relate estimates where it has some.

    Raises
    ------
    InputError
        There is no such file, or it is of people whom the store does not have.
    FileFormatError
        The file is something else.
    """
    from allscan.kernels.pc_relate import Sharing

    table, _ = read_described(place, _KIND)
    row = {str(name): k for k, name in enumerate(store.sample_ids)}
    first, second = (
        np.array([row.get(name, -1) for name in table[column].to_pylist()], np.int64) for column in ("id1", "id2")
    )
    unknown = int(((first < 0) | (second < 0)).sum())
    if unknown:
        raise InputError(
            f"{unknown:,} of {len(table):,} pairs of relatives are of people whom the genotypes do not have",
            where=str(place),
            fix="take the table that was made of these genotypes",
        )

    def numbers(name: str) -> NDArray[np.float64]:
        return np.asarray(table[name].to_numpy(), np.float64)

    pairs = Pairs(
        first,
        second,
        numbers("king"),
        numbers("king_adjusted"),
        numbers("ibs0"),
        numbers("het_het"),
        numbers("unshared"),
        np.asarray(table["n_markers"].to_numpy(), np.int64),
    )
    if "pc_relate" not in table.column_names:
        return pairs, None
    return pairs, Sharing(numbers("pc_relate"), numbers("k0"), numbers("k2"))
