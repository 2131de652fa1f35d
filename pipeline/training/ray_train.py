"""A run's workers, started and restarted by Ray Train."""

from __future__ import annotations

import os
import uuid
from dataclasses import asdict
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer
from ray.train.v2.api.config import LoggingConfig

from pipeline.data import storage
from pipeline.errors import Problem, UserError
from pipeline.recipe import Recipe
from pipeline.runs.folder import RunFolder, read_json, with_own_exclusion
from pipeline.runs.start import Start
from pipeline.training.demand import demand_of
from pipeline.training.patience import Patience, telling_of_waits
from pipeline.training.worker import train_worker

_OMP = "OMP_NUM_THREADS"


def train_on_ray(
    recipe: Recipe,
    folder: RunFolder,
    *,
    gpu: bool,
    verbose: bool,
    floors: bool = True,
    start: Start | None = None,
) -> dict[str, Any]:
    """Train to the end of the run, or until it is asked to halt. Ray must be connected.

    Args:
        recipe: of the run.
        folder: of the run.
        gpu: whether every worker gets a GPU, as `connected` says.
        verbose: show Ray's own log.
        floors: whether probes look at the floors too.
        start: from where to train while the run has no checkpoint; None: from its beginning.

    Returns:
        What `train_worker` does on rank 0.

    Raises:
        UserError: a worker found a mistake of the user's.
        TrainingFailedError: workers failed more often than the recipe allows, or Ray had no room
            for them for `train.wait_minutes`.
    """
    # Ray would take up, and train on, what it finds under a name; our checkpoints decide.
    name = f"start-{uuid.uuid4().hex[:12]}"
    demand, minutes = demand_of(recipe, gpu=gpu), recipe.train.wait_minutes
    ray_store, ray_path = storage.resolve(folder.ray)
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={
            "recipe": with_own_exclusion(recipe, folder).resolved(),
            "run": folder.location,
            "floors": floors,
            "start": asdict(start) if start else None,
        },
        scaling_config=ScalingConfig(
            num_workers=_workers(recipe),
            use_gpu=gpu,
            resources_per_worker=demand.worker,
        ),
        run_config=RunConfig(
            name=name,
            storage_filesystem=ray_store,
            storage_path=ray_path,
            failure_config=FailureConfig(max_failures=recipe.train.max_failures),
            logging_config=LoggingConfig(log_level="INFO" if verbose else "CRITICAL"),
            # Ray would take as many threads as the bundle has CPUs, which are its readers', and
            # by the number of threads sums are cut.
            worker_runtime_env={"env_vars": {_OMP: os.environ.get(_OMP, "1")}},
            callbacks=[Patience(name, minutes=minutes, demand=str(demand))],
        ),
    )
    try:
        with telling_of_waits(name, demand, minutes=minutes):
            trained = trainer.fit().return_value
    except TrainingFailedError:
        _raise_user_errors(folder)
        raise
    _raise_user_errors(folder)
    return dict(trained)


def _workers(recipe: Recipe) -> int | tuple[int, int]:
    """As Ray wants it: a range makes it start again with another number when nodes come or go."""
    least, most = recipe.train.workers
    return most if least == most else (least, most)


def _raise_user_errors(folder: RunFolder) -> None:
    """Raise what the workers found to be the user's mistake."""
    if storage.exists(folder.failure):
        raise UserError([Problem(**p) for p in read_json(folder.failure)])
