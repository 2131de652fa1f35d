"""A connection to Ray: the cluster that a job runs on, or one of this machine's own."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

_PROCESSES_KEPT = 1024


@contextmanager
def ray_session(*, cpus: int, verbose: bool, processes: int | None = None) -> Iterator[None]:
    """Be connected to Ray while the body runs.

    With RAY_ADDRESS set (a submitted job has it) that cluster is used. Otherwise a local Ray is
    started. A Ray that is already initialised in this process is used as it is.

    Args:
        cpus: logical CPUs that a local Ray has at least; a laptop with two cores may run two
            workers and two readers, and the operating system shares the cores out.
        verbose: show Ray's own log.
        processes: so many more than CPUs are to be expected, of which a local Ray shall not warn.
    """
    owned = not ray.is_initialized()
    if owned:
        quiet = {"log_to_driver": verbose, "logging_level": "INFO" if verbose else "ERROR"}
        if "RAY_ADDRESS" in os.environ:
            ray.init(**quiet)
        else:
            ray.init(
                address="local",
                num_cpus=max(os.cpu_count() or 1, cpus),
                include_dashboard=False,
                # Ray ends idle processes beyond one for each CPU, the trainers counted in. A reader
                # that had rested would have to be started anew, while its worker waits.
                _system_config={
                    "num_workers_soft_limit": _PROCESSES_KEPT,
                    **({"worker_maximum_startup_concurrency": processes} if processes else {}),
                },
                **quiet,
            )
    if not verbose:
        for name in ("ray", "ray.train", "ray.data"):
            logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        if owned:
            ray.shutdown()
