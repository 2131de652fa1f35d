"""One cell of the study of given pairs: swap some rights, train, and see which are found."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.given_pairs.pairs import PARTS, Bools, rights_of, swapped, write_pairs
from benchmarks.shared.plain_training import steps_of
from benchmarks.shared.study import Line
from pipeline.learning.learner import build_learner
from pipeline.pairs.base import Verdict
from pipeline.pairs.config import DBPMConfig
from pipeline.pairs.history import SampleHistory
from pipeline.recipe import Recipe

EPOCHS = 100
WARM_UP = {"remembered": EPOCHS, "mined": EPOCHS // 4}
"""Epochs before pairs are weighed."""
BOUNDS = {"published": {"noisy": 2.0, "faulty": 3.0}, "tighter": {"noisy": 1.5, "faulty": 1.5}}
_BATCH = 50


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is run: its name in the file of finished cells."""

    share: float  # of the pairs, whose right is another's
    weighing: str  # of `WARM_UP`
    seed: int

    @property
    def key(self) -> str:
        """Equal for equal cells."""
        return repr(tuple(vars(self).values()))


def run_cell(cell: Cell, images: Path, epochs: int) -> Line:
    """Train on pairs and measure; what there is to record.

    Args:
        cell: which.
        images: an `.npz` with pictures x.
        epochs: of training.
    """
    torch.set_num_threads(1)
    began = time.perf_counter()
    with np.load(images) as arrays:
        lefts = arrays["x"]
    rights, planted = swapped(rights_of(lefts, seed=cell.seed), share=cell.share, seed=cell.seed)
    with TemporaryDirectory() as folder:
        write_pairs(lefts, rights, Path(folder) / "shards")
        recipe = _recipe(cell, Path(folder) / "shards", epochs)
        learner = build_learner(recipe)
        for number, result in enumerate(steps_of(recipe, learner), start=1):
            if not np.isfinite(float(result.total.detach())):
                raise FloatingPointError(f"the loss of step {number} is not finite")
    history = learner.pairs.history
    assert history is not None
    return {
        **vars(cell),
        "pairs": len(lefts),
        "planted": int(planted.sum()),
        **found_of(history, planted),
        "wall_seconds": time.perf_counter() - began,
    }


def found_of(history: SampleHistory, planted: Bools) -> Line:
    """How well histories tell swapped pairs, and the lists that the bounds of `BOUNDS` give.

    Returns:
        `auc` of the mean losses; by bounds, how many pairs are faulty, how many of them swapped,
        and how many are noisy.
    """
    means = history.mean_losses()
    found: dict[str, Any] = {}
    if planted.any():
        found["auc"] = float(roc_auc_score(planted, means.numpy()))
    for name, bounds in BOUNDS.items():
        miner = DBPMConfig.model_validate({"kind": "dbpm", **bounds}).build()
        verdicts = miner.judge(means, history.known, history).numpy()
        faulty = verdicts == Verdict.faulty
        found[name] = {
            "faulty": int(faulty.sum()),
            "swapped": int((faulty & planted).sum()),
            "noisy": int((verdicts == Verdict.noisy).sum()),
        }
    return found


def _recipe(cell: Cell, shards: Path, epochs: int) -> Recipe:
    miner = {"kind": "dbpm", "warm_up": WARM_UP[cell.weighing], **BOUNDS["published"]}
    return Recipe.model_validate(
        {
            "seed": cell.seed,
            "data": {"shards": str(shards), "streams": 2, "shuffle_window": 512},
            "views": {"from": PARTS, "crop_scale": [0.5, 1.0], "jitter": 0.2, "grayscale": 0.0},
            "encoder": {
                "name": "resnet10t",
                "args": {"channels": [16, 32, 64, 128], "stem_width": 16},
            },
            "objective": {"kind": "simclr", "projector": [256, 64]},
            "pairs": {"miner": miner},
            "train": {
                "epochs": epochs,
                "global_batch": _BATCH,
                "optimizer": {"lr": 3e-3, "weight_decay": 1e-4},
            },
        }
    )
