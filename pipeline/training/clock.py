"""How fast a rank trains between two journal lines."""

from __future__ import annotations

import time


class Clock:
    """Time since the last journal line: how much of it, and how much spent waiting for data."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._waited = 0.0
        self._samples = 0

    def add(self, samples: int, waited: float) -> None:
        """Count a step."""
        self._samples += samples
        self._waited += waited

    def rates(self) -> dict[str, float]:
        """Global samples a second, and the share of time that this rank waited for data."""
        if not self._samples:
            return {}
        elapsed = time.perf_counter() - self._started
        return {"images_per_second": self._samples / elapsed, "data_wait": self._waited / elapsed}
