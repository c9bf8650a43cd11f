"""What a job costs in money: its plan times a table of prices that the user supplies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from allscan.documents.sections import Day, Section, Text
from allscan.documents.validation import locate, validate
from allscan.documents.yaml_source import read_yaml
from allscan.errors import JobError
from allscan.jobs.progress import format_seconds
from allscan.jobs.runtime_spec import parse_memory

if TYPE_CHECKING:
    from pathlib import Path

    from allscan.jobs.plan import PlanReport

USABLE_MEMORY = 0.9
"""Share of a machine's memory that is left for workers beside the system and Ray's own processes."""

GB = 10**9
"""Bytes that clouds call a gigabyte, for storage."""


def _check_memory(value: str) -> str:
    parse_memory(value)
    return value


Price = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class Machine(Section):
    """A kind of machine."""

    cpus: int = Field(ge=1, le=4096, description="CPUs as the cloud counts them (a vCPU is one).")
    memory: Annotated[Text, AfterValidator(_check_memory)] = Field(description="Its memory, e.g. `64GiB`.")
    on_demand: Price = Field(description="Price of an hour.")
    spot: Price | None = Field(
        default=None, description="Price of an hour as a spot machine, which may be taken away at any time."
    )
    speed: float = Field(
        default=1.0,
        gt=0.0,
        le=100.0,
        description=(
            "How fast one of its CPUs is, beside one of the machine on which `plan` is run, all CPUs being busy; "
            "1 where it has not been measured."
        ),
    )


class StorageClass(Section):
    """A kind of object storage."""

    gb_month: Price = Field(description="Price of 10^9 bytes for a month.")
    reads_per_10000: Price = Field(default=0.0, description="Price of 10,000 requests that read.")
    writes_per_10000: Price = Field(default=0.0, description="Price of 10,000 requests that write.")


class PriceTable(Section):
    """Prices as of one day."""

    currency: Annotated[Text, Field(max_length=12)] = Field(description="Currency of every price, e.g. `USD`.")
    valid_on: Day = Field(description="Day on which the prices were looked up, e.g. `2026-01-31`.")
    machines: dict[Text, Machine] = Field(min_length=1, description="Kinds of machines, by names of your choice.")
    head: Text | None = Field(
        default=None,
        description="Name of the machine, on demand, that is the head of a cluster beside the workers' machines.",
    )
    storage: dict[Text, StorageClass] = Field(
        default={}, description="Kinds of object storage, by names of your choice."
    )


def read_prices(path: Path) -> PriceTable:
    """Read a table of prices.

    Raises
    ------
    JobError
        It is not one; the message names line, key, and what to do.
    """
    document = read_yaml(path)
    example = "examples/prices.yaml shows every key"
    table = validate(PriceTable, document.data, document, subject="the table of prices", fix=example)
    if table.head is not None and table.head not in table.machines:
        raise JobError(
            f"there is no machine {table.head!r} in this table",
            where=locate(("head",), document),
            fix=f"name one of {', '.join(table.machines)}, or remove 'head'",
        )
    return table


@dataclass(frozen=True)
class MachineCost:
    """What the scan costs on machines of one kind."""

    name: str
    cpus: int
    machines: int  # 0: a worker does not fit into its memory
    seconds: float
    on_demand: float
    spot: float | None

    def text(self, width: int) -> str:
        """A line of the table, with so many characters for the name."""
        start = f"  {self.name:<{width}} {self.cpus:>6}"
        if self.machines == 0:
            return f"{start}  too little memory for one worker"
        spot = "-" if self.spot is None else _money(self.spot)
        time = format_seconds(self.seconds)
        return f"{start} {self.machines:>9,} {time:>13} {spot:>11} {_money(self.on_demand):>11}"


@dataclass(frozen=True)
class StorageCost:
    """What results and requests cost in one kind of storage."""

    name: str
    per_month: float
    requests: float

    def text(self, width: int) -> str:
        """A line of the table, with so many characters for the name."""
        return f"  {self.name:<{width}} {_money(self.per_month):>19} {_money(self.requests):>11}"


@dataclass(frozen=True)
class CostEstimate:
    """What a job costs."""

    currency: str
    valid_on: str
    head: str | None
    machines: tuple[MachineCost, ...]
    storage: tuple[StorageCost, ...]
    objects_read: int
    objects_written: int

    def text(self) -> str:
        """The estimate as lines of text."""
        head = f", and a {self.head} on demand as the head" if self.head is not None else ""
        width = max(len(name) for name in (*(row.name for row in self.machines), *(row.name for row in self.storage)))
        lines = [
            f"prices      in {self.currency} of {self.valid_on}; enough machines for the workers{head}",
            f"  {'machine':<{width}}   CPUs  machines          time        spot   on demand",
            *(row.text(width) for row in self.machines),
        ]
        if self.storage:
            lines += [
                f"  {'storage':<{width}}   results per month    requests",
                *(row.text(width) for row in self.storage),
                f"requests    {self.objects_read:,} that read genotypes, {self.objects_written:,} that write results",
            ]
        return "\n".join(lines)


def estimate_cost(plan: PlanReport, prices: PriceTable) -> CostEstimate:
    """What a planned job costs.

    Parameters
    ----------
    plan
        The plan. Without a number of workers for its cluster, one machine of each kind is counted.
    prices
        The prices.

    Notes
    -----
    Machines are paid while the scan runs, each for the whole of it. Starting them, reading tables, and work that is
    repeated because a spot machine was taken away come on top.
    """
    head = prices.machines[prices.head] if plan.on_cluster and prices.head is not None else None
    machines = tuple(_machine_cost(plan, name, machine, head) for name, machine in prices.machines.items())
    storage = tuple(
        StorageCost(
            name,
            plan.output_bytes / GB * kind.gb_month,
            (plan.objects_read * kind.reads_per_10000 + plan.objects_written * kind.writes_per_10000) / 10_000,
        )
        for name, kind in prices.storage.items()
    )
    return CostEstimate(
        prices.currency,
        prices.valid_on,
        prices.head if head is not None else None,
        machines,
        storage,
        plan.objects_read,
        plan.objects_written,
    )


def _machine_cost(plan: PlanReport, name: str, machine: Machine, head: Machine | None) -> MachineCost:
    free = USABLE_MEMORY * parse_memory(machine.memory) - plan.shared_memory_bytes
    each = min(machine.cpus, int(free // plan.worker_memory_bytes))
    if each < 1:
        return MachineCost(name, machine.cpus, 0, 0.0, 0.0, None)
    workers = plan.workers_asked or each
    # The embedded executor has one machine, and as many workers as fit.
    count = -(-workers // each) if plan.on_cluster else 1
    rounds = -(-plan.n_tasks // min(workers, count * each))
    seconds = plan.cpu_seconds / machine.speed * rounds / plan.n_tasks
    hours = seconds / 3600
    of_head = hours * head.on_demand if head is not None else 0.0
    spot = None if machine.spot is None else hours * count * machine.spot + of_head
    return MachineCost(name, machine.cpus, count, seconds, hours * count * machine.on_demand + of_head, spot)


def _money(amount: float) -> str:
    """``12,345``, ``123.4``, ``1.23``, ``< 0.01``."""
    if amount >= 1000:
        return f"{amount:,.0f}"
    if amount >= 100:
        return f"{amount:.1f}"
    return f"{amount:.2f}" if amount >= 0.01 or amount == 0 else "< 0.01"
