"""Probe scores of a run's encoder, beside its floors."""

from __future__ import annotations

from functools import partial

from torch import nn

from pipeline.evaluation.probe_set import load_probe_set
from pipeline.evaluation.probes import FeatureFunction, encode_images, probe_scores, raw_pixels
from pipeline.recipe import Recipe
from pipeline.training.learner import initial_encoder


def probe_encoder(recipe: Recipe, encoder: nn.Module) -> dict[str, float]:
    """Probe an encoder beside its floors: raw pixels, and itself before the first step.

    Args:
        recipe: that trained it.
        encoder: on the device that is to compute.

    Returns:
        `knn`, `knn_untrained`, `knn_raw` and the same for `linear`; empty without `evaluate`.
    """
    if recipe.evaluate is None:
        return {}
    size, limit = recipe.views.size, recipe.evaluate.max_samples
    train = load_probe_set(recipe.evaluate.train, size=size, max_samples=limit)
    test = load_probe_set(recipe.evaluate.test, size=size, max_samples=limit)
    device = next(encoder.parameters()).device
    encode = partial(encode_images, mean=recipe.views.mean, std=recipe.views.std)
    untrained = initial_encoder(recipe.encoder, recipe.seed).to(device)
    contestants: dict[str, FeatureFunction] = {
        "": partial(encode, encoder),
        "_untrained": partial(encode, untrained),
        "_raw": raw_pixels,
    }
    scores: dict[str, float] = {}
    for suffix, features in contestants.items():
        found = probe_scores(features, train, test, probes=recipe.evaluate.probes, seed=recipe.seed)
        scores |= {f"{probe}{suffix}": score for probe, score in found.items()}
    return scores
