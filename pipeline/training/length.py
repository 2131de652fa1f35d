"""How a recipe's data is cut, and how many steps its run has."""

from __future__ import annotations

from pipeline.data.corpus import load_corpus
from pipeline.data.streams import StreamPlan, divide_streams
from pipeline.recipe import Recipe


def stream_plan(recipe: Recipe) -> StreamPlan:
    """The cut of the recipe's data."""
    samples = load_corpus(recipe.data.manifests).samples
    return StreamPlan(
        seed=recipe.seed,
        samples=sum(samples),
        sources=_sources(recipe, samples) if len(samples) > 1 else (),
        streams=recipe.data.streams,
        global_batch=recipe.train.global_batch,
        shuffle_window=recipe.data.shuffle_window,
    )


def _sources(recipe: Recipe, samples: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    given = [source.weight for source in recipe.data.shards]
    weights = [
        count if weight is None else weight for weight, count in zip(given, samples, strict=True)
    ]
    return tuple(zip(samples, divide_streams(recipe.data.streams, weights), strict=True))


def total_steps(recipe: Recipe, plan: StreamPlan) -> int:
    """Global batches of the whole run."""
    if recipe.train.steps is not None:
        return recipe.train.steps
    assert recipe.train.epochs is not None
    return recipe.train.epochs * plan.steps_per_epoch
