"""One rank's part in some steps of several learners, in float64; run by tests.

The folder has recipes.json, a list, and views.pt, (T, B, V, S, S, 3) uint8 of T steps; it gets
RANK.pt, for each recipe each step's losses, weights and gradient, and the learner's state
afterwards. Of the V views a recipe takes as many as it says; every step is of an epoch of its own.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from pipeline import collectives
from pipeline.data.reading.assemble import Batch
from pipeline.learning.feed import Feed
from pipeline.learning.learner import build_learner
from pipeline.learning.optimization import Optimization
from pipeline.learning.step_metrics import step_metrics
from pipeline.recipe import Recipe


def steps_of(recipe: Recipe, views: Tensor) -> dict[str, Any]:
    """Take the steps with this rank's share (T, B, V, S, S, 3)."""
    optimization = Optimization(
        build_learner(recipe).double(),
        config=recipe.train,
        seed=0,
        total_steps=2 * len(views),
        device=torch.device("cpu"),
    )
    share = recipe.train.global_batch // collectives.world_size()
    optimization.learner.pairs.own(
        {collectives.rank(): (share * collectives.rank(), share * (collectives.rank() + 1))},
        epochs=len(views),
        device=torch.device("cpu"),
    )
    feed = Feed(recipe, grid=optimization.learner.objective.grid, device=torch.device("cpu"))
    losses, weights, terms, gradients = [], [], [], []
    for number, share in enumerate(views):
        ids = len(share) * collectives.rank() + np.arange(len(share))
        batch = Batch(
            epoch=number,
            stream=np.zeros(len(share), np.int32),
            position=ids,
            sample_id=ids,
            views=(share[:, : recipe.views.count].numpy(),),
        )
        result = optimization.step(feed.batch(batch, step=number))
        losses.append(result.losses.loss.detach())
        weights.append(result.weights.total)
        terms.append({name: value.detach() for name, value in result.losses.terms.items()})
        gradients.append(
            {
                n: p.grad.clone()
                for n, p in optimization.learner.named_parameters()
                if p.requires_grad
            }
        )
    return {
        "losses": torch.stack(losses),
        "weights": torch.stack(weights),
        "terms": terms,
        "gradients": gradients,
        "metrics": step_metrics(result, optimization.learner.objective, optimization.progress),
        "state": optimization.learner.state_dict(),
    }


def main(rank: int, world_size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size
    )
    share = torch.load(folder / "views.pt").chunk(world_size, dim=1)[rank]
    recipes = map(Recipe.model_validate, json.loads((folder / "recipes.json").read_text()))
    torch.save([steps_of(recipe, share) for recipe in recipes], folder / f"{rank}.pt")
    dist.destroy_process_group()  # gloo's threads may abort an exit that leaves them
