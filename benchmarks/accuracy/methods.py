"""What the study of accuracies compares: methods, the settings tried of each, and the budget.

Change a constant here and begin a new file of cells: finished cells do not say what they were.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SEEDS = 3  # of the best settings, and before of those that one seed cannot tell apart
CLIP_NORM = 1.0  # of AMCL
QUEUE = 4096

Settings = dict[str, float | None]
"""Values of `lr`, `ema` (its start, or no twin) and `batch`, or of the objective's own settings."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What methods that are compared have in common."""

    title: str
    encoder: dict[str, Any]
    batch: int
    epochs: dict[str, int]  # by stage


RESNET = Budget(
    title="ResNet",
    encoder={
        "name": "resnet10t",
        "args": {"channels": [16, 32, 64, 128], "stem_width": 16},
    },
    batch=256,
    epochs={"settings": 5, "seeds": 10},
)
VIT = Budget(
    title="ViT",
    encoder={
        "name": "vit_tiny_patch16_224",
        "args": {
            "img_size": 32,
            "patch_size": 4,
            "embed_dim": 64,
            "depth": 4,
            "num_heads": 4,
            "class_token": False,
            "global_pool": "avg",
            "fc_norm": False,
            "dynamic_img_size": True,  # for small views
        },
        "positions": "sincos",
    },
    batch=128,
    epochs={"settings": 6, "seeds": 12},
)

_TWO_LAYERS = [512, 128]
_THREE_LAYERS = [512, 512, 512]
_RATES: list[Settings] = [{"lr": 3e-3}, {"lr": 1e-2}]
_TEMPERATURES: list[Settings] = [
    {"lr": 3e-3, "temperature": 0.2},
    {"lr": 1e-2, "temperature": 0.2},
    {"lr": 3e-3, "temperature": 0.5},
]
_TWINS: list[Settings] = [
    {"lr": 3e-3, "ema": 0.9},
    {"lr": 1e-2, "ema": 0.9},
    {"lr": 3e-3, "ema": 0.99},
    {"lr": 3e-3, "ema": 0.9, "batch": 64},
]
_SIGREGS: list[Settings] = [
    {"lr": 3e-3, "sigreg": 0.02},
    {"lr": 1e-2, "sigreg": 0.02},
    {"lr": 1e-2, "sigreg": 0.01},
]
_PREDICTOR: list[Settings] = [{"lr": 1e-3}, {"lr": 3e-3}, {"lr": 3e-3, "batch": 64}]
_HARD: list[Settings] = [*_TEMPERATURES, {"lr": 1e-2, "temperature": 0.2, "hardest": 0.5}]
_FRESH: list[Settings] = [  # a correlation that follows the batch, as short runs need
    {"lr": 3e-3, "ema": 0.5, "memory": 0.0},
    {"lr": 3e-3, "ema": 0.5, "memory": 0.0, "decorrelation": 30.0},
    {"lr": 3e-3, "ema": None, "memory": 0.0, "decorrelation": 30.0},
]
_NARROW = {"temperature_least": 0.2, "temperature_most": 0.5}
_RANGES: list[Settings] = [{"lr": 3e-3}, {"lr": 3e-3, **_NARROW}, {"lr": 1e-2, **_NARROW}]
_AROUND_ONE: list[Settings] = [  # with other temperatures views need not correlate fully
    *_RATES,
    {"lr": 3e-3, "batch": 64},
    {"lr": 3e-3, "temperature_least": 0.8, "temperature_most": 1.25},
]
_TWINS_OF_PATCHES: list[Settings] = [{"lr": 1e-3, "ema": 0.999}, {"lr": 3e-3, "ema": 0.999}]
_MASKED_VIEWS: dict[str, Any] = {
    "count": 1,
    "crop_scale": [0.3, 1.0],
    "flip": 0.0,
    "jitter": 0.0,
    "grayscale": 0.0,
    "masks": {"kind": "multiblock"},
}


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a method is to be better than, by so many points at least."""

    floors: tuple[str, ...]
    points: float


GOALS = (
    Goal(floors=("raw pixels", "untrained"), points=3.0),
    Goal(floors=("raw pixels", "untrained ViT"), points=3.0),
    Goal(floors=("untrained ViT",), points=0.0),
)


@dataclass(frozen=True, kw_only=True)
class Method:
    """An objective, or a loop of lightly's."""

    name: str
    grid: list[Settings]
    objective: dict[str, Any] = field(default_factory=dict)  # its section of the recipe
    budget: Budget = RESNET
    goal: Goal = GOALS[0]
    views: dict[str, Any] = field(default_factory=dict)
    weight_decay: float = 1e-4
    clip_norm: float | None = None
    ema_end: float | None = None  # of a grid's `ema`
    seeds: int = SEEDS  # of the best settings; more where so many cannot tell two libraries apart


