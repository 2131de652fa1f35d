"""One cell of the study of bad pairs: plant some, train, and see who finds them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.bad_pairs.planted import SORTS, Sorts, detection, planted_sorts
from benchmarks.bad_pairs.series import run_series_cell
from benchmarks.bad_pairs.terms import LeftOut
from benchmarks.shared.plain_training import steps_of, write_images
from benchmarks.shared.study import Line
from pipeline.data.reading.assemble import Batch
from pipeline.evaluation.config import Probe
from pipeline.evaluation.features import Images, encode_images
from pipeline.evaluation.probes.score import score_of
from pipeline.evaluation.probes.scoring import predictions
from pipeline.learning.learner import Learner, build_learner
from pipeline.pairs.base import Verdict
from pipeline.planning.length import stream_plan
from pipeline.randomness import permutation, seed_for, uniform
from pipeline.recipe import Recipe

Change = Callable[[Batch], Batch]
Bools = npt.NDArray[np.bool_]

EPOCHS = 15
SERIES = "simclr on series"

_PER_CLASS = 1_000  # training images
_VALIDATION_SHARE = 0.2
_NOISE = 0.85  # share of the noise in a view
_BATCH = 256
_CROP = 5  # pixels, of an outlying crop
_PROBES = (Probe.knn, Probe.linear)
LEFT_OUT = ("none", "planted", "listed", "random", "losses", "losses and terms")
"""`planted` is what perfect knowledge were; `listed` takes two trainings, of which the first one
remembers pairs and weighs none, and the second does without those that it found bad; `random` is
what leaving out as such does. The last two are perfect knowledge within a step."""
_FROM_TRAINING = ("planted", "listed", "random")
_AT_RANDOM = 1 / 8  # about what is listed of clean data
OBJECTIVES: dict[str, dict[str, Any]] = {
    "simclr": {"kind": "simclr", "projector": [512, 128]},
    "lejepa": {"kind": "lejepa", "sigreg": 0.02, "projector": [512, 512, 64], "slices": 256},
    "vicreg": {"kind": "vicreg", "projector": [512, 512, 512]},
    "cmim": {
        "kind": "cmim",
        "width": 64,
        "decoder": {"kind": "conv", "channels": [32, 16, 8]},
    },
}
NOISE_IS = {"cmim": Verdict.faulty}
"""Which verdict finds noise. Of one view there is no pair that noise could make easy; the codes of
noise lie close together, and are the hardest to tell apart."""
RATES = {"simclr": 1e-2, "lejepa": 1e-2, "vicreg": 3e-3, "cmim": 3e-3}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is run: its name in the file of finished cells."""

    objective: str  # of `OBJECTIVES`, or `SERIES`
    planted: list[str]  # sorts
    share: float  # of the samples, planted of each sort
    left_out: str  # of the training, as by `data.exclude`: of `LEFT_OUT`
    pairs: dict[str, Any]  # the recipe's section
    seed: int
    stage: str  # settings, seeds

    @property
    def key(self) -> str:
        """Equal for equal cells."""
        return repr(tuple(vars(self).values()))


def run_cell(cell: Cell, images: Path, series: Path, steps: int | None) -> Line:
    """Train with planted pairs and measure; what there is to record.

    Args:
        cell: which.
        images: an `.npz` with x_train, y_train, x_test, y_test.
        series: the same of time series.
        steps: of training, to try the script out; None: all.
    """
    torch.set_num_threads(1)
    began = time.perf_counter()
    if cell.objective == SERIES:
        found = run_series_cell(
            series=series,
            planted=cell.planted,
            share=cell.share,
            pairs=cell.pairs,
            seed=cell.seed,
            held_out=cell.stage != "seeds",
            epochs=EPOCHS,
            steps=steps,
        )
    else:
        found = _run_on_images(cell, images, steps)
    return {**vars(cell), **found, "wall_seconds": time.perf_counter() - began}


