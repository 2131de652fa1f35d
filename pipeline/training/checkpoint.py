"""Checkpoints: everything stateful registers here, and a checkpoint exists iff it verifies."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.training.state_files import Snapshot, load_state, snapshot

log = logging.getLogger(__name__)

COMPLETE = "COMPLETE.json"


class Stateful(Protocol):
    """A part of a run that a checkpoint must hold."""

    def state_dict(self) -> dict[str, Any]:
        """All of it, as `state_files.snapshot` takes it."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state."""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    size: int
    sha256: str


class _Listing(BaseModel):
    """`COMPLETE.json`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    step: int
    files: dict[str, _File]


class CheckpointError(Exception):
    """There are checkpoints, and none of them can be used."""


class CheckpointStore:
    """The checkpoints of a run and the registry of what they hold.

    A checkpoint is a folder `step-N` with two files for each registered part and `COMPLETE.json`,
    which lists the files with their sizes and hashes and is written last.
    """

    def __init__(self, root: Path, *, keep: int) -> None:
        """Open the folder of a run's checkpoints.

        Args:
            root: the folder; it need not exist.
            keep: newest checkpoints that are kept.
        """
        self._root = root
        self._keep = keep
        self._parts: dict[str, Stateful] = {}
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def register(self, name: str, part: Stateful) -> None:
        """Make a part belong to every checkpoint."""
        if name in self._parts:
            raise ValueError(f"{name} is registered already")
        self._parts[name] = part

    def save(self, step: int) -> None:
        """Copy all parts, and write the copies while training goes on. One rank calls this.

        Waits for the checkpoint before, if that is still being written.

        Raises:
            OSError: the checkpoint before could not be written.
        """
        self.wait()
        parts = {name: snapshot(part.state_dict()) for name, part in self._parts.items()}
        self._writing = self._writer.submit(self._write, step, parts)

    def wait(self) -> None:
        """Return when the last checkpoint has been written, and older ones dropped.

        Raises:
            OSError: it could not be written; nothing is left of it.
        """
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def _write(self, step: int, parts: dict[str, Snapshot]) -> None:
        folder = self._root / _name(step)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            _write_whole(folder, step, parts)
        except OSError:
            # A full disk has no room for half a checkpoint.
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._drop_old(step)

    def newest(self) -> Path | None:
        """The newest checkpoint that verifies; None if no checkpoint was ever completed.

        Raises:
            CheckpointError: checkpoints were completed, and every one is damaged.
        """
        damaged = []
        for folder in self._completed():
            fault = _fault(folder)
            if fault is None:
                return folder
            damaged.append(f"{folder}: {fault}")
            log.warning("checkpoint %s is damaged (%s); trying the one before", folder, fault)
        if damaged:
            raise CheckpointError("no checkpoint can be used:\n" + "\n".join(damaged))
        return None

    def load(self, folder: Path) -> None:
        """Give every registered part its state. Every rank calls this with the same folder."""
        for name, part in self._parts.items():
            part.load_state_dict(load_state(folder / name))

    def _completed(self) -> list[Path]:
        """Folders that claim to be whole, newest first."""
        return sorted((path.parent for path in self._root.glob(f"step-*/{COMPLETE}")), reverse=True)

    def _drop_old(self, step: int) -> None:
        later = [folder for folder in self._completed() if folder.name > _name(step)]
        earlier = [folder for folder in self._completed() if folder.name <= _name(step)]
        # Later ones were passed over as damaged when the run was taken up.
        for folder in later + earlier[self._keep :]:
            # First the claim, so that a removal cut short leaves no damaged checkpoint.
            (folder / COMPLETE).unlink()
            shutil.rmtree(folder)


def _write_whole(folder: Path, step: int, parts: dict[str, Snapshot]) -> None:
    folder.mkdir(parents=True)
    files = [file for name, part in parts.items() for file in part.save(folder / name)]
    for file in files:
        _sync(file)
    listed = {file.name: _File(size=file.stat().st_size, sha256=_sha256(file)) for file in files}
    partial = folder / f"{COMPLETE}.partial"
    partial.write_text(_Listing(step=step, files=listed).model_dump_json(indent=1))
    _sync(partial)
    partial.rename(folder / COMPLETE)


def _name(step: int) -> str:
    return f"step-{step:010d}"


def _fault(folder: Path) -> str | None:
    try:
        listing = _Listing.model_validate_json((folder / COMPLETE).read_bytes())
    except (OSError, ValidationError) as error:
        return f"{COMPLETE} cannot be read: {error}"
    for name, expected in listing.files.items():
        file = folder / name
        if not file.exists():
            return f"{name} is missing"
        if file.stat().st_size != expected.size:
            return f"{name} has {file.stat().st_size} bytes, not {expected.size}"
        if _sha256(file) != expected.sha256:
            return f"{name} has other contents than were written"
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
