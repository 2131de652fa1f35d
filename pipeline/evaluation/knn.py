"""Weighted k-nearest-neighbour classification, the probe without parameters."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def knn_accuracy(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    k: int = 20,
    temperature: float = 0.07,
) -> float:
    """Share of test samples whose weighted vote is right.

    The k most similar training samples by cosine vote with weight exp(cosine / temperature)
    (Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination, 2018).

    Args:
        train: (N, D) features.
        train_labels: (N,) int64 in [0, classes).
        test: (M, D) features.
        test_labels: (M,) int64.
        k: neighbours; all of them if there are fewer.
        temperature: of the weights.
    """
    bank = F.normalize(train.float(), dim=1)
    classes = int(torch.cat([train_labels, test_labels]).max()) + 1
    right = 0
    for queries, labels in zip(test.split(1024), test_labels.split(1024), strict=True):
        similarity = F.normalize(queries.float(), dim=1) @ bank.T
        nearest, index = similarity.topk(min(k, len(bank)), dim=1)
        votes = torch.zeros(len(queries), classes)
        # The largest similarity is taken off first: the vote is the same and exp cannot overflow.
        weights = ((nearest - nearest[:, :1]) / temperature).exp()
        votes.scatter_add_(1, train_labels[index], weights)
        right += int((votes.argmax(dim=1) == labels).sum())
    return right / len(test_labels)
