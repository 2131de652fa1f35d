"""Retrieval: which training samples lie nearest to a test sample, and are they of its class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.evaluation.tasks.estimate import Values

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

RANKS = (1, 5, 10)
"""k of recall@k."""

_QUERIES_TOGETHER = 256


def retrieval_figures(
    gallery: Tensor, gallery_labels: Labels, queries: Tensor, query_labels: Labels
) -> dict[str, Values]:
    """Average precision and recall@k of each query, by cosine similarity.

    Average precision is that of the whole gallery in falling order: the mean over the query's Q
    relevant samples of the share of relevant ones among all that are at least as similar, as in
    scikit-learn, so that samples of equal similarity have one rank. Recall@k is whether one of the
    k nearest is relevant, as metric learning reports it (Jegou et al., Product Quantization for
    Nearest Neighbor Search, 2011; Song et al., Deep Metric Learning via Lifted Structured Feature
    Embedding, 2016); among equals it is the chance that a random order puts one there.

    Memory holds the similarities of 256 queries with the gallery, never of all.

    Args:
        gallery: (N, D) features, N > 0.
        gallery_labels: (N,) int64.
        queries: (M, D) features.
        query_labels: (M,) int64.

    Returns:
        `retrieval_map`, `recall_at_1`, `recall_at_5`, `recall_at_10`: each (m,) in [0, 1], of the
        queries whose class the gallery has; m may be 0.
    """
    answerable = np.isin(query_labels, gallery_labels)
    queries, query_labels = queries[torch.from_numpy(answerable)], query_labels[answerable]
    bank = F.normalize(gallery.float(), dim=1)
    members = {label: np.flatnonzero(gallery_labels == label) for label in np.unique(query_labels)}
    precisions: list[float] = []
    recalls: list[list[float]] = []
    for start in range(0, len(queries), _QUERIES_TOGETHER):
        part = slice(start, start + _QUERIES_TOGETHER)
        similar = (F.normalize(queries[part].float(), dim=1) @ bank.T).numpy()
        for row, label in zip(similar, query_labels[part], strict=True):
            relevant = np.sort(row[members[label]])
            every = np.sort(row)
            precisions.append(_average_precision(every, relevant))
            recalls.append(_recalls(every, relevant))
    recall = np.array(recalls, dtype=np.float64).reshape(-1, len(RANKS))
    return {
        "retrieval_map": np.array(precisions, dtype=np.float64),
        **{f"recall_at_{k}": recall[:, column] for column, k in enumerate(RANKS)},
    }


def _average_precision(every: Floats, relevant: Floats) -> float:
    """Of the similarities of the gallery and of what is relevant in it, both rising."""
    among_all = len(every) - np.searchsorted(every, relevant, side="left")
    among_relevant = len(relevant) - np.searchsorted(relevant, relevant, side="left")
    return float(np.mean(among_relevant / among_all))


def _recalls(every: Floats, relevant: Floats) -> list[float]:
    """Chances that the first k of the gallery hold the most similar of the relevant samples."""
    best = relevant[-1]
    nearer = len(every) - int(np.searchsorted(every, best, side="right"))
    equal = len(every) - int(np.searchsorted(every, best, side="left")) - nearer
    good = len(relevant) - int(np.searchsorted(relevant, best, side="left"))
    found = []
    for k in RANKS:
        places = min(k - nearer, equal)
        missed = 1.0 if places > 0 else 0.0
        for taken in range(places):  # places without a good one among so many equals
            missed *= max(equal - good - taken, 0) / (equal - taken)
        found.append(1 - missed if places > 0 else 0.0)
    return found
