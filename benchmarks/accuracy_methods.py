"""What the study of accuracies compares: methods, the settings tried of each, and the budget.

Change a constant here and begin a new file of cells: finished cells do not say what they were.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ENCODER: dict[str, Any] = {
    "name": "resnet10t",
    "args": {"channels": [16, 32, 64, 128], "stem_width": 16},
}
BATCH = 256
EPOCHS = {"settings": 5, "seeds": 10}
SEEDS = {"settings": 1, "seeds": 3}
CLIP_NORM = 1.0  # of AMCL
QUEUE = 4096

Settings = dict[str, float | bool]

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
]
_PREDICTOR: list[Settings] = [{"lr": 1e-3}, {"lr": 3e-3}]


@dataclass(frozen=True, kw_only=True)
class Method:
    """An objective, or a loop of lightly's."""

    name: str
    grid: list[Settings]
    objective: dict[str, Any] = field(default_factory=dict)  # its section of the recipe
    clip_norm: float | None = None
    ema_end: float | None = None  # of a grid's `ema`


def _amcl(base: str, grid: list[Settings], **others: Any) -> Method:
    return Method(
        name=f"amcl over {base}",
        grid=grid,
        objective={"kind": "amcl", "base": base, **others},
        clip_norm=CLIP_NORM,
    )


def _simple(kind: str, grid: list[Settings], **others: Any) -> Method:
    return Method(name=kind, grid=grid, objective={"kind": kind, **others}, ema_end=1.0)


OURS = [
    _simple("simclr", _TEMPERATURES, projector=_TWO_LAYERS),
    _simple("moco", _TEMPERATURES, projector=_TWO_LAYERS, queue=QUEUE, ema={"start": 0.99}),
    _simple("byol", _TWINS, projector=_TWO_LAYERS, predictor=[256]),
    _simple("simsiam", _PREDICTOR, projector=_THREE_LAYERS, predictor=[128]),
    _simple("barlow", _RATES, projector=_THREE_LAYERS),
    _simple("vicreg", _RATES, projector=_THREE_LAYERS),
    _simple("mocov3", _TWINS, projector=[512, 512, 128], predictor=[256]),
    _simple("unigrad", _TWINS, projector=_TWO_LAYERS),
    _simple("hard_contrastive", _TEMPERATURES, projector=_TWO_LAYERS),
    _amcl("simclr", _RATES, projector=_TWO_LAYERS),
    _amcl("moco", _RATES, projector=_TWO_LAYERS, queue=QUEUE),
    _amcl("simsiam", _PREDICTOR, projector=_THREE_LAYERS, predictor=[128]),
    _amcl("barlow", _RATES, projector=_THREE_LAYERS),
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
LIGHTLY = [
    Method(name="simclr", grid=_TEMPERATURES),
    Method(name="moco", grid=_TEMPERATURES),
    Method(name="byol", grid=_TWINS),
    Method(name="simsiam", grid=_PREDICTOR),
    Method(name="barlow", grid=_RATES),
    Method(name="vicreg", grid=_RATES),
]
FLOORS = [Method(name="raw pixels", grid=[{}]), Method(name="untrained", grid=[{}])]
LIBRARIES = {"floor": FLOORS, "ours": OURS, "lightly": LIGHTLY}


def method_of(library: str, name: str) -> Method:
    """The method of this name."""
    (found,) = (method for method in LIBRARIES[library] if method.name == name)
    return found


def sections(method: Method, settings: Settings) -> dict[str, Any]:
    """The recipe's `objective` and optimizer with these settings."""
    objective = dict(method.objective)
    optimizer: dict[str, Any] = {"weight_decay": 1e-4, "clip_norm": method.clip_norm}
    for name, value in settings.items():
        if name == "lr":
            optimizer["lr"] = value
        elif name == "ema":
            objective["ema"] = {"start": value, "end": method.ema_end}
        else:
            objective[name] = value
    return {"objective": objective, "optimizer": optimizer}
