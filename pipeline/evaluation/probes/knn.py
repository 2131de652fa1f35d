"""Weighted k-nearest-neighbour classification, the probe without parameters."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def knn_predictions(
    train: Tensor, train_labels: Tensor, test: Tensor, *, k: int = 20, temperature: float = 0.07
) -> Tensor:
    """The class that the most similar training samples vote for.

    The k most similar training samples by cosine vote with weight exp(cosine / temperature)
    (Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination, 2018).

    Args:
        train: (N, D) features.
        train_labels: (N,) int64, not negative.
        test: (M, D) features.
        k: neighbours; all of them if there are fewer.
        temperature: of the weights.

    Returns:
        (M,) int64 labels.
    """
    bank = F.normalize(train.float(), dim=1)
    classes = int(train_labels.max()) + 1
    predicted = []
    for queries in test.split(1024):
        similarity = F.normalize(queries.float(), dim=1) @ bank.T
        nearest, index = similarity.topk(min(k, len(bank)), dim=1)
        votes = torch.zeros(len(queries), classes)
        # The largest similarity is taken off first: the vote is the same and exp cannot overflow.
        weights = ((nearest - nearest[:, :1]) / temperature).exp()
        votes.scatter_add_(1, train_labels[index], weights)
        predicted.append(votes.argmax(dim=1))
    return torch.cat(predicted)
