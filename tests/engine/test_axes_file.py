"""Principal components in a file: people of another store are placed as in the store that they were made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.structure.axes_file import read_axes, write_axes
from allscan.engine.structure.pca import PcaSpec, PrincipalComponents, principal_components
from allscan.engine.structure.projection import project
from allscan.errors import FileFormatError, InputError
from tests.engine.cohorts import Cohort, write_calls
from tests.engine.test_pca import structured_calls

PEOPLE = np.arange(150)
OTHERS = np.arange(150, 200)
ONE = EmbeddedExecutor(1)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    calls = structured_calls(1, 1200, 200)
    contig = np.repeat(np.arange(2, dtype=np.int16), 600)
    position = np.tile(np.arange(1, 601, dtype=np.int32) * 1000, 2)
    alleles = [("A", "C"), ("G", "T"), ("AT", "A")] * 400
    return write_calls(
        tmp_path_factory.mktemp("axes") / "store.zarr", calls, contig, position, ("1", "2"), alleles=alleles
    )


@pytest.fixture(scope="module")
def found(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> PrincipalComponents:
    rows, spec = np.arange(1200), PcaSpec(components=3)
    return principal_components(cohort.store, rows, PEOPLE, spec, ONE, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def file(cohort: Cohort, found: PrincipalComponents, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("file") / "axes.parquet"
    write_axes(place, cohort.store, found.axes)
    return place


def other_store(path: Path, cohort: Cohort, share: float, build: str = "GRCh38") -> tuple[Cohort, int]:
    """The held-out people, a share of the markers, other names of contigs in another order, half of them swapped."""
    rng = np.random.default_rng(3)
    kept = np.concatenate([600 + np.arange(600), np.arange(600)])
    kept = kept[rng.random(1200) < share]
    calls = cohort.calls[kept][:, OTHERS]
    calls[::2] = np.where(calls[::2] < 0, -1, 2 - calls[::2])
    alleles = [([("A", "C"), ("G", "T"), ("AT", "A")] * 400)[k] for k in kept]
    alleles[::2] = [(alt, ref) for ref, alt in alleles[::2]]
    contig = (kept < 600).astype(np.int16)
    made = write_calls(path, calls, contig, cohort.position[kept], ("chr2", "chr1"), alleles=alleles, build=build)
    return made, len(calls[::2])


def test_the_same_store_gives_the_same_axes(cohort: Cohort, found: PrincipalComponents, file: Path) -> None:
    read = read_axes(file, cohort.store)
    assert (read.n_stored, read.n_swapped) == (1200, 0)
    np.testing.assert_array_equal(read.axes.rows, found.axes.rows)
    np.testing.assert_array_equal(read.axes.frequency, found.axes.frequency)
    np.testing.assert_array_equal(read.axes.eigenvalues, found.axes.eigenvalues)
    np.testing.assert_allclose(read.axes.loadings, found.axes.loadings, rtol=1e-5)


def test_alleles_are_swapped_and_contigs_have_other_names(
    cohort: Cohort, found: PrincipalComponents, file: Path, tmp_path: Path
) -> None:
    other, n_swapped = other_store(tmp_path / "other.zarr", cohort, 1.1)
    read = read_axes(file, other.store, ONE)
    assert (read.n_stored, read.n_swapped) == (1200, n_swapped)
    here = project(other.store, read.axes, np.arange(50), ONE)
    there = project(cohort.store, found.axes, OTHERS, ONE)
    np.testing.assert_allclose(here.scores, there.scores, atol=1e-5)


def test_markers_that_the_store_lacks_are_made_up_for(
    cohort: Cohort, found: PrincipalComponents, file: Path, tmp_path: Path
) -> None:
    other, _ = other_store(tmp_path / "other.zarr", cohort, 0.9)
    read = read_axes(file, other.store, ONE)
    assert len(read.axes.rows) == other.store.n_variants < read.n_stored
    here = project(other.store, read.axes, np.arange(50), ONE).plain
    there = project(cohort.store, found.axes, OTHERS, ONE).plain
    assert (here * there).sum() / (there**2).sum() == pytest.approx(1, abs=0.02)


def test_what_does_not_fit_is_refused(cohort: Cohort, file: Path, tmp_path: Path) -> None:
    few, _ = other_store(tmp_path / "few.zarr", cohort, 0.5)
    with pytest.raises(InputError, match=r"the store has \d+ of the 1,200 markers"):
        read_axes(file, few.store)
    old, _ = other_store(tmp_path / "old.zarr", cohort, 1.1, build="GRCh37")
    with pytest.raises(InputError, match="the components are of GRCh38, the store of GRCh37"):
        read_axes(file, old.store)
    with pytest.raises(InputError, match="cannot be read"):
        read_axes(tmp_path / "none.parquet", cohort.store)
    (tmp_path / "text.parquet").write_text("PC1")
    pq.write_table(pa.table({"PC1": [1.0]}), tmp_path / "table.parquet")
    for name in ("text", "table"):
        with pytest.raises(FileFormatError, match="holds no principal components"):
            read_axes(tmp_path / f"{name}.parquet", cohort.store)
    newer = pq.read_table(file)
    about = newer.schema.metadata[b"allscan-axes"].replace(b'"format_version": 1', b'"format_version": 2')
    pq.write_table(newer.replace_schema_metadata({"allscan-axes": about}), tmp_path / "newer.parquet")
    with pytest.raises(FileFormatError, match="format version 2"):
        read_axes(tmp_path / "newer.parquet", cohort.store)
