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
from pipeline.data.reading.ingest import Ingest, inline
from pipeline.data.reading.ray_ingest import ray_data
from pipeline.data.reading.reading_nodes import NodeShare, divided, reading_nodes
from pipeline.data.sources.manifest import StoreAwayError
from pipeline.errors import UserError
from pipeline.evaluation.probes.score import scores_as_json
from pipeline.recipe import Recipe, recipe_of
from pipeline.runs.folder import RunFolder, write_json
from pipeline.runs.start import Start
from pipeline.training.evaluation_task import fit_aside
from pipeline.training.halting import HaltRequest
from pipeline.training.loop import TrainingLoop
from pipeline.training.preemption import PreemptionNotice
from pipeline.training.probing import probe_learner
from pipeline.training.snapshots import evaluation_of


def _ingest(recipe: Recipe) -> Ingest:
    """What runs the read tasks of this rank; every rank calls this."""
    if recipe.data.ingest == "inline":
        return inline
    return ray_data if recipe.data.readers == "beside" else partial(ray_data, nodes=_nodes(recipe))


def _nodes(recipe: Recipe) -> list[NodeShare]:
    """The nodes that read for this rank, by where all ranks are and what rank 0 sees of Ray."""
    has = {n["NodeID"]: n["Resources"].get("CPU", 0) for n in ray.nodes() if n["Alive"]}
    home = ray.get_runtime_context().get_node_id()
    ranks = collectives.gather_json({"home": home, "nodes": has})
    workers, mine = collectives.world_size(), collectives.rank()
    cpus, streams = recipe.data.ingest_cpus, recipe.data.streams // workers
    found = reading_nodes(
        ranks[0]["nodes"], [rank["home"] for rank in ranks], cpus=cpus, streams=streams
    )
    names = range(mine * streams, (mine + 1) * streams)
    return divided(names, found[mine]) or [NodeShare(None, cpus, tuple(names))]


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
            ingest=_ingest(recipe),
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
