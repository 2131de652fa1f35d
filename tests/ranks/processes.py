"""Ranks as processes of their own, which a test may kill.

They are forked from a server that has imported what ranks need and has done nothing else, so that
not every rank takes seconds of CPU to import torch.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["pipeline.evaluation.snapshot", "pipeline.training.loop", "pytest"])


@contextmanager
def started(
    main: Callable[..., None], world_size: int, *arguments: Any, log: Path
) -> Iterator[list[BaseProcess]]:
    """`main(rank, world_size, *arguments)` for every rank; none is left when the body ends."""
    processes: list[BaseProcess] = [
        _SERVER.Process(target=_logging_to, args=(log, main, rank, world_size, *arguments))
        for rank in range(world_size)
    ]
    try:
        for process in processes:
            process.start()
        yield processes
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()


def finish(processes: list[BaseProcess], *, log: Path, seconds: float = 600) -> None:
    """Wait until all have ended as they should."""
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    assert [process.exitcode for process in processes] == [0] * len(processes), log.read_text()


def run(main: Callable[..., None], world_size: int, folder: Path) -> None:
    """`main(rank, world_size, folder)` for every rank, to its end."""
    log = folder / "ranks.log"
    with started(main, world_size, folder, log=log) as processes:
        finish(processes, log=log)


def _logging_to(log: Path, main: Callable[..., None], *arguments: Any) -> None:
    with log.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    main(*arguments)
