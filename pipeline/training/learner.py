"""The learner: encoder, objective and pair weighting as one module, with no Ray in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pipeline.encoders.backbone import build_backbone, feature_width, load_weights
from pipeline.encoders.batch_norm import globalise_batch_norm
from pipeline.encoders.ema import EMATwin
from pipeline.objectives.base import EncodedViews, Objective, PairLosses
from pipeline.pairs.weighting import uniform_weights, weighted_total
from pipeline.randomness import seed_for
from pipeline.recipe import Recipe
from pipeline.views.parameters import ImageViews


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step found out about this rank's samples."""

    total: Tensor  # scalar with gradient
    features: Tensor  # (V, B, D) without gradient
    losses: PairLosses
    weights: Tensor  # (V, B)


class Learner(nn.Module):
    """From a batch of uint8 views to the loss that is minimised."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        encoder: nn.Module,
        objective: Objective,
        views: ImageViews,
        micro_batch: int | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            encoder: from (B, 3, S, S) float to features (B, D).
            objective: scores features.
            views: for the mean and deviation of the pixels.
            micro_batch: samples that the encoder sees at once; None: all.
        """
        super().__init__()
        self.encoder = encoder
        self.objective = objective
        self.twin = EMATwin(encoder) if objective.ema else None
        self._micro_batch = micro_batch
        self.register_buffer("mean", torch.tensor(views.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(views.std).view(1, 3, 1, 1), persistent=False)

    def load_encoder(self, weights: dict[str, Tensor]) -> None:
        """Start from these weights, the twin too.

        Raises:
            UserError: a tensor is missing, unexpected or of another shape.
        """
        load_weights(self.encoder, weights)
        if self.twin:
            load_weights(self.twin.module, weights)

    def forward(
        self, sample_id: Tensor, views: tuple[Tensor, ...], progress: float = 0.0
    ) -> StepResult:
        """DDP's way in; the same as `step`."""
        return self.step(sample_id, views, progress)

    def step(
        self, sample_id: Tensor, views: tuple[Tensor, ...], progress: float = 0.0
    ) -> StepResult:
        """Encode a batch, score its pairs, weigh them. Every rank calls this with equal shapes.

        Args:
            sample_id: (B,) int64, the samples' stable ids.
            views: a block for each crop size, the global views first: (B, V, S, S, 3) uint8.
            progress: share of the run's steps that are done, in [0, 1).
        """
        features = self.encode(views)
        targets = self._encode_targets(views[0])
        losses = self.objective(EncodedViews(features=features, targets=targets, progress=progress))
        weights = uniform_weights(losses)
        return StepResult(
            total=weighted_total(losses, weights),
            features=features.detach(),
            losses=losses,
            weights=weights,
        )

    def after_step(self, progress: float) -> None:
        """Move what follows the weights, once they are updated. Every rank calls this.

        Args:
            progress: as the step was given it.
        """
        if self.twin and self.objective.ema:
            self.twin.follow(self.encoder, self.objective.ema.momentum(progress))
        self.objective.after_step(progress)

    def encode(self, views: tuple[Tensor, ...]) -> Tensor:
        """Features (V, B, D) of all views, `micro_batch` samples at once.

        Gradient caching (Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory
        Limited Setup, 2021): only the features of a micro-batch are kept, and it is encoded again
        when the gradient at its features is known. This second pass is a part of the backward pass,
        so DDP sums each parameter's gradient once, as it does without micro-batches.

        Args:
            views: a block for each crop size, (B, V, S, S, 3) uint8.
        """
        return torch.cat([self._encode_block(block) for block in views])

    def _encode_block(self, views: Tensor) -> Tensor:
        if self._micro_batch is None or len(views) <= self._micro_batch:
            return self._encode_at_once(views)
        parts = [
            checkpoint(
                self._encode_at_once,
                part,
                use_reentrant=False,
                context_fn=lambda: (nullcontext(), _buffers_kept(self.encoder)),
            )
            for part in views.split(self._micro_batch)
        ]
        return torch.cat(parts, dim=1)

    def _encode_at_once(self, views: Tensor) -> Tensor:
        return self._features(self.encoder, views)

    def _encode_targets(self, views: Tensor) -> Tensor | None:
        """The twin's features (G, B, D) of the global views, `micro_batch` samples at once."""
        if self.twin is None:
            return None
        parts = views.split(self._micro_batch or len(views))
        return torch.cat([self._features(self.twin, part) for part in parts], dim=1)

    def _features(self, encoder: nn.Module, views: Tensor) -> Tensor:
        batch, count = views.shape[:2]
        features: Tensor = encoder(self._normalise(views))
        return features.view(count, batch, -1)

    def _normalise(self, views: Tensor) -> Tensor:
        """All first views, then all second ones …: (V * B, 3, S, S) in the parameters' type."""
        stacked = views.transpose(0, 1).flatten(0, 1).permute(0, 3, 1, 2)
        return (stacked.to(self.mean.dtype) / 255 - self.mean) / self.std


@contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    """Undo what passes within it do to running statistics."""
    before = [buffer.clone() for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, value in zip(module.buffers(), before, strict=True):
            buffer.copy_(value)


def build_learner(recipe: Recipe) -> Learner:
    """Build the learner of a recipe with the weights that its seed gives.

    Raises:
        UserError: timm refuses the encoder, or the encoder the views.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(recipe.seed, "weights"))
        encoder = build_backbone(recipe.encoder)
        objective = recipe.objective.build(
            feature_width(encoder, recipe.views.size), global_batch=recipe.train.global_batch
        )
        learner = Learner(
            encoder=encoder,
            objective=objective,
            views=recipe.views,
            micro_batch=recipe.train.micro_batch,
        )
    if recipe.train.batch_norm == "sync":
        globalise_batch_norm(learner)
    # Pixels arrive with channels last; convolutions are fastest when the weights lie so too.
    return learner.to(memory_format=torch.channels_last)
