"""What the study of cMIM measures of a trained learner: probes, reconstruction, active units."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipeline.encoders.configs.features import FeaturesConfig
from pipeline.evaluation.config import FeatureKind, Probe
from pipeline.evaluation.features import Images, encode_images
from pipeline.evaluation.probes.score import score_of
from pipeline.evaluation.probes.scoring import predictions
from pipeline.learning.learner import Learner
from pipeline.objectives.base import EncodedViews
from pipeline.objectives.parts.latent import LatentObjective

KINDS: dict[str, Any] = {
    "mean": "mean",
    "sample": "sample",
    "pooled": "pooled",
    **{
        f"hidden {layer} {pool}": {"kind": "decoder_hidden", "layer": layer, "pool": pool}
        for layer, pool in ((0, "mean"), (0, "none"), (1, "mean"), (2, "mean"))
    },
}
"""Features of an autoencoder."""

_AT_ONCE = 256
_ACTIVE = 0.01  # variance of a unit's posterior mean (Burda et al., 2016, section 4.1)


def encoded_alone(learner: Learner, images: Images) -> EncodedViews:
    """Images as a step's only view, encoded in eval mode."""
    learner.eval()
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        features = learner.encoder((pixels - learner.mean) / learner.std)
    learner.train()
    return EncodedViews(
        features=features[None],
        global_views=1,
        samples=pixels[None],
        sample_id=torch.arange(len(images)),
    )


@torch.no_grad()
def generation(learner: Learner, images: Images) -> dict[str, float]:
    """Of the autoencoder, on images that it has not seen."""
    objective = learner.objective
    assert isinstance(objective, LatentObjective)
    losses, exact, means, scales = [], [], [], []
    for start in range(0, len(images), _AT_ONCE):
        views = encoded_alone(learner, images[start : start + _AT_ONCE])
        codes = objective.codes(views)
        mean, log_scale = codes.posterior
        target = objective.autoencoder.target(views.samples[0])
        losses.append(codes.reconstruction[0])
        exact.append(objective.autoencoder.reconstruction_loss(mean[0], target))
        means.append(mean[0])
        scales.append(log_scale[0])
    all_means = torch.cat(means)
    return {
        "nll": float(torch.cat(losses).mean()),
        "nll_of_means": float(torch.cat(exact).mean()),
        "active_units": int((all_means.var(dim=0) > _ACTIVE).sum()),
        "log_scale": float(torch.cat(scales).mean()),
    }


def probe_scores(
    learner: Learner, sets: dict[str, tuple[Images, Any]], *, every_kind: bool
) -> dict[str, dict[str, float]]:
    """Accuracies by kind of features and probe; the first kind is what settings are chosen by."""
    kinds = KINDS if isinstance(learner.objective, LatentObjective) else {"pooled": "pooled"}
    if not every_kind:
        kinds = dict([next(iter(kinds.items()))])
    found: dict[str, dict[str, float]] = {}
    for name, given in kinds.items():
        wanted = FeaturesConfig.model_validate(given)
        encoded = {part: _features(learner, sets[part][0], wanted) for part in ("fit", "check")}
        found[name] = accuracies(encoded, sets)
    return found


def accuracies(encoded: dict[str, Tensor], sets: dict[str, tuple[Images, Any]]) -> dict[str, float]:
    labels, expected = sets["fit"][1], sets["check"][1]
    return {
        str(probe): score_of(
            predictions(probe, encoded["fit"], labels, encoded["check"], seed=0) == expected,
            seed=0,
        ).accuracy
        for probe in Probe
    }


def _features(learner: Learner, images: Images, wanted: FeaturesConfig) -> Tensor:
    return encode_images(
        learner.encoder,
        images,
        kind=FeatureKind(wanted.kind),
        mean=learner.mean.flatten().tolist(),
        std=learner.std.flatten().tolist(),
        features=wanted,
        autoencoder=learner.objective.sole_autoencoder,
    )