def _amcl(base: str, grid: list[Settings], **others: Any) -> Method:
    return Method(
        name=f"amcl over {base}",
        grid=grid,
        objective={"kind": "amcl", "base": base, **others},
        clip_norm=CLIP_NORM,
    )


def _simple(kind: str, grid: list[Settings], *, seeds: int = SEEDS, **others: Any) -> Method:
    objective = {"kind": kind, **others}
    return Method(name=kind, grid=grid, objective=objective, ema_end=1.0, seeds=seeds)


OURS = [
    _simple("simclr", _TEMPERATURES, projector=_TWO_LAYERS),
    _simple("moco", _TEMPERATURES, projector=_TWO_LAYERS, queue=QUEUE, ema={"start": 0.99}),
    _simple("byol", _TWINS, seeds=6, projector=_TWO_LAYERS, predictor=[256]),
    _simple("simsiam", _PREDICTOR, projector=_THREE_LAYERS, predictor=[128]),
    _simple("barlow", _RATES, projector=_THREE_LAYERS),
    _simple("vicreg", _RATES, projector=_THREE_LAYERS),
    _simple("mocov3", _TWINS, projector=[512, 512, 128], predictor=[256]),
    _simple("unigrad", _FRESH, projector=_THREE_LAYERS),
    _simple("hard_contrastive", _HARD, projector=_TWO_LAYERS),
    _amcl("simclr", _RANGES, projector=_TWO_LAYERS),
    _amcl("moco", _RANGES, projector=_TWO_LAYERS, queue=QUEUE),
    _amcl("simsiam", _PREDICTOR, projector=_THREE_LAYERS, predictor=[128]),
    _amcl("barlow", _AROUND_ONE, projector=_THREE_LAYERS),
    _simple("lejepa", _SIGREGS, seeds=6, projector=[512, 512, 64], slices=256),
    Method(
        name="composite",
        grid=_RATES,
        objective={
            "kind": "composite",
            "parts": [
                {"objective": {"kind": "simclr", "projector": _TWO_LAYERS}},
                {"weight": 0.1, "objective": {"kind": "vicreg", "projector": _THREE_LAYERS}},
            ],
        },
    ),
]
OURS += [
    Method(
        name="lejepa ViT",
        grid=[{**settings, "lr": settings["lr"] / 3} for settings in _SIGREGS],
        objective={"kind": "lejepa", "projector": [512, 512, 64], "slices": 256},
        budget=VIT,
        goal=GOALS[1],
        views={"local": {"count": 4, "size": 16, "crop_scale": [0.05, 0.4]}},
        weight_decay=0.05,
    ),
    *(
        Method(
            name=f"{kind} ViT",
            grid=_TWINS_OF_PATCHES,
            objective={"kind": kind, "predictor": {"width": 64, "depth": 2}},
            budget=VIT,
            goal=GOALS[2],
            views=_MASKED_VIEWS,
            weight_decay=0.05,
            ema_end=1.0,
            seeds=6,
        )
        for kind in ("ijepa", "dmt_jepa")
    ),
]
LIGHTLY = [
    Method(name="simclr", grid=_TEMPERATURES),
    Method(name="moco", grid=_TEMPERATURES),
    Method(name="byol", grid=_TWINS, seeds=6),
    Method(name="simsiam", grid=_PREDICTOR),
    Method(name="barlow", grid=_RATES),
    Method(name="vicreg", grid=_RATES),
    Method(name="lejepa", grid=_SIGREGS, seeds=6),
]
FLOORS = [
    Method(name="raw pixels", grid=[{}], seeds=1),
    Method(name="untrained", grid=[{}]),
    Method(name="untrained ViT", grid=[{}], budget=VIT, seeds=6),
]
LIBRARIES = {"floor": FLOORS, "ours": OURS, "lightly": LIGHTLY}


def method_of(library: str, name: str) -> Method:
    """The method of this name."""
    (found,) = (method for method in LIBRARIES[library] if method.name == name)
    return found


def sections(method: Method, settings: Settings) -> dict[str, Any]:
    """The recipe's `objective`, `views` and `train` but for its length."""
    objective = dict(method.objective)
    optimizer: dict[str, Any] = {
        "weight_decay": method.weight_decay,
        "clip_norm": method.clip_norm,
    }
    train = {"global_batch": method.budget.batch, "optimizer": optimizer}
    for name, value in settings.items():
        if name == "lr":
            optimizer["lr"] = value
        elif name == "batch":
            train["global_batch"] = value
        elif name == "ema":
            objective["ema"] = value and {"start": value, "end": method.ema_end}
        else:
            objective[name] = value
    return {"objective": objective, "train": train, "views": method.views}
