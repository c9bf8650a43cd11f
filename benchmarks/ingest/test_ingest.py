"""How fast genotype files become stores, on one core."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.ingest.pipeline import ingest
from allscan.engine.store import open_store
from benchmarks.timing import SIZE, Work

FORMATS = {
    ".pgen": ["--make-pgen"],
    ".bed": ["--make-bed"],
    ".bgen": ["--export", "bgen-1.3", "bits=8", "ref-first"],
    ".bcf": ["--export", "bcf"],
}


@pytest.fixture(scope="module")
def plink_files(tmp_path_factory):
    """The same simulated calls in every format."""
    n_samples, n_variants = {"tiny": (200, 100), "quick": (4_000, 1_000), "full": (20_000, 5_000)}[SIZE]
    folder = tmp_path_factory.mktemp("plink")
    plink2("--dummy", n_samples, n_variants, "0.01", "acgt", "--seed", 1, "--make-pgen", "--out", folder / "dummy")
    for suffix, arguments in FORMATS.items():
        plink2("--pfile", folder / "dummy", *arguments, "--out", folder / f"x{suffix[1:]}")
    return {suffix: folder / f"x{suffix[1:]}{suffix}" for suffix in FORMATS}, n_samples, n_variants


def plink2(*arguments):
    subprocess.run(["plink2", *map(str, arguments)], check=True, capture_output=True)


@pytest.mark.parametrize("suffix", FORMATS)
def test_ingest_of(timed, plink_files, tmp_path, suffix):
    files, n_samples, n_variants = plink_files
    out = tmp_path / "out.zarr"

    genotypes = n_samples * n_variants
    timed(
        lambda: ingest([files[suffix]], out, executor=EmbeddedExecutor(1)),
        Work("dgemm", genotypes, genotypes, files[suffix].stat().st_size),
        before=lambda: shutil.rmtree(out, ignore_errors=True),
    )
    store = open_store(out)
    assert (store.n_variants, store.n_samples) == (n_variants, n_samples)
