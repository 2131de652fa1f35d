"""Small settings of every objective, and the inputs of the golden file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders.shape import EncoderShape
from pipeline.objectives.base import EncodedViews, Objective, PairLosses
from pipeline.objectives.configs.base import ObjectiveConfig
from pipeline.objectives.configs.composite import CompositeConfig
from pipeline.objectives.configs.single import SingleObjectiveConfig
from pipeline.pairs.weighting import uniform_weights, weighted_total

GOLDEN = json.loads((Path(__file__).parent.parent / "fixtures" / "golden.json").read_text())[
    "golden"
]
BATCH = 8
SIZE = 8
_HEAD = {"projector": [16, 8]}
_PREDICTOR = {**_HEAD, "predictor": [12]}
_AMCL = {"kind": "amcl", "heads": 2, "hidden": 5, **_HEAD}
_CODE = {"width": 5, "decoder": {"kind": "conv", "channels": [8, 8]}}
_PATCHES = {"kind": "patches", "patch": 4, "width": 8, "depth": 2, "heads": 2}

OBJECTIVES: dict[str, dict[str, Any]] = {
    "simclr": {"kind": "simclr", **_HEAD},
    "simclr, tau learnt": {
        "kind": "simclr",
        "temperature": {"start": 0.3, "learnable": True},
        **_HEAD,
    },
    "moco": {"kind": "moco", "queue": 2 * BATCH, "ema": {"start": 0.9}, **_HEAD},
    "mocov3": {"kind": "mocov3", "ema": {"start": 0.9, "end": 1.0}, **_PREDICTOR},
    "byol": {"kind": "byol", "ema": {"start": 0.9, "end": 1.0}, **_PREDICTOR},
    "simsiam": {"kind": "simsiam", **_PREDICTOR},
    "barlow": {"kind": "barlow", **_HEAD},
    "vicreg": {"kind": "vicreg", **_HEAD},
    "unigrad": {"kind": "unigrad", "ema": {"start": 0.9}, "memory": 0.5, **_HEAD},
    "unigrad without twin": {"kind": "unigrad", "ema": None, **_HEAD},
    "hard_contrastive": {"kind": "hard_contrastive", "hardest": 0.4, **_HEAD},
    "amcl over simclr": {**_AMCL, "base": "simclr", "top_k": 3},
    "amcl over moco": {**_AMCL, "base": "moco", "queue": 2 * BATCH, "top_k": 3},
    "amcl over simsiam": {**_AMCL, "base": "simsiam", "predictor": [12]},
    "amcl over barlow": {**_AMCL, "base": "barlow", "regularisation": 1e-3},
    "lejepa": {"kind": "lejepa", "sigreg": 0.2, "slices": 16, **_HEAD},
    "mim": {"kind": "mim", "warm_up": 0.0, "likelihood": {"kind": "gaussian"}, **_CODE},
    "a_mim": {"kind": "a_mim", **_CODE},
    "cmim": {"kind": "cmim", **_CODE},
    "cmim, patches": {
        "kind": "cmim",
        "width": 5,
        "channels": 1,
        "decoder": _PATCHES,
        "temperature": {"start": 0.3, "learnable": True},
    },
    "composite": {
        "kind": "composite",
        "parts": [
            {"objective": {"kind": "simclr", **_HEAD}},
            {"weight": 0.5, "objective": {"kind": "byol", "ema": {"start": 0.9}, **_PREDICTOR}},
            {"weight": 0.1, "objective": {"kind": "barlow", **_HEAD}},
        ],
    },
    "composite with codes": {
        "kind": "composite",
        "parts": [
            {"objective": {"kind": "simclr", **_HEAD}},
            {"weight": 0.1, "objective": {"kind": "cmim", **_CODE}},
        ],
    },
}

_NARROW = {"ema": {"start": 0.9}, "predictor": {"width": 16, "depth": 1}}
MASKED: dict[str, dict[str, Any]] = {
    "ijepa": {"kind": "ijepa", **_NARROW},
    "dmt_jepa": {"kind": "dmt_jepa", **_NARROW},
    "dmt_jepa, toroidal": {"kind": "dmt_jepa", "window": "toroidal", "neighbours": 3, **_NARROW},
}
"""Objectives that predict masked patches."""

_ANY: TypeAdapter[Any] = TypeAdapter(SingleObjectiveConfig | CompositeConfig)


def section_of(section: dict[str, Any]) -> ObjectiveConfig:
    """The settings of a recipe's section."""
    config: ObjectiveConfig = _ANY.validate_python(section)
    return config


def build(section: dict[str, Any], width: int = 6, *, global_batch: int = BATCH) -> Objective:
    """The objective of a recipe's section, with the weights of one seed, in float64."""
    torch.manual_seed(0)
    objective: Objective = (
        section_of(section)
        .build(EncoderShape(width=width, size=SIZE), global_batch=global_batch)
        .double()
    )
    return objective


def without_heads(section: dict[str, Any], width: int = 6) -> Objective:
    """The same with nothing between features and loss."""
    objective = build({**section, "projector": [width]}, width)
    for name in ("projector", "predictor", "target_projector"):
        if getattr(objective, name, None) is not None:
            setattr(objective, name, nn.Identity())
    return objective


def golden_inputs() -> Tensor:
    """Z1 and Z2 of the golden file; (2, 8, 6) float64."""
    n = torch.arange(8, dtype=torch.float64)[:, None]
    d = torch.arange(6, dtype=torch.float64)[None]
    z1 = torch.sin(1.0 + 1.7 * n + 0.9 * d + 0.13 * n * d)
    return torch.stack([z1, z1 + 0.3 * torch.cos(0.4 + 2.1 * n - 1.1 * d)])


def unit(z: Tensor) -> Tensor:
    """Rows of length 1."""
    return F.normalize(z, dim=-1)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers in float64."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def encoded(features: Tensor, *, progress: float = 0.0, seed: int = 1) -> EncodedViews:
    """Features with targets near those of the global views, and images that they are said to be of.

    Whatever else is encoded, becomes a linear function of its pixels.
    """
    targets = features[:2].detach() + 0.1 * noise(*features[:2].shape, seed=seed).to(features)
    pixels = noise(*features.shape[:2], 3, SIZE, SIZE, seed=seed).sigmoid().to(features)
    weights = noise(3 * SIZE * SIZE, features.shape[2], seed=seed).to(features) / SIZE
    return EncodedViews(
        features=features,
        targets=targets,
        progress=progress,
        step_seed=seed,
        sample_id=torch.arange(features.shape[1]),
        samples=pixels,
        encode=lambda images: images.flatten(1) @ weights,
    )


def total(losses: PairLosses) -> Tensor:
    """What is minimised."""
    return weighted_total(losses, uniform_weights(losses))
