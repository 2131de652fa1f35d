"""The contract between objectives, pair weighting and the learner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.encoders.autoencoders.autoencoder import Autoencoder
from pipeline.encoders.configs.ema import EMAConfig
from pipeline.objectives.configs.base import ObjectiveConfig as ObjectiveConfig


class PatchIndices(NamedTuple):
    """Which patches of a batch are seen and which are predicted; int64."""

    visible: Tensor  # (B, Kc) patches of the context, in raster order
    blocks: Tensor  # (B, V, Kp) patches of each target block, in raster order, and then its padding
    sizes: Tensor  # (B, V) patches of each block that count: as many of its first ones

    @property
    def counted(self) -> Tensor:
        """Which places of the blocks count, (B, V, Kp) bool; the others are to influence nothing.

        Found without asking the device, and given also where no block has padding.
        """
        places = torch.arange(self.blocks.shape[2], device=self.blocks.device)
        return places < self.sizes[..., None]


@dataclass(frozen=True, kw_only=True)
class EncodedPatches:
    """What an objective that predicts patches is given of a step."""

    context: Tensor  # (B, Kc, D) of the encoder, which saw no others
    targets: Tensor  # (B, n, D) of its EMA twin, which saw all, no gradient
    indices: PatchIndices


@dataclass(frozen=True, kw_only=True)
class EncodedViews:
    """What an objective is given of a step."""

    features: Tensor  # (V, B, D) of the encoder; local views after the global ones
    global_views: int = 2  # G
    targets: Tensor | None = None  # (G, B, D) of its EMA twin for the global views, no gradient
    progress: float = 0.0  # share of the run's steps that are done, in [0, 1)
    patches: EncodedPatches | None = None  # where the objective masks
    step_seed: int = 0  # of what is drawn in a step; equal on all ranks
    sample_id: Tensor | None = None  # (B,) int64, the samples' stable ids; every step has them
    samples: Tensor | None = None  # (V, B, 3, S, S) in [0, 1], where the objective reconstructs
    encode: Callable[[Tensor], Tensor] | None = None  # the same of (B, 3, S, S): features (B, D)


@dataclass(frozen=True, kw_only=True)
class PairLosses:
    """What an objective says about a batch of B samples of this rank.

    The total is mean(w * loss) + sum(terms), with weights w (V, B) that carry no gradient.
    """

    loss: Tensor  # (V, B) for each predicting view and sample
    evidence: Tensor  # (B,) what a miner looks at
    projections: Tensor  # (V, B, D) what signs of collapse are measured of
    arbitrated: Tensor | None = None  # (V, B, D') what an arbiter looks at; None: the projections
    terms: dict[str, Tensor] = field(default_factory=dict)  # scalars no pair owns, weighted already
    logs: dict[str, Tensor] = field(default_factory=dict)  # scalars to record


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What an objective allows; `plan` refuses what it forbids."""

    views: int  # global views it works on
    more_views: bool = False  # whether it also takes more of them
    local_views: bool = False  # whether it also takes local views
    mining: Literal["per_sample", "none"]
    arbitration: Literal["per_view", "per_sample", "none"]


class Objective(nn.Module):
    """An objective with its heads; subclasses state capabilities and implement `forward`."""

    capabilities: Capabilities
    ema: EMAConfig | None = None
    """How the twin that gives targets follows the encoder; None: there is no twin."""
    grid: tuple[int, int] | None = None
    """Of the patches that it masks and predicts; None: it looks at whole views."""
    reconstructs: bool = False
    """Whether it is given the views themselves and the encoder, beside features."""
    views_apart: bool = False
    """Whether batch normalisation, of encoder and heads, sees each view as a batch of its own."""

    def __init__(self, *, feature_width: int, projector: nn.Module) -> None:
        """Keep the head.

        Args:
            feature_width: D of the encoder it is for.
            projector: from features (B, D) to (B, P).
        """
        super().__init__()
        self.feature_width = feature_width
        self.projector = projector

    def forward(self, views: EncodedViews) -> PairLosses:
        """Score a batch. Every rank calls this with equal shapes."""
        raise NotImplementedError

    def project(self, features: Tensor) -> Tensor:
        """The head's output for features (B, D): (B, P), before any normalisation."""
        projected: Tensor = self.projector(features)
        return projected

    @property
    def arbitrated_width(self) -> int:
        """Dimensions of the projections that an arbiter looks at."""
        with torch.no_grad():
            return self.project(torch.zeros(2, self.feature_width)).shape[1]

    def project_views(self, features: Tensor) -> Tensor:
        """The same for features (V, B, D): (V, B, P), at least float32."""
        return at_least_float32(self.of_views(self.project, features))

    def of_views(self, head: Callable[[Tensor], Tensor], views_VBD: Tensor) -> Tensor:
        """A head's output for views (V, B, ...), each a batch or all one: (V, B, ...)."""
        if self.views_apart:
            return torch.stack([head(view) for view in views_VBD])
        return head(views_VBD.flatten(0, 1)).unflatten(0, views_VBD.shape[:2])

    @property
    def sole_autoencoder(self) -> Autoencoder | None:
        """What stands behind the encoder, if it is exactly one autoencoder."""
        return None

    def negative_weights(self, cosines: Tensor, progress: float) -> Tensor:
        """How hard a step pushes each of an anchor's negatives away, up to a factor for the anchor.

        The derivative of the loss by a pair's similarity (Wang et al., Multi-Similarity Loss, 2019,
        section 3.1). Objectives that decorrelate dimensions push by the similarity itself, since
        the squared norm of the correlations of dimensions is that of the similarities of samples
        (Tao et al., Exploring the Equivalence of Siamese SSL, 2022), and so do, by way of their
        predictor, those without negatives.

        Args:
            cosines: (M, K) of M anchors with K negatives each, float32.
            progress: as the step was given it.

        Returns:
            (M, K), none below 0.
        """
        return cosines.abs()

    def after_step(self, progress: float) -> None:
        """Move what follows the weights: twins of heads, queues. Every rank calls this.

        Args:
            progress: as the step was given it.
        """

    def constant_rate_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters whose learning rate stays at its peak."""
        yield from ()


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision as float32: similarities, densities and covariances need it."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def without_autocast(values: Tensor) -> torch.autocast:
    """Within it products are of the precision of their factors, on the device of `values`."""
    return torch.autocast(values.device.type, enabled=False)
