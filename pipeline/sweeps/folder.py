"""A sweep's folder, on a disk or in a store, and the files in it."""

from __future__ import annotations

from pipeline.data import storage
from pipeline.runs.folder import RunFolder


class SweepFolder(RunFolder):
    """Recipe, identity, lock, result and inputs lie where a run has them; the rest is its own."""

    def __init__(self, location: str) -> None:
        """Name the files of a sweep.

        Args:
            location: path or URI of the folder; it need not exist.
        """
        super().__init__(location)
        self.ledger = storage.join(location, "trials.jsonl")
        self.page = storage.join(location, "sweep.html")
        self.trials = storage.join(location, "trials")
        self.tune = storage.join(location, "tune")

    def trial(self, number: int) -> str:
        """Folder of a trial, with a run for each seed."""
        return storage.join(self.trials, f"{number:05d}")

    def pruned(self, number: int) -> str:
        """A file that asks a trial to end, as one that is not worth going on."""
        return storage.join(self.trial(number), "pruned")

    def generation(self, number: int, generation: int) -> str:
        """Folder of a trial after so many exploits, each of which begins a new one.

        Workers of the one before may still be writing there for a moment.
        """
        trial = self.trial(number)
        return storage.join(trial, f"generation-{generation}") if generation else trial

    def run(self, number: int, generation: int, seed: int) -> RunFolder:
        """Of one seed of a trial."""
        return RunFolder(storage.join(self.generation(number, generation), f"seed-{seed}"))