def _run_on_images(cell: Cell, images: Path, steps: int | None) -> Line:
    (fit, fit_labels), (check, check_labels) = _sets(images, cell.stage)
    sorts = planted_sorts(len(fit), cell.planted, share=cell.share, seed=cell.seed)
    with TemporaryDirectory() as folder:
        np.savez(Path(folder) / "images.npz", x=fit, y=fit_labels)
        write_images(Path(folder) / "images.npz", Path(folder) / "shards")
        length = steps or EPOCHS * (len(fit) // _BATCH)
        recipe = _recipe(cell, Path(folder), length)
        found: dict[str, Any] = {}
        if cell.left_out in _FROM_TRAINING:
            excluded = sorts >= 0
            if cell.left_out == "random":
                order = permutation(len(fit), "left out at random", cell.seed)
                excluded = order < _AT_RANDOM * len(fit)
            elif cell.left_out == "listed":
                excluded = _listed(recipe, sorts)
                found["listed"] = [int((sorts[excluded] == s).sum()) for s in range(-1, len(SORTS))]
            recipe = _without(recipe, excluded, Path(folder) / "exclude.parquet")
        learner = build_learner(recipe)
        change: Change = partial(plant, sorts=sorts)
        if cell.left_out not in ("none", *_FROM_TRAINING):
            of_terms = cell.left_out == "losses and terms"
            left_out = LeftOut(learner.objective, recipe, sorts, of_terms=of_terms)
            change = partial(_plant_and_tell, sorts=sorts, left_out=left_out)
        found["epochs"] = list(_trained(learner, recipe, sorts, change))
    views = recipe.views
    features = [
        encode_images(learner.product, x, mean=views.mean, std=views.std) for x in (fit, check)
    ]
    for probe in _PROBES:
        right = predictions(probe, features[0], fit_labels, features[1], seed=0) == check_labels
        found[str(probe)] = score_of(right, seed=0).accuracy
    return found


def plant(batch: Batch, sorts: Sorts) -> Batch:
    """A batch with its planted samples spoilt.

    Noisy: strong noise, the same in all views and epochs. Faulty: the second view is that of
    another faulty sample of the batch, so that no sound one meets its own view as a negative.
    Outlier: the second view is a few pixels of the sample, from the same place in every epoch,
    enlarged.
    """
    views = batch.views[0].copy()  # (B, V, S, S, 3)
    own = sorts[batch.sample_id]
    if views.shape[1] > 1:
        faulty = np.flatnonzero(own == SORTS.index("faulty"))
        views[faulty, 1] = batch.views[0][np.roll(faulty, 1), 1]
    for row in np.flatnonzero(own >= 0):
        sort, sample = SORTS[own[row]], int(batch.sample_id[row])
        if sort == "noisy":
            draws = np.random.default_rng(seed_for("noise", sample))
            noise = draws.integers(256, size=views.shape[2:])
            mixed = (1 - _NOISE) * views[row] + _NOISE * noise
            views[row] = np.rint(mixed).astype(np.uint8)
        elif sort == "outlier" and views.shape[1] > 1:
            views[row, 1] = _enlarged(views[row, 1], sample)
    return replace(batch, views=(views, *batch.views[1:]))


def _enlarged(view: Images, sample: int) -> Images:
    """A few pixels of a view, where depends on the sample."""
    room = view.shape[0] - _CROP
    top, left = (int(u * room) for u in uniform("crop", sample, np.arange(2)))
    places = np.arange(view.shape[0]) * _CROP // view.shape[0]
    return view[top + places][:, left + places]


def _sets(images: Path, stage: str) -> list[tuple[Images, Any]]:
    """What is trained and fitted on, and what is scored; test images only in the last stage."""
    with np.load(images) as arrays:
        pixels, labels = arrays["x_train"], arrays["y_train"].reshape(-1).astype(np.int64)
        of_class = [np.flatnonzero(labels == each)[:_PER_CLASS] for each in np.unique(labels)]
        kept = np.sort(np.concatenate(of_class))
        pixels, labels = pixels[kept], labels[kept]
        if stage == "seeds":
            test = arrays["x_test"], arrays["y_test"].reshape(-1).astype(np.int64)
            return [(pixels, labels), test]
    order = permutation(len(pixels), "bad pairs' validation part")
    held_out = round(len(pixels) * _VALIDATION_SHARE)
    check, fit = np.sort(order[:held_out]), np.sort(order[held_out:])
    return [(pixels[fit], labels[fit]), (pixels[check], labels[check])]


def _recipe(cell: Cell, folder: Path, steps: int) -> Recipe:
    one_view = {"count": 1} if cell.objective == "cmim" else {}
    return Recipe.model_validate(
        {
            "seed": cell.seed,
            "data": {"shards": str(folder / "shards"), "streams": 4, "shuffle_window": 4096},
            "views": one_view,
            "encoder": {
                "name": "resnet10t",
                "args": {"channels": [16, 32, 64, 128], "stem_width": 16},
            },
            "objective": OBJECTIVES[cell.objective],
            "pairs": cell.pairs,
            "train": {
                "steps": steps,
                "global_batch": _BATCH,
                "precision": "bf16",
                "optimizer": {
                    "lr": RATES[cell.objective],
                    "weight_decay": 1e-4,
                    "clip_norm": 100.0 if cell.objective == "cmim" else None,
                },
            },
        }
    )


def _listed(recipe: Recipe, sorts: Sorts) -> Bools:
    """Which samples the miner finds bad at the end of a training, (n,)."""
    learner = build_learner(recipe)
    list(_trained(learner, recipe, sorts, partial(plant, sorts=sorts)))
    history = learner.pairs.history
    assert recipe.pairs.miner is not None
    assert history is not None
    verdicts = recipe.pairs.miner.build().judge(history.mean_losses(), history.known, history)
    return verdicts.numpy() != Verdict.clean


def _without(recipe: Recipe, excluded: Bools, file: Path) -> Recipe:
    """The recipe without these samples, as long as before, and with pairs that all count 1."""
    pq.write_table(pa.table({"sample_id": np.flatnonzero(excluded)}), file)
    settings = recipe.resolved()
    settings["data"]["exclude"] = str(file)
    settings["pairs"] = {}
    return Recipe.model_validate(settings)


def _plant_and_tell(batch: Batch, sorts: Sorts, left_out: LeftOut) -> Batch:
    left_out.see(batch)
    return plant(batch, sorts)


def _trained(
    learner: Learner, recipe: Recipe, sorts: Sorts, change: Change
) -> Iterator[dict[str, Any]]:
    """Train; at the end of each epoch, who has been found."""
    per_epoch = stream_plan(recipe).steps_per_epoch
    miner = recipe.pairs.miner
    noise_is = NOISE_IS.get(recipe.objective.kind, Verdict.noisy)
    for number, result in enumerate(steps_of(recipe, learner, change=change), start=1):
        if not np.isfinite(float(result.total.detach())):
            raise FloatingPointError(f"the loss of step {number} is not finite")
        if miner is not None and number % per_epoch == 0 and learner.pairs.history is not None:
            found = detection(learner.pairs.history, sorts, miner, noise_is=noise_is)
            yield {"epoch": number // per_epoch, **found}
