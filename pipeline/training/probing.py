"""Probe scores of a run's encoder, beside its floors."""

from __future__ import annotations

from functools import partial

from pipeline.evaluation.config import FeatureKind
from pipeline.evaluation.features import encode_images, raw_pixels
from pipeline.evaluation.probe_set import load_probe_set, parts_of
from pipeline.evaluation.probes.score import Score
from pipeline.evaluation.probes.scoring import FeatureFunction, contestant_scores
from pipeline.learning.learner import Learner, build_learner
from pipeline.recipe import Recipe


def probe_learner(recipe: Recipe, learner: Learner, *, floors: bool = True) -> dict[str, Score]:
    """Probe an encoder beside its floors: raw pixels, and itself before the first step.

    Args:
        recipe: that trained it.
        learner: its encoder and head, on the device that is to compute.
        floors: whether they are probed too.

    Returns:
        `knn`, `knn_untrained`, `knn_raw` of the first kind of features, `knn_KIND` of the others,
        and the same for the other probes; empty without labelled sets.
    """
    if recipe.evaluate.sets is None:
        return {}
    train, test = recipe.evaluate.sets
    size, limit = recipe.views.size, recipe.evaluate.max_samples
    first, *others = recipe.evaluate.kinds(recipe.features.kind)
    contestants: dict[str, FeatureFunction] = {
        "": _encode(recipe, learner, first),
        **{f"_{kind}": _encode(recipe, learner, kind) for kind in others},
    }
    if floors:
        untrained = build_learner(recipe).to(learner.mean.device)
        contestants |= {"_untrained": _encode(recipe, untrained, first), "_raw": raw_pixels}
    parts = parts_of(recipe.evaluate)
    return contestant_scores(
        contestants,
        load_probe_set(train, size=size, max_samples=limit, part=parts["train"]),
        load_probe_set(test, size=size, max_samples=limit, part=parts["test"]),
        probes=recipe.evaluate.probes,
        seed=recipe.seed,
    )


def _encode(recipe: Recipe, learner: Learner, kind: FeatureKind) -> FeatureFunction:
    return partial(
        encode_images,
        learner.product,
        kind=kind,
        mean=recipe.views.mean,
        std=recipe.views.std,
        last_layers=recipe.evaluate.last_layers,
        features=recipe.features,
        head=learner.objective,
        autoencoder=learner.objective.sole_autoencoder,
    )
