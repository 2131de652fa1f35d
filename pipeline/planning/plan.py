"""What a recipe would do: counts, sizes and every mistake in it, with nothing started."""

from __future__ import annotations

import re
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
from pipeline.data.reading import ingest
from pipeline.data.reading.shard_reader import read_labels
from pipeline.data.sources.manifest import Ids
from pipeline.data.whole_file import cannot_hold
from pipeline.encoders.embeddings import embedding_width
from pipeline.errors import Problem, UserError
from pipeline.learning.learner import Learner, build_learner
from pipeline.planning import (
    data_plan,
    evaluation_plan,
    micro_batch_plan,
    objective_plan,
    pairs_plan,
    views_plan,
)
from pipeline.planning.initial_weights import initial_weights
from pipeline.planning.length import stream_plan, total_steps
from pipeline.planning.memory import training_bytes
from pipeline.recipe import Recipe
from pipeline.recipe_file import draft_recipe
from pipeline.registry import tracking

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
    parameters: int
    encoder_parameters: int
    features: str
    feature_width: int
    memory_bytes: int
    warnings: list[str]


def checked_recipe(path: Path, overrides: Iterable[str]) -> Recipe:
    """Read a recipe and check it against everything it names.

    Raises:
        UserError: with every mistake that can be found without starting anything.
    """
    draft = draft_recipe(path, overrides)
    problems = list(draft.problems)
    recipe = draft.recipe.with_absolute_paths() if draft.recipe else None
    if recipe is not None:
        blamed = [problem.where for problem in problems]
        problems += [
            problem
            for problem in find_problems(recipe, blamed=blamed)
            if not _compares(problem, blamed)
        ]
    if problems or recipe is None:
        raise UserError(dict.fromkeys(problems))  # a set may serve for training and probing
    return recipe


def _compares(problem: Problem, blamed: Iterable[str]) -> bool:
    """Whether a problem rests on a setting that was wrong, and now has its default.

    Settings are looked for as whole dotted names, so that no path that contains one is mistaken.
    """
    return any(
        problem.where == setting
        or (
            "." in setting
            and re.search(rf"(?<![\w./]){re.escape(setting)}(?![\w./])", problem.message)
        )
        for setting in blamed
    )


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
        in_flight_bytes=ingest.bytes_in_flight(local_batch=local_batch, row_bytes=row_bytes),
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
        warnings=list(_warnings(recipe, learner)),
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


def find_problems(recipe: Recipe, *, blamed: Iterable[str] = ()) -> list[Problem]:
    """Every mistake that can be found without starting anything.

    Args:
        recipe: with absolute paths.
        blamed: settings known to be wrong, in whose place the recipe has defaults or stand-ins.
    """
    blamed = set(blamed)
    found = []
    if not any(setting == "data" or setting.startswith("data.shards") for setting in blamed):
        found += _data_problems(recipe)
    found += _elastic_problems(recipe)
    found += micro_batch_plan.problems(recipe)
    found += [
        Problem(f"objective.{where}", message)
        for where, message in recipe.objective.problems(global_batch=recipe.train.global_batch)
    ]
    found += evaluation_plan.problems(recipe)
    if not blamed & {"encoder", "encoder.name"}:
        found += _model_problems(recipe)
    if recipe.train.trace is not None and (fault := cannot_hold(Path(recipe.train.trace))):
        found.append(Problem("train.trace", fault))
    return found + _tracking_problems(recipe)


def _data_problems(recipe: Recipe) -> list[Problem]:
    workers = 1 if _is_elastic(recipe) else recipe.train.most_workers
    cut, found = data_plan.checked_cut(recipe, workers=workers)
    if cut is not None and cut.steps_per_epoch:
        found += pairs_plan.start_problems(recipe, last_epoch=_last_epoch(recipe))
    return found


def _last_epoch(recipe: Recipe) -> int:
    cut = stream_plan(recipe)
    return (total_steps(recipe, cut) - 1) // cut.steps_per_epoch


def _is_elastic(recipe: Recipe) -> bool:
    return recipe.train.least_workers < recipe.train.most_workers


def _elastic_problems(recipe: Recipe) -> list[Problem]:
    if not _is_elastic(recipe) or recipe.data.ingest == "inline":
        return []
    remedy = "readers of their own CPUs would starve where Ray gives those to more workers"
    return [Problem("data.ingest", f"a range of train.workers needs inline: {remedy}")]


def _model_problems(recipe: Recipe) -> list[Problem]:
    found = []
    if recipe.encoder.args.get("in_chans", 3) != 3:
        return [Problem("encoder.args.in_chans", "must be 3: views are RGB")]
    try:
        learner = build_learner(recipe)
    except UserError as error:
        found += error.problems
    else:
        objective = learner.objective
        found += evaluation_plan.problems_of_features(recipe, learner)
        found += micro_batch_plan.problems_of_encoder(recipe, learner)
        found += views_plan.problems(recipe, learner)
        found += pairs_plan.problems(recipe, objective)
        found += _initial_weights_problems(recipe)
    return found


def _initial_weights_problems(recipe: Recipe) -> list[Problem]:
    try:
        initial_weights(recipe)
    except UserError as error:
        return error.problems
    return []


def _tracking_problems(recipe: Recipe) -> list[Problem]:
    found = []
    if fault := storage.unreachable(recipe.tracking.storage):
        found.append(Problem("tracking.storage", fault))
    try:
        uri = tracking.tracking_uri(recipe.tracking.uri, recipe.tracking.storage)
    except UserError as error:
        return found + error.problems
    problem = tracking.unreachable(uri)
    return [*found, problem] if problem else found


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
    yield from micro_batch_plan.warnings(recipe, learner.encoder)
    yield from objective_plan.warnings(recipe)
    yield from views_plan.warnings(recipe)
    yield from pairs_plan.warnings(recipe, learner.objective, last_epoch=_last_epoch(recipe))
    if recipe.evaluate.test is None:
        yield "evaluate: no labelled shards given, so the encoder will have no probe scores"
    elif storage.absolute(recipe.evaluate.test) in map(storage.absolute, recipe.data.manifests):
        yield "evaluate.test: the same shards as data.shards; the scores will flatter"


def _sorted(labels: Ids) -> bool:
    return len(labels) > 2 and len(np.unique(labels)) > 1 and bool((np.diff(labels) >= 0).all())
