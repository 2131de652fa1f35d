"""What Ray Train runs on each worker: the plain training loop, with Ray's device and data."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import ray
import ray.train.torch

from pipeline import collectives
from pipeline.data import storage
from pipeline.data.order.workers import workers_that_train
from pipeline.data.reading.ingest import inline
from pipeline.data.reading.ray_ingest import ray_data
from pipeline.data.sources.manifest import StoreAwayError
from pipeline.errors import UserError
from pipeline.evaluation.probes.score import scores_as_json
from pipeline.recipe import recipe_of
from pipeline.runs.folder import RunFolder, write_json
from pipeline.runs.start import Start
from pipeline.training.evaluation_task import fit_aside
from pipeline.training.halting import HaltRequest
from pipeline.training.loop import TrainingLoop
from pipeline.training.preemption import PreemptionNotice
from pipeline.training.probing import probe_learner
from pipeline.training.snapshots import evaluation_of


def train_worker(config: dict[str, Any]) -> dict[str, Any] | None:
    """Train as one rank.

    A user's mistake that shows only now (too many bad samples, a diverging loss) would come back
    with every restart, so it is left in `failure.json`: restarted ranks find it and end at once.

    Args:
        config: `recipe` resolved, `run` the run's folder, `floors` whether probes look at them,
            `start` from where it trains, as `Start` takes it, or None.

    Returns:
        On rank 0 `samples`, the account, and `probes` and `intervals`, the scores, which are
        missing if the run was halted; else None, and at once on ranks that are too many to divide
        the streams.
    """
    folder = RunFolder(config["run"])
    if storage.exists(folder.failure):
        return None
    logging.getLogger("ray").setLevel(logging.ERROR)
    recipe = recipe_of(config["recipe"])
    notice = PreemptionNotice()
    training = workers_that_train(recipe.data.streams, started=collectives.world_size())
    if not collectives.keep_first(training, host=ray.util.get_node_ip_address()):
        return None  # until Ray starts another number of workers
    try:
        loop = TrainingLoop(
            recipe=recipe,
            folder=folder,
            device=ray.train.torch.get_device(),
            ingest=inline
            if recipe.data.ingest == "inline"
            else partial(ray_data, alone=training == 1),
            notice=notice,
            halt=HaltRequest(folder.halt),
            fit=partial(fit_aside, evaluation_of(recipe)),
            start=Start(**config["start"]) if config["start"] else None,
        )
        samples = loop.run()
        if collectives.rank() != 0:
            return None
        if loop.halted:
            return {"samples": samples}
        scores = probe_learner(recipe, loop.learner, floors=config["floors"])
        return {"samples": samples, **scores_as_json(scores)}
    except StoreAwayError:
        raise  # restarts may mend it
    except UserError as error:
        if collectives.rank() == 0 or not storage.exists(folder.failure):
            write_json(folder.failure, [problem._asdict() for problem in error.problems])
        raise
