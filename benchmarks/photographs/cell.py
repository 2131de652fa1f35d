"""One cell of the study: pretrain on windows of photographs, reduced or not, then ask the probe."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch

from benchmarks.photographs.data import windows, write_set
from benchmarks.shared.plain_training import steps_of
from benchmarks.shared.study import Line
from pipeline.data.sources.shrinking import shrunk
from pipeline.evaluation.config import Probe
from pipeline.evaluation.features import encode_images
from pipeline.evaluation.probe_set import load_probe_set
from pipeline.evaluation.probes.scoring import predictions
from pipeline.learning.learner import build_learner
from pipeline.recipe import Recipe

SIZE = 64
UNTRAINED = "untrained"
TRAINED_ON, TESTED_ON = 40, 20  # windows of each photograph
_EPOCHS = 10
_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is run: its name in the file of finished cells."""

    method: str
    max_side: int  # 0: as they are
    seed: int

    @property
    def key(self) -> str:
        """Equal for equal cells."""
        return f"{self.method} {self.max_side} {self.seed}"


def run_cell(cell: Cell, photographs: Path, work: Path, steps: int | None) -> Line:
    """Train and probe; what there is to record.

    Args:
        cell: which.
        photographs: a folder of large JPEGs.
        work: a folder for shards, which cells share.
        steps: of training, to try the script out; None: all.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    began = time.perf_counter()
    train, test = (
        _windows(cell, photographs, work=work, count=count, test=test)
        for count, test in ((TRAINED_ON, False), (TESTED_ON, True))
    )
    recipe = _recipe(cell, train, steps)
    learner = build_learner(recipe)
    trained = time.perf_counter()
    losses = [float(result.total.detach()) for result in steps_of(recipe, learner)]
    trained = time.perf_counter() - trained
    if cell.method == UNTRAINED:
        learner = build_learner(recipe)
    sets = [load_probe_set(str(s), size=SIZE, max_samples=10_000) for s in (train, test)]
    fitted, checked = (
        encode_images(learner.encoder, found.images, mean=recipe.views.mean, std=recipe.views.std)
        for found in sets
    )
    scores = {
        str(probe): float(
            np.mean(predictions(probe, fitted, sets[0].labels, checked, seed=0) == sets[1].labels)
        )
        for probe in (Probe.knn, Probe.linear)
    }
    return {
        **vars(cell),
        **scores,
        "loss": float(np.mean(losses[-10:])),
        "train_seconds": trained,
        "wall_seconds": time.perf_counter() - began,
    }


def _windows(cell: Cell, photographs: Path, *, work: Path, count: int, test: bool) -> Path:
    """Shards of a cell's images, made by the first cell that needs them."""
    made = work / f"{cell.max_side}-{'test' if test else 'train'}"
    if not made.exists():
        work.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=work) as folder:
            partial = Path(folder) / "made"
            images = windows(photographs, count=count, test=test)
            if cell.max_side:
                images = ((n, shrunk(data, max_side=cell.max_side)) for n, data in images)
            write_set(images, partial)
            with suppress(OSError):  # another cell was faster
                partial.rename(made)
    return made / "shards"


def _recipe(cell: Cell, shards: Path, steps: int | None) -> Recipe:
    if cell.method == UNTRAINED:
        steps = 1
    return Recipe.model_validate(
        {
            "seed": cell.seed,
            "data": {"shards": str(shards), "streams": 4, "shuffle_window": 4096},
            "views": {"size": SIZE, "crop_scale": [0.2, 1.0]},
            "encoder": {
                "name": "resnet10t",
                "args": {"channels": [16, 32, 64, 128], "stem_width": 16},
            },
            "objective": {"kind": "simclr", "temperature": 0.2, "projector": [512, 128]},
            "train": {
                **({"steps": steps} if steps else {"epochs": _EPOCHS}),
                "global_batch": _BATCH,
                "optimizer": {"lr": 1e-3, "weight_decay": 1e-4},
            },
        }
    )
