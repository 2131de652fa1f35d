"""What a run asks of Ray: counted, compared with nodes, and said in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.errors import Problem
from pipeline.recipe import Recipe

Resources = Mapping[str, float]
"""Amounts by the names that Ray has for them."""

_UNITS = 10_000  # Ray counts in ten-thousandths, and so do we: fractions must add up
_BINARY = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Demand:
    """Bundles that a run asks for, each of which must be had on one node."""

    workers: int
    cpus: float
    """Of a worker, with its readers' if they read beside it."""
    gpus: int
    """Of a worker."""
    readers: int
    """For each worker, with bundles of their own, on any node."""
    reader_cpus: float
    """Of such a reader."""

    @property
    def worker(self) -> dict[str, float]:
        """A worker's bundle.

        Ray Train counts how many bundles a node holds by dividing floats, and would find two of 1.2
        CPUs in three: sums of binary fractions are exact, and Ray rounds these to what is meant.
        """
        cpus = math.floor(self.cpus * _BINARY) / _BINARY
        return {"CPU": cpus, **({"GPU": self.gpus} if self.gpus else {})}

    @property
    def bundles(self) -> list[dict[str, float]]:
        """All of them, as a placement group takes them."""
        readers = [{"CPU": self.reader_cpus}] * (self.workers * self.readers)
        return [self.worker] * self.workers + readers

    @property
    def total(self) -> dict[str, float]:
        """What they come to."""
        readers = self.readers * self.reader_cpus
        # A sum of fractions must not exceed what there is by less than Ray can count.
        cpus = round(self.workers * (self.cpus + readers), 4)
        return {"CPU": cpus, **({"GPU": self.workers * self.gpus} if self.gpus else {})}

    def fits(self, nodes: Iterable[Resources]) -> bool:
        """Whether nodes that have these resources, all of them free, hold the bundles."""
        workers, readers = self.workers, self.workers * self.readers
        for node in nodes:
            cpus, gpus = round(node.get("CPU", 0) * _UNITS), int(node.get("GPU", 0))
            own, readers_own = round(self.cpus * _UNITS), round(self.reader_cpus * _UNITS)
            here = min(workers, cpus // own, gpus // self.gpus if self.gpus else workers)
            workers -= here
            if readers_own:
                readers -= (cpus - here * own) // readers_own
        return workers <= 0 and readers <= 0

    def __str__(self) -> str:
        """Such as `2 workers with 3 CPUs and 1 GPU each`."""
        each = (
            f"{_count(self.cpus, 'CPU')}{' and ' + _count(self.gpus, 'GPU') if self.gpus else ''}"
        )
        found = f"{_count(self.workers, 'worker')} with {each}{' each' if self.workers > 1 else ''}"
        if self.readers:
            count = _count(self.workers * self.readers, "reader")
            found += f", and {count} with {_count(self.reader_cpus, 'CPU')} each"
        return found


def demand_of(recipe: Recipe, *, gpu: bool) -> Demand:
    """What a run asks for at least: the fewest workers that it trains on, and their readers."""
    data = recipe.data
    own = data.ingest == "ray" and data.readers == "anywhere"
    beside = data.ingest_cpus if data.ingest == "ray" and not own else 0
    readers = math.ceil(data.ingest_cpus) if own else 0
    return Demand(
        workers=recipe.train.least_workers,
        cpus=round(1 + beside, 4),
        gpus=int(gpu),
        readers=readers,
        reader_cpus=data.ingest_cpus / readers if readers else 0,
    )


def shortage(recipe: Recipe, demand: Demand, nodes: Sequence[Resources]) -> list[Problem]:
    """Why nodes, all of them free, do not hold a run, and what would; empty if they do."""
    if demand.fits(nodes):
        return []
    needed = demand.total
    has = {name: sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
    workers = demand.workers
    found = []
    if has["GPU"] < needed.get("GPU", 0):
        found.append(
            Problem(
                "train.device",
                f"cuda needs a GPU for each of {workers} workers, the cluster has {has['GPU']:g}",
            )
        )
    if has["CPU"] < needed["CPU"]:
        found.append(
            Problem(
                "train.workers",
                f"{workers} workers and their readers need {needed['CPU']:g} CPUs, the cluster has "
                f"{has['CPU']:g}{_remedy(recipe, demand, nodes)}",
            )
        )
    if not found:
        largest = max((node.get("CPU", 0) for node in nodes), default=0)
        found.append(
            Problem(
                "train.workers",
                f"{demand}, each on one node: {len(nodes)} nodes, the largest with "
                f"{_count(largest, 'CPU')}, have no room{_remedy(recipe, demand, nodes)}",
            )
        )
    return found


def _remedy(recipe: Recipe, demand: Demand, nodes: Sequence[Resources]) -> str:
    """The reader CPUs with which the workers would fit, if any."""
    if recipe.data.ingest != "ray":
        return ""
    if demand.readers:
        total = sum(node.get("CPU", 0) for node in nodes)
        shares = {total / demand.workers - 1}
    else:
        most = range(1, demand.workers + 1)
        shares = {cpus / n - 1 for cpus in {node.get("CPU", 0) for node in nodes} for n in most}
    for share in sorted((math.floor(share * 100 + 1e-6) / 100 for share in shares), reverse=True):
        if share >= 0.01 and _with_reader_cpus(demand, share).fits(nodes):
            return f"; data.ingest_cpus={share:g} would fit"
    return ""


def _with_reader_cpus(demand: Demand, cpus: float) -> Demand:
    if not demand.readers:
        return replace(demand, cpus=round(1 + cpus, 4))
    readers = math.ceil(cpus)
    return replace(demand, readers=readers, reader_cpus=cpus / readers)


def _count(number: float, name: str) -> str:
    return f"{number:g} {name}{'' if number == 1 else 's'}"
