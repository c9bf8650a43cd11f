"""Other programs: the same files, the same work, true costs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from bed_reader import open_bed

from allscan.engine.store import GenotypeStore
from allscan.errors import InputError
from benchmarks.peers.contest import (
    PEERS,
    DisagreementError,
    FoundPeer,
    Sizes,
    agreement,
    find_peers,
    measure,
    run_contest,
)
from benchmarks.peers.inputs import simulate, write_inputs
from benchmarks.peers.peer import Case
from benchmarks.peers.plink2 import Plink2
from benchmarks.peers.regenie import Regenie

sys.path.append(str(Path(__file__).parents[1] / "reference"))

from peers import plink2 as plink2_or_skip

CASE = Case(400, 120, 2, 0.01, 1)

REGENIE_BY_HAND = '''#!{python}
"""REGENIE's score test in NumPy, with its options and files."""
import sys
import numpy as np, pandas as pd
from bed_reader import open_bed
from scipy import stats

if sys.argv[1:] == ["--version"]:
    sys.exit(print("v4.1.2.by.hand"))
option = dict(zip(sys.argv[1:], sys.argv[2:]))
assert {{"--qt", "--ignore-pred"}} <= set(sys.argv) and option["--step"] == "2"
with open_bed(option["--bed"] + ".bed") as bed:
    g, names = bed.read(dtype="float64"), bed.sid
