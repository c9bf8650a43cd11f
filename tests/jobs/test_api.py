"""The Python calls: the same as the commands, on one reference data set in three formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import allscan
from allscan.engine.simulation.options import SimulationOptions
from allscan.errors import InputError


def test_every_public_name_is_there_and_documented() -> None:
    for name in allscan.__all__:
        thing = getattr(allscan, name)
        assert name == "__version__" or thing.__doc__, name
    with pytest.raises(AttributeError, match="nothing"):
        allscan.nothing  # noqa: B018


@pytest.fixture(scope="module")
def stores(reference: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """regenie's example in three formats: the same calls."""
    folder = tmp_path_factory.mktemp("stores")
    made = {}
    # The BGEN names people FID_IID; its .sample file is not in the set.
    people = folder / "example.sample"
    people.write_text("ID_1 ID_2 missing\n0 0 0\n" + "".join(f"{i} {i} 0\n" for i in range(1, 501)))
    for kind in ("bed", "pgen", "bgen"):
        made[kind] = folder / f"{kind}.zarr"
        seen: list[Any] = []
        report = allscan.ingest(
            reference("regenie_example") / f"example.{kind}",
            made[kind],
            # PLINK wrote this BGEN with the counted allele first.
            ref_first=kind != "bgen",
            sample_file=people if kind == "bgen" else None,
            workers=1,
            on_progress=seen.append,
        )
        assert report.n_variants == 1000
        assert seen[-1].tasks_done == seen[-1].tasks_total
    return made


def test_the_same_calls_give_the_same_results_in_every_format(
    stores: dict[str, Path], reference: Any, tmp_path: Path
) -> None:
    example = reference("regenie_example")
    tables = {}
    for kind, store in stores.items():
        job = allscan.Job.from_dict(
            {
                "name": kind,
                "genotypes": str(store),
                "traits": {"file": str(example / "phenotype.txt"), "columns": ["Y1", "Y2"]},
                "covariates": {"file": str(example / "covariates.txt"), "formula": "V1 + V2 + V3"},
                "output": f"run-{kind}",
                "runtime": {"workers": 1},
            },
            base=tmp_path,
        )
        results = job.run().results()
        reads = {name: results[name].to_numpy() for name in ("beta", "standard_error", "neg_log10_p", "n")}
        reads["allele"] = results["effect_allele"].to_numpy()
        reads["position"] = results["variant_position"].to_numpy()
        tables[kind] = reads
    for kind in ("pgen", "bgen"):
        assert np.array_equal(tables[kind]["position"], tables["bed"]["position"])
        # Where a format swaps REF and ALT, the effect is that of the other allele: of opposite sign.
        same = tables[kind]["allele"] == tables["bed"]["allele"]
        sign = np.where(same, 1.0, -1.0)
        np.testing.assert_allclose(tables[kind]["beta"], sign * tables["bed"]["beta"], rtol=2e-5, atol=1e-7)
        np.testing.assert_allclose(tables[kind]["standard_error"], tables["bed"]["standard_error"], rtol=2e-5)
        assert np.array_equal(tables[kind]["n"], tables["bed"]["n"])


def test_samples_may_be_given_as_ids_or_as_a_file(reference: Any, tmp_path: Path) -> None:
    bed = reference("regenie_example") / "example.bed"
    people = [str(i) for i in range(1, 51)]
    (tmp_path / "people.txt").write_text("\n".join(people) + "\n")
    by_ids = allscan.ingest(bed, tmp_path / "ids.zarr", keep_samples=people, workers=1)
    by_file = allscan.ingest([bed], tmp_path / "file.zarr", keep_samples=tmp_path / "people.txt", workers=1)
    assert by_ids.n_samples == by_file.n_samples == 50
    one, other = allscan.open_store(tmp_path / "ids.zarr"), allscan.open_store(tmp_path / "file.zarr")
    assert one.sample_ids.tolist() == other.sample_ids.tolist() == people
    assert np.array_equal(one.dosages(0, 1000), other.dosages(0, 1000), equal_nan=True)
    with pytest.raises(InputError):
        allscan.ingest(bed, tmp_path / "none.zarr", keep_samples=["nobody"], workers=1)
    assert not (tmp_path / "none.zarr").exists()


def test_two_processes_make_the_same_store_as_one(reference: Any, tmp_path: Path) -> None:
    bed = reference("regenie_example") / "example.bed"
    one = allscan.ingest(bed, tmp_path / "one.zarr", workers=1)
    two = allscan.ingest(bed, tmp_path / "two.zarr", workers=2)
    assert (one.n_variants, one.bytes_on_disk) == (two.n_variants, two.bytes_on_disk)
    chunks = [
        [path.read_bytes() for path in sorted((tmp_path / name / "call_dosage" / "c").glob("*/0"))]
        for name in ("one.zarr", "two.zarr")
    ]
    assert chunks[0]
    assert chunks[0] == chunks[1]
    # A run that was begun on one of them may go on with the other.
    assert allscan.open_store(one.path).fingerprint() == allscan.open_store(two.path).fingerprint()


def test_simulate_is_a_call(tmp_path: Path) -> None:
    report = allscan.simulate(
        tmp_path / "sim",
        SimulationOptions(
            samples=60, variants=50, traits=1, chromosomes=("22",), groups={"EUR": 1.0}, causal_fraction=0.1
        ),
        workers=1,
    )
    assert report.n_samples == 60
    assert report.genotypes.exists()
    assert allscan.Job.from_yaml(report.job).spec.genotypes == "genotypes.zarr"
