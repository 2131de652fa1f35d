"""One cell of the study of cMIM: train on grey images without labels, then measure the encoder."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks.cmim.groups import in_groups
from benchmarks.cmim.measures import accuracies, encoded_alone, generation, probe_scores
from benchmarks.shared.plain_training import steps_of, write_images
from benchmarks.shared.study import Line
from pipeline.evaluation.features import Images, raw_pixels
from pipeline.learning.learner import Learner, build_learner
from pipeline.objectives.base import EncodedViews, PairLosses
from pipeline.objectives.cmim import CMIM, log_probability_own
from pipeline.objectives.parts.latent import LatentObjective
from pipeline.randomness import permutation
from pipeline.recipe import Recipe

TRAINED_ON = 20_000
EPOCHS = {"settings": 5, "seeds": 10, "variants": 5}
FEW = 95
"""Steps of `few steps` and `groups`: those of the first stage at a batch of 1024."""
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)  # at a batch of 128; others by the root of their size
CODE = 64
CHANNELS = [64, 32, 16]

_HELD_OUT = 5_000
_FITTED = 5_000  # labelled images that probes are fitted on
_MIDDLE = 128  # the batch that learning rates are of
_LOOKS = 10  # at the gradients' sizes in a run
_LOOKED_AT = 256
_CODES = {"width": CODE, "channels": 1, "decoder": {"kind": "conv", "channels": CHANNELS}}
_PLAIN = {"count": 1, "crop_scale": [1, 1], "crop_ratio": [1, 1], "flip": 0, "jitter": 0}
_PLAIN |= {"grayscale": 0}
FLOORS = ("raw pixels", "untrained")
OBJECTIVES: dict[str, dict[str, Any]] = {
    "simclr": {"kind": "simclr", "temperature": 0.2, "projector": [512, 128]},
    "vae": {"kind": "a_mim", **_CODES},
    "mim": {"kind": "mim", **_CODES},
    "a_mim": {"kind": "a_mim", **_CODES},
    "cmim": {"kind": "cmim", **_CODES},
    "cmim_strong": {"kind": "cmim", "contrast": 1000.0, "temperature": 1.0, **_CODES},
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is run: its name in the file of finished cells."""

    method: str
    batch: int
    settings: dict[str, float]  # `lr` at a batch of 128, `group`, and of the objective
    seed: int
    stage: str  # settings, seeds, variants, few steps, groups

    @property
    def key(self) -> str:
        """Equal for equal cells."""
        settings = ", ".join(f"{name} {value}" for name, value in sorted(self.settings.items()))
        return f"{self.method} batch {self.batch} {settings} {self.stage} {self.seed}"


class VAE(LatentObjective):
    """The negative evidence lower bound, of the same parts: -log p(x|z) + log q(z|x) - log P(z)."""

    def forward(self, views: EncodedViews) -> PairLosses:
        """A loss for each view of each sample."""
        codes = self.codes(views)
        loss = codes.reconstruction + codes.log_posterior - codes.log_prior
        return self.scored(codes, loss)


def run_cell(cell: Cell, images: Path, steps: int | None) -> Line:
    """Train and measure; what there is to record.

    Args:
        cell: which.
        images: an `.npz` with x_train, y_train, x_test, y_test; (N, 28, 28) uint8.
        steps: of training, to try the script out; None: what the stage says.
    """
    torch.set_num_threads(1)
    began = time.perf_counter()
    sets = _sets(images, cell.stage)
    if cell.method in FLOORS:
        found: dict[str, Any] = {"probes": _floor(cell, sets)}
    else:
        found = _trained_and_measured(cell, sets, steps)
    return {**vars(cell), **found, "wall_seconds": time.perf_counter() - began}


def _trained_and_measured(
    cell: Cell, sets: dict[str, tuple[Images, Any]], steps: int | None
) -> dict[str, Any]:
    began = time.perf_counter()
    with TemporaryDirectory() as folder:
        np.savez(Path(folder) / "images.npz", x=sets["pretrain"][0], y=sets["pretrain"][1])
        write_images(Path(folder) / "images.npz", Path(folder) / "shards")
        recipe = _recipe(cell, Path(folder) / "shards", steps)
        learner = _learner(cell, recipe)
        looks = list(_trained(learner, recipe, sets["check"][0][:_LOOKED_AT]))
    trained = time.perf_counter() - began
    found: dict[str, Any] = {"looks": looks, "train_seconds": trained}
    if isinstance(learner.objective, LatentObjective):
        found |= generation(learner, sets["check"][0])
    every_kind = cell.stage == "seeds" and cell.batch == _MIDDLE
    found["probes"] = probe_scores(learner, sets, every_kind=every_kind)
    return found


