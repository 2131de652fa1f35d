"""A recipe's steps in a plain loop on the CPU: no Ray, no journal, no checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from pipeline.data.order.slices import Slice
from pipeline.data.reading.assemble import Batch
from pipeline.data.reading.slice_reader import SliceReader, pixels_of
from pipeline.data.sources.convert import shard
from pipeline.learning.feed import Feed
from pipeline.learning.learner import Learner, StepResult
from pipeline.learning.optimization import Optimization
from pipeline.planning.length import stream_plan, total_steps
from pipeline.recipe import Recipe


def write_images(source: Path, shards: Path) -> None:
    """Shards of an `.npz` with images `x` and labels `y`, all of them for training."""
    shard(
        source,
        shards,
        labels="y",
        images="x",
        kind="tar",
        samples_per_shard=1000,
        test_fraction=0.0,
        seed=0,
    )


def steps_of(
    recipe: Recipe, learner: Learner, *, change: Callable[[Batch], Batch] = lambda batch: batch
) -> Iterator[StepResult]:
    """Train a learner from its first step to its last; what each step found out.

    Args:
        recipe: of the training.
        learner: of the recipe.
        change: of every batch before the learner sees it.
    """
    plan = stream_plan(recipe)
    reader = SliceReader(manifests=recipe.data.manifests, plan=plan, views=recipe.views)
    total = total_steps(recipe, plan)
    device = torch.device("cpu")
    feed = Feed(recipe, grid=learner.objective.grid, device=device)
    learner.pairs.own(
        {stream: plan.bounds(stream) for stream in range(plan.streams)},
        epochs=-(-total // plan.steps_per_epoch),
        device=device,
    )
    optimization = Optimization(
        learner, config=recipe.train, seed=recipe.seed, total_steps=total, device=device
    )
    for done in range(total):
        epoch, within = divmod(done, plan.steps_per_epoch)
        start, stop = within * plan.per_batch, (within + 1) * plan.per_batch
        ranges = tuple((stream, start, stop) for stream in range(plan.streams))
        table = reader.read(Slice(epoch=epoch, ranges=ranges))
        batch = Batch(
            epoch=epoch,
            stream=table["stream"].to_numpy(),
            position=table["position"].to_numpy(),
            sample_id=table["sample_id"].to_numpy().copy(),
            views=tuple(
                block.copy()
                for block in reader.views.split(pixels_of(table, reader.views.row_bytes))
            ),
        )
        yield optimization.step(feed.batch(change(batch), step=done))
