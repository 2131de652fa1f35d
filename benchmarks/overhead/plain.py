"""A run's learner, data and batches in a plain torch loop: one process, one DataLoader, no Ray.

    OMP_NUM_THREADS=1 python -m benchmarks.overhead.plain recipe.yaml journal.jsonl

What somebody would write who has our indexed reader and not our training loop. The journal has the
loss every `log_every` steps, as a run's has.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
import typer
import yaml
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.data.order.slices import Slice
from pipeline.data.reading.slice_reader import SliceReader, pixels_of
from pipeline.learning.learner import LearnerBatch, build_learner
from pipeline.learning.optimization import Optimization
from pipeline.planning.length import stream_plan, total_steps
from pipeline.recipe import Recipe
from pipeline.registry.journal import Journal

_BATCHES_AHEAD = 8

Batch = tuple[Tensor, tuple[Tensor, ...]]  # sample ids (B,), blocks of views (B, V, S, S, 3)


def main(recipe_path: Path, journal_path: Path) -> None:
    recipe = Recipe.model_validate(yaml.safe_load(recipe_path.read_text()))
    batches = _Batches(recipe)
    optimization = Optimization(
        build_learner(recipe),
        config=recipe.train,
        seed=recipe.seed,
        total_steps=len(batches),
        device=torch.device("cpu"),
    )
    loader = DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=_BATCHES_AHEAD)
    journal = Journal(str(journal_path))
    journal.event("training", workers=[{"pid": os.getpid()}])
    for step, (sample_id, views) in enumerate(loader, start=1):
        result = optimization.step(LearnerBatch(sample_id=sample_id, views=views))
        if step % recipe.train.log_every == 0:
            journal.metrics(step, {"loss": float(result.total.detach())})


class _Batches(Dataset[Batch]):
    """The run's global batches by number."""

    def __init__(self, recipe: Recipe) -> None:
        self._plan = stream_plan(recipe)
        self._steps = total_steps(recipe, self._plan)
        self._reader = SliceReader(
            manifests=recipe.data.manifests, plan=self._plan, views=recipe.views
        )

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Batch:
        epoch, within = divmod(step, self._plan.steps_per_epoch)
        start, stop = within * self._plan.per_batch, (within + 1) * self._plan.per_batch
        piece = Slice(
            epoch=epoch,
            ranges=tuple((stream, start, stop) for stream in range(self._plan.streams)),
        )
        table = self._reader.read(piece)
        pixels = pixels_of(table, self._reader.views.row_bytes)
        return (
            torch.tensor(table["sample_id"].to_numpy()),
            tuple(torch.tensor(block) for block in self._reader.views.split(pixels)),
        )


if __name__ == "__main__":
    typer.run(main)
