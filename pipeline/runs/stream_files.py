"""What ranks know of their streams, as files beside the checkpoints that refer to them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict
from safetensors.torch import load, save
from torch import Tensor

from pipeline.data import storage


class StoredFile(BaseModel):
    """Of a checkpoint."""

    model_config = ConfigDict(extra="forbid", strict=True)

    size: int
    sha256: str


class OfStreams(Protocol):
    """A part of a run of which every rank holds what concerns its own streams."""

    @property
    def streams(self) -> Sequence[int]:
        """This rank's."""

    def stream_state(self, stream: int) -> dict[str, Tensor]:
        """All of it, of one stream."""

    def load_stream_state(self, stream: int, state: Mapping[str, Any]) -> None:
        """Take up one stream's."""


class StreamFiles:
    """A file for each stream, named by its contents: one that has not changed is not written again.

    So any number of ranks can take up what others left.
    """

    def __init__(self, folder: str) -> None:
        """Know the folder.

        Args:
            folder: path or URI; it need not exist.
        """
        self._folder = folder

    def write(self, part: OfStreams) -> dict[str, StoredFile]:
        """Write the files of this rank's streams that are not there; all of them by name.

        Raises:
            OSError: one cannot be written.
        """
        found = {}
        for stream in part.streams:
            state = {
                name: value.cpu().contiguous() for name, value in part.stream_state(stream).items()
            }
            data = save(state)
            sha256 = hashlib.sha256(data).hexdigest()
            name = f"{stream:06d}-{sha256[:32]}.safetensors"
            location = storage.join(self._folder, name)
            if not _holds(location, data, sha256):
                storage.write_file(location, data, attempts=storage.PATIENT)
            found[name] = StoredFile(size=len(data), sha256=sha256)
        return found

    def load(self, part: OfStreams, names: Iterable[str]) -> None:
        """Give a part the states of its streams, out of the files of all."""
        by_stream = {int(name.partition("-")[0]): name for name in names}
        for stream in part.streams:
            part.load_stream_state(stream, self.read(by_stream[stream]))

    def read(self, name: str) -> dict[str, Tensor]:
        """What a file holds."""
        return load(storage.read_file(storage.join(self._folder, name)))

    def location(self, name: str) -> str:
        """Of a file."""
        return storage.join(self._folder, name)

    def keep_only(self, names: Iterable[str]) -> None:
        """Delete all other files."""
        wanted = set(names)
        try:
            files = storage.list_files(self._folder)
        except FileNotFoundError:
            return
        for file in files:
            if storage.file_name(file) not in wanted:
                storage.delete_file(file)


def _holds(location: str, data: bytes, sha256: str) -> bool:
    """Whether a file is there, and not damaged since it was written."""
    return storage.size_of(location) == len(data) and storage.sha256_of(location) == sha256