def _floor(cell: Cell, sets: dict[str, tuple[Images, Any]]) -> dict[str, dict[str, float]]:
    """Accuracies without any training: of pixels, or of the encoder's first weights."""
    if cell.method == "raw pixels":
        encoded = {part: raw_pixels(sets[part][0]) for part in ("fit", "check")}
        return {"pixels": accuracies(encoded, sets)}
    alike = replace(cell, method="simclr", settings={"lr": RATES[0]})
    learner = build_learner(_recipe(alike, Path("no shards"), steps=1))
    return probe_scores(learner, sets, every_kind=False)


def _sets(images: Path, stage: str) -> dict[str, tuple[Images, Any]]:
    """What is trained on, fitted on, and scored; test images only in the last stage."""
    with np.load(images) as arrays:
        order = permutation(len(arrays["x_train"]), "the study of cMIM")
        x, y = arrays["x_train"][order], arrays["y_train"][order].astype(np.int64)
        if stage == "seeds":
            check = arrays["x_test"], arrays["y_test"].astype(np.int64)
        else:
            check = x[-_HELD_OUT:], y[-_HELD_OUT:]
    parts = {"pretrain": (x[:TRAINED_ON], y[:TRAINED_ON]), "check": check}
    parts["fit"] = x[:_FITTED], y[:_FITTED]
    return {name: (_rgb(pixels), labels) for name, (pixels, labels) in parts.items()}


def _rgb(grey: Images) -> Images:
    return np.repeat(grey[..., None], 3, axis=3)


def _recipe(cell: Cell, shards: Path, steps: int | None) -> Recipe:
    objective = {k: v for k, v in cell.settings.items() if k not in ("lr", "group")}
    steps = FEW if cell.stage in ("few steps", "groups") else steps
    length = {"steps": steps} if steps else {"epochs": EPOCHS[cell.stage]}
    return Recipe.model_validate(
        {
            "seed": cell.seed,
            "data": {"shards": str(shards), "streams": 4, "shuffle_window": 8192},
            "views": {"size": 28, **({} if cell.method == "simclr" else _PLAIN)},
            "encoder": {
                "name": "resnet10t",
                "args": {"channels": [16, 32, 64, 128], "stem_width": 16},
            },
            "objective": {**OBJECTIVES[cell.method], **objective},
            "train": {
                **length,
                "global_batch": cell.batch,
                "optimizer": {
                    "lr": cell.settings["lr"] * math.sqrt(cell.batch / _MIDDLE),
                    "weight_decay": 1e-4,
                    "clip_norm": 100.0,  # of a sum over hundreds of pixels
                },
            },
        }
    )


def _learner(cell: Cell, recipe: Recipe) -> Learner:
    learner = build_learner(recipe)
    if cell.method == "vae":
        given = learner.objective
        assert isinstance(given, LatentObjective)
        learner.objective = VAE(autoencoder=given.autoencoder, feature_width=given.feature_width)
    if (group := cell.settings.get("group")) is not None:
        learner.objective = in_groups(learner.objective, recipe.objective, int(group))
    return learner


def _trained(learner: Learner, recipe: Recipe, images: Images) -> Iterator[dict[str, float]]:
    """Train; on the way and at both ends, what there is to see of the objective's terms."""
    yield {"step": 0, **_term_sizes(learner, images)}
    per_epoch = TRAINED_ON // recipe.train.global_batch
    steps = recipe.train.steps or per_epoch * int(recipe.train.epochs or 1)
    every = max(1, steps // _LOOKS)
    for number, result in enumerate(steps_of(recipe, learner), start=1):
        loss = float(result.total.detach())
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss of step {number} is {loss}")
        if number % every == 0:
            logs = {name: float(value) for name, value in result.losses.logs.items()}
            yield {"step": number, "loss": loss, **logs, **_term_sizes(learner, images)}


def _term_sizes(learner: Learner, images: Images) -> dict[str, float]:
    """Mean length of each term's gradient by the mean of a sample's code, for terms of cMIM."""
    objective = learner.objective
    if not isinstance(objective, CMIM):
        return {}
    views = encoded_alone(learner, images)
    codes = objective.codes(views)
    temperature = objective.temperature(0.0)
    terms = {
        "reconstruction": codes.reconstruction.sum(),
        "latent": -(codes.log_posterior + codes.log_prior).sum() / 2,
        "contrast": -log_probability_own(codes.sampled[0], temperature=temperature).sum(),
    }
    found = {}
    for name, term in terms.items():
        (gradient,) = torch.autograd.grad(term, codes.posterior.mean, retain_graph=True)
        found[f"{name}_gradient"] = float(gradient.norm(dim=2).mean())
    return found
