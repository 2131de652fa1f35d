"""A snapshot: features of a bounded set of samples at one step, to be evaluated aside.

The ranks that train only compute the features. Fits and the label-free panel are for another
process, which reads the snapshot from storage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from pipeline import collectives
from pipeline.data import storage
from pipeline.data.order.exclusion import NOTHING, Exclusion
from pipeline.encoders.configs.features import FeaturesConfig
from pipeline.evaluation.config import EvaluateConfig, FeatureKind, Probe
from pipeline.evaluation.features import encode_images
from pipeline.evaluation.probe_set import (
    WHOLE,
    PanelSet,
    ProbeSet,
    load_panel_set,
    load_probe_set,
    parts_of,
)
from pipeline.evaluation.probes.score import score_of
from pipeline.evaluation.probes.scoring import finite_panel, predictions
from pipeline.objectives.base import Objective
from pipeline.views.parameters import ImageViews

Snapshot = dict[str, Tensor]

_LABELS = "train labels"


class Evaluation(NamedTuple):
    """What was found out about a snapshot; only figures that are finite."""

    metrics: dict[str, float]
    intervals: dict[str, list[float]]
    note: str = ""
    """What is to be said of how it was found out."""


@dataclass(frozen=True, kw_only=True)
class SnapshotImages:
    """One rank's share of the images that all snapshots of a run look at."""

    panel: PanelSet
    probes: dict[str, ProbeSet]  # `train` and `test`, or nothing


def load_snapshot_images(
    config: EvaluateConfig,
    *,
    views: ImageViews,
    data: str,
    seed: int,
    count: int,
    excluded: Exclusion = NOTHING,
) -> SnapshotImages:
    """Decode this rank's share of the images. Every rank calls this, before it trains.

    Args:
        config: the recipe's `evaluate` section.
        views: the augmentations, which the panel's views get.
        data: shards that the panel looks at if there is no labelled test set.
        seed: of the panel's views.
        count: samples of each set over all ranks.
        excluded: samples of `data` that nobody looks at; labelled sets are looked at whole.
    """
    share = collectives.rank(), collectives.world_size()
    parts = parts_of(config)
    panel = load_panel_set(
        config.sets[1] if config.sets else data,
        views=views,
        seed=seed,
        max_samples=count,
        share=share,
        excluded=NOTHING if config.sets else excluded,
        part=parts["test"] if config.sets else WHOLE,
    )
    probes = {}
    if config.sets is not None:
        for (name, part), folder in zip(parts.items(), config.sets, strict=True):
            probes[name] = load_probe_set(
                folder, size=views.size, max_samples=count, share=share, part=part
            )
    return SnapshotImages(panel=panel, probes=probes)


def take_snapshot(
    images: SnapshotImages,
    *,
    encoder: nn.Module,
    head: Objective,
    views: ImageViews,
    config: EvaluateConfig,
    features: FeaturesConfig,
    batch: int,
) -> Snapshot:
    """Features of the images, of all ranks. Every rank calls this.

    Args:
        images: of this rank.
        encoder: as it is; its mode and running statistics stay.
        head: the objective, for features of its projector and its autoencoder.
        views: for the mean and deviation of the pixels.
        config: which features probes look at.
        features: what the encoder gives.
        batch: images encoded at once.

    Returns:
        By name: `panel` (N, 2, D) and `panel labels` (N,), -1 without a label; with labelled sets
        `train NUMBER KIND`, `test NUMBER KIND` (N, D), in the order of the recipe's kinds, and
        `train labels`, `test labels` (N,).
    """

    def encode(pixels: np.ndarray, kind: FeatureKind) -> Tensor:
        return encode_images(
            encoder,
            pixels,
            kind=kind,
            mean=views.mean,
            std=views.std,
            last_layers=config.last_layers,
            features=features,
            head=head,
            autoencoder=head.sole_autoencoder,
            batch=batch,
        )

    kinds = config.kinds(features.kind)
    count, both = images.panel.views.shape[:2]
    flat = encode(images.panel.views.reshape(count * both, *images.panel.views.shape[2:]), kinds[0])
    local = {
        "panel": flat.view(count, both, flat.shape[1]),  # of a rank whose share is empty too
        "panel labels": torch.from_numpy(images.panel.labels),
    }
    for name, probe_set in images.probes.items():
        for number, kind in enumerate(kinds):
            local[f"{name} {number} {kind}"] = encode(probe_set.images, kind)
        local[f"{name} labels"] = torch.from_numpy(probe_set.labels)
    return {name: collectives.gather_rows(values) for name, values in local.items()}


def save_snapshot(snapshot: Snapshot, location: str) -> None:
    """Write a snapshot as safetensors.

    Raises:
        OSError: it cannot be written.
    """
    data = save({name: values.contiguous() for name, values in snapshot.items()})
    storage.write_file(location, data, attempts=storage.PATIENT)


def evaluate_snapshot(location: str, *, probes: Sequence[str], seed: int) -> Evaluation:
    """Fit the probes and work out the panel; seconds to minutes on one core.

    Args:
        location: of a saved snapshot.
        probes: which to fit, if the snapshot has labelled sets.
        seed: of the linear probe, of intervals and of the panel.

    Returns:
        Metrics `eval/NAME` of the panel and of the probes, the first kind's by their plain names,
        those of others as `eval/PROBE_KIND`; intervals of the probes.
    """
    snapshot = load(storage.read_file(location))
    metrics, intervals = {}, {}
    panel = finite_panel(snapshot["panel"], snapshot["panel labels"], seed=seed)
    for name, value in panel.items():
        metrics[f"eval/{name}"] = value
    for features in (name for name in snapshot if name.startswith("train ") and name != _LABELS):
        _, number, kind = features.split()
        for probe in map(Probe, probes):
            predicted = predictions(
                probe,
                snapshot[features],
                snapshot[_LABELS].numpy(),
                snapshot[f"test {number} {kind}"],
                seed=seed,
            )
            score = score_of(predicted == snapshot["test labels"].numpy(), seed=seed)
            name = f"eval/{probe}" if number == "0" else f"eval/{probe}_{kind}"
            metrics[name] = score.accuracy
            intervals[name] = [score.low, score.high]
    return Evaluation(metrics, intervals)
