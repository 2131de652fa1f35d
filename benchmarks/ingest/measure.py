"""Steady throughput of an endless iterator of batch sizes, and of decoding alone."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from benchmarks.ingest.data import Workload
from benchmarks.shared.processes import cpu_seconds
from pipeline.data.decode import decode_image

Contender = Callable[[Workload, int], Iterator[int]]  # (workload, CPUs) -> sizes of batches


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One measurement."""

    images_per_s: float
    cpu_ms_per_image: float  # of the whole process tree: what a busy machine disturbs least


def steady(
    contender: Contender, workload: Workload, *, cpus: int, warm_up: float, seconds: float
) -> Timing:
    """Throughput once what was read ahead at the start is used up.

    Args:
        contender: starts reading; ends when its iterator is closed.
        workload: what it reads.
        cpus: how many processes or threads it may use for it.
        warm_up: seconds thrown away after the first batch, and at least eight batches.
        seconds: to measure for.
    """
    with closing(contender(workload, cpus)) as batches:
        next(batches)
        _draw(batches, warm_up, at_least=8)
        timing = _timed(lambda: _draw(batches, seconds, at_least=4))
    gc.collect()  # executors and workers end with the iterators that own them
    return timing


def decode_limit(workload: Workload, *, cpus: int, seconds: float) -> Timing:
    """Our decoding alone, of bytes in memory, in as many processes as there are CPUs."""
    encoded = [path.read_bytes() for path in workload.images.files[:256]]
    with ProcessPoolExecutor(cpus) as pool:
        list(pool.map(_decode_for, [encoded] * cpus, [seconds / 4] * cpus))
        return _timed(
            lambda: sum(pool.map(_decode_for, [encoded] * cpus, [seconds] * cpus)),
        )


def _decode_for(encoded: list[bytes], seconds: float) -> int:
    end = time.perf_counter() + seconds
    count = 0
    while time.perf_counter() < end:
        decode_image(encoded[count % len(encoded)])
        count += 1
    return count


def _draw(batches: Iterator[int], seconds: float, *, at_least: int) -> int:
    end = time.perf_counter() + seconds
    images = drawn = 0
    while drawn < at_least or time.perf_counter() < end:
        images += next(batches)
        drawn += 1
    return images


def _timed(run: Callable[[], int]) -> Timing:
    cpu, wall = cpu_seconds(os.getpid()), time.perf_counter()
    images = run()
    wall, cpu = time.perf_counter() - wall, cpu_seconds(os.getpid()) - cpu
    return Timing(images_per_s=images / wall, cpu_ms_per_image=cpu / images * 1e3)
