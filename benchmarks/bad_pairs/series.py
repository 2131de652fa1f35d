"""One cell of the study of bad pairs on time series, of which DBPM was made.

The objective, the weighting of pairs, the optimizer and the probes are the pipeline's, called as
its learner calls them. Encoder and views of series are not in the pipeline; they are made here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.bad_pairs.planted import SORTS, Sorts, detection, planted_sorts
from pipeline.encoders.shape import EncoderShape
from pipeline.evaluation.config import Probe
from pipeline.evaluation.probes.score import score_of
from pipeline.evaluation.probes.scoring import predictions
from pipeline.learning.config import OptimizerConfig
from pipeline.learning.optimization import build_optimizer
from pipeline.learning.schedules import learning_rate
from pipeline.objectives.base import EncodedViews, Objective
from pipeline.objectives.configs.simclr import SimCLRConfig
from pipeline.pairs.config import PairsConfig
from pipeline.pairs.weighting import PairWeighting, weighted_total
from pipeline.randomness import permutation, seed_for

SORTS_OF_SERIES = ("noisy", "faulty")

_BATCH = 256
_WIDTHS = (32, 64, 64)
_KERNELS = (7, 5, 3)
_VALIDATION_SHARE = 0.2
_NOISE = 0.85  # share of the noise in a view
_LEAST_LENGTH = 0.5  # of a crop
_SCALING = 0.3  # deviation of a view's factor from 1
_JITTER = 0.2
_OPTIMIZER = OptimizerConfig(lr=3e-3, weight_decay=1e-4)
_PROBES = (Probe.knn, Probe.linear)


def run_series_cell(
    *,
    series: Path,
    planted: list[str],
    share: float,
    pairs: dict[str, Any],
    seed: int,
    held_out: bool,
    epochs: int,
    steps: int | None,
) -> dict[str, Any]:
    """Train with planted pairs and measure.

    Args:
        series: an `.npz` with x_train (n, channels, length), y_train, x_test, y_test.
        planted: sorts, of `SORTS_OF_SERIES`.
        share: of the samples, planted of each sort.
        pairs: the recipe's section.
        seed: of weights, order, views and of what is planted.
        held_out: whether a part of the training series is scored, and not the test series.
        epochs: of training.
        steps: of training, in place of all of them.

    Returns:
        Who was found after each `epochs`, and the accuracies of `knn` and `linear`.
    """
    (fit, fit_labels), (check, check_labels) = _sets(series, held_out=held_out)
    torch.manual_seed(seed_for(seed, "weights"))
    encoder = _encoder(fit.shape[1])
    shape = EncoderShape(width=_WIDTHS[-1], size=fit.shape[2])
    objective = SimCLRConfig(kind="simclr", projector=(128, 64)).build(shape, global_batch=_BATCH)
    config = PairsConfig.model_validate(pairs)
    assert config.miner is not None
    weighting = config.build(objective.capabilities)
    sorts = planted_sorts(len(fit), planted, share=share, seed=seed)
    per_epoch = len(fit) // _BATCH
    weighting.own({0: (0, len(fit))}, epochs=epochs, device=fit.device)
    line: dict[str, Any] = {"epochs": []}
    trained = _trained(
        encoder, objective, weighting, fit, sorts, seed=seed, steps=steps or epochs * per_epoch
    )
    for done in trained:
        if done % per_epoch == 0 and weighting.history is not None:
            line["epochs"].append(
                {"epoch": done // per_epoch, **detection(weighting.history, sorts, config.miner)}
            )
    encoder.eval()
    with torch.no_grad():
        features = encoder(fit), encoder(check)
    for probe in _PROBES:
        told = predictions(probe, features[0], fit_labels, features[1], seed=0)
        line[str(probe)] = score_of(told == check_labels, seed=0).accuracy
    return line


def _sets(series: Path, *, held_out: bool) -> list[tuple[Tensor, Any]]:
    """What is trained and fitted on, and what is scored."""
    with np.load(series) as arrays:
        values, labels = arrays["x_train"], arrays["y_train"]
        if not held_out:
            parts = [(values, labels), (arrays["x_test"], arrays["y_test"])]
        else:
            order = permutation(len(values), "bad pairs' validation part")
            count = round(len(values) * _VALIDATION_SHARE)
            places = np.sort(order[count:]), np.sort(order[:count])
            parts = [(values[own], labels[own]) for own in places]
    return [(torch.from_numpy(part), own_labels) for part, own_labels in parts]


def _encoder(channels: int) -> nn.Module:
    """Wang et al., Time Series Classification from Scratch, 2017: convolutions alone."""
    layers: list[nn.Module] = []
    for width, kernel in zip(_WIDTHS, _KERNELS, strict=True):
        layers += [
            nn.Conv1d(channels, width, kernel, padding="same", bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        ]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten())


def _trained(
    encoder: nn.Module,
    objective: Objective,
    pairs: PairWeighting,
    series: Tensor,
    sorts: Sorts,
    *,
    seed: int,
    steps: int,
) -> Iterator[int]:
    """Train; how many steps are done, after each."""
    optimizer = build_optimizer(_OPTIMIZER, nn.ModuleList([encoder, objective]))
    for step in range(steps):
        epoch, within = divmod(step, len(series) // _BATCH)
        order = permutation(len(series), "order", seed, epoch)
        sample_id = torch.from_numpy(order[within * _BATCH : (within + 1) * _BATCH])
        draws = torch.Generator().manual_seed(seed_for(seed, "views", step))
        views = _plant(_views(series[sample_id], draws), sample_id, sorts)
        features = encoder(views.flatten(0, 1)).unflatten(0, views.shape[:2])
        losses = objective(EncodedViews(features=features, progress=step / steps))
        weights = pairs.weights(losses, global_views=2, epoch=epoch, sample_id=sample_id)
        total = weighted_total(losses, weights)
        if not torch.isfinite(total):
            raise FloatingPointError(f"the loss of step {step + 1} is {float(total)}")
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(_OPTIMIZER, step=step, total_steps=steps)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        pairs.remember(losses, weights, epoch=epoch, sample_id=sample_id)
        yield step + 1


def _views(series_BCT: Tensor, draws: torch.Generator) -> Tensor:
    """(2, B, C, T): a part of each series stretched to its length, scaled, with jitter."""
    stacked = series_BCT.expand(2, *series_BCT.shape)
    count, steps = stacked.shape[:2], stacked.shape[-1]
    length = _LEAST_LENGTH + (1 - _LEAST_LENGTH) * torch.rand(count, generator=draws)
    start = (1 - length) * torch.rand(count, generator=draws)
    share = torch.linspace(0, 1, steps)
    places_VBT = (start[..., None] + length[..., None] * share) * (steps - 1)
    before = places_VBT.floor().long().clamp(max=steps - 2)
    between = (places_VBT - before)[:, :, None]
    at = before[:, :, None].expand_as(stacked)
    cut = torch.lerp(stacked.gather(-1, at), stacked.gather(-1, at + 1), between)
    factor = 1 + _SCALING * torch.randn(*count, 1, 1, generator=draws)
    return factor * cut + _JITTER * torch.randn(stacked.shape, generator=draws)


def _plant(views: Tensor, sample_id: Tensor, sorts: Sorts) -> Tensor:
    """Views whose planted samples are spoilt.

    Noisy: strong noise, the same in both views and all epochs. Faulty: the second view is that of
    another faulty sample of the batch, so that no sound one meets its own view as a negative.
    """
    spoilt = views.clone()
    own = sorts[sample_id.numpy()]
    for row in np.flatnonzero(own == SORTS.index("noisy")):
        draws = torch.Generator().manual_seed(seed_for("noise", int(sample_id[row])))
        noise = torch.randn(views.shape[2:], generator=draws)
        spoilt[:, row] = torch.lerp(views[:, row], noise, _NOISE)
    faulty = np.flatnonzero(own == SORTS.index("faulty"))
    spoilt[1, faulty] = views[1, np.roll(faulty, 1)]
    return spoilt
