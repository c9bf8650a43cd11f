"""The files of the guide to All of Us, run on a miniature of a release."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from allscan.engine.results import ResultsCube
from allscan.jobs.cli import main
from allscan.jobs.structure.folder import open_structure
from allscan.kernels.association import Status
from tests.jobs.workbench import CHROMOSOMES, FIRST_ID, FLAGGED, OTHER, make_release

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "all-of-us.md"
FILES = {"structure.yaml": "name: Structure", "lipids.yaml": "name: LDL"}
SAMPLES, VARIANTS = 480, 900


@dataclass(frozen=True)
class Workbench:
    """A release, a bucket, and a folder with the files of the guide."""

    release: Path
    bucket: Path
    home: Path

    def allscan(self, *words: object) -> str:
        """What a command says; it must not fail."""
        done = CliRunner().invoke(main, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        return done.output


@pytest.fixture(scope="module")
def workbench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    folder = tmp_path_factory.mktemp("workbench")
    release, bucket = make_release(folder, samples=SAMPLES, variants=VARIANTS)
    home = folder / "home"
    home.mkdir()
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    for name, begins in FILES.items():
        (home / name).write_text(next(block for block in blocks if block.startswith(begins)))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CDR_STORAGE_PATH", str(release))
        environment.setenv("WORKSPACE_BUCKET", str(bucket))
        environment.setenv("GOOGLE_PROJECT", "terra-12345678")
        environment.chdir(home)
        yield Workbench(release, bucket, home)


def ids_in(folder: Path, names: list[str]) -> set[str]:
    """Files, of those that are to be passed on or shown, in which a person's id stands."""
    ids = {str(number) for number in range(FIRST_ID, FIRST_ID + 7 * SAMPLES, 7)}
    assert all((folder / name).exists() for name in names)
    return {
        name for name in names if ids & set(re.findall(r"(?<![\d.])\d{7}(?!\d)", (folder / name).read_text("latin-1")))
    }


def test_the_recipe(workbench: Workbench) -> None:
    pgen = workbench.release / "wgs/short_read/snpindel/acaf_threshold/pgen"
    # As the guide says of chromosomes without people.
    first, second = (pgen / f"acaf_threshold.chr{name}.psam" for name in CHROMOSOMES)
    second.symlink_to(first)
    store = workbench.bucket / "acaf.zarr"
    told = workbench.allscan(
        "ingest", *sorted(pgen.glob("*.pgen")), store, "--build", "GRCh38", "--min-allele-count", 20, "--workers", 1
    )
    # The miniature has no arrays: the scan's variants stand for them.
    shutil.copytree(store, workbench.bucket / "arrays.zarr")

    told += workbench.allscan("structure", "build", "structure.yaml")
    structure = open_structure(workbench.bucket / "structure")
    assert structure.groups == ("afr", "amr", "eas", "eur")
    samples = structure.samples().to_pandas()
    assert (samples.excluded.notna()).sum() == FLAGGED
    assert (samples.group.isna() & samples.excluded.isna()).sum() in (OTHER, OTHER - 1)
    shares = samples.filter(like="admixture_")
    assert list(shares) == ["admixture_afr", "admixture_eur", "admixture_eas", "admixture_amr"]
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-4)
    assert samples.related.sum() > 0

    checked = workbench.allscan("check", "lipids.yaml")
    for line in (
        f"{FLAGGED}  on the exclude list flagged_samples.tsv",
        "eas  NOT SCANNED",
        "in no group: in the pooled scan only",
        "1 people have another entry than male or female",
    ):
        assert line in checked
    workbench.allscan("run", "lipids.yaml", "--workers", 1)
    run = workbench.bucket / "runs" / "lipids"
    cube = ResultsCube.open(run / "results.zarr")
    assert cube.strata == ("all", "ancestry=afr", "ancestry=amr", "ancestry=eur")
    people = {stratum: cube.trait_columns("ldl", stratum)["n"].max() for stratum in cube.strata}
    assert all(100 <= people[f"ancestry={name}"] < people["all"] for name in ("afr", "amr", "eur"))
    # People of no group, and of groups too small to be scanned apart, are in the pooled scan.
    assert people["all"] > sum(people.values()) - people["all"]
    for stratum in cube.strata:
        status = cube.trait_columns("ldl", stratum)["status"]
        # `min_mac` is counted in each group.
        assert np.isin(status, [Status.OK, Status.FILTERED]).all()
        assert (status == Status.OK).mean() > 0.3, stratum

    # The copy of the job does not hang on the environment, and nobody's id is where others may look.
    assert "${" not in (run / "job.yaml").read_text()
    shown = ["report.html", "provenance.json", "run.log.jsonl"]
    assert not ids_in(run, [*shown, "run.json", "manifest.json", "job.yaml"])
    assert not ids_in(workbench.bucket / "structure", shown)
    assert str(FIRST_ID) not in told
