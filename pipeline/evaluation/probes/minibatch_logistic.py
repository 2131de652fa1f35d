"""Multinomial logistic regression by mini-batches, for sets on which L-BFGS would take too long."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR

from pipeline.evaluation.probes.linear_classifier import Features, Labels, LinearClassifier
from pipeline.randomness import permutation

_BATCH = 512
_STEPS = 2000
_RATE = 1e-2
_WIDEST_ROTATION = 4096


def minibatch_logistic(
    features: Features, labels: Labels, *, strengths: Sequence[float], seed: int
) -> list[LinearClassifier]:
    """Fit standardised features with every strength at once, by Adam with a cosine schedule.

    The minimum is that of scikit-learn's `LogisticRegression(C=strength)` after `StandardScaler`:
    the mean cross entropy plus |W|^2 / (2 * strength * N), the bias free. Weights are sought in the
    principal axes of the features. That leaves their norm as it is, and Adam's step of its own for
    each coordinate is then one for each direction, however correlated the features are.

    Args:
        features: (N, D).
        labels: (N,) in [0, C), of two classes at least.
        strengths: inverse penalties.
        seed: of the order of the samples.

    Returns:
        For each strength a classifier of unstandardised features; classes without samples are never
        predicted.
    """
    present, targets = np.unique(labels, return_inverse=True)
    scaler = StandardScaler().fit(features)
    standardised = torch.from_numpy(scaler.transform(features).astype(np.float32))
    axes = _principal_axes(standardised)
    inputs = standardised if axes is None else standardised @ axes
    weight, bias = _minimise(inputs, torch.from_numpy(targets), len(present), strengths, seed)
    weight = weight if axes is None else weight @ axes.T
    unscaled = weight.double().numpy() / scaler.scale_
    shifted = bias.double().numpy() - unscaled @ scaler.mean_
    models = []
    for own_weight, own_bias in zip(unscaled, shifted, strict=True):
        every_weight = np.zeros((present[-1] + 1, features.shape[1]))
        every_bias = np.full(present[-1] + 1, -np.inf)
        every_weight[present], every_bias[present] = own_weight, own_bias
        models.append(LinearClassifier(weight=every_weight, bias=every_bias))
    return models


def _principal_axes(standardised: Tensor) -> Tensor | None:
    """(D, D) orthogonal; None of more features than can be decomposed in seconds."""
    count, width = standardised.shape
    if width > _WIDEST_ROTATION:
        return None
    axes: Tensor = torch.linalg.eigh(standardised.T @ standardised / count).eigenvectors
    return axes


def _minimise(
    inputs: Tensor, targets: Tensor, classes: int, strengths: Sequence[float], seed: int
) -> tuple[Tensor, Tensor]:
    """Weights (S, C, D) and biases (S, C) for S strengths, whose losses share no parameter."""
    count, width = inputs.shape
    # Of two classes scikit-learn penalises only the difference of their weights, w: a softmax with
    # weights w / 2 and -w / 2 has half of its squared norm.
    doubled = 2 if classes == 2 else 1
    penalty = torch.tensor([doubled / (2 * strength * count) for strength in strengths])
    weight = torch.zeros(len(strengths), classes, width, requires_grad=True)
    bias = torch.zeros(len(strengths), classes, requires_grad=True)
    epochs = math.ceil(_STEPS * _BATCH / count)
    optimizer = torch.optim.Adam([weight, bias], lr=_RATE)
    schedule = CosineAnnealingLR(optimizer, epochs * math.ceil(count / _BATCH))
    for epoch in range(epochs):
        order = torch.from_numpy(permutation(count, "mini-batches", seed, epoch))
        for batch in order.split(_BATCH):
            logits = F.linear(inputs[batch], weight.flatten(0, 1), bias.flatten())  # (B, S * C)
            wanted = targets[batch].repeat_interleave(len(strengths))
            entropies = F.cross_entropy(logits.view(-1, classes), wanted, reduction="none")
            losses = entropies.view(-1, len(strengths)).mean(dim=0)
            # The last batch of an epoch may be small; a step counts by its samples.
            share = len(batch) / min(_BATCH, count)
            total = share * (losses + penalty * weight.square().sum(dim=(1, 2))).sum()
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            schedule.step()
    return weight.detach(), bias.detach()
