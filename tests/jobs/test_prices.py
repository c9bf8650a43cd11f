"""What a job costs: tables of prices are checked, and the sums are right."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from allscan.errors import JobError
from allscan.jobs.job import Job
from allscan.jobs.plan import PlanReport
from allscan.jobs.prices import GB, PriceTable, estimate_cost, read_prices

if TYPE_CHECKING:
    from conftest import Cohort, CommandLine


GIB = 2**30

PLAN = PlanReport(
    name="big",
    n_variants=1_000_000,
    n_traits=100,
    n_samples=400_000,
    n_tasks=1000,
    variants_per_task=1000,
    traits_per_task=100,
    executor="ray",
    workers=100,
    workers_asked=100,
    task_memory_bytes=1 * GIB,
    shared_memory_bytes=4 * GIB,
    worker_memory_bytes=3 * GIB // 2,
    memory_limit_bytes=64 * GIB,
    cpu_seconds=1000 * 3600.0,
    output_bytes=50 * GB,
    objects_read=2_000_000,
    objects_written=100_000,
    free_disk_bytes=10**12,
    output="run",
)

TABLE = {
    "currency": "EUR",
    "valid_on": "2026-01-31",
    "machines": {
        "wide": {"cpus": 16, "memory": "64GiB", "on_demand": 2.0, "spot": 0.5},
        "tight": {"cpus": 16, "memory": "16GiB", "on_demand": 1.0},
        "tiny": {"cpus": 2, "memory": "4GiB", "on_demand": 0.1},
    },
    "storage": {"shelf": {"gb_month": 0.02, "reads_per_10000": 0.004, "writes_per_10000": 0.05}},
}


def table(**changes: object) -> PriceTable:
    return PriceTable.model_validate({**TABLE, **changes})


def test_machines_are_enough_for_the_workers_in_cpus_and_in_memory() -> None:
    wide, tight, tiny = estimate_cost(PLAN, table()).machines
    assert wide.machines == 7  # 16 workers each
    # 0.9 × 16 GiB less the 4 GiB that its workers share holds six workers of 1.5 GiB.
    assert tight.machines == 17
    assert tiny.machines == 0
    assert "too little memory" in estimate_cost(PLAN, table()).text()


def test_the_cost_is_machines_times_hours_times_price() -> None:
    wide = estimate_cost(PLAN, table()).machines[0]
    assert wide.seconds == 10 * 3600  # 1,000 CPU hours by 100 workers
    assert wide.on_demand == pytest.approx(7 * 10 * 2.0)
    assert wide.spot == pytest.approx(7 * 10 * 0.5)
    assert estimate_cost(PLAN, table()).machines[1].spot is None


def test_time_is_in_whole_tasks() -> None:
    # 600 workers: two rounds of tasks of an hour, the second with 400.
    many = replace(PLAN, workers=600, workers_asked=600)
    assert many.expected_seconds == 2 * 3600
    assert estimate_cost(many, table()).machines[0].seconds == 2 * 3600
    assert replace(PLAN, workers=5000, workers_asked=5000).expected_seconds == 3600


def test_a_faster_cpu_takes_less_time() -> None:
    machines = {"fast": {**TABLE["machines"]["wide"], "speed": 2.0}}  # type: ignore[index]
    (fast,) = estimate_cost(PLAN, table(machines=machines)).machines
    assert fast.seconds == 5 * 3600
    assert fast.on_demand == pytest.approx(7 * 5 * 2.0)


def test_the_head_of_a_cluster_is_paid_on_demand() -> None:
    estimate = estimate_cost(PLAN, table(head="tiny"))
    assert estimate.machines[0].on_demand == pytest.approx(7 * 10 * 2.0 + 10 * 0.1)
    assert estimate.machines[0].spot == pytest.approx(7 * 10 * 0.5 + 10 * 0.1)
    assert "tiny on demand as the head" in estimate.text()
    alone = estimate_cost(replace(PLAN, executor="embedded"), table(head="tiny"))
    assert alone.head is None


def test_without_a_cluster_there_is_one_machine() -> None:
    plan = replace(PLAN, executor="embedded", workers=8, workers_asked=8)
    wide = estimate_cost(plan, table()).machines[0]
    assert wide.machines == 1
    assert wide.seconds == 125 * 3600
    more = estimate_cost(replace(plan, workers=16, workers_asked=100), table()).machines[0]
    assert more.seconds == 63 * 3600  # as many workers as the machine has CPUs


def test_a_cluster_of_unknown_size_is_one_machine() -> None:
    unknown = replace(PLAN, workers=1, workers_asked=None)
    assert estimate_cost(unknown, table()).machines[0].machines == 1
    assert estimate_cost(unknown, table()).machines[0].seconds == 63 * 3600
    assert "--workers N" in unknown.text()


def test_storage_and_requests() -> None:
    (shelf,) = estimate_cost(PLAN, table()).storage
    assert shelf.per_month == pytest.approx(50 * 0.02)
    assert shelf.requests == pytest.approx(200 * 0.004 + 10 * 0.05)
    assert not estimate_cost(PLAN, table(storage={})).storage


def test_small_sums_are_not_rounded_to_nothing() -> None:
    small = replace(PLAN, cpu_seconds=3.6, output_bytes=10**6)
    assert estimate_cost(small, table()).text().count("< 0.01") == 4


def write(folder: Path, text: str) -> Path:
    path = folder / "prices.yaml"
    path.write_text(text)
    return path


GOOD = """\
currency: EUR
valid_on: 2026-01-31
machines:
  wide: {cpus: 16, memory: 64GiB, on_demand: 2, spot: 0.5}
