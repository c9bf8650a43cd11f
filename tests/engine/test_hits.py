"""Names of the variants of a table, read from the chunks that hold them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from allscan.engine.hits import names_of
from allscan.engine.results import NAME_ROWS
from allscan.engine.variant_names import VariantNames

N_VARIANTS = 3 * NAME_ROWS + 10


class Recorder:
    """Variants named after their number, and the rows that were asked for."""

    def __init__(self) -> None:
        self.read: list[tuple[int, int]] = []

    def variant_names(self, start: int = 0, stop: int | None = None) -> VariantNames:
        rows = np.arange(start, min(N_VARIANTS if stop is None else stop, N_VARIANTS))
        if len(rows):
            self.read.append((start, start + len(rows)))
        names, alleles = (pa.array([text(row) for row in rows], pa.string()) for text in (lambda row: f"v{row}", str))
        info = np.ones(len(rows), np.float32)
        return VariantNames(("1",), np.zeros(len(rows), np.int16), rows.astype(np.int32), names, alleles, alleles, info)


@pytest.mark.parametrize(
    "wanted",
    [[], [0], [5, 6, NAME_ROWS - 1], [NAME_ROWS, 3 * NAME_ROWS + 9], [1, NAME_ROWS + 1, 3 * NAME_ROWS]],
)
def test_names_come_in_order_and_each_chunk_that_holds_one_is_read_once(wanted: list[int]) -> None:
    source = Recorder()
    names = names_of(source, np.array(wanted, np.int64))
    assert names.variant_id.to_pylist() == [f"v{row}" for row in wanted]
    assert names.position.tolist() == wanted
    chunks = sorted({row // NAME_ROWS for row in wanted})
    assert source.read == [(c * NAME_ROWS, min((c + 1) * NAME_ROWS, N_VARIANTS)) for c in chunks]
