"""One line about how far the embedding is: live on a terminal, plain elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

_LOOK_SECONDS = 0.5
_PLAIN_SECONDS = 10.0
_LEAST_SECONDS = 1.0  # before which ranges that happen to end together would tell any rate


class ProgressLine:
    """The line's text, from what is done."""

    def __init__(self, *, total: int, before: int) -> None:
        """Begin.

        Args:
            total: samples of the corpus.
            before: of those that were done by an earlier start.
        """
        self._total = total
        self._done = before
        self._bad = 0
        self._from: tuple[int, float] | None = None
        self.text = "starting workers"

    def take(self, *, samples: int, bad: int, now: float) -> None:
        """Note that so many samples more are done, so many of them bad, at a time in seconds."""
        self._done += samples
        self._bad += bad
        parts = [f"{self._done}/{self._total} images"]
        if self._from is None:
            self._from = (self._done, now)  # workers had to start before the first ones
        elif now - self._from[1] >= _LEAST_SECONDS:
            rate = (self._done - self._from[0]) / (now - self._from[1])
            parts.append(f"{rate:.0f} images/s")
            parts.append(f"{(self._total - self._done) / rate:.0f} s left")
        if self._bad:
            parts.append(f"{self._bad} bad")
        self.text = "  ".join(parts)


@contextmanager
def showing(line: ProgressLine) -> Iterator[None]:
    """Show a line on stderr while the body runs."""
    stop = threading.Event()
    console = Console(stderr=True)

    def live() -> None:
        with Live(console=console, refresh_per_second=4, transient=True) as view:
            while not stop.wait(_LOOK_SECONDS):
                view.update(Text(line.text))

    def plain() -> None:
        shown = time.monotonic()
        while not stop.wait(_LOOK_SECONDS):
            if time.monotonic() - shown >= _PLAIN_SECONDS:
                shown = time.monotonic()
                print(line.text, file=sys.stderr, flush=True)

    thread = threading.Thread(target=live if console.is_terminal else plain, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        print(line.text, file=sys.stderr, flush=True)
