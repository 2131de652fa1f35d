"""The learner: encoder, objective and pair weighting as one module, with no Ray in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from pipeline.encoders.backbone import build_backbone, load_weights
from pipeline.encoders.batch_norm import globalise_batch_norm, has_batch_norm
from pipeline.encoders.ema import EMATwin
from pipeline.encoders.shape import encoder_shape
from pipeline.encoders.transformers.patches import encode_patches
from pipeline.learning.gradient_cache import encode_in_parts, statistics_kept
from pipeline.objectives.base import (
    EncodedPatches,
    EncodedViews,
    Objective,
    PairLosses,
    PatchIndices,
)
from pipeline.pairs.weighting import PairWeighting, PairWeights, weighted_total
from pipeline.randomness import seed_for
from pipeline.recipe import Recipe
from pipeline.views.parameters import ImageViews


@dataclass(frozen=True, kw_only=True)
class LearnerBatch:
    """A batch of this rank, on its device."""

    sample_id: Tensor  # (B,) int64, the samples' stable ids
    views: tuple[Tensor, ...]  # a block for each crop size, global first: (B, V, S, S, 3) uint8
    masks: PatchIndices | None = None  # of the patches, for objectives that mask
    epoch: int = 0  # that the samples are served in, equal on all ranks


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step found out about this rank's samples."""

    total: Tensor  # scalar with gradient
    features: Tensor  # (V, B, D) without gradient
    losses: PairLosses
    weights: PairWeights


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
        pairs: PairWeighting | None = None,
        micro_batch: int | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            encoder: from (B, 3, S, S) float to features (B, D).
            objective: scores features.
            views: for the mean and deviation of the pixels.
            pairs: weighs pairs; None: all weigh 1.
            micro_batch: samples that the encoder sees at once; None: all.
        """
        super().__init__()
        self.encoder = encoder
        self.objective = objective
        self.pairs = pairs or PairWeighting()
        self.twin = EMATwin(encoder) if objective.ema else None
        self._views_apart = objective.views_apart and has_batch_norm(encoder)
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
        self, batch: LearnerBatch, *, progress: float = 0.0, step_seed: int = 0
    ) -> StepResult:
        """DDP's way in; the same as `step`."""
        return self.step(batch, progress=progress, step_seed=step_seed)

    def step(self, batch: LearnerBatch, *, progress: float = 0.0, step_seed: int = 0) -> StepResult:
        """Encode a batch, score its pairs, weigh them. Every rank calls this with equal shapes.

        Args:
            batch: of this rank.
            progress: share of the run's steps that are done, in [0, 1).
            step_seed: of what is drawn once for all samples of the step; equal on all ranks.
        """
        views = self.encode(batch)
        losses = self.objective(replace(views, progress=progress, step_seed=step_seed))
        weights = self.pairs.weights(
            losses,
            global_views=views.global_views,
            epoch=batch.epoch,
            sample_id=batch.sample_id,
        )
        return StepResult(
            total=weighted_total(losses, weights),
            features=views.features.detach(),
            losses=losses,
            weights=weights,
        )

    def after_step(self, batch: LearnerBatch, result: StepResult, progress: float) -> None:
        """Move what follows the weights, once they are updated. Every rank calls this.

        Args:
            batch: of the step.
            result: of the step.
            progress: as the step was given it.
        """
        self.pairs.remember(
            result.losses, result.weights, epoch=batch.epoch, sample_id=batch.sample_id
        )
        if self.twin and self.objective.ema:
            self.twin.follow(self.encoder, self.objective.ema.momentum(progress))
        self.objective.after_step(progress)

    @property
    def product(self) -> nn.Module:
        """The encoder that leaves: the twin where it alone sees whole images."""
        return self.twin.module if self.twin and self.objective.grid else self.encoder

    def encode(self, batch: LearnerBatch) -> EncodedViews:
        """What the objective is given of a batch; `micro_batch` samples are encoded at once."""
        if batch.masks is not None:
            return self._encode_patches(batch, batch.masks)
        views = EncodedViews(
            sample_id=batch.sample_id,
            features=torch.cat([self._encode_block(block) for block in batch.views]),
            global_views=batch.views[0].shape[1],
            targets=self._encode_targets(batch.views[0]),
        )
        if not self.objective.reconstructs:
            return views
        return replace(
            views,
            samples=self._pixels(batch.views[0]).unflatten(0, (views.global_views, -1)),
            encode=self._encode_images,
        )

    def _encode_block(self, views: Tensor) -> Tensor:
        encoded = (
            encode_in_parts(
                partial(self._features, self.encoder),
                together,
                at_once=self._micro_batch,
                encoder=self.encoder,
                dim=1,
            )
            for together in self._batches(views)
        )
        return torch.cat(list(encoded))

    def _encode_targets(self, views: Tensor) -> Tensor | None:
        """The twin's features (G, B, D) of the global views."""
        if self.twin is None:
            return None
        parts = views.split(self._micro_batch or len(views))
        return torch.cat([self._targets(self.twin, part) for part in parts], dim=1)

    def _targets(self, twin: EMATwin, views: Tensor) -> Tensor:
        return torch.cat([self._features(twin, together) for together in self._batches(views)])

    def _batches(self, views: Tensor) -> tuple[Tensor, ...]:
        """Views (B, V, ...) as batch normalisation is to see them."""
        return views.split(1, dim=1) if self._views_apart else (views,)

    def _features(self, encoder: nn.Module, views: Tensor) -> Tensor:
        batch, count = views.shape[:2]
        features: Tensor = encoder(self.normalise(views))
        return features.view(count, batch, -1)

    def _encode_patches(self, batch: LearnerBatch, masks: PatchIndices) -> EncodedViews:
        """The encoder's tokens of visible patches, and the twin's of all."""
        (views,) = batch.views
        context = encode_in_parts(
            lambda part, visible: encode_patches(self.encoder, self.normalise(part), visible),
            views,
            masks.visible,
            at_once=self._micro_batch,
            encoder=self.encoder,
            dim=0,
        )
        assert self.twin is not None
        with torch.no_grad():
            targets = [
                encode_patches(self.twin.module, self.normalise(part))
                for part in views.split(self._micro_batch or len(views))
            ]
        return EncodedViews(
            sample_id=batch.sample_id,
            features=context.mean(dim=1)[None],
            global_views=1,
            patches=EncodedPatches(context=context, targets=torch.cat(targets), indices=masks),
        )

    def _encode_images(self, images: Tensor) -> Tensor:
        """Features (B, D) of images that are none of the data's; running statistics stay."""
        with statistics_kept(self.encoder):
            return encode_in_parts(
                lambda part: self.encoder((part - self.mean) / self.std),
                images,
                at_once=self._micro_batch,
                encoder=self.encoder,
                dim=0,
            )

    def normalise(self, views: Tensor) -> Tensor:
        """All first views, then all second ones …: (V * B, 3, S, S) in the parameters' type."""
        return (self._pixels(views) - self.mean) / self.std

    def _pixels(self, views: Tensor) -> Tensor:
        """The same in [0, 1]."""
        stacked = views.transpose(0, 1).flatten(0, 1).permute(0, 3, 1, 2)
        return stacked.to(self.mean.dtype) / 255


def build_learner(recipe: Recipe) -> Learner:
    """Build the learner of a recipe with the weights that its seed gives.

    Raises:
        UserError: timm refuses the encoder, or the encoder the views.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(recipe.seed, "weights"))
        encoder = build_backbone(recipe.encoder)
        objective = recipe.objective.build(
            encoder_shape(encoder, recipe.views.size), global_batch=recipe.train.global_batch
        )
        learner = Learner(
            encoder=encoder,
            objective=objective,
            views=recipe.views,
            pairs=recipe.pairs.build(objective.capabilities),
            micro_batch=recipe.train.micro_batch,
        )
    if recipe.train.batch_norm == "sync":
        globalise_batch_norm(learner)
    # Pixels arrive with channels last; convolutions are fastest when the weights lie so too.
    return learner.to(memory_format=torch.channels_last)
