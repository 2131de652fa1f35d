"""Mistakes in a recipe that only building its encoder and its objective shows."""

from __future__ import annotations

from pipeline.encoders.batch_norm import has_batch_norm
from pipeline.encoders.embeddings import problems_of_embedding
from pipeline.errors import Problem, UserError
from pipeline.evaluation.features import problems_of_kinds
from pipeline.learning.learner import Learner, build_learner
from pipeline.planning import pairs_plan, views_plan
from pipeline.planning.initial_weights import initial_weights
from pipeline.recipe import Recipe


def problems(recipe: Recipe) -> list[Problem]:
    """What the encoder, the objective, or the weights to start from do not allow."""
    found = []
    if recipe.encoder.args.get("in_chans", 3) != 3:
        return [Problem("encoder.args.in_chans", "must be 3: views are RGB")]
    try:
        learner = build_learner(recipe)
    except UserError as error:
        found += error.problems
    else:
        objective = learner.objective
        found += _problems_of_features(recipe, learner)
        found += _problems_of_micro_batch(recipe, learner)
        found += views_plan.problems(recipe, learner)
        found += pairs_plan.problems(recipe, objective)
        found += _initial_weights_problems(recipe)
    return found


def _problems_of_features(recipe: Recipe, learner: Learner) -> list[Problem]:
    """Features that the encoder and what stands behind it cannot give."""
    autoencoder = learner.objective.sole_autoencoder
    found = problems_of_embedding(recipe.features, autoencoder, setting="encoder.features")
    return found + problems_of_kinds(
        recipe.evaluate.features or (),
        setting="evaluate.features",
        encoder=learner.encoder,
        autoencoder=autoencoder,
    )


def _problems_of_micro_batch(recipe: Recipe, learner: Learner) -> list[Problem]:
    """A micro-batch of which batch normalisation would see one image at once."""
    views = recipe.views
    counts = [views.count] + ([views.local.count] if views.local else [])
    together = 1 if learner.objective.views_apart else min(counts)
    if recipe.train.micro_batch != 1 or together > 1 or not has_batch_norm(learner.encoder):
        return []
    return [
        Problem(
            "train.micro_batch",
            "1 leaves batch normalisation in the encoder a single view to normalise by; "
            "allowed: null, or 2 and more",
        )
    ]


def _initial_weights_problems(recipe: Recipe) -> list[Problem]:
    try:
        initial_weights(recipe)
    except UserError as error:
        return error.problems
    return []