files = (option["--phenoFile"], option["--covarFile"])
traits, covariates = (pd.read_csv(file, sep="\\t").set_index(["FID", "IID"]) for file in files)
g = np.where(np.isnan(g), np.nanmean(g, axis=0), g)
x = np.column_stack([np.ones(len(g)), covariates])
q = np.linalg.qr(x)[0]
g -= q @ (q.T @ g)
for trait in option["--phenoColList"].split(","):
    y = traits[trait].to_numpy(); y = y - q @ (q.T @ y)
    r2 = (g.T @ y) ** 2 / ((g ** 2).sum(0) * (y @ y))
    p = -stats.chi2.logsf((len(y) - q.shape[1]) * r2, 1) / np.log(10)
    table = pd.DataFrame(dict(CHROM=1, GENPOS=1, ID=names, ALLELE0="A", ALLELE1="C", A1FREQ=.1, N=len(y), TEST="ADD",
                              BETA=0., SE=1., CHISQ=1., LOG10P=p{error}, EXTRA="NA"))
    table.to_csv(option["--out"] + "_" + trait + ".regenie", sep=" ", index=False, na_rep="NA", float_format="%.6g")
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inputs of a small case."""
    path = tmp_path_factory.mktemp("inputs")
    write_inputs(path, CASE.samples, CASE.variants, CASE.traits, CASE.missing_rate)
    return path


def by_hand(folder: Path, error: str = "") -> FoundPeer:
    """A program that stands for REGENIE, found as a user gives it."""
    program = folder / "regenie-by-hand"
    program.write_text(REGENIE_BY_HAND.format(python=sys.executable, error=error))
    program.chmod(0o755)
    (found,) = find_peers([f"regenie={program}"])
    return found


def test_every_program_reads_the_same_calls(folder: Path) -> None:
    import pgenlib

    calls = np.concatenate(list(simulate(CASE.samples, CASE.variants, CASE.missing_rate)))
    assert 0 < (calls < 0).mean() < 0.05
    rare = np.minimum((calls == 1).sum(1), CASE.samples) + 2 * (calls == 2).sum(1) <= 0.02 * CASE.samples
    assert 0.25 < rare.mean() < 0.75
    store = GenotypeStore(folder / "cohort.zarr")
    np.testing.assert_array_equal(np.nan_to_num(store.dosages(0, CASE.variants), nan=-1), calls)
    with open_bed(folder / "cohort.bed") as bed:
        np.testing.assert_array_equal(np.where((b := bed.read(dtype="int8")) == -127, -1, b).T, calls)
    with pgenlib.PgenReader(bytes(folder / "cohort.pgen"), raw_sample_ct=CASE.samples) as reader:
        read = np.empty(calls.shape, np.int8)
        reader.read_range(0, CASE.variants, read)
    np.testing.assert_array_equal(np.where(read == -9, -1, read), calls)


def test_peers_agree(tmp_path: Path) -> None:
    """Standing for REGENIE, a score test in NumPy that reads the options and files that REGENIE is given."""
    plink2_or_skip("--version", out=tmp_path / "x")
    said: list[str] = []
    # In few people χ² and t differ more than in 50,000, which the tolerance is for.
    sizes = Sizes(samples=4000, variants=60, traits=(2,), missing_rates=(0.01,), repeats=1, threads=1)
    results = run_contest([*find_peers(["plink2"]), by_hand(tmp_path)], sizes, said.append)
    assert [result.peer for result in results] == ["plink2", "regenie"]
    assert results[0].version.startswith("PLINK v2")
    assert results[1].version == "v4.1.2.by.hand"
    for result in results:
        assert set(result.costs) == {result.peer, "allscan exclude", "allscan impute_mean"}
        assert 100 < result.compared <= 120
        assert result.largest_difference < 1
        assert result.costs["allscan exclude"][0].cpu_seconds > 0.1
        assert result.costs["allscan exclude"][0].peak_mb > 50
    assert said[0] == "4,000 people × 60 variants × 2 traits, 1.0% of calls missing"


def test_an_error_of_a_peer_is_found(folder: Path) -> None:
    values = []
    for error in ("", " * 1.01 + 0.01"):
        found = by_hand(folder, error)
        measure(found.peer.command(found.binary, CASE), folder)
        values.append(found.peer.neg_log10_p(folder, CASE, "t1"))
    with pytest.raises(DisagreementError, match="allscan and regenie disagree"):
        agreement(found.peer, CASE, *values)


@pytest.mark.parametrize("peer", [Plink2(), Regenie()], ids=lambda peer: peer.name)
def test_agreement(peer: Plink2 | Regenie) -> None:
    ours = np.append(np.random.default_rng(1).exponential(size=200), np.nan)
    assert agreement(peer, CASE, ours, ours) == (200, 0.0)
    compared, largest = agreement(peer, CASE, ours, ours * (1 + 0.4 * peer.relative))
    assert (compared, 0 < largest < 1) == (200, True)
    with pytest.raises(DisagreementError, match="times the tolerance"):
        agreement(peer, CASE, ours, ours * (1 + 3 * peer.relative) + 3 * peer.absolute)
    with pytest.raises(DisagreementError, match="5 of 201 results are on one side only"):
        agreement(peer, CASE, ours, np.where(np.arange(201) < 5, np.nan, ours))
    with pytest.raises(DisagreementError):
        agreement(peer, CASE, ours, np.full(201, np.nan))


def test_costs_are_those_of_the_command(tmp_path: Path) -> None:
    ballast = np.ones(40_000_000)  # 320 MB of this process, which are none of the command
    work = "import time\nx = bytearray(60_000_000)\nwhile time.process_time() < 0.3: pass"
    cost = measure([sys.executable, "-S", "-c", work], tmp_path)
    assert 0.3 <= cost.cpu_seconds < 1.5
    assert cost.wall_seconds >= 0.29
    assert 60 < cost.peak_mb < 0.5 * ballast.nbytes / 2**20


def test_a_program_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such phenotype"):
        measure([sys.executable, "-c", "import sys; sys.exit('no such phenotype')"], tmp_path)


def test_peers_are_found_or_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no peer is called 'gcta'(.|\n)*plink2, regenie"):
        find_peers(["gcta"])
    with pytest.raises(InputError, match="no program that can be run"):
        find_peers([f"regenie={tmp_path / 'regenie'}"])
    assert find_peers([]) == []
    assert set(PEERS) == {"plink2", "regenie"}
