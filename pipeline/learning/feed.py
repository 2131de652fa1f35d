"""From an assembled batch to what the learner takes: on the device, views finished, masks drawn."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline import collectives
from pipeline.data.reading.assemble import Batch
from pipeline.learning.learner import LearnerBatch
from pipeline.objectives.base import PatchIndices
from pipeline.recipe import Recipe
from pipeline.views.arrays import Ints, Pixels
from pipeline.views.batched import finish_views
from pipeline.views.masks import draw_masks


class Feed:
    """Makes a rank's batches; what it draws depends on seed, epoch, step and sample ids alone."""

    def __init__(
        self, recipe: Recipe, *, grid: tuple[int, int] | None, device: torch.device
    ) -> None:
        """Keep what batches are made by.

        Args:
            recipe: of the run.
            grid: of the encoder's patches, if masks are drawn.
            device: where this rank computes.
        """
        self._views = recipe.views
        self._seed = recipe.seed
        self._grid = grid
        self._device = device

    def batch(self, assembled: Batch, *, step: int) -> LearnerBatch:
        """The learner's batch of an assembled one. Every rank calls this.

        Args:
            assembled: of this rank.
            step: global, counted from 0.
        """
        ids, epoch = assembled.sample_id, assembled.epoch
        views = tuple(self._to_device(block) for block in assembled.views)
        if self._views.executor == "device":
            views = finish_views(
                views, config=self._views, seed=self._seed, epoch=epoch, sample_ids=ids
            )
        return LearnerBatch(
            sample_id=self._to_device(ids),
            views=views,
            masks=self._masks(ids, epoch=epoch, step=step),
            epoch=epoch,
        )

    def noise(self, count: int) -> LearnerBatch:
        """A batch like the others, of random pixels. Every rank calls this with the same count."""
        draws = np.random.default_rng(0)
        ids = np.arange(count)
        return LearnerBatch(
            sample_id=self._to_device(ids),
            views=tuple(
                self._to_device(draws.integers(256, size=(count, *shape), dtype=np.uint8))
                for shape in self._views.shapes
            ),
            masks=self._masks(ids, epoch=0, step=0),
        )

    def _masks(self, ids: Ints, *, epoch: int, step: int) -> PatchIndices | None:
        if self._views.masks is None or self._grid is None:
            return None
        masks = draw_masks(
            self._views.masks,
            grid=self._grid,
            seed=self._seed,
            epoch=epoch,
            step=step,
            sample_ids=ids,
            shortest=_over_ranks,
        )
        return PatchIndices(
            visible=self._to_device(masks.context),
            blocks=self._to_device(masks.targets),
            sizes=self._to_device(masks.sizes),
        )

    def _to_device(self, values: Pixels | Ints) -> Tensor:
        tensor = torch.from_numpy(values)
        if self._device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True)


def _over_ranks(context: int, target: int) -> tuple[int, int]:
    """The smallest of all ranks' lengths. Every rank calls this."""
    contexts, targets = zip(*collectives.gather_json([context, target]), strict=True)
    return min(contexts), min(targets)
