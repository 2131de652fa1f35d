"""The journal: what happened in a run, as JSON lines in its folder. MLflow gets a copy of it.

A metrics line is written once for each step. A resumed run walks again over steps that the journal
has; their lines are not repeated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """The writing end; one process at a time has it (rank 0)."""

    def __init__(self, path: Path) -> None:
        """Open a journal for appending; a line that a kill cut short is removed."""
        self._path = path
        _drop_torn_line(path)
        self._last_step = last_step(path)

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

    def event(self, name: str, **facts: Any) -> None:
        """Note that something happened."""
        self._append({"kind": "event", "event": name, **facts})

    def _append(self, record: dict[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps({"time": time.time(), **record}) + "\n")


class JournalTail:
    """The reading end: hands over whole lines, each once, while they are being written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[dict[str, Any]]:
        """Records that were completed since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


def records(path: Path) -> Iterator[dict[str, Any]]:
    """Every whole record of a journal."""
    yield from JournalTail(path).read()


def last_step(path: Path) -> int:
    """The last step with metrics; -1 if there is none."""
    steps = (record["step"] for record in records(path) if record["kind"] == "metrics")
    return max(steps, default=-1)


def _drop_torn_line(path: Path) -> None:
    if not path.exists():
        return
    text = path.read_bytes()
    whole = text.rfind(b"\n") + 1
    if whole < len(text):
        with path.open("rb+") as file:
            file.truncate(whole)
