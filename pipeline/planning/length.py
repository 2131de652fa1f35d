"""How a recipe's data is cut, and how many steps its run has."""

from __future__ import annotations

from pipeline.data.order.corpus import SOURCE_STRIDE, load_corpus
from pipeline.data.order.exclusion import Exclusion, load_exclusion
from pipeline.data.order.streams import StreamPlan, divide_streams
from pipeline.recipe import Recipe


def stream_plan(recipe: Recipe) -> StreamPlan:
    """The cut of the recipe's data.

    Raises:
        UserError: a manifest, or the file of excluded samples, cannot be read.
    """
    samples = load_corpus(recipe.data.manifests).samples
    excluded = load_exclusion(recipe.data.exclude)
    return StreamPlan(
        seed=recipe.seed,
        samples=sum(samples),
        sources=_sources(recipe, samples, excluded) if len(samples) > 1 else (),
        streams=recipe.data.streams,
        global_batch=recipe.train.global_batch,
        shuffle_window=recipe.data.shuffle_window,
        excluded=excluded,
    )


def _sources(
    recipe: Recipe, samples: tuple[int, ...], excluded: Exclusion
) -> tuple[tuple[int, int], ...]:
    weights: list[float] = []
    for number, (source, count) in enumerate(zip(recipe.data.shards, samples, strict=True)):
        first_id = number * SOURCE_STRIDE
        left = count - excluded.count(first_id, first_id + count)
        weights.append(max(1, left) if source.weight is None else source.weight)
    return tuple(zip(samples, divide_streams(recipe.data.streams, weights), strict=True))


def snapshot_steps(recipe: Recipe, plan: StreamPlan) -> int | None:
    """Steps between snapshots; None: one at the end."""
    if recipe.evaluate.every is None:
        return None
    return max(1, round(recipe.evaluate.every * plan.steps_per_epoch))


def snapshot_samples(recipe: Recipe, plan: StreamPlan) -> int:
    """Samples of each set in a snapshot, so many that it costs at most a share of the training.

    A step on a sample passes forward and backward, three times a forward pass, each of its two or
    more views; a snapshot passes forward a sample's two views for the panel, and one of each set of
    the probes. So as many samples may be looked at as are that share of those trained on meanwhile,
    and a third is left for what passes do not account for.
    """
    wanted = recipe.evaluate.snapshot_samples
    steps = snapshot_steps(recipe, plan)
    if steps is None:  # it comes when the training is over
        return wanted
    return min(wanted, int(recipe.evaluate.snapshot_share * steps * plan.global_batch))


def total_steps(recipe: Recipe, plan: StreamPlan) -> int:
    """Global batches of the whole run."""
    if recipe.train.steps is not None:
        return recipe.train.steps
    assert recipe.train.epochs is not None
    return recipe.train.epochs * plan.steps_per_epoch


def last_epoch(recipe: Recipe) -> int:
    """The epoch in which the run ends, counted from 0."""
    cut = stream_plan(recipe)
    return (total_steps(recipe, cut) - 1) // cut.steps_per_epoch
