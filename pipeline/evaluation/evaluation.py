"""What is found out about an encoder on shards: figures beside a floor, and the panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.data import storage
from pipeline.data.sources.verify import verify
from pipeline.data.whole_file import cannot_hold
from pipeline.errors import Problem, UserError
from pipeline.evaluation.config import FeatureKind, Probe, TargetKind, Task
from pipeline.evaluation.features import raw_pixels
from pipeline.evaluation.probe_set import load_images, load_panel_set
from pipeline.evaluation.probes.score import Score
from pipeline.evaluation.probes.scoring import FeatureFunction, panel_of
from pipeline.evaluation.targets.choosing import TargetTable, labels_of_shards, targets_of_table
from pipeline.evaluation.targets.target import Target, TargetedImages, TargetedSamples
from pipeline.evaluation.tasks.confusion_picture import confusion_picture
from pipeline.evaluation.tasks.estimate import Estimate
from pipeline.evaluation.tasks.per_class import ClassScore
from pipeline.evaluation.tasks.running import RAW, Found, allowed_tasks, run_tasks
from pipeline.views.parameters import ImageViews

_PANEL_SAMPLES = 1000


class EncoderEvaluation(NamedTuple):
    """What was found out about an encoder."""

    scores: dict[str, Score]
    """Accuracies of probes."""

    panel: dict[str, float]
    features: list[FeatureKind]
    tasks: dict[str, Estimate]
    """Figures of the other tasks."""

    per_class: dict[str, ClassScore]
    target: dict[str, Any]
    """What was told of how many samples, see `Target.facts`."""

    notes: list[str]
    """What was left out, and why."""


class Wanted(NamedTuple):
    """What is to be found out; None: all that the targets allow."""

    tasks: Sequence[Task] | None = None
    probes: Sequence[Probe] | None = None
    table: TargetTable | None = None
    confusion: str | None = None
    """Where to draw what classes are taken for."""

    max_samples: int = 20_000
    seed: int = 0


class Ready(NamedTuple):
    """Wishes that can be met."""

    target: Target
    tasks: list[Task]
    probes: list[Probe]


def prepare(wanted: Wanted, *, train: str, test: str) -> Ready:
    """Find the targets and check everything that needs no encoder.

    Args:
        wanted: what is to be found out.
        train: shards that probes are fitted on.
        test: shards that they are scored on.

    Raises:
        UserError: with all mistakes.
    """
    problems = verify(train)
    problems += [problem for problem in verify(test) if problem not in problems]
    target = None
    if not problems:
        try:
            target = _target(wanted, train, test)
        except UserError as error:
            problems += error.problems
    problems += _problems_of_options(wanted)
    if target is not None:
        problems += _problems_of_kind(wanted, target.kind)
    if problems or target is None:
        raise UserError(problems)
    allowed = allowed_tasks(target.kind)
    tasks = [task for task in Task if task in (wanted.tasks or allowed)]
    return Ready(target, tasks, list(wanted.probes or Probe))


def evaluate_features(
    contestants: Mapping[str, FeatureFunction],
    ready: Ready,
    wanted: Wanted,
    *,
    train: str,
    test: str,
    size: int,
    kinds: Sequence[FeatureKind],
    title: str,
) -> EncoderEvaluation:
    """Find out what is wanted, of features and of raw pixels.

    Args:
        contestants: suffix of their figures to feature function; the first one has none.
        ready: what `prepare` made of `wanted`.
        wanted: what is to be found out.
        train: shards that probes are fitted on.
        test: shards that they are scored on.
        size: side of the images in pixels.
        kinds: of the contestants' features.
        title: of the encoder, for the picture.

    Raises:
        UserError: no image can be decoded.
    """
    found = run_tasks(
        {**contestants, RAW: raw_pixels},
        ready.target,
        _images(train, ready.target.train, size),
        _images(test, ready.target.test, size),
        tasks=ready.tasks,
        probes=ready.probes,
        seed=wanted.seed,
    )
    views = ImageViews(size=size)
    count = min(wanted.max_samples, _PANEL_SAMPLES)
    panel_set = load_panel_set(test, views=views, seed=wanted.seed, max_samples=count)
    panel = panel_of(contestants[""], panel_set, seed=wanted.seed)
    if wanted.confusion is not None:
        _draw(found, ready.target, wanted.confusion, title)
    return EncoderEvaluation(
        found.scores,
        panel,
        list(kinds),
        found.tasks,
        found.per_class,
        ready.target.facts(),
        [*_notes_of(ready.target), *found.notes],
    )


def _target(wanted: Wanted, train: str, test: str) -> Target:
    if wanted.table is None:
        return labels_of_shards(train, test, max_samples=wanted.max_samples)
    return targets_of_table(wanted.table, train, test, max_samples=wanted.max_samples)


def _images(folder: str, samples: TargetedSamples, size: int) -> TargetedImages:
    images, rows = load_images(folder, samples.ids, size=size)
    return TargetedImages(images=images, values=samples.values[rows])


def _problems_of_options(wanted: Wanted) -> list[Problem]:
    found = []
    tasks = wanted.tasks
    probing = tasks is None or {Task.probes, Task.per_class} & set(tasks)
    if wanted.probes is not None and not probing:
        found.append(Problem("--probes", "is of no use without --tasks probes or per_class"))
    if wanted.confusion is not None:
        if tasks is not None and Task.per_class not in tasks:
            found.append(Problem("--confusion", "is of no use without --tasks per_class"))
        if not storage.file_name(wanted.confusion).lower().endswith(".png"):
            found.append(Problem("--confusion", f"{wanted.confusion} must end with .png"))
        elif not storage.is_remote(wanted.confusion):
            reason = cannot_hold(Path(storage.absolute(wanted.confusion)))
            found += [Problem("--confusion", reason)] if reason else []
    return found


def _problems_of_kind(wanted: Wanted, kind: TargetKind) -> list[Problem]:
    if kind == TargetKind.classes:
        return []
    allowed = allowed_tasks(kind)
    found = [
        Problem("--tasks", f"{task} needs classes, targets are {kind}; allowed: probes")
        for task in wanted.tasks or ()
        if task not in allowed
    ]
    if wanted.probes is not None:
        found.append(Problem("--probes", f"are of classes, targets are {kind}"))
    if wanted.confusion is not None:
        found.append(Problem("--confusion", f"needs classes, targets are {kind}"))
    return found


def _notes_of(target: Target) -> list[str]:
    told = "label" if target.column is None else "target"
    notes = [
        f"--{name}: {samples.without} samples without a {told} are passed over"
        for name, samples in (("train", target.train), ("test", target.test))
        if samples.without
    ]
    if target.lines_without_sample:
        notes.append(f"--targets: {target.lines_without_sample} lines name no sample")
    return notes


def _draw(found: Found, target: Target, location: str, title: str) -> None:
    confusion = found.confusion
    if confusion is None:
        raise ValueError("there are no classes to be confused")
    accuracy = (confusion.truth == confusion.predicted).mean()
    picture = confusion_picture(
        confusion.truth,
        confusion.predicted,
        target.names,
        title=f"{title}\n{confusion.probe} probe, {accuracy:.1%} right; per cent of each class",
    )
    storage.write_file(location, picture)
