"""A run: its name, its folder, and what the same command again means."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from pipeline.data import storage
from pipeline.data.order.exclusion import Exclusion
from pipeline.errors import Problem, UserError
from pipeline.recipe import Recipe


class RunFolder:
    """The folder of a run, on a disk or in a store, and the files in it."""

    def __init__(self, location: str) -> None:
        """Name the files of a run.

        Args:
            location: path or URI of the folder; it need not exist.
        """
        self.location = location
        self.name = storage.file_name(location)
        self.recipe = storage.join(location, "recipe.yaml")
        self.identity = storage.join(location, "run.json")
        self.journal = storage.join(location, "journal.jsonl")
        self.checkpoints = storage.join(location, "checkpoints")
        self.initial_weights = storage.join(location, "init.safetensors")
        self.excluded = storage.join(location, "excluded.parquet")
        self.package = storage.join(location, "encoder")
        self.trace = storage.join(location, "trace")
        self.snapshots = storage.join(location, "snapshots")
        self.ledger = storage.join(location, "ledger.parquet")
        self.bad_pairs = storage.join(location, "bad_pairs.parquet")
        self.contact_sheet = storage.join(location, "bad_pairs.png")
        self.failure = storage.join(location, "failure.json")
        self.halt = storage.join(location, "halt")
        self.waiting = storage.join(location, "waiting")
        self.report = storage.join(location, "report.html")
        self.result = storage.join(location, "result.json")
        self.ray = storage.join(location, "ray")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run; a second driver of the same run is refused.

        A store has no locks: there only drivers on the same machine are kept apart.

        Raises:
            UserError: another process has it.
        """
        path = self._lock_file()
        is_new = not path.parent.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    Problem(self.name, "this run is in progress in another process")
                ) from error
            try:
                yield
            finally:
                if is_new and not storage.exists(self.identity):
                    # It never became a run: leave nothing of it behind.
                    shutil.rmtree(path.parent)

    def _lock_file(self) -> Path:
        if not storage.is_remote(self.location):
            return Path(self.location) / "lock"
        digest = hashlib.sha256(self.location.encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"run-{os.getuid()}-{digest}" / "lock"


def keep_inputs(
    folder: RunFolder, *, initial: dict[str, Tensor] | None, excluded: Exclusion | None
) -> None:
    """Give the run its own copies of what it starts from: users' files may change or vanish.

    Args:
        folder: of the run.
        initial: weights of the encoder that it starts from, if any.
        excluded: samples that it leaves out, if the recipe names a file of them.
    """
    if initial is not None:
        storage.write_file(folder.initial_weights, save(initial))
    if excluded is not None:
        storage.write_file(folder.excluded, excluded.to_parquet())


def with_own_exclusion(recipe: Recipe, folder: RunFolder) -> Recipe:
    """The recipe with the run's own copy of the excluded ids, where it has one.

    The user's file may change, vanish, or lie where workers do not see it.
    """
    if recipe.data.exclude is None or not storage.exists(folder.excluded):
        return recipe
    data = recipe.data.model_copy(update={"exclude": folder.excluded})
    return recipe.model_copy(update={"data": data})


def fresh_name(runs: str, name: str) -> str:
    """The first of NAME, NAME-2, NAME-3 … that is not taken in a folder of runs."""
    candidates = [name, *(f"{name}-{number}" for number in range(2, 10_000))]
    return next(c for c in candidates if not storage.exists(storage.join(runs, f"{c}/run.json")))


def write_json(location: str, value: Any) -> None:
    """Write JSON in one step, so that a reader never sees half of it."""
    storage.write_file(location, json.dumps(value, indent=1).encode(), attempts=storage.PATIENT)


def read_json(location: str) -> Any:
    """What `write_json` wrote.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return json.loads(storage.read_file(location))
