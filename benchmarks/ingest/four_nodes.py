"""`ingest: ray` with readers anywhere, against Ray Data's own reader, on a cluster of four nodes.

    python -m benchmarks.ingest.four_nodes --json

Ray's cluster utility starts the nodes on this machine, a CPU each and none on the head, so that the
ratio counts, not the rates. The shards are local files.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # workers start by importing this file, so the rest is imported where it is used
    from benchmarks.ingest.data import Workload

_NODES = 4
_STORE_BYTES = 1 << 30  # the utility's 150 MB are less than is read ahead, and would be spilled


def main(
    json_: Annotated[bool, typer.Option("--json", help="End with a JSON line on stdout.")] = False,
    seconds: Annotated[float, typer.Option(help="Length of each measurement.")] = 8.0,
    repeats: Annotated[int, typer.Option(min=1, help="Measurements of each.")] = 2,
    only: Annotated[str, typer.Option(help="Workloads whose name contains this.")] = "crops",
) -> None:
    """Measure both in turn."""
    import ray
    from ray.cluster_utils import Cluster

    from benchmarks.ingest.data import build_workloads
    from benchmarks.ingest.measure import steady
    from benchmarks.ingest.with_ray import ray_stock

    found: dict[str, dict[str, list[float]]] = {}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
        },
    )
    try:
        nodes = [
            cluster.add_node(num_cpus=1, object_store_memory=_STORE_BYTES).node_id
            for _ in range(_NODES)
        ]
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        with tempfile.TemporaryDirectory() as folder:
            workloads = build_workloads(Path(folder), photographs=256, cliparts=2400)
            contenders = {"ours": partial(_ours_on, nodes), "ray_stock": ray_stock}
            for workload in (w for w in workloads if only in w.name):
                rates = found[workload.name] = {name: [] for name in contenders}
                for _ in range(repeats):
                    for name, contender in contenders.items():
                        timing = steady(
                            contender, workload, cpus=_NODES, warm_up=seconds / 2, seconds=seconds
                        )
                        rates[name].append(round(timing.images_per_s, 1))
                print(workload.name, rates, file=sys.stderr, flush=True)
    finally:
        ray.shutdown()
        cluster.shutdown()
    if json_:
        print(json.dumps(found))


def _ours_on(nodes: list[str], workload: Workload, cpus: int) -> Iterator[int]:
    from benchmarks.ingest.with_ray import STREAMS, ours
    from pipeline.data.reading.ray_ingest import ray_data
    from pipeline.data.reading.reading_nodes import divided

    shares = divided(range(STREAMS), [(node, cpus / len(nodes)) for node in nodes])
    return ours(workload, cpus, partial(ray_data, nodes=shares))


if __name__ == "__main__":
    typer.run(main)
