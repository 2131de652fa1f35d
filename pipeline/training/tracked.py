"""A run's folder and its MLflow run, made or taken up together."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from pipeline.data import storage
from pipeline.recipe import Recipe
from pipeline.registry.tracking import TrackedRun, TrackingError, open_experiment
from pipeline.registry.tracking_server import tracking_uri
from pipeline.registry.versions.origin import FOLDER_TAG
from pipeline.registry.versions.register import refuse_taken
from pipeline.runs.folder import RunFolder, read_json, write_json
from pipeline.runs.identity import flatten

log = logging.getLogger(__name__)


@contextmanager
def tracked_run(
    recipe: Recipe, folder: RunFolder, identity: dict[str, Any]
) -> Iterator[TrackedRun]:
    """The MLflow run for the length of the body; MLflow is told if the body fails.

    `run.json` ties the folder and the MLflow run together.
    """
    run = _open(recipe, folder, identity)
    try:
        yield run
    except TrackingError:
        raise  # MLflow could hardly be told
    except BaseException:
        _mark_failed(run)
        raise


def _open(recipe: Recipe, folder: RunFolder, identity: dict[str, Any]) -> TrackedRun:
    uri = tracking_uri(recipe.tracking.uri, recipe.tracking.storage)
    experiment_id = open_experiment(uri, recipe.tracking.experiment)
    if recipe.tracking.register_as is not None:
        refuse_taken(uri, recipe.tracking.register_as)
    storage.write_file(folder.recipe, recipe.to_yaml().encode())
    # From here on the run is not finished, whatever it was before.
    for outcome in (folder.result, folder.failure):
        storage.delete_file(outcome)
    if storage.exists(folder.identity):
        noted = read_json(folder.identity)
        run = TrackedRun(noted["tracking_uri"], noted["run_id"])
        run.reopen()
    else:
        params = dict(flatten(recipe.resolved()))
        run = TrackedRun.create(uri, experiment_id, name=folder.name, params=params)
        run.tag(
            {
                "data.fingerprint": str(identity["data fingerprint"]),
                "pipeline.version": version("ssl-on-ray"),
            }
        )
    run.tag({FOLDER_TAG: folder.location})  # it may have moved since the last start
    write_json(
        folder.identity,
        {"identity": identity, "run_id": run.run_id, "tracking_uri": run.uri},
    )
    return run


def _mark_failed(run: TrackedRun) -> None:
    try:
        run.finish(failed=True)
    except TrackingError as error:
        log.warning("MLflow could not be told that the run failed: %s", error)
