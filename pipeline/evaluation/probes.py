"""Probe scores of an encoder, beside those of the floors it must clear."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.evaluation.knn import knn_accuracy
from pipeline.evaluation.linear import linear_accuracy
from pipeline.evaluation.probe_set import ProbeSet

_BATCH = 256

Images = npt.NDArray[np.uint8]
FeatureFunction = Callable[[Images], Tensor]


def encode_images(
    encoder: nn.Module, images: Images, *, mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    """Features of images, in eval mode, on the encoder's device.

    Args:
        encoder: from (B, 3, S, S) normalised to (B, D).
        images: (N, S, S, 3) uint8.
        mean: RGB mean, in [0, 1].
        std: RGB deviation.

    Returns:
        (N, D) float32 on the CPU.
    """
    device = next(encoder.parameters()).device
    shift = torch.tensor(mean, device=device).view(1, 3, 1, 1)
    scale = torch.tensor(std, device=device).view(1, 3, 1, 1)
    features = []
    with _in_eval_mode(encoder), torch.inference_mode():
        for part in torch.from_numpy(images).split(_BATCH):
            pixels = part.to(device).permute(0, 3, 1, 2).float() / 255
            features.append(encoder((pixels - shift) / scale).float().cpu())
    return torch.cat(features)


@contextmanager
def _in_eval_mode(module: nn.Module) -> Iterator[None]:
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def raw_pixels(images: Images) -> Tensor:
    """Pixels as features, (N, S * S * 3) float32 in [0, 1]."""
    return torch.from_numpy(images).flatten(1).float() / 255


def probe_scores(
    features: FeatureFunction, train: ProbeSet, test: ProbeSet, *, probes: Sequence[str], seed: int
) -> dict[str, float]:
    """Accuracies on the test set, by probe: `knn`, `linear`.

    Args:
        features: images (N, S, S, 3) uint8 to features (N, D).
        train: what the probes are fitted on.
        test: what they are scored on.
        probes: which of them.
        seed: of the linear probe's validation part.
    """
    fit, check = features(train.images), features(test.images)
    scores = {}
    if "knn" in probes:
        scores["knn"] = knn_accuracy(
            fit, torch.from_numpy(train.labels), check, torch.from_numpy(test.labels)
        )
    if "linear" in probes:
        scores["linear"] = linear_accuracy(
            fit.numpy(), train.labels, check.numpy(), test.labels, seed=seed
        )
    return scores
