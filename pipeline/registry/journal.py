"""The journal: what happened in a run, as JSON lines in its folder. MLflow gets a copy of it.

A metrics line is written once for each step. A resumed run walks again over steps that the journal
has; their lines are not repeated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from pipeline.registry.line_log import LineReader, open_log, reader_of


class Journal:
    """The writing end; one process at a time has it (rank 0)."""

    def __init__(self, location: str) -> None:
        """Open a journal for appending; a line that a kill cut short is removed.

        Args:
            location: path or URI.
        """
        self._log = open_log(location)
        self._last_step = last_step(location)
        known = list(records(location))
        self._evaluated = {r["step"] for r in known if r["kind"] == "evaluation"}
        self._events = {(r["event"], r["step"]) for r in known if "event" in r and "step" in r}

    def metrics(self, step: int, values: dict[str, float]) -> bool:
        """Note metrics of a step, unless the step was noted before.

        Returns:
            Whether the line was written.
        """
        if step <= self._last_step:
            return False
        self._last_step = step
        plain = {name: float(value) for name, value in values.items()}
        self._append({"kind": "metrics", "step": step, "metrics": plain})
        return True

    def has_evaluation(self, step: int) -> bool:
        """Whether the figures of a step's snapshot are noted."""
        return step in self._evaluated

    def evaluation(
        self, step: int, values: dict[str, float], intervals: dict[str, list[float]]
    ) -> None:
        """Note what was found out about the snapshot of a step; steps may lie behind.

        Args:
            step: of the snapshot.
            values: by metric.
            intervals: [low, high] of those that have one.
        """
        self._evaluated.add(step)
        self._append(
            {"kind": "evaluation", "step": step, "metrics": values, "intervals": intervals}
        )

    def event_once(self, name: str, *, step: int, **facts: Any) -> None:
        """Note that something happened at a step, unless a start before this one has."""
        if (name, step) not in self._events:
            self._events.add((name, step))
            self.event(name, step=step, **facts)

    def event(self, name: str, **facts: Any) -> None:
        """Note that something happened."""
        self._append({"kind": "event", "event": name, **facts})

    def flush(self) -> None:
        """Return when all that was noted is in storage.

        Raises:
            OSError: it cannot be brought there.
        """
        self._log.flush()

    def _append(self, record: dict[str, Any]) -> None:
        self._log.append(json.dumps({"time": time.time(), **record}))


class JournalTail:
    """The reading end: hands over whole lines, each once, while they are being written."""

    def __init__(self, location: str) -> None:
        """Begin at the journal's beginning.

        Args:
            location: path or URI.
        """
        self._reader: LineReader = reader_of(location)

    def read(self) -> list[dict[str, Any]]:
        """Records that were completed since the last call."""
        return [json.loads(line) for line in self._reader.read()]


def records(location: str) -> Iterator[dict[str, Any]]:
    """Every whole record of a journal."""
    yield from JournalTail(location).read()


def last_step(location: str) -> int:
    """The last step with metrics; -1 if there is none."""
    steps = (record["step"] for record in records(location) if record["kind"] == "metrics")
    return max(steps, default=-1)
