"""Features on a plane, for people to look at: t-SNE, by landmarks where there are many."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.float32]
Points = npt.NDArray[np.float32]

_PERPLEXITY = 30.0
_SPREAD_PERPLEXITY = 5.0
_TOGETHER = 20_000
_SAME = 1e-6  # float32 tells no smaller differences of unit vectors


def planar_map(features: Features, *, seed: int, landmarks: int = 20_000, jobs: int = 1) -> Points:
    """Places on a plane such that samples whose features point the same way lie together.

    t-SNE (van der Maaten & Hinton, 2008) with cosine distance. Of more samples than `landmarks` a
    random part is laid out, and the others are put among it one by one (Policar et al., 2023), so
    that time grows with their number and memory hardly does.

    Args:
        features: (N, D), finite; N may be 0.
        seed: of landmarks and of the layout.
        landmarks: largest number of samples that are laid out together.
        jobs: threads.

    Returns:
        (N, 2) float32, centred. The axes have no meaning and no unit. Features that all point the
        same way have one place.
    """
    count = len(features)
    if count < 3:  # too few for neighbourhoods: side by side
        return np.stack([np.arange(count), np.zeros(count)], axis=1).astype(np.float32)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    # Cosine distance has no answer for a zero, which a ReLU may give; this one has.
    features = features / np.maximum(lengths, np.finfo(np.float32).tiny)
    if np.ptp(features, axis=0).max() < _SAME:
        return np.zeros((count, 2), dtype=np.float32)
    order = np.random.default_rng(seed).permutation(count)
    first, others = order[:landmarks], order[landmarks:]
    places = np.empty((count, 2), dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of perplexities, and of numba that is not there
        logging.getLogger("openTSNE").setLevel(logging.ERROR)
        from openTSNE import TSNE

        fitted = TSNE(
            perplexity=min(_PERPLEXITY, (len(first) - 1) / 3),
            random_state=seed,
            n_jobs=jobs,
        ).fit(features[first])
        places[first] = fitted
        for start in range(0, len(others), _TOGETHER):
            part = others[start : start + _TOGETHER]
            places[part] = fitted.transform(features[part], perplexity=_SPREAD_PERPLEXITY)
    return places - places[first].mean(axis=0)
