"""What a report shows of an autoencoder: images decoded from posteriors, the prior, and between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.reading.first_views import FirstImages
from pipeline.encoders.autoencoders import noise
from pipeline.encoders.autoencoders.autoencoder import Autoencoder
from pipeline.encoders.autoencoders.likelihood import Bernoulli, Gaussian, Likelihood
from pipeline.learning.learner import Learner
from pipeline.objectives.base import Objective
from pipeline.objectives.composite import Composite
from pipeline.objectives.configs.base import ObjectiveConfig
from pipeline.objectives.configs.composite import CompositeConfig
from pipeline.objectives.configs.latent import LatentObjectiveConfig
from pipeline.objectives.parts.latent import LatentObjective
from pipeline.recipe import Recipe
from pipeline.report.facts import Interpolations, PriorSamples, Reconstructions
from pipeline.report.gathering.pictures import NO_ENCODER_YET, FirstSamples, operations, or_reason
from pipeline.runs.folder import RunFolder
from pipeline.runs.product import trained_learner
from pipeline.views.arrays import Pixels
from pipeline.views.opencv import render_probe_view

_IMAGES = 12
_SAMPLES = 24
_PATHS = 4
STEPS = 8
"""Codes of a path, both ends among them."""
_AFFORDED = 3e10  # operations for each of the three: together about two seconds of a core
_DECODING = "decoding codes failed"
_NEARLY_STRAIGHT = 1e-4  # sine of an angle, below which there is no telling in which plane it lies


@dataclass(frozen=True, kw_only=True)
class AutoencoderFacts:
    """What there is to show, or why it cannot be had; None where the run has no autoencoder."""

    reconstructions: Reconstructions | str | None = None
    prior_samples: PriorSamples | str | None = None
    interpolations: Interpolations | str | None = None


def autoencoder_facts(
    recipe: Recipe, first: FirstSamples | str, folder: RunFolder, *, finished: bool
) -> AutoencoderFacts:
    """Gather them from the run's last checkpoint.

    Args:
        recipe: of the run.
        first: its first samples, or why there are none.
        folder: of the run.
        finished: whether the run has ended, so that its newest checkpoint is its last.
    """
    if not _has_autoencoder(recipe.objective):
        return AutoencoderFacts()
    if not finished:
        return _nothing(NO_ENCODER_YET)
    trained = or_reason(lambda: _trained(recipe, folder), "the run's weights cannot be read")
    if isinstance(trained, str):
        return _nothing(trained)
    drawn = or_reason(lambda: _prior_samples(trained, recipe.seed), _DECODING)
    if isinstance(first, str):
        return AutoencoderFacts(reconstructions=first, prior_samples=drawn, interpolations=first)
    encoded = or_reason(lambda: _encoded(trained, first.images), "encoding the images failed")
    if isinstance(encoded, str):
        return AutoencoderFacts(
            reconstructions=encoded, prior_samples=drawn, interpolations=encoded
        )
    return AutoencoderFacts(
        reconstructions=or_reason(lambda: _reconstructions(trained, encoded), _DECODING),
        prior_samples=drawn,
        interpolations=or_reason(lambda: _interpolations(trained, encoded), _DECODING),
    )


def _nothing(reason: str) -> AutoencoderFacts:
    return AutoencoderFacts(reconstructions=reason, prior_samples=reason, interpolations=reason)


def _has_autoencoder(objective: ObjectiveConfig) -> bool:
    if isinstance(objective, CompositeConfig):
        return any(_has_autoencoder(part.objective) for part in objective.parts)
    return isinstance(objective, LatentObjectiveConfig)


def _autoencoder(objective: Objective) -> Autoencoder:
    """An objective's, or that of the first part of a composite one that has any."""
    parts = objective.parts if isinstance(objective, Composite) else [objective]
    return next(part.autoencoder for part in parts if isinstance(part, LatentObjective))


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """A learner in eval mode, its autoencoder, and what one image costs."""

    learner: Learner
    autoencoder: Autoencoder
    size: int  # S of images
    encoding: int  # operations
    decoding: int  # operations

    @property
    def width(self) -> int:
        return self.autoencoder.head.width

    def codes(self, images: Pixels) -> Tensor:
        """The means of posteriors (n, D) of images (n, S, S, 3)."""
        features = self.learner.encoder(self.learner.normalise(torch.from_numpy(images)[:, None]))
        return self.autoencoder.posterior(features).mean

    def target(self, images: Pixels) -> Tensor:
        """What is to be decoded, (n, C, S, S) in [0, 1]."""
        return self.autoencoder.target(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)

    def means(self, codes: Tensor) -> Pixels:
        """The likelihood's means (n, S, S, C) of codes (n, D), as pixels."""
        return self.pixels(self.autoencoder.decode(codes).output)

    def pixels(self, output: Tensor) -> Pixels:
        """The same of the decoder's output."""
        means = self.autoencoder.likelihood.mean(output).permute(0, 2, 3, 1)
        pixels: Pixels = (255 * means.clamp(0, 1)).round().to(torch.uint8).numpy()
        return pixels


