"""Speed and memory of `jobs shard`, by the number of Ray's CPUs, and inline.

    python -m benchmarks.sharding --json

JPEGs of 500 x 375 pixels, in one folder. Each way converts them in a process of its own, after a
small conversion that starts Ray's workers; ways take turns.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

WAYS = ("inline", "ray 1", "ray 2")


def main(
    json_: Annotated[bool, typer.Option("--json", help="End with a JSON line on stdout.")] = False,
    photographs: Annotated[int, typer.Option(help="In the folder.")] = 8192,
    repeats: Annotated[int, typer.Option(min=1, help="Of each way.")] = 3,
    convert: Annotated[str | None, typer.Option(help="One way; for the script itself.")] = None,
    source: Annotated[Path | None, typer.Option(help="For the script itself.")] = None,
) -> None:
    """Convert a folder in every way, and a quarter of it, for the memory."""
    if convert and source:
        print(json.dumps(_convert(convert, source)))
        return
    from benchmarks.ingest.data import build_workloads

    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        files = build_workloads(Path(folder), photographs=photographs, cliparts=8)[0].images.files
        part = Path(folder) / "part"
        part.mkdir()
        for file in files[: photographs // 4]:
            (part / file.name).symlink_to(file)
        for _ in range(repeats):
            for way in WAYS:
                found[way].append(_in_a_process(way, files[0].parent))
        small = {way: _in_a_process(way, part)["worker_mib"] for way in WAYS}
    result = {way: _summary(runs, small[way]) for way, runs in found.items()}
    print(json.dumps(result) if json_ else json.dumps(result, indent=1))


def _summary(runs: list[dict[str, float]], small: float) -> dict[str, float]:
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return {**medians, "worker_mib_of_a_quarter": small}


def _in_a_process(way: str, source: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.sharding", "--convert", way, "--source", source]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _convert(way: str, source: Path) -> dict[str, float]:
    import ray

    import pipeline

    on, _, cpus = way.partition(" ")
    if cpus:
        ray.init(address="local", num_cpus=int(cpus), include_dashboard=False, log_to_driver=False)
    options: dict[str, Any] = {"on": on, "labels": "none", "samples_per_shard": 256}
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        few = Path(folder) / "few"
        few.mkdir()
        for number, file in enumerate(sorted(source.iterdir())[:8]):
            (few / f"{number}.jpg").symlink_to(file.resolve())
        pipeline.shard(few, Path(folder) / "warm", **{**options, "samples_per_shard": 1})
        began = time.perf_counter()
        result = pipeline.shard(source, Path(folder) / "out", **options)
        seconds = time.perf_counter() - began
    (manifest,) = result.manifests.values()
    size = sum(shard.bytes for shard in manifest.shards)
    return {
        "images_per_second": manifest.samples / seconds,
        "mb_per_second": size / seconds / 1e6,
        "worker_mib": _largest_worker() if cpus else _peak_mib("self"),
    }


def _largest_worker() -> float:
    """Peak resident memory of the largest process that ran Ray's tasks."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if b"ray::" in (entry / "cmdline").read_bytes():
                found.append(_peak_mib(entry.name))
    return max(found)


def _peak_mib(pid: str) -> float:
    lines = Path("/proc", pid, "status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak) / 1024


if __name__ == "__main__":
    typer.run(main)
