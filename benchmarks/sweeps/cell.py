"""One cell of the study of sweeps: a training whose encoder is looked at eight times."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks.shared.plain_training import steps_of, write_images
from benchmarks.shared.study import Line
from pipeline.evaluation.config import Probe
from pipeline.evaluation.features import encode_images
from pipeline.evaluation.probe_set import ProbeSet, load_panel_set
from pipeline.evaluation.probes.score import score_of
from pipeline.evaluation.probes.scoring import FeatureFunction, panel_of, predictions
from pipeline.learning.learner import Learner, build_learner
from pipeline.planning.length import stream_plan
from pipeline.randomness import permutation
from pipeline.recipe import Recipe
from pipeline.recipe_file import load_recipe

EPOCHS = 8
LOOKS = 8
PROBES = (Probe.knn, Probe.linear)
_VALIDATION_SHARE = 0.2
_LOOKED_AT = (2000, 1000)  # samples that a probe is fitted and scored on, before the end
_PANEL_SAMPLES = 1000
_TWO_LAYERS = [512, 128]
_THREE_LAYERS = [512, 512, 512]
OBJECTIVES: dict[str, dict[str, Any]] = {
    "simclr": {"kind": "simclr", "temperature": 0.2, "projector": _TWO_LAYERS},
    "composite": {
        "kind": "composite",
        "parts": [
            {"objective": {"kind": "simclr", "temperature": 0.2, "projector": _TWO_LAYERS}},
            {"weight": 0.1, "objective": {"kind": "vicreg", "projector": _THREE_LAYERS}},
        ],
    },
    "vicreg": {"kind": "vicreg", "projector": _THREE_LAYERS},
    "barlow": {"kind": "barlow", "projector": _THREE_LAYERS},
    "byol": {"kind": "byol", "projector": _TWO_LAYERS, "predictor": [256], "ema": {"start": 0.9}},
    "lejepa": {"kind": "lejepa", "sigreg": 0.02, "projector": [512, 512, 64], "slices": 256},
}
"""With the settings that the study of accuracies chose, or their objective's own."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is run: its name in the file of finished cells."""

    objective: str
    settings: dict[str, Any]
    """By dotted path within the objective's section."""
    seed: int = 0
    part: str = "validation"
    """Or test: trained on all training images, and probed on the test images."""

    @property
    def key(self) -> str:
        """Equal for equal cells."""
        return repr((self.objective, sorted(self.settings.items()), self.seed, self.part))


def run_cell(cell: Cell, images: Path, steps: int | None) -> Line:
    """Train and look; what there is to record.

    Args:
        cell: which.
        images: an `.npz` with x_train, y_train, x_test, y_test.
        steps: of training, to try the script out; None: all epochs.
    """
    torch.set_num_threads(1)
    fit, check = _sets(images, cell.part)
    began = time.perf_counter()
    with TemporaryDirectory() as name:
        folder = Path(name)
        for part, probe_set in (("fit", fit), ("check", check)):
            np.savez(folder / f"{part}.npz", x=probe_set.images, y=probe_set.labels)
            write_images(folder / f"{part}.npz", folder / part)
        recipe = recipe_of_cell(cell, folder / "fit", steps)
        learner = build_learner(recipe)
        curve, losses = _train(recipe, learner, fit, check)
        trained = time.perf_counter() - began
        panel_set = load_panel_set(
            str(folder / "check"), views=recipe.views, seed=0, max_samples=_PANEL_SAMPLES
        )
        panel = panel_of(_features(recipe, learner), panel_set, seed=0)
    per_epoch = max(1, len(losses) // EPOCHS)
    return {
        **vars(cell),
        **_scores(_features(recipe, learner), fit, check),
        "panel": panel,
        "loss": float(np.mean(losses[-per_epoch:])),
        "curve": curve,
        "steps": len(losses),
        "train_seconds": trained,
        "wall_seconds": time.perf_counter() - began,
    }


def recipe_of_cell(cell: Cell, shards: Path, steps: int | None) -> Recipe:
    """The cell's recipe for its training images."""
    return load_recipe(
        {
            "seed": cell.seed,
            "data": {"shards": str(shards), "streams": 4, "shuffle_window": 4096},
            "views": {"size": 32},
            "encoder": {
                "name": "resnet10t",
                "args": {"channels": [16, 32, 64, 128], "stem_width": 16},
            },
            "objective": OBJECTIVES[cell.objective],
            "train": {
                **({"steps": steps} if steps else {"epochs": EPOCHS}),
                "global_batch": 256,
                "optimizer": {"lr": 3e-3},
            },
        },
        [f"objective.{path}={value}" for path, value in cell.settings.items()],
    )


def _train(
    recipe: Recipe, learner: Learner, fit: ProbeSet, check: ProbeSet
) -> tuple[list[dict[str, float]], list[float]]:
    """What the encoder was at every look but the last, and the loss of every step."""
    curve, losses = [], []
    total = recipe.train.steps or EPOCHS * stream_plan(recipe).steps_per_epoch
    looks = {round(total * look / LOOKS) for look in range(1, LOOKS)}
    few = [_first(part, count) for part, count in zip((fit, check), _LOOKED_AT, strict=True)]
    for step, result in enumerate(steps_of(recipe, learner), start=1):
        losses.append(float(result.total.detach()))
        if step in looks:
            curve.append({"step": step, **_scores(_features(recipe, learner), *few)})
    return curve, losses


def _scores(features: FeatureFunction, fit: ProbeSet, check: ProbeSet) -> dict[str, float]:
    fitted, checked = features(fit.images), features(check.images)
    return {
        str(probe): score_of(
            predictions(probe, fitted, fit.labels, checked, seed=0) == check.labels, seed=0
        ).accuracy
        for probe in PROBES
    }


def _features(recipe: Recipe, learner: Learner) -> FeatureFunction:
    return partial(encode_images, learner.product, mean=recipe.views.mean, std=recipe.views.std)


def _first(probe_set: ProbeSet, count: int) -> ProbeSet:
    return ProbeSet(images=probe_set.images[:count], labels=probe_set.labels[:count])


def _sets(images: Path, part: str) -> tuple[ProbeSet, ProbeSet]:
    """What is trained and fitted on, and what is scored, both shuffled."""
    with np.load(images) as arrays:
        found = {
            name: ProbeSet(
                images=arrays[f"x_{name}"],
                labels=arrays[f"y_{name}"].reshape(-1).astype(np.int64),
            )
            for name in (("train", "test") if part == "test" else ("train",))
        }
    train = found["train"]
    order = permutation(len(train.images), "sweep study's validation part")
    if part == "test":
        test = found["test"]
        return _taken(train, order), _taken(test, permutation(len(test.images), "sweep study"))
    held_out = round(len(order) * _VALIDATION_SHARE)
    return _taken(train, order[held_out:]), _taken(train, order[:held_out])


def _taken(probe_set: ProbeSet, rows: Any) -> ProbeSet:
    return ProbeSet(images=probe_set.images[rows], labels=probe_set.labels[rows])
