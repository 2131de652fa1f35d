"""Ray Train's own waiting for resources: told, and ended after `train.wait_minutes`.

A node is lost, or another run takes what was free: Ray Train then asks again and again, for ever
and without a word.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.controller.state import (
    PreemptingState,
    RunningState,
    SchedulingState,
    ShuttingDownState,
)
from ray.util.placement_group import placement_group_table

from pipeline.training.demand import Demand
from pipeline.training.waiting_for_room import WaitingLine, waiting_line

_POLL_SECONDS = 2.0
_QUIET_SECONDS = 30.0
"""Without workers, of which nobody need hear."""
_TRY_SECONDS = 60.0
"""In which Ray Train makes one attempt: a run gives up after one, at the earliest."""
_ASKED, _NOT_ASKED = "asked", "not-asked"


class NoResourcesError(Exception):
    """Ray had no room for a run's workers for too long."""


class Patience(ControllerCallback):
    """In Ray Train's controller: notes since when there are no workers, and gives up in the end."""

    def __init__(self, key: str, *, minutes: float, demand: str) -> None:
        """Begin before there are workers.

        Args:
            key: in Ray's store, under which the driver finds the note.
            minutes: for which workers may be missing.
            demand: what they ask for, in words.
        """
        self._key = key
        self._minutes = minutes
        self._demand = demand
        self._since: float | None = None

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        """The controller has begun something, or goes on waiting.

        Raises:
            NoResourcesError: it has waited for too long; it ends the run.
        """
        busy = (RunningState, PreemptingState, ShuttingDownState)
        if isinstance(current_state, busy) or current_state.is_terminal():
            if self._since is not None:
                _internal_kv_del(self._key)
            self._since = None
            return
        begins = self._since is None
        if self._since is None:
            self._since = time.time()
        # Ray Train comes through here in a loop while it has not asked.
        if begins or type(current_state) is not type(previous_state):
            # Ray Train has asked, and may have got, and be starting workers.
            asked = isinstance(current_state, SchedulingState)
            note = f"{self._since} {_ASKED if asked else _NOT_ASKED}"
            _internal_kv_put(self._key, note.encode(), overwrite=True)
        if time.time() - self._since >= max(60 * self._minutes, _TRY_SECONDS):
            raise NoResourcesError(
                f"{self._demand} were asked for and not to be had for {self._minutes:g} minutes "
                "(train.wait_minutes)"
            )


@contextmanager
def telling_of_waits(key: str, demand: Demand, *, minutes: float) -> Iterator[None]:
    """Say on stderr when Ray Train has been without workers for long, while the body runs.

    Args:
        key: of the note of the run's `Patience`.
        demand: of the run.
        minutes: for which it waits.
    """
    stop = threading.Event()

    def watch() -> None:
        line = WaitingLine(live=False)  # the run has a line of its own
        while not stop.wait(_POLL_SECONDS):
            note = _internal_kv_get(key)
            if note is None:
                continue
            began, asked = note.decode().split()
            if time.time() - float(began) > _QUIET_SECONDS and (
                asked == _NOT_ASKED or _is_pending(demand)
            ):
                since = time.strftime("%H:%M:%S", time.localtime(float(began)))
                line.tell(partial(waiting_line, demand, since=since, minutes=minutes))

    thread = threading.Thread(target=watch, name="waits", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _is_pending(demand: Demand) -> bool:
    """Whether workers like a run's are asked for and not granted, this run's or another's."""
    cpus = round(demand.cpus, 4)
    return any(
        round(bundle.get("CPU", 0), 4) == cpus
        for group in placement_group_table().values()
        if group["state"] in ("PENDING", "RESCHEDULING")
        for bundle in group["bundles"].values()
    )
