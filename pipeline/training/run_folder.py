"""A run: its name, its folder, and what the same command again means."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import yaml

from pipeline.data import storage
from pipeline.data.exclusion import NOTHING, Exclusion
from pipeline.errors import Problem, UserError
from pipeline.recipe import Recipe

# What may differ when a run is taken up again: nothing here changes what it computes.
_FREE = (
    "data.shards",  # fingerprint and weights stand for the data, wherever it lies
    "data.cache_bytes",
    "data.exclude",  # the sha256 of its ids stands for it
    "data.ingest",
    "data.ingest_cpus",
    "data.max_bad_fraction",
    "encoder.features",  # of what is made of the encoder, not of its training
    "encoder.init",  # its sha256 stands for it
    "evaluate",
    "name",
    "tracking",
    "train.checkpoint",
    "train.device",
    "train.log_every",
    "train.max_failures",
    "train.trace",
    "train.workers",
)
_OF_RESULTS = ("encoder.features", "evaluate")  # free, and without effect on a finished run
_GROWING = ("train.epochs", "train.steps")
_FINGERPRINT = "data fingerprint"
_EXCLUDED = "data.exclude sha256"


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


def run_name(recipe: Recipe, identity: Mapping[str, Any]) -> str:
    """The given name, or one derived from what the run computes."""
    if recipe.name is not None:
        return recipe.name
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"{recipe.objective.kind}-{recipe.encoder.name}-{digest[:8]}"


def run_identity(
    recipe: Recipe,
    *,
    fingerprint: str,
    init_sha256: str | None,
    excluded: Exclusion = NOTHING,
) -> dict[str, Any]:
    """What makes a run the run it is: the settings that change what it computes, and the data.

    Args:
        recipe: the recipe.
        fingerprint: of the data's manifest.
        init_sha256: of the weights it starts from, if any.
        excluded: samples that it leaves out; a run that leaves out none is what it always was.
    """
    settings = {
        key: value
        for key, value in flatten(recipe.resolved())
        if not any(key == free or key.startswith(f"{free}.") for free in _FREE)
    }
    return {
        **settings,
        _FINGERPRINT: fingerprint,
        "data weights": [source.weight for source in recipe.data.shards],
        "encoder.init sha256": init_sha256,
        **({_EXCLUDED: excluded.sha256} if excluded else {}),
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Problem]:
    """What forbids taking up a run with another identity; a longer run is allowed."""
    found = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        grows = key in _GROWING and old is not None and new is not None and new >= old
        if old != new and not grows:
            found.append(_difference(key, old, new))
    if found:
        found.append(Problem("run", "take another name=…, or --fresh to start anew"))
    return found


def without_effect(folder: RunFolder, recipe: Recipe) -> list[str]:
    """What to say of settings that would give a finished run other results.

    Args:
        folder: of the run.
        recipe: of the same identity.
    """
    before, now = yaml.safe_load(storage.read_file(folder.recipe)), recipe.resolved()
    return [
        f"{setting}: the run has finished with another value, which stays; "
        f"`jobs evaluate {folder.package}` scores its encoder otherwise"
        for setting in _OF_RESULTS
        if reduce(getitem, setting.split("."), before) != reduce(getitem, setting.split("."), now)
    ]


def _difference(key: str, old: Any, new: Any) -> Problem:
    if key == _FINGERPRINT:
        return Problem(
            "data.shards",
            f"the data has grown or changed: its fingerprint was {old} when the run began and is "
            f"{new} now; a run cannot change",
        )
    if key == _EXCLUDED:
        before, after = (f"those of sha256 {sha}" if sha else "none" for sha in (old, new))
        return Problem(
            "data.exclude",
            f"the run leaves out other samples: {before} when it began, {after} now; a run cannot "
            "change",
        )
    return Problem(key, f"the run has {old!r}, the recipe says {new!r}; a run cannot change")


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


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as dotted names and values."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
