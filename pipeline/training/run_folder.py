"""A run: its name, its folder, and what the same command again means."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import Problem, UserError
from pipeline.recipe import Recipe

# What may differ when a run is taken up again: nothing here changes what it computes.
_FREE = (
    "data.shards",  # fingerprint and weights stand for the data, wherever it lies
    "data.cache_bytes",
    "data.ingest",
    "data.ingest_cpus",
    "data.max_bad_fraction",
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
_GROWING = ("train.epochs", "train.steps")
_FINGERPRINT = "data fingerprint"


class RunFolder:
    """The folder of a run and the files in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.recipe = path / "recipe.yaml"
        self.identity = path / "run.json"
        self.journal = path / "journal.jsonl"
        self.checkpoints = path / "checkpoints"
        self.initial_weights = path / "init.safetensors"
        self.package = path / "encoder"
        self.trace = path / "trace"
        self.ledger = path / "ledger.parquet"
        self.failure = path / "failure.json"
        self.interruption = path / "interruption.json"
        self.result = path / "result.json"
        self.ray = path / "ray"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run; a second driver of the same run is refused.

        Raises:
            UserError: another process has it.
        """
        is_new = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    Problem(self.name, "this run is in progress in another process")
                ) from error
            try:
                yield
            finally:
                if is_new and not self.identity.exists():
                    # It never became a run: leave nothing of it behind.
                    shutil.rmtree(self.path)


def run_name(recipe: Recipe, identity: Mapping[str, Any]) -> str:
    """The given name, or one derived from what the run computes."""
    if recipe.name is not None:
        return recipe.name
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"{recipe.objective.kind}-{recipe.encoder.name}-{digest[:8]}"


def run_identity(recipe: Recipe, *, fingerprint: str, init_sha256: str | None) -> dict[str, Any]:
    """What makes a run the run it is: the settings that change what it computes, and the data.

    Args:
        recipe: the recipe.
        fingerprint: of the data's manifest.
        init_sha256: of the weights it starts from, if any.
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


def _difference(key: str, old: Any, new: Any) -> Problem:
    if key == _FINGERPRINT:
        return Problem(
            "data.shards",
            f"the data has grown or changed: its fingerprint was {old} when the run began and is "
            f"{new} now; a run cannot change",
        )
    return Problem(key, f"the run has {old!r}, the recipe says {new!r}; a run cannot change")


def fresh_name(storage: Path, name: str) -> str:
    """The first of NAME, NAME-2, NAME-3 … that is not taken."""
    candidates = [name, *(f"{name}-{number}" for number in range(2, 10_000))]
    return next(c for c in candidates if not (storage / c / "run.json").exists())


def write_json(path: Path, value: Any) -> None:
    """Write JSON in one step, so that a reader never sees half of it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1))
    partial.replace(path)


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as dotted names and values."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
