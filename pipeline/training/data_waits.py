"""What a rank waits for when its next batch does not come, told to whoever shows the run.

Any rank may be the one that waits, while the others stand in a collective and the journal grows no
more. So each leaves its words in a file of the run's folder, and takes them away when it goes on.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.data import storage
from pipeline.runs.folder import RunFolder

PATIENCE_SECONDS = 10.0
_REPEAT_SECONDS = 5.0
_TURN_SECONDS = 1.0
_STALE_SECONDS = 60.0


class Waiting:
    """Watches one rank's waits, from a thread of its own."""

    def __init__(
        self,
        folder: RunFolder,
        *,
        rank: int,
        words: Callable[[], str],
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Begin to watch.

        Args:
            folder: of the run.
            rank: that waits.
            words: say what for.
            patience: seconds before anything is said.
        """
        self._location = storage.join(folder.waiting, f"rank-{rank}.json")
        self._rank = rank
        self._words = words
        self._patience = patience
        self._since: float | None = None
        self._stop = threading.Event()
        self._told = storage.exists(self._location)  # by a worker that was killed
        self._thread = threading.Thread(target=self._watch, name="waiting", daemon=True)
        self._thread.start()

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Wait in the body."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def close(self) -> None:
        """Watch no longer."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_TURN_SECONDS):
            since = self._since
            if since is None or time.monotonic() - since < self._patience:
                self._take_back()
            else:
                self._tell(since)
                self._stop.wait(_REPEAT_SECONDS - _TURN_SECONDS)
        self._take_back()

    def _tell(self, since: float) -> None:
        words = self._words()
        told = {"rank": self._rank, "seconds": round(time.monotonic() - since), "words": words}
        self._told = True
        # A store that is away is what may be waited for; then nobody can be told by way of it.
        with _store_may_be_away():
            storage.write_file(self._location, json.dumps(told).encode(), attempts=1)

    def _take_back(self) -> None:
        if self._told:
            with _store_may_be_away():
                storage.delete_file(self._location)
                self._told = False


class WaitsTold:
    """The reading end: the words of the rank that has waited longest."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder.waiting
        self._seen: tuple[str | None, float] = (None, 0.0)

    def read(self) -> str | None:
        """What is waited for; None: nothing, or its rank has not said so for a minute."""
        told = self._longest()
        if told != self._seen[0]:
            self._seen = (told, time.monotonic())
        return told if time.monotonic() - self._seen[1] < _STALE_SECONDS else None

    def _longest(self) -> str | None:
        told = []
        with _store_may_be_away():
            for location in storage.list_files(self._folder):
                told.append(json.loads(storage.read_file(location)))
        if not told:
            return None
        longest = max(told, key=lambda entry: entry["seconds"])
        whose = f"rank {longest['rank']} is " if longest["rank"] or len(told) > 1 else ""
        return f"{whose}waiting for data {longest['seconds']} s: {longest['words']}"


@contextmanager
def _store_may_be_away() -> Iterator[None]:
    try:
        yield
    except OSError:
        return
