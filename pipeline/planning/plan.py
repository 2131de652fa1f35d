"""What a recipe would do: counts, sizes and every mistake in it, with nothing started."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.data import storage
from pipeline.data.order.corpus import load_corpus
from pipeline.data.order.export import write_order
from pipeline.data.order.streams import StreamPlan
from pipeline.data.order.workers import allowed_workers, workers_that_train
from pipeline.data.reading.shard_reader import read_labels
from pipeline.data.sources.manifest import Ids
from pipeline.encoders.batch_norm import has_batch_norm
from pipeline.encoders.embeddings import embedding_width
from pipeline.learning.learner import Learner, build_learner
from pipeline.planning import (
    data_plan,
    micro_batch_plan,
    objective_plan,
    pairs_plan,
    photographs,
    reading_plan,
    views_plan,
)
from pipeline.planning.check import checked_recipe
from pipeline.planning.length import last_epoch, stream_plan, total_steps
from pipeline.planning.memory import training_bytes
from pipeline.recipe import Recipe
from pipeline.recipe_file import RecipeSource

_LABELS_LOOKED_AT = 100_000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Figures of a recipe; bytes are of one worker."""

    samples: int  # in all manifests
    excluded: int  # of them
    shards: int
    streams: int
    allowed_workers: list[int]
    workers: int
    steps_per_epoch: int
    steps: int
    epochs: float
    dropped_tail: int
    repeated: int
    sources: list[dict[str, Any]]
    local_batch: int
    batch_bytes: int
    in_flight_bytes: int
    network_bytes_per_image: int
    cache_bytes_needed: int  # of a node that serves all streams
    times_fetched: float  # an epoch, of remote shards
    parameters: int
    encoder_parameters: int
    features: str
    feature_width: int
    memory_bytes: int
    warnings: list[str]


def plan(recipe: RecipeSource | Recipe, overrides: Iterable[str] = ()) -> Plan:
    """Say what a recipe would do; starts nothing.

    Args:
        recipe: a YAML file, nested mappings, or a recipe that was read before.
        overrides: settings to change, as `a.b=value`.

    Raises:
        UserError: with every mistake in the recipe and in what it names.
    """
    return plan_recipe(checked_recipe(recipe, overrides))


def plan_recipe(recipe: Recipe) -> Plan:
    """Work out what a recipe would do.

    Args:
        recipe: as `checked_recipe` gives it.
    """
    cut = stream_plan(recipe)
    steps = total_steps(recipe, cut)
    learner = build_learner(recipe)
    workers = workers_that_train(cut.streams, started=recipe.train.most_workers)
    local_batch = recipe.train.global_batch // workers
    row_bytes = recipe.views.row_bytes
    fetching = reading_plan.fetching(recipe, cut, workers=workers)
    return Plan(
        samples=cut.samples,
        excluded=cut.samples - cut.left,
        shards=sum(len(m.shards) for m in load_corpus(recipe.data.manifests).manifests),
        streams=cut.streams,
        allowed_workers=allowed_workers(cut.streams),
        workers=workers,
        steps_per_epoch=cut.steps_per_epoch,
        steps=steps,
        epochs=round(steps / cut.steps_per_epoch, 3),
        dropped_tail=cut.dropped_tail,
        repeated=cut.repeated,
        sources=data_plan.sources(recipe, cut),
        local_batch=local_batch,
        batch_bytes=local_batch * row_bytes,
        in_flight_bytes=reading_plan.read_ahead(recipe, workers=workers).bytes,
        network_bytes_per_image=reading_plan.network_bytes(recipe),
        cache_bytes_needed=fetching.cache_bytes,
        times_fetched=fetching.times,
        parameters=_count(learner),
        encoder_parameters=_count(learner.encoder),
        features=recipe.features.kind,
        feature_width=embedding_width(
            recipe.features,
            learner.objective.sole_autoencoder,
            feature_width=learner.objective.feature_width,
            size=recipe.views.size,
        ),
        memory_bytes=training_bytes(
            learner, recipe, local_batch=local_batch, samples=_most_remembered(cut, workers)
        ),
        warnings=[
            *_warnings(recipe, learner),
            *reading_plan.warnings(recipe, fetching, workers=workers),
        ],
    )


def _most_remembered(cut: StreamPlan, workers: int) -> int:
    """Of the workers' ids, of which streams of several sets have very different numbers."""
    lengths = [high - low for low, high in map(cut.bounds, range(cut.streams))]
    return max(
        sum(lengths[stream] for stream in cut.streams_of(rank, workers)) for rank in range(workers)
    )


def write_epoch_order(recipe: Recipe, path: Path, *, epoch: int) -> int:
    """Write the order in which an undisturbed epoch serves the recipe's data.

    Returns:
        The number of samples in it.

    Raises:
        UserError: the file cannot be written.
    """
    boundaries = load_corpus(recipe.data.manifests).boundaries
    return write_order(path, stream_plan(recipe), boundaries, epoch=epoch)


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _warnings(recipe: Recipe, learner: Learner) -> Iterator[str]:
    corpus = load_corpus(recipe.data.manifests)
    for number, manifest in enumerate(corpus.manifests):
        where = f"data.shards[{number}]" if len(corpus.manifests) > 1 else "data.shards"
        if not manifest.shuffled:
            yield f"{where}: the samples were not shuffled when the shards were made"
        if manifest.labelled and _sorted(read_labels(corpus, number, at_most=_LABELS_LOOKED_AT)):
            yield f"{where}: the samples are sorted by label; batches will lack negatives"
    yield from photographs.warnings(recipe)
    yield from micro_batch_plan.warnings(recipe, batch_norm=has_batch_norm(learner.encoder))
    yield from objective_plan.warnings(recipe)
    yield from views_plan.warnings(recipe)
    yield from pairs_plan.warnings(recipe, learner.objective, last_epoch=last_epoch(recipe))
    if recipe.evaluate.sets is None:
        yield "evaluate: no labelled shards given, so the encoder will have no probe scores"
    elif _tests_on_its_data(recipe):
        yield "evaluate.test: the same shards as data.shards; the scores will flatter"


def _tests_on_its_data(recipe: Recipe) -> bool:
    test = recipe.evaluate.test
    return (
        test is not None
        and recipe.evaluate.validation is None
        and storage.absolute(test) in map(storage.absolute, recipe.data.manifests)
    )


def _sorted(labels: Ids) -> bool:
    return len(labels) > 2 and len(np.unique(labels)) > 1 and bool((np.diff(labels) >= 0).all())
