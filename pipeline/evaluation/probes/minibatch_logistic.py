"""Logistic regression by mini-batches: of many classes at once, or of labels one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
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

# Logits (B, S, C) for S strengths and targets of the batch, to losses (S,).
Loss = Callable[[Tensor, Tensor], Tensor]


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
    # Of two classes scikit-learn penalises only the difference of their weights, w: a softmax with
    # weights w / 2 and -w / 2 has half of its squared norm.
    fitted = _fitted(
        features,
        torch.from_numpy(targets),
        outputs=len(present),
        loss=_cross_entropies,
        penalised=2 if len(present) == 2 else 1,
        strengths=strengths,
        seed=seed,
    )
    models = []
    for own in fitted:
        every_weight = np.zeros((present[-1] + 1, features.shape[1]))
        every_bias = np.full(present[-1] + 1, -np.inf)
        every_weight[present], every_bias[present] = own.weight, own.bias
        models.append(LinearClassifier(weight=every_weight, bias=every_bias))
    return models


def minibatch_binary(
    features: Features, truth: npt.NDArray[np.bool_], *, strengths: Sequence[float], seed: int
) -> list[LinearClassifier]:
    """Fit one binary classifier for each label, all at once, as `minibatch_logistic` does classes.

    Each minimum is that of scikit-learn's `LogisticRegression(C=strength)` for the label alone.

    Args:
        features: (N, D).
        truth: (N, L), which labels a sample has; each has some samples and lacks others.
        strengths: inverse penalties.
        seed: of the order of the samples.

    Returns:
        For each strength a scorer (L, D) of unstandardised features, in log-odds.
    """
    return _fitted(
        features,
        torch.from_numpy(truth).float(),
        outputs=truth.shape[1],
        loss=_binary_entropies,
        penalised=1,
        strengths=strengths,
        seed=seed,
    )


def _cross_entropies(logits_BSC: Tensor, targets: Tensor) -> Tensor:
    strengths, classes = logits_BSC.shape[1:]
    wanted = targets.repeat_interleave(strengths)
    entropies = F.cross_entropy(logits_BSC.reshape(-1, classes), wanted, reduction="none")
    return entropies.view(-1, strengths).mean(dim=0)


def _binary_entropies(logits_BSL: Tensor, targets_BL: Tensor) -> Tensor:
    wanted = targets_BL[:, None].expand_as(logits_BSL)
    entropies = F.binary_cross_entropy_with_logits(logits_BSL, wanted, reduction="none")
    return entropies.mean(dim=0).sum(dim=1)


def _fitted(
    features: Features,
    targets: Tensor,
    *,
    outputs: int,
    loss: Loss,
    penalised: int,
    strengths: Sequence[float],
    seed: int,
) -> list[LinearClassifier]:
    """A classifier (C, D) of unstandardised features for each strength."""
    scaler = StandardScaler().fit(features)
    standardised = torch.from_numpy(scaler.transform(features).astype(np.float32))
    axes = _principal_axes(standardised)
    inputs = standardised if axes is None else standardised @ axes
    penalty = torch.tensor([penalised / (2 * strength * len(inputs)) for strength in strengths])
    weight, bias = _minimise(inputs, targets, outputs, loss, penalty, seed)
    weight = weight if axes is None else weight @ axes.T
    unscaled = weight.double().numpy() / scaler.scale_
    shifted = bias.double().numpy() - unscaled @ scaler.mean_
    return [
        LinearClassifier(weight=own_weight, bias=own_bias)
        for own_weight, own_bias in zip(unscaled, shifted, strict=True)
    ]


def _principal_axes(standardised: Tensor) -> Tensor | None:
    """(D, D) orthogonal; None of more features than can be decomposed in seconds."""
    count, width = standardised.shape
    if width > _WIDEST_ROTATION:
        return None
    axes: Tensor = torch.linalg.eigh(standardised.T @ standardised / count).eigenvectors
    return axes


def _minimise(
    inputs: Tensor, targets: Tensor, outputs: int, loss: Loss, penalty: Tensor, seed: int
) -> tuple[Tensor, Tensor]:
    """Weights (S, C, D) and biases (S, C) for penalties (S,), whose losses share no parameter."""
    count, width = inputs.shape
    weight = torch.zeros(len(penalty), outputs, width, requires_grad=True)
    bias = torch.zeros(len(penalty), outputs, requires_grad=True)
    epochs = math.ceil(_STEPS * _BATCH / max(count, _BATCH))
    optimizer = torch.optim.Adam([weight, bias], lr=_RATE)
    schedule = CosineAnnealingLR(optimizer, epochs * math.ceil(count / _BATCH))
    for epoch in range(epochs):
        order = torch.from_numpy(permutation(count, "mini-batches", seed, epoch))
        for batch in order.split(_BATCH):
            logits = F.linear(inputs[batch], weight.flatten(0, 1), bias.flatten())
            losses = loss(logits.view(len(batch), len(penalty), outputs), targets[batch])
            # The last batch of an epoch may be small; a step counts by its samples.
            share = len(batch) / min(_BATCH, count)
            total = share * (losses + penalty * weight.square().sum(dim=(1, 2))).sum()
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            schedule.step()
    return weight.detach(), bias.detach()
