"""Checkpoints: everything stateful registers here, and a checkpoint exists iff it verifies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from pipeline.data import storage
from pipeline.data.stored_folder import delete_folder, folder_to_fill, folder_to_read
from pipeline.learning.config import BestConfig
from pipeline.runs.state_files import Snapshot, load_state, snapshot
from pipeline.runs.stream_files import OfStreams, StoredFile, StreamFiles

log = logging.getLogger(__name__)

COMPLETE = "COMPLETE.json"


class Stateful(Protocol):
    """A part of a run that a checkpoint must hold."""

    def state_dict(self) -> dict[str, Any]:
        """All of it, as `state_files.snapshot` takes it."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state."""


class _Listing(BaseModel):
    """`COMPLETE.json`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    step: int
    metrics: dict[str, float]
    files: dict[str, StoredFile]
    streams: dict[str, StoredFile] = {}  # beside the checkpoint


class CheckpointError(Exception):
    """There are checkpoints, and none of them can be used."""


class CheckpointStore:
    """The checkpoints of a run and the registry of what they hold.

    A checkpoint is a folder `step-N` with two files for each registered part and `COMPLETE.json`,
    which lists the files with their sizes and hashes and is written last. What ranks know of their
    streams lies beside them, see `StreamFiles`.
    """

    def __init__(self, root: str, *, keep: int, best: BestConfig | None = None) -> None:
        """Open the folder of a run's checkpoints.

        Args:
            root: path or URI of the folder; it need not exist.
            keep: newest checkpoints that are kept.
            best: of which metric the best checkpoint is kept too.
        """
        self._root = root
        self._keep = keep
        self._best = best
        self._parts: dict[str, Stateful] = {}
        self._of_streams: OfStreams | None = None
        self._stream_files = StreamFiles(storage.join(root, "streams"))
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def register(self, name: str, part: Stateful) -> None:
        """Make a part belong to every checkpoint."""
        if name in self._parts:
            raise ValueError(f"{name} is registered already")
        self._parts[name] = part

    def register_streams(self, part: OfStreams) -> None:
        """Make a part belong to every checkpoint of which each rank holds its own streams'."""
        self._of_streams = part

    def write_streams(self) -> dict[str, StoredFile]:
        """Write what this rank knows of its streams, for a checkpoint to be saved. Any rank does.

        None may call this before the last checkpoint has been written: files that no checkpoint
        refers to are deleted with old ones.

        Raises:
            OSError: a file cannot be written.
        """
        return self._stream_files.write(self._of_streams) if self._of_streams else {}

    def save(
        self,
        step: int,
        *,
        metrics: Mapping[str, float],
        streams: Mapping[str, StoredFile] = MappingProxyType({}),
        alongside: Callable[[], None] = lambda: None,
    ) -> None:
        """Copy all parts, and write the copies while training goes on. One rank calls this.

        Waits for the checkpoint before, if that is still being written.

        Args:
            step: the step after which it is.
            metrics: the last ones known, by which checkpoints are compared.
            streams: what all ranks' `write_streams` returned.
            alongside: writes what a resumed run would not make again; the checkpoint counts only
                when this has returned.

        Raises:
            OSError: the checkpoint before could not be written.
        """
        self.wait()
        parts = {name: snapshot(part.state_dict()) for name, part in self._parts.items()}
        self._writing = self._writer.submit(
            self._write, step, parts, dict(metrics), dict(streams), alongside
        )

    def wait(self) -> None:
        """Return when the last checkpoint has been written, and older ones dropped.

        Raises:
            OSError: it could not be written; nothing is left of it.
        """
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def _write(
        self,
        step: int,
        parts: dict[str, Snapshot],
        metrics: dict[str, float],
        streams: dict[str, StoredFile],
        alongside: Callable[[], None],
    ) -> None:
        folder = self._folder(step)
        delete_folder(folder)
        try:
            files = _write_parts(folder, parts)
            alongside()
            listing = _Listing(step=step, metrics=metrics, files=files, streams=streams)
            storage.write_file(
                storage.join(folder, COMPLETE),
                listing.model_dump_json(indent=1).encode(),
                attempts=storage.PATIENT,
            )
        except OSError:
            # A full disk has no room for half a checkpoint.
            with suppress(OSError):
                delete_folder(folder)
            raise
        self._drop_old(step)

    def newest(self) -> int | None:
        """Step of the newest checkpoint that verifies; None if none was ever completed.

        Raises:
            CheckpointError: checkpoints were completed, and every one is damaged.
        """
        damaged = []
        for step in self.steps():
            fault = self.fault(step)
            if fault is None:
                return step
            folder = self._folder(step)
            damaged.append(f"{folder}: {fault}")
            log.warning("checkpoint %s is damaged (%s); trying the one before", folder, fault)
        if damaged:
            raise CheckpointError("no checkpoint can be used:\n" + "\n".join(damaged))
        return None

    def best(self) -> int | None:
        """Step of the checkpoint that is best by the metric; None if there is none to compare."""
        return self._best_of(self.steps())

    def load(self, step: int, *, of: CheckpointStore | None = None) -> None:
        """Give every registered part its state. Every rank calls this with the same step.

        Args:
            step: of the checkpoint.
            of: whose it is, read where it lies; None: one of this store's.
        """
        source = of or self
        with folder_to_read(source._folder(step)) as folder:
            for name, part in self._parts.items():
                part.load_state_dict(load_state(folder / name))
        if self._of_streams is not None:
            source.load_streams(step, self._of_streams)

    def read(self, step: int, name: str) -> Any:
        """The state of one part in a checkpoint."""
        with folder_to_read(self._folder(step)) as folder:
            return load_state(folder / name)

    def load_streams(self, step: int, part: OfStreams) -> None:
        """Give a part what a checkpoint knows of its streams, one at a time."""
        self._stream_files.load(part, _listing(self._folder(step)).streams)

    def read_streams(self, step: int) -> dict[int, dict[str, Tensor]]:
        """What a checkpoint knows of all streams."""
        return {
            int(name.partition("-")[0]): self._stream_files.read(name)
            for name in _listing(self._folder(step)).streams
        }

    def take_over(self, other: CheckpointStore, step: int) -> None:
        """Copy a checkpoint of another run, which then counts as one of this.

        Raises:
            FileNotFoundError: the other run does not have it any more.
            OSError: it cannot be copied.
        """
        source, target = other._folder(step), self._folder(step)
        listing = _listing(source)
        pairs = [
            (other._stream_files.location(name), self._stream_files.location(name))
            for name in listing.streams
        ]
        pairs += [
            (storage.join(source, name), storage.join(target, name))
            for name in (*listing.files, COMPLETE)
        ]
        for there, here in pairs:
            storage.write_file(here, storage.read_file(there), attempts=storage.PATIENT)

    def _folder(self, step: int) -> str:
        return storage.join(self._root, f"step-{step:010d}")

    def steps(self) -> list[int]:
        """Steps of the checkpoints that claim to be whole, newest first."""
        try:
            files = storage.list_files(self._root)
        except FileNotFoundError:
            return []
        folders = [storage.parent(file) for file in files if storage.file_name(file) == COMPLETE]
        names = [storage.file_name(folder) for folder in folders]
        return sorted((int(name.removeprefix("step-")) for name in names), reverse=True)

    def _best_of(self, steps: list[int]) -> int | None:
        if self._best is None:
            return None
        values = {step: self._metrics(step).get(self._best.metric) for step in steps}
        known = {step: value for step, value in values.items() if value is not None}
        choose = min if self._best.mode == "min" else max
        return choose(known, key=lambda step: known[step], default=None)

    def _metrics(self, step: int) -> dict[str, float]:
        try:
            return _listing(self._folder(step)).metrics
        except ValidationError:  # damaged
            return {}

    def fault(self, step: int) -> str | None:
        """What is wrong with a checkpoint that claims to be whole; None: it verifies."""
        folder = self._folder(step)
        try:
            listing = _listing(folder)
        except (FileNotFoundError, ValidationError) as error:
            return f"{COMPLETE} cannot be read: {error}"
        files = {storage.join(folder, name): file for name, file in listing.files.items()}
        files |= {self._stream_files.location(name): file for name, file in listing.streams.items()}
        for location, expected in files.items():
            name = storage.file_name(location)
            size = storage.size_of(location)
            if size is None:
                return f"{name} is missing"
            if size != expected.size:
                return f"{name} has {size} bytes, not {expected.size}"
            if storage.sha256_of(location) != expected.sha256:
                return f"{name} has other contents than were written"
        return None

    def _drop_old(self, step: int) -> None:
        completed = self.steps()
        # Later ones were passed over as damaged when the run was taken up.
        later = [other for other in completed if other > step]
        earlier = [other for other in completed if other <= step]
        best = self._best_of(earlier)
        for other in later + [old for old in earlier[self._keep :] if old != best]:
            # First the claim, so that a removal cut short leaves no damaged checkpoint.
            storage.delete_file(storage.join(self._folder(other), COMPLETE))
            delete_folder(self._folder(other))
        self._stream_files.keep_only(
            name for other in self.steps() for name in self._streams_of(other)
        )

    def _streams_of(self, step: int) -> Iterable[str]:
        try:
            return _listing(self._folder(step)).streams
        except ValidationError:  # damaged
            return ()


def _write_parts(folder: str, parts: dict[str, Snapshot]) -> dict[str, StoredFile]:
    with folder_to_fill(folder) as local:
        files = [file for name, part in parts.items() for file in part.save(local / name)]
        return {
            file.name: StoredFile(size=file.stat().st_size, sha256=storage.sha256_of(str(file)))
            for file in files
        }


def _listing(folder: str) -> _Listing:
    return _Listing.model_validate_json(storage.read_file(storage.join(folder, COMPLETE)))
