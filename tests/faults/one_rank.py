"""One rank of a run without Ray, in a process that a test may kill.

A file `RUN/notice-RANK` tells the rank that one will be lost. Rank 0 leaves the encoder's weights
in `final` and the account of samples in `samples.json`.
"""

import json
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist

from pipeline import collectives
from pipeline.data.order.workers import workers_that_train
from pipeline.data.reading.ingest import inline
from pipeline.recipe import Recipe
from pipeline.runs.folder import RunFolder
from pipeline.runs.state_files import snapshot
from pipeline.training.loop import TrainingLoop


def main(rank: int, world_size: int, rendezvous: Path, recipe: Path, run: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world_size
    )
    checked = Recipe.model_validate_json(recipe.read_text())
    training = workers_that_train(checked.data.streams, started=world_size)
    if not collectives.keep_first(training, host="127.0.0.1"):
        return
    loop = TrainingLoop(
        recipe=checked,
        folder=RunFolder(str(run)),
        device=torch.device("cpu"),
        ingest=inline,
        notice=partial(take, run / f"notice-{rank}"),
    )
    samples = loop.run()
    if rank == 0:
        (run / "samples.json").write_text(json.dumps(samples))
        snapshot(dict(loop.learner.encoder.state_dict())).save(run / "final")
    if dist.is_initialized():  # a single rank that trains has left the group
        dist.destroy_process_group()  # gloo's threads may abort an exit that leaves them


def take(notice: Path) -> bool:
    """Whether there is a notice; it is gone afterwards."""
    there = notice.exists()
    notice.unlink(missing_ok=True)
    return there
