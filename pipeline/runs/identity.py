"""What makes a run the run it is: its identity, its name, and what may differ on resume."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import getitem
from typing import Any

import yaml

from pipeline.data import storage
from pipeline.data.order.exclusion import NOTHING, Exclusion
from pipeline.errors import Problem
from pipeline.recipe import Recipe
from pipeline.runs.folder import RunFolder

# What may differ when a run is taken up again: nothing here changes what it computes.
_FREE = (
    "data.shards",  # fingerprint and weights stand for the data, wherever it lies
    "data.cache_bytes",
    "data.exclude",  # the sha256 of its ids stands for it
    "data.ingest",
    "data.ingest_cpus",
    "data.max_bad_fraction",
    "data.read_ahead_bytes",
    "data.readers",
    "encoder.features",  # of what is made of the encoder, not of its training
    "encoder.init",  # its sha256 stands for it
    "evaluate",
    "name",
    "sweep",
    "tracking",
    "train.checkpoint",
    "train.device",
    "train.log_every",
    "train.max_failures",
    "train.trace",
    "train.wait_minutes",
    "train.workers",
)
_OF_RESULTS = ("encoder.features", "evaluate")  # free, and without effect on a finished run
_SINCE = {"views.from": None}
"""Settings that came later, and the value with which a run is what it was without them."""
_GROWING = ("train.epochs", "train.steps")
_FINGERPRINT = "data fingerprint"
_EXCLUDED = "data.exclude sha256"


def is_free(path: str) -> bool:
    """Whether a setting changes nothing of what a run computes."""
    return any(path == free or path.startswith(f"{free}.") for free in _FREE)


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
        if not is_free(key) and (key, value) not in _SINCE.items()
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
    found = changes(before, now)
    if found:
        found.append(Problem("run", "take another name=…, or --fresh to start anew"))
    return found


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Problem]:
    """In what two identities differ, but for a greater length."""
    found = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        grows = key in _GROWING and old is not None and new is not None and new >= old
        if old != new and not grows:
            found.append(_difference(key, old, new))
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


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as dotted names and values."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
