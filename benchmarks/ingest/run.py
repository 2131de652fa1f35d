"""Images per second of every way to read two views, on the same cores, images and crops.

    python -m benchmarks.ingest.run --json

Each contender yields host batches of the same size; the order of contenders is repeated (A B C, A B
C) and medians are taken, because a machine's speed drifts. On a machine that others use too, trust
the CPU time per image, of the whole process tree, and its ratios: waiting for a core is not in it.
Peers give uint8 (V, 3, S, S), lightly normalised float32, ours uint8 (V, S, S, 3) that the device
normalises.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:  # workers start by importing this file, so the rest is imported where it is used
    from benchmarks.ingest.data import Workload
    from benchmarks.ingest.measure import Contender, Timing

_LIBRARIES = ("ray", "torch", "torchvision", "lightly", "webdataset", "pillow", "simplejpeg")
_OURS = ("ours_ray", "ours_ray_bilinear", "ours_inline")
_STOCK = "ray_stock"
_LIMIT = "decode_limit"

Runs = dict[str, list["Timing"]]


def main(
    json_: Annotated[bool, typer.Option("--json", help="End with a JSON line on stdout.")] = False,
    quick: Annotated[bool, typer.Option(help="One short repeat: shows that it works.")] = False,
    seconds: Annotated[float, typer.Option(help="Length of each measurement.")] = 5.0,
    repeats: Annotated[int, typer.Option(min=1, help="Measurements of each contender.")] = 3,
    only: Annotated[str, typer.Option(help="Workloads whose name contains this.")] = "",
    contenders: Annotated[str, typer.Option(help="Comma-separated names; default all.")] = "",
) -> None:
    """Compare ours with torchvision, lightly, webdataset and Ray Data's own reader."""
    from benchmarks.ingest.data import build_workloads
    from jobs.output import only_results_on_stdout

    if quick:
        seconds, repeats = 1.0, 1
    with only_results_on_stdout(), tempfile.TemporaryDirectory() as folder:
        workloads = build_workloads(
            Path(folder), photographs=128 if quick else 512, cliparts=1200 if quick else 4800
        )
        chosen = [workload for workload in workloads if only in workload.name]
        wanted = set(filter(None, contenders.split(",")))
        results = _measure_all(chosen, wanted, seconds=seconds, repeats=repeats)
    report = {"machine": _machine(), "seconds": seconds, "repeats": repeats, "workloads": results}
    _print_tables(report)
    if json_:
        print(json.dumps(report))


def _measure_all(
    workloads: list[Workload], wanted: set[str], *, seconds: float, repeats: int
) -> dict[str, Any]:
    import ray

    ray.init(
        address="local",
        num_cpus=_cpus(),
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    try:
        return {
            workload.name: _summary(workload, _measure(workload, wanted, seconds, repeats))
            for workload in workloads
        }
    finally:
        ray.shutdown()


def _measure(workload: Workload, wanted: set[str], seconds: float, repeats: int) -> Runs:
    from benchmarks.ingest.measure import decode_limit, steady

    contenders = {k: v for k, v in _contenders().items() if not wanted or k in wanted}
    runs: Runs = {name: [] for name in (*contenders, _LIMIT)}
    for _ in range(repeats):
        for name, contender in contenders.items():
            runs[name].append(
                steady(contender, workload, cpus=_cpus(), warm_up=seconds / 2, seconds=seconds)
            )
            _progress(workload, name, runs[name][-1])
        runs[_LIMIT].append(decode_limit(workload, cpus=_cpus(), seconds=seconds / 2))
    return runs


def _contenders() -> dict[str, Contender]:
    from functools import partial

    from benchmarks.ingest import with_ray, with_torch

    def loader(transform: Callable[[Workload], Any]) -> Contender:
        return partial(with_torch.data_loader, transform=transform)

    return {
        "ours_ray": with_ray.ours_ray,
        "ours_ray_bilinear": with_ray.ours_ray_bilinear,
        "ours_inline": with_ray.ours_inline,
        "torchvision_pil": loader(with_torch.TwoViewsFromPil),
        "torchvision_tensor": loader(with_torch.TwoViewsFromTensor),
        "torchvision_tensor_bilinear": loader(
            partial(with_torch.TwoViewsFromTensor, antialias=False)
        ),
        "lightly": loader(with_torch.LightlyViews),
        "webdataset": with_torch.web_loader,
        _STOCK: with_ray.ray_stock,
    }


def _summary(workload: Workload, runs: Runs) -> dict[str, Any]:
    rate = {
        name: statistics.median(timing.images_per_s for timing in timings)
        for name, timings in runs.items()
    }
    cpu_ms = {
        name: statistics.median(timing.cpu_ms_per_image for timing in timings)
        for name, timings in runs.items()
    }
    peers = [name for name in rate if name not in (*_OURS, _LIMIT)]
    best = max(peers, key=rate.__getitem__, default=None)
    # Not always the same peer: one that waits is cheap but slow.
    per_cpu_ms = {name: 1 / value for name, value in cpu_ms.items()}
    cheapest = max(peers, key=per_cpu_ms.__getitem__, default=None)
    return {
        "batch": workload.batch,
        "mean_bytes": round(workload.images.mean_bytes),
        "images_per_s": _rounded(rate, 1),
        "images_per_s_of_each_repeat": {
            name: [round(timing.images_per_s, 1) for timing in timings]
            for name, timings in runs.items()
        },
        "cpu_ms_per_image": _rounded(cpu_ms, 3),
        "best_peer": best,
        "cpu_best_peer": cheapest,
        **{
            name: _ratios(rate[name], rate, best)
            | {f"cpu_{k}": v for k, v in _ratios(1 / cpu_ms[name], per_cpu_ms, cheapest).items()}
            for name in _OURS
            if name in rate
        },
    }


def _ratios(own: float, speed: dict[str, float], best: str | None) -> dict[str, float]:
    against = {
        "ratio_best_peer": best,
        "ratio_ray_stock": _STOCK if _STOCK in speed else None,
        "ratio_decode_limit": _LIMIT,
    }
    return {name: round(own / speed[other], 3) for name, other in against.items() if other}


def _rounded(values: dict[str, float], digits: int) -> dict[str, float]:
    return {name: round(value, digits) for name, value in values.items()}


def _machine() -> dict[str, Any]:
    return {
        "cores": _cpus(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "opencv": version("opencv-python-headless"),
        **{library: version(library) for library in _LIBRARIES},
    }


def _cpus() -> int:
    return len(os.sched_getaffinity(0))


def _progress(workload: Workload, name: str, timing: Timing) -> None:
    print(f"{workload.name} {name}: {timing.images_per_s:.0f} images/s", file=sys.stderr)


def _print_tables(report: dict[str, Any]) -> None:
    console = Console(stderr=True)
    cores = report["machine"]["cores"]
    for name, result in report["workloads"].items():
        table = Table("contender", "images/s", "CPU ms/image", title=f"{name}, {cores} cores")
        for contender, rate in result["images_per_s"].items():
            cpu_ms = result["cpu_ms_per_image"][contender]
            table.add_row(contender, f"{rate:.0f}", f"{cpu_ms:.2f}")
        console.print(table)
        for ours in _OURS:
            if ours in result:
                ratios = ", ".join(f"{key} {value:.2f}" for key, value in result[ours].items())
                console.print(
                    f"{ours}: {ratios} (best peer: {result['best_peer']}; "
                    f"by CPU: {result['cpu_best_peer']})"
                )


if __name__ == "__main__":
    typer.run(main)
