"""All tasks that a target allows, on the features of an encoder and of the floor beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from pipeline.evaluation.config import Probe, TargetKind, Task
from pipeline.evaluation.probes.linear_classifier import Labels
from pipeline.evaluation.probes.score import Score, score_of
from pipeline.evaluation.probes.scoring import FeatureFunction, predictions
from pipeline.evaluation.targets.target import Target, TargetedImages
from pipeline.evaluation.tasks.clustering import cluster_estimates
from pipeline.evaluation.tasks.estimate import Estimate, mean_estimate
from pipeline.evaluation.tasks.few_shot import few_shot_estimates
from pipeline.evaluation.tasks.multilabel import learnable, multilabel_estimates
from pipeline.evaluation.tasks.per_class import ClassScore, class_scores
from pipeline.evaluation.tasks.regression import regression_estimates
from pipeline.evaluation.tasks.retrieval import retrieval_figures

RAW = "_raw"
"""Suffix of the floor's figures."""


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """What a probe takes test samples for."""

    probe: Probe
    truth: Labels  # (M,)
    predicted: Labels  # (M,)


@dataclass(kw_only=True)
class Found:
    """What the tasks found out."""

    scores: dict[str, Score] = field(default_factory=dict)
    tasks: dict[str, Estimate] = field(default_factory=dict)
    per_class: dict[str, ClassScore] = field(default_factory=dict)
    confusion: Confusion | None = None
    notes: list[str] = field(default_factory=list)


def allowed_tasks(kind: TargetKind) -> list[Task]:
    """What can be done with such targets."""
    return list(Task) if kind == TargetKind.classes else [Task.probes]


def run_tasks(
    contestants: Mapping[str, FeatureFunction],
    target: Target,
    train: TargetedImages,
    test: TargetedImages,
    *,
    tasks: Sequence[Task],
    probes: Sequence[Probe],
    seed: int,
) -> Found:
    """Run the tasks, and say what they leave out.

    Args:
        contestants: suffix of their figures to feature function; "" is the encoder, "_raw" the
            floor.
        target: what the values of both sets are.
        train: what is fitted on.
        test: what is scored on.
        tasks: allowed for the target's kind.
        probes: which, at least one.
        seed: of everything that is drawn.
    """
    found = Found()
    predicted: dict[str, Labels] = {}
    detailed = Probe.linear if Probe.linear in probes else probes[0]
    for suffix, features in contestants.items():
        fit, check = features(train.images), features(test.images)
        notes: list[str] = []
        if target.kind == TargetKind.multilabel:
            estimates = _of_labels(target, fit, train, check, test, seed, notes)
        elif target.kind == TargetKind.regression:
            estimates = regression_estimates(
                fit.numpy(), train.values, check.numpy(), test.values, seed=seed
            )
        else:
            needed = {*probes} if Task.probes in tasks else set()
            if Task.per_class in tasks and suffix in ("", RAW):
                needed.add(detailed)
            for probe in (probe for probe in Probe if probe in needed):
                labels = predictions(probe, fit, train.values, check, seed=seed)
                if Task.probes in tasks and probe in probes:
                    right = labels == test.values
                    found.scores[f"{probe}{suffix}"] = score_of(right, seed=seed)
                if probe == detailed:
                    predicted[suffix] = labels
            estimates = _of_classes(target, fit, train, check, test, tasks, seed, notes)
        found.tasks |= {f"{name}{suffix}": estimate for name, estimate in estimates.items()}
        if suffix == "":
            found.notes += notes  # which are about targets, and so the same for all
    if Task.per_class in tasks:
        found.per_class = class_scores(
            test.values, predicted[""], predicted[RAW], names=target.names, seed=seed
        )
        found.confusion = Confusion(probe=detailed, truth=test.values, predicted=predicted[""])
    return found


def _of_classes(
    target: Target,
    fit: Tensor,
    train: TargetedImages,
    check: Tensor,
    test: TargetedImages,
    tasks: Sequence[Task],
    seed: int,
    notes: list[str],
) -> dict[str, Estimate]:
    estimates: dict[str, Estimate] = {}
    if Task.retrieval in tasks:
        figures = retrieval_figures(fit, train.values, check, test.values)
        asked = len(figures["retrieval_map"])
        if asked < len(test.values):
            notes.append(
                f"retrieval: {len(test.values) - asked} test samples are of classes that --train "
                "lacks, and ask for nothing"
            )
        if asked:
            estimates |= {
                name: mean_estimate(values, seed=seed) for name, values in figures.items()
            }
    if Task.clustering in tasks:
        if len(np.unique(test.values)) > 1:
            estimates |= cluster_estimates(check, test.values, seed=seed)
        else:
            notes.append("clustering: left out, the test samples are all of one class")
    if Task.few_shot in tasks:
        shots, left_out = few_shot_estimates(fit, train.values, check, test.values, seed=seed)
        estimates |= shots
        notes += [
            f"few_shot_{few.shots}: left out, {target.names[few.label]!r} has {few.samples} "
            "training samples"
            for few in left_out
        ]
    return estimates


def _of_labels(
    target: Target,
    fit: Tensor,
    train: TargetedImages,
    check: Tensor,
    test: TargetedImages,
    seed: int,
    notes: list[str],
) -> dict[str, Estimate]:
    scored = learnable(train.values) & test.values.any(axis=0)
    if not scored.all():
        first = target.names[int(np.argmin(scored))]
        notes.append(
            f"linear_map: {(~scored).sum()} labels are left out, {first!r} for one: all or none of "
            "the training samples have them, or no test sample"
        )
    return multilabel_estimates(
        fit.numpy(),
        train.values[:, scored],
        check.numpy(),
        test.values[:, scored],
        seed=seed,
    )
