"""The label-free panel: every measure of features that needs no probe, under one roof."""

from __future__ import annotations

from pipeline.evaluation.panel.diffusion_entropy import (
    UNIT_SPHERE_BANDWIDTH,
    diffusion_spectral_entropy,
    dsmi,
)
from pipeline.evaluation.panel.feature_arrays import (
    Floats,
    Labels,
    as_labels,
    as_views,
    unit_rows,
)
from pipeline.evaluation.panel.hypersphere import (
    alignment,
    dead_dimensions,
    spread,
    tolerance,
    uniformity,
)
from pipeline.evaluation.panel.intrinsic_dimension import idest
from pipeline.evaluation.panel.lidar import lidar
from pipeline.evaluation.panel.spectrum import alpha_req, rank_me, von_neumann_entropy
from pipeline.randomness import permutation

_DIFFUSION_SAMPLES = 2000


def label_free_panel(views: Floats, labels: Labels | None = None, *, seed: int) -> dict[str, float]:
    """Measures of the features of a fixed set of samples, to compare epochs and runs by.

    Their values depend on N and V, so compare only panels of the same samples and views. All but
    `lidar` and `alignment` look at the first view of each sample. `diffusion_entropy` and `dsmi`
    look at L2-normalised features, of at most 2,000 samples drawn by the seed.

    When all features are equal: `rankme` is 1 (0 if they are all zero), `alpha_req` and `idest`
    NaN, `tolerance` 1 (0 if they are all zero), `dead_dimensions` 1, all others 0.

    Args:
        views: (N, V, D) floating point; row n holds V >= 2 views of one of N >= 2 samples.
        labels: (N,) integers; with them the panel has `tolerance` and `dsmi`.
        seed: of the samples and draws of the diffusion measures.

    Returns:
        By name: `rankme`, `alpha_req`, `von_neumann_entropy`, `lidar`, `idest`, `uniformity`,
        `alignment`, `spread_mean`, `dead_dimensions`, `diffusion_entropy`; with labels
        `tolerance`, `dsmi`.
        Ranges are those of the functions of the same names. `alpha_req` and `idest` may be NaN, and
        `tolerance` is if no class has two samples.

    Raises:
        ValueError: views or labels of another shape or type, or features not finite.
    """
    x_NVD = as_views(views)
    count = len(x_NVD)
    drawn = permutation(count, "label-free panel", seed)[:_DIFFUSION_SAMPLES]
    diffused = unit_rows(x_NVD[drawn, 0])
    # In the type they came in, which says how far they are rounded.
    features = views[:, 0]
    measures = {
        "rankme": rank_me(features),
        "alpha_req": alpha_req(features),
        "von_neumann_entropy": von_neumann_entropy(features),
        "lidar": lidar(views),
        "idest": idest(features, seed=seed),
        "uniformity": uniformity(features),
        "alignment": alignment(views),
        "spread_mean": float(spread(features).mean()),
        "dead_dimensions": dead_dimensions(features),
        "diffusion_entropy": diffusion_spectral_entropy(diffused, bandwidth=UNIT_SPHERE_BANDWIDTH),
    }
    if labels is not None:
        labels = as_labels(labels, count=count)
        measures["tolerance"] = tolerance(features, labels)
        measures["dsmi"] = dsmi(diffused, labels[drawn], bandwidth=UNIT_SPHERE_BANDWIDTH, seed=seed)
    return measures
