"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import Problem, UserError


@contextmanager
def whole_folder(destination: Path) -> Iterator[Path]:
    """A scratch folder that becomes the destination when the body ends, and nothing if it fails.

    Args:
        destination: a folder that does not exist or is empty; missing parents are made at the end.

    Raises:
        UserError: the destination holds something or cannot be written.
    """
    target = destination.resolve()
    # An empty folder may be a mount, or where somebody works: it is filled, not replaced.
    home = next(folder for folder in (target, *target.parents) if folder.exists())
    scratch = home / f".{target.name}.partial-{os.getpid()}"
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UserError(Problem(str(destination), "already holds something; give a new folder"))
        scratch.mkdir()
    except OSError as error:
        raise UserError(
            Problem(str(destination), f"cannot be written: {error.strerror}")
        ) from error
    try:
        yield scratch
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            for item in scratch.iterdir():
                item.rename(target / item.name)
        else:
            scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
