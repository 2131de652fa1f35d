"""One cell of the study of accuracies: pretrain on some images, then probe the encoder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.accuracy.methods import method_of, sections
from benchmarks.accuracy.with_lightly import trained_by_lightly
from benchmarks.shared.plain_training import steps_of, write_images
from pipeline.evaluation.config import Probe
from pipeline.evaluation.features import Images, encode_images, raw_pixels
from pipeline.evaluation.panel.spectrum import rank_me
from pipeline.evaluation.probe_set import ProbeSet
from pipeline.evaluation.probes.score import score_of
from pipeline.evaluation.probes.scoring import predictions
from pipeline.learning.learner import StepResult, build_learner
from pipeline.randomness import permutation
from pipeline.recipe import Recipe

_VALIDATION_SHARE = 0.2
_LAST_LOSSES = 10
_PROBES = (Probe.knn, Probe.linear)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is run: its name in the file of finished cells."""

    library: str
    method: str
    settings: dict[str, Any]
    seed: int
    stage: str  # settings, seeds

    @property
    def key(self) -> str:
        """Equal for equal cells."""
        return repr(
            (self.library, self.method, sorted(self.settings.items()), self.seed, self.stage)
        )


def run_cell(cell: Cell, images: Path, steps: int | None) -> dict[str, Any]:
    """Train and probe; what there is to record.

    Args:
        cell: which.
        images: an `.npz` with x_train, y_train, x_test, y_test.
        steps: of training, to try the script out; None: what the stage says.
    """
    torch.set_num_threads(1)
    fit, check = _sets(images, cell.stage)
    began = time.perf_counter()
    found: dict[str, Any] = {}
    if cell.method == "raw pixels":
        features: Callable[[Images], Tensor] = raw_pixels
    else:
        with TemporaryDirectory() as folder:
            recipe = _recipe(cell, Path(folder), fit, steps)
            encoder, found = _trained(cell, recipe, fit)

        def features(images: Images) -> Tensor:
            views = recipe.views
            return encode_images(encoder, images, mean=views.mean, std=views.std)

    fitted, checked = features(fit.images), features(check.images)
    for probe in _PROBES:
        right = predictions(probe, fitted, fit.labels, checked, seed=0) == check.labels
        found[str(probe)] = score_of(right, seed=0).accuracy
    return {
        **vars(cell),
        **found,
        "rankme": rank_me(checked.numpy()),
        "wall_seconds": time.perf_counter() - began,
    }


def _sets(images: Path, stage: str) -> tuple[ProbeSet, ProbeSet]:
    """What is trained and fitted on, and what is scored; test images only in the last stage."""
    with np.load(images) as arrays:
        pixels, labels = arrays["x_train"], arrays["y_train"].reshape(-1).astype(np.int64)
        if stage == "seeds":
            test = arrays["x_test"], arrays["y_test"].reshape(-1).astype(np.int64)
            return _probe_set(pixels, labels), _probe_set(*test)
    order = permutation(len(pixels), "accuracy study's validation part")
    held_out = round(len(pixels) * _VALIDATION_SHARE)
    check, fit = np.sort(order[:held_out]), np.sort(order[held_out:])
    return _probe_set(pixels[fit], labels[fit]), _probe_set(pixels[check], labels[check])


def _probe_set(images: Images, labels: Any) -> ProbeSet:
    return ProbeSet(images=images, labels=labels)


def _recipe(cell: Cell, folder: Path, fit: ProbeSet, steps: int | None) -> Recipe:
    """The cell's recipe, and its shards; lightly's loops take encoder, views and rates of it."""
    method = method_of(cell.library, cell.method)
    given = sections(method, cell.settings)
    if cell.library == "ours":
        np.savez(folder / "images.npz", x=fit.images, y=fit.labels)
        write_images(folder / "images.npz", folder / "shards")
    budget = method.budget
    length = {"steps": steps} if steps else {"epochs": budget.epochs[cell.stage]}
    return Recipe.model_validate(
        {
            "seed": cell.seed,
            "data": {"shards": str(folder / "shards"), "streams": 4, "shuffle_window": 4096},
            "views": given["views"],
            "encoder": budget.encoder,
            "train": {**length, **given["train"]},
            **({"objective": given["objective"]} if cell.library == "ours" else {}),
        }
    )


def _trained(cell: Cell, recipe: Recipe, fit: ProbeSet) -> tuple[nn.Module, dict[str, Any]]:
    """The encoder, and what its training took."""
    if cell.library == "floor":
        return build_learner(recipe).encoder, {}
    wall, cpu = time.perf_counter(), time.process_time()
    losses: list[float] = []
    if cell.library == "lightly":
        loop = trained_by_lightly(cell.method, cell.settings, recipe, fit.images)
        encoder = next(loop)
        losses += loop
    else:
        encoder, steps = _trained_by_us(recipe)
        losses += steps
    images = len(losses) * recipe.train.global_batch
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return encoder, {
        "steps": len(losses),
        "loss": float(np.mean(losses[-_LAST_LOSSES:])),
        "train_seconds": wall,
        "images_per_second": images / wall,
        "images_per_cpu_second": images / cpu,
    }


def _trained_by_us(recipe: Recipe) -> tuple[nn.Module, Iterator[float]]:
    """The learner's encoder, and the losses of the steps that train it."""
    learner = build_learner(recipe)
    return learner.product, _losses(steps_of(recipe, learner))


def _losses(steps: Iterator[StepResult]) -> Iterator[float]:
    for number, result in enumerate(steps):
        loss = float(result.total.detach())
        if not np.isfinite(loss):
            raise FloatingPointError(f"the loss of step {number + 1} is {loss}")
        yield loss