"""


def test_a_table_is_read(tmp_path: Path) -> None:
    prices = read_prices(write(tmp_path, GOOD))
    assert prices.machines["wide"].on_demand == 2.0
    assert prices.machines["wide"].speed == 1.0


@pytest.mark.parametrize(
    ("old", "new", "what", "line"),
    [
        ("on_demand: 2", "on_demnd: 2", "unknown key 'on_demnd'", 4),
        ("currency: EUR\n", "", "'currency' is missing", 1),
        ("spot: 0.5", "spot: -1", "greater than or equal to 0", 4),
        ("spot: 0.5", "spot: .nan", "finite number", 4),
        ("cpus: 16", "cpus: many", "whole number", 4),
        ("64GiB", "64", "not text", 4),
        ("64GiB", "64 apples", "not an amount of memory", 4),
        ("2026-01-31", "31.1.2026", "no date", 2),
        ("machines:\n  wide", "machines: {}\nstorage:\n  wide", "'machines' is empty", 3),
        ("currency", "head: narrow\ncurrency", "no machine 'narrow'", 1),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path: Path, old: str, new: str, what: str, line: int) -> None:
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(JobError) as refused:
        read_prices(path)
    assert what in str(refused.value)
    assert f"prices.yaml:{line}:" in str(refused.value)
    assert refused.value.fix


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="no such file"):
        read_prices(tmp_path / "none.yaml")


def test_the_example_is_a_table(repository: Path) -> None:
    prices = read_prices(repository / "examples" / "prices.yaml")
    assert {name.split()[0] for name in prices.machines} == {"gcp", "aws"}
    assert all(machine.spot is None or machine.spot < machine.on_demand for machine in prices.machines.values())


def test_plan_says_what_a_job_costs(cohort: Cohort, allscan_cli: CommandLine, repository: Path) -> None:
    job = cohort.job()
    plain = allscan_cli("plan", job)
    assert plain.exit_code == 0
    assert "on CPUs like this one" in plain.stdout
    assert "USD" not in plain.stdout
    priced = allscan_cli("plan", job, "--prices", repository / "examples" / "prices.yaml")
    assert priced.exit_code == 0, priced.stderr
    assert "USD of 2025-06-30" in priced.stdout
    assert "aws m7i.4xlarge" in priced.stdout
    refused = allscan_cli("plan", job, "--prices", job)
    assert refused.exit_code == 2
    assert "the table of prices has" in refused.stderr


def test_a_cluster_is_planned_before_it_exists(
    cohort: Cohort, allscan_cli: CommandLine, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")  # where nobody answers
    job = cohort.job(runtime={"executor": "ray"})
    words = ("plan", job, "--prices", repository / "examples" / "prices.yaml")
    sized = allscan_cli(*words, "--workers", "1000")
    assert sized.exit_code == 0, sized.stderr
    assert "1,000 of the cluster" in sized.stdout
    # 16 CPUs a machine.
    assert re.search(r"gcp n2d-standard-16 +16 +63 ", sized.stdout)
    assert "gcp e2-standard-4 on demand as the head" in sized.stdout
    whole = allscan_cli(*words)
    assert "all CPUs of the cluster" in whole.stdout
    assert re.search(r"gcp n2d-standard-16 +16 +1 ", whole.stdout)


def test_requests_are_chunks_read_and_files_written(cohort: Cohort) -> None:
    job = Job.from_yaml(cohort.job())
    plan = job.plan()
    run = job.run()
    written = [path for path in run.folder.results.glob("*/c/0/*/*") if path.is_file()]
    commits = list((run.folder.path / "commits").glob("*.json"))
    assert len(commits) == plan.n_tasks
    # A task without a hit writes no file of hits.
    assert len(written) + len(commits) <= plan.objects_written <= len(written) + 2 * len(commits)
    assert plan.objects_read >= plan.n_tasks