@dataclass(frozen=True, kw_only=True)
class _Encoded:
    """The first samples and the means of their posteriors."""

    sample_ids: list[int]
    images: Pixels  # (n, S, S, 3)
    codes: Tensor  # (n, D)


@torch.no_grad()
def _trained(recipe: Recipe, folder: RunFolder) -> _Trained:
    learner = trained_learner(recipe, folder).eval()
    autoencoder = _autoencoder(learner.objective)
    size = recipe.views.size
    image, code = torch.zeros(1, 3, size, size), torch.zeros(1, autoencoder.head.width)
    return _Trained(
        learner=learner,
        autoencoder=autoencoder,
        size=size,
        encoding=operations(lambda: learner.encoder(image)),
        decoding=operations(lambda: autoencoder.decode(code)),
    )


def _affordable(operations: int, *, least: int, most: int) -> int:
    """How many of something there are, so that a large model holds up no run's end."""
    return int(np.clip(_AFFORDED / operations, least, most))


@torch.no_grad()
def _prior_samples(trained: _Trained, seed: int) -> PriorSamples:
    count = _affordable(trained.decoding, least=1, most=_SAMPLES)
    codes = noise.normal("prior sample", seed, torch.arange(count), count=trained.width)
    return PriorSamples(width=trained.width, seed=seed, means=trained.means(codes.float()))


@torch.no_grad()
def _encoded(trained: _Trained, first: FirstImages) -> _Encoded:
    # Two at least: a path has two ends.
    count = _affordable(trained.encoding + trained.decoding, least=2, most=_IMAGES)
    images = np.stack([render_probe_view(i, trained.size) for i in first.images[:count]])
    return _Encoded(
        sample_ids=first.sample_ids[:count].tolist(), images=images, codes=trained.codes(images)
    )


@torch.no_grad()
def _reconstructions(trained: _Trained, encoded: _Encoded) -> Reconstructions:
    target = trained.target(encoded.images).double()
    output = trained.autoencoder.decode(encoded.codes).output.double()
    likelihood = _of_images(trained.autoencoder.likelihood)
    # The outputs whose means are the images; none is 0 or 1 for sure.
    best = target.logit(eps=1e-9) if isinstance(likelihood, Bernoulli) else target
    return Reconstructions(
        sample_ids=encoded.sample_ids,
        images=encoded.images,
        means=trained.pixels(output),
        nats=likelihood.nats(output, target).numpy(),
        least_nats=likelihood.nats(best, target).numpy(),
        likelihood=_description(likelihood),
    )


def _of_images(likelihood: Likelihood) -> Bernoulli | Gaussian:
    assert isinstance(likelihood, Bernoulli | Gaussian)
    return likelihood


def _description(likelihood: Bernoulli | Gaussian) -> str:
    settings = likelihood.model_dump(exclude={"kind", "reduction"})
    return ", ".join([likelihood.kind, *(f"{name} {value:g}" for name, value in settings.items())])


@torch.no_grad()
def _interpolations(trained: _Trained, encoded: _Encoded) -> Interpolations | str:
    pairs = len(encoded.images) // 2
    if not pairs:
        return "they lead from one sample to another, and there is one alone."
    count = min(pairs, _affordable(STEPS * trained.decoding, least=1, most=_PATHS))
    ends = encoded.codes[: 2 * count].unflatten(0, (count, 2))
    codes = spherical_path(ends[:, 0], ends[:, 1], steps=STEPS)
    means = trained.means(codes.flatten(0, 1))
    ids = encoded.sample_ids
    return Interpolations(
        sample_ids=[(ids[2 * row], ids[2 * row + 1]) for row in range(count)],
        images=encoded.images[: 2 * count].reshape(count, 2, *encoded.images.shape[1:]),
        means=means.reshape(count, STEPS, *means.shape[1:]),
    )


def spherical_path(start_ND: Tensor, end_ND: Tensor, *, steps: int) -> Tensor:
    """Codes along the arc from one code to another (White, Sampling Generative Networks, 2016).

    Between far codes of a normal distribution a straight line comes nearer to 0 than codes ever
    are. Codes in one direction, or in opposite ones, have no arc: between them it is a line.

    Args:
        start_ND: N codes.
        end_ND: as many.
        steps: T, at least 2.

    Returns:
        (N, T, D), whose first and last are the codes given.
    """
    start_N1D, end_N1D = start_ND.double()[:, None], end_ND.double()[:, None]
    share_T1 = torch.linspace(0, 1, steps, dtype=torch.float64)[:, None]
    cosine_N11 = F.cosine_similarity(start_N1D, end_N1D, dim=-1).clamp(-1, 1)[..., None]
    angle_N11 = cosine_N11.acos()
    sine_N11 = angle_N11.sin()
    straight = sine_N11 < _NEARLY_STRAIGHT
    divisor = sine_N11.masked_fill(straight, 1)
    from_start = torch.where(straight, 1 - share_T1, ((1 - share_T1) * angle_N11).sin() / divisor)
    from_end = torch.where(straight, share_T1, (share_T1 * angle_N11).sin() / divisor)
    return (from_start * start_N1D + from_end * end_N1D).to(start_ND.dtype)
