"""A folder for what is thrown away, which is gone afterwards, even if this process is killed.

    python -m pipeline.training.scratch LOCATION

waits for the end of its input, and then deletes the folder unless it was told that it is gone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.data import storage
from pipeline.data.stored_folder import delete_folder

_GONE = b"gone"
_SECONDS = 20.0
"""For which workers of a driver that was killed may still write."""


@contextmanager
def scratch_folder(*, beside: str | None) -> Iterator[str]:
    """The location of a folder for the time of the body, which may fill it.

    Args:
        beside: path or URI of a folder beside which it is to lie, since other machines see that;
            None: among this machine's temporary files.
    """
    parent = tempfile.gettempdir() if beside is None else storage.parent(beside)
    location = storage.join(parent, f"scratch-{uuid.uuid4().hex}")
    janitor = subprocess.Popen(
        [sys.executable, "-m", __name__, location],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,  # whatever ends this process's group must not end it
    )
    told = b""
    try:
        yield location
    finally:
        try:
            delete_folder(location)
            told = _GONE
        finally:
            janitor.communicate(told)


def _delete_for_good(location: str) -> None:
    """Delete a folder until nobody writes into it any more."""
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        delete_folder(location)
        time.sleep(0.5)


if __name__ == "__main__":
    if sys.stdin.buffer.read() != _GONE:
        _delete_for_good(sys.argv[1])
