"""A request that a run stops where it is, as a file in its folder: whoever can write it may ask."""

from __future__ import annotations

import time

from pipeline.data import storage
from pipeline.runs.folder import RunFolder

_SECONDS = 1.0  # between looks, which cost a request where the folder is in a store


class HaltRequest:
    """Whether somebody has been asked to halt, by a file."""

    def __init__(self, location: str) -> None:
        """Begin to look.

        Args:
            location: of the file, such as a run's `halt`.
        """
        self._location = location
        self._looked = 0.0
        self._asked = False

    def __call__(self) -> bool:
        """True from when it is seen."""
        if not self._asked and time.monotonic() - self._looked >= _SECONDS:
            self._asked = storage.exists(self._location)
            self._looked = time.monotonic()
        return self._asked


def ask_to_halt(folder: RunFolder) -> None:
    """Make a run write a checkpoint and end, soon; one that is not running will at its start."""
    storage.write_file(folder.halt, b"")


def let_run(folder: RunFolder) -> None:
    """Take the request back."""
    storage.delete_file(folder.halt)
