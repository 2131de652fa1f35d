"""One line about a run, followed from its journal: live on a terminal, plain elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from pipeline.registry.journal import JournalTail
from pipeline.runs.folder import RunFolder
from pipeline.training.data_waits import WaitsTold

_POLL_SECONDS = 0.5
_PLAIN_SECONDS = 10.0
_QUIET_SECONDS = 5.0  # without a record, after which ranks may have said that they wait


class _Line:
    """The line's text, from the records so far."""

    def __init__(self) -> None:
        self._total = 0
        self._from: tuple[int, float] | None = None
        self.text = "starting workers"
        self.warnings: list[str] = []  # not shown yet

    def take(self, record: dict[str, Any]) -> None:
        if record["kind"] == "event" and record["event"] == "training":
            self._total = record["total_steps"]
            self._from = (record["step"], record["time"])
            self.text = f"step {record['step']}/{self._total}  {len(record['workers'])} workers"
        elif record.get("event") in ("collapse", "evaluation memory", "pairs"):
            self.warnings.append(f"warning: {record['message']}, at step {record['step']}")
        elif record.get("event") == "evaluation failed":
            self.warnings.append(
                f"warning: no figures for step {record['step']}: {record['message']}"
            )
        elif record["kind"] == "metrics":
            self.text = self._describe(record["step"], record["time"], record["metrics"])

    def _describe(self, step: int, now: float, metrics: dict[str, float]) -> str:
        parts = [f"epoch {metrics['epoch']:.1f}", f"step {step}/{self._total}"]
        if "images_per_second" in metrics:
            parts.append(f"{metrics['images_per_second']:.0f} images/s")
            parts.append(f"data wait {metrics['data_wait']:.0%}")
        parts.append(f"loss {metrics['loss']:.3f}")
        if self._from and step > self._from[0]:
            left = (now - self._from[1]) / (step - self._from[0]) * (self._total - step)
            parts.append(f"{left:.0f} s left")
        return "  ".join(parts)


class _Waits:
    """What ranks wait for, looked for while nothing else comes."""

    def __init__(self, told: WaitsTold) -> None:
        self._told = told
        self._looked = time.monotonic()
        self.text = ""
        self.changed = False

    def look(self, *, recorded: bool) -> None:
        """Look, unless the journal grew just now; then nobody waits."""
        before, now = self.text, time.monotonic()
        if recorded:
            self.text, self._looked = "", now
        elif now - self._looked >= _QUIET_SECONDS:
            words = self._told.read()
            self.text, self._looked = f"  {words}" if words else "", now
        self.changed = self.text != before


@contextmanager
def showing_progress(tail: JournalTail, folder: RunFolder) -> Iterator[None]:
    """Show a run's progress on stderr while the body runs.

    Args:
        tail: of the run's journal; what it has already handed over is not shown.
        folder: of the run, in which ranks say what they wait for.
    """
    stop = threading.Event()
    line = _Line()
    console = Console(stderr=True)
    waits = _Waits(WaitsTold(folder))

    def update() -> bool:
        try:
            records = tail.read()
        except OSError:  # a store that is away: the line stays as it is
            return False
        for record in records:
            line.take(record)
        waits.look(recorded=bool(records))
        while line.warnings:
            console.print(line.warnings.pop(0), markup=False, highlight=False, soft_wrap=True)
        return bool(records) or waits.changed

    def live() -> None:
        with Live(console=console, refresh_per_second=4, transient=True) as view:
            while not stop.wait(_POLL_SECONDS):
                update()
                view.update(Text(line.text + waits.text))

    def plain() -> None:
        shown = time.monotonic()
        while not stop.wait(_POLL_SECONDS):
            if update() and time.monotonic() - shown >= _PLAIN_SECONDS:
                shown = time.monotonic()
                print(line.text + waits.text, file=sys.stderr, flush=True)

    thread = threading.Thread(target=live if console.is_terminal else plain, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        update()
        print(line.text, file=sys.stderr, flush=True)
