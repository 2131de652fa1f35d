"""Turns at a node's CPUs, for read tasks of which one more is there than may run.

Between two tasks of Ray some 20 ms to 100 ms pass, in which a CPU would idle. A task more than
there are CPUs waits in its own process and begins as soon as another ends.
"""

from __future__ import annotations

import fcntl
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

_ASKED_AT_A_TIME = 16
_PAUSE_SECONDS = 0.005


@dataclass(frozen=True)
class Turns:
    """The CPUs of a node that read for one worker, as bytes of a file that are locked in turn.

    A lock of a process that is killed is free again, and no byte is ever written.
    """

    first: int
    count: int

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait until one is free and hold it while the body runs; one at a time in a process."""
        with _file() as file:  # closing it lets go
            while not self._take_one(file):
                time.sleep(_PAUSE_SECONDS)
            yield

    def now_taken(self) -> int:
        """How many are held by other processes of this node."""
        with _file() as file:
            return sum(not self._take(file, number) for number in range(self.count))

    def _take_one(self, file: FileIO) -> bool:
        asked = random.sample(range(self.count), min(self.count, _ASKED_AT_A_TIME))
        return any(self._take(file, number) for number in asked)

    def _take(self, file: FileIO, number: int) -> bool:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self.first + number)
        except (BlockingIOError, PermissionError):  # POSIX allows both
            return False
        return True


def _file() -> FileIO:
    """The user's file of this node; nobody else's, which a link could name."""
    path = Path(tempfile.gettempdir()) / f"reading-turns-{os.getuid()}"
    return FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+")


def new_turns(count: int) -> Turns:
    """Turns of one worker, which no other shares."""
    return Turns(random.SystemRandom().randrange(1 << 40) << 20, count)


def waiting(count: int) -> int:
    """Tasks that wait for their turn, beside so many that have it."""
    return 1 + count // 8
