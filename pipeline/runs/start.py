"""From where a run trains that repeats a part of another."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.runs.checkpoint import CheckpointStore
from pipeline.runs.folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Start:
    """A run as it was after a step; its folder is read where it lies, and never written."""

    run: str
    """Folder or URI of the run."""
    step: int
    """Of one of its checkpoints; 0: as it began."""

    @property
    def folder(self) -> RunFolder:
        """Of the run."""
        return RunFolder(self.run)

    @property
    def checkpoints(self) -> CheckpointStore:
        """Of the run, to read."""
        return CheckpointStore(self.folder.checkpoints, keep=1)
