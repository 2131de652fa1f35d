"""Waiting until a cluster has room for a run, which a placement group asks for.

A pending group is demand that Ray's autoscaler sees, and that other runs' groups queue with.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from rich.console import Console
from rich.live import Live
from rich.text import Text

from pipeline.training.demand import Demand

_STEP_SECONDS = 1.0
_QUIET_SECONDS = 3.0  # for which Ray may take to give what is free
_REPEATED_SECONDS = 60.0


def wait_for_room(demand: Demand, *, minutes: float) -> bool:
    """Return once a cluster has room for a run, with a line on stderr meanwhile.

    What was asked for is given back: Ray Train asks again, for itself.

    Args:
        demand: of the run.
        minutes: for which to wait.

    Returns:
        Whether there is room; False: there was none in that time.
    """
    began = time.monotonic()
    since = time.strftime("%H:%M:%S")
    group = placement_group(demand.bundles, strategy="PACK")
    try:
        if group.wait(_QUIET_SECONDS):
            return True
        with WaitingLine() as line:
            while (left := began + 60 * minutes - time.monotonic()) > 0:
                line.tell(partial(waiting_line, demand, since=since, minutes=minutes))
                if group.wait(min(_STEP_SECONDS, left)):
                    return True
        return False
    finally:
        remove_placement_group(group)


def waiting_line(demand: Demand, *, since: str, minutes: float) -> str:
    """What is asked for and what there is, now."""
    return (
        f"waiting for resources since {since}, for {minutes:g} minutes at most: {demand}; "
        f"the cluster has {what_there_is(demand)}"
    )


def what_there_is(demand: Demand) -> str:
    """What a cluster has of what a run asks for, such as `4 CPUs (1 free), 0 GPUs (0 free)`."""
    has, free = ray.cluster_resources(), ray.available_resources()
    names = ["CPU", *(["GPU"] if demand.gpus else [])]
    return ", ".join(f"{has.get(n, 0):g} {n}s ({free.get(n, 0):g} free)" for n in names)


class WaitingLine:
    """A line that is kept up to date on a terminal, and repeated now and then elsewhere."""

    def __init__(self, *, live: bool = True) -> None:
        """Nothing is shown yet.

        Args:
            live: keep it up to date, on a terminal.
        """
        console = Console(stderr=True)
        live = live and console.is_terminal
        self._live = Live(console=console, transient=True) if live else None
        self._told = -_REPEATED_SECONDS

    def __enter__(self) -> WaitingLine:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def tell(self, text: Callable[[], str]) -> None:
        """Show a line, if one is due."""
        if self._live:
            self._live.update(Text(text()), refresh=True)
        elif time.monotonic() - self._told >= _REPEATED_SECONDS:
            self._told = time.monotonic()
            print(text(), file=sys.stderr, flush=True)
