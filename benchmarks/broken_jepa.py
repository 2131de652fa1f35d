"""I-JEPA as it should be and without twin and stop-gradient: what the alarm says of both.

    python -m benchmarks.broken_jepa docs/broken_jepa.svg

The broken one minimises the same loss, and does so better: that is why a loss alone tells nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from torch.nn import functional as F

from benchmarks.shared.places import CLIPART
from benchmarks.shared.plain_training import steps_of, write_images
from pipeline.encoders.transformers.patches import encode_patches
from pipeline.evaluation.collapse import CollapseAlarm, collapse_signs
from pipeline.learning.learner import Learner, LearnerBatch, build_learner
from pipeline.objectives.base import EncodedPatches, EncodedViews
from pipeline.objectives.ijepa import IJEPA
from pipeline.recipe import Recipe

_STEPS = 300
_BETWEEN_LOOKS = 5


class _Untaught(IJEPA):
    """Whose targets carry gradient."""

    def targets(self, seen: EncodedPatches) -> Tensor:
        return F.layer_norm(seen.targets, seen.targets.shape[-1:])


class _Broken(Learner):
    """Whose targets are of the encoder itself."""

    def encode(self, batch: LearnerBatch) -> EncodedViews:
        views = super().encode(batch)
        assert views.patches is not None
        targets = encode_patches(self.encoder, self.normalise(batch.views[0]))
        return replace(views, patches=replace(views.patches, targets=targets))


@dataclass
class Curves:
    """What a run showed at every look."""

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    spreads: list[float] = field(default_factory=list)
    ranks: list[float] = field(default_factory=list)
    said: tuple[int, str] | None = None


def main(
    picture: Annotated[Path, typer.Argument(help="SVG to write.")],
    steps: Annotated[int, typer.Option(min=_BETWEEN_LOOKS, help="Of each run.")] = _STEPS,
    json_: Annotated[bool, typer.Option("--json", help="End with a JSON line on stdout.")] = False,
) -> None:
    """Train both, and draw their losses and the spread and rank of their features."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        shards = Path(folder) / "shards"
        write_images(CLIPART, shards)
        recipe = recipe_for(shards, steps)
        found = {
            "I-JEPA": curves(recipe, build_learner(recipe)),
            "without twin and stop-gradient": curves(recipe, broken(build_learner(recipe))),
        }
    picture.write_text("".join(_svg(found)))
    summary = {name: _summary(run) for name, run in found.items()}
    for name, figures in summary.items():
        print(f"{name}: {figures}", file=sys.stderr)
    if json_:
        print(json.dumps(summary))


def _summary(run: Curves) -> dict[str, Any]:
    step, message = run.said or (None, None)
    return {
        "first_loss": round(run.losses[0], 4),
        "last_loss": round(run.losses[-1], 4),
        "alarm": message,
        "alarm_step": step,
    }


def recipe_for(shards: Path, steps: int) -> Recipe:
    """A small I-JEPA on 32 x 32 pictures."""
    return Recipe.model_validate(
        {
            "data": {"shards": str(shards), "streams": 4, "shuffle_window": 256},
            "views": {
                "size": 32,
                "count": 1,
                "crop_scale": [0.3, 1.0],
                "jitter": 0.0,
                "grayscale": 0.0,
                "flip": 0.0,
                "masks": {"kind": "multiblock"},
            },
            "encoder": {
                "name": "vit_tiny_patch16_224",
                "args": {
                    "img_size": 32,
                    "patch_size": 4,
                    "embed_dim": 48,
                    "depth": 3,
                    "num_heads": 3,
                    "class_token": False,
                    "global_pool": "avg",
                    "fc_norm": False,
                },
                "positions": "sincos",
            },
            "objective": {
                "kind": "ijepa",
                "ema": {"start": 0.99, "end": 1.0},
                "predictor": {"width": 24, "depth": 2},
            },
            "train": {"steps": steps, "global_batch": 48, "optimizer": {"lr": 2e-3}},
        }
    )


def broken(learner: Learner) -> Learner:
    """The same learner with targets of its own encoder, through which gradient flows."""
    learner.__class__ = _Broken
    learner.objective.__class__ = _Untaught
    return learner


def curves(recipe: Recipe, learner: Learner) -> Curves:
    """Train, and look now and then."""
    found, alarm = Curves(), CollapseAlarm()
    for step, result in enumerate(steps_of(recipe, learner), start=1):
        if step % _BETWEEN_LOOKS:
            continue
        signs = collapse_signs(result.features[0], result.losses.projections[0].detach())
        values = {name: float(value) for name, value in signs.items()}
        found.steps.append(step)
        found.losses.append(float(result.total.detach()))
        found.spreads.append(values["feature_spread"])
        found.ranks.append(values["feature_rank"])
        said = alarm.look(values)
        if said and found.said is None:
            found.said = step, said[0]
    return found


def _svg(runs: dict[str, Curves]) -> Iterator[str]:
    """Three charts beside each other, one line for each run."""
    colours = dict(zip(runs, ("#0072b2", "#d55e00"), strict=True))
    yield (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 270" '
        'font-family="sans-serif" font-size="12">\n<rect width="960" height="270" fill="white"/>\n'
    )
    charts = {"loss": "losses", "spread of features": "spreads", "rank of features": "ranks"}
    for place, (title, name) in enumerate(charts.items()):
        left, top, width, height = 50 + 315 * place, 30, 255, 180
        largest = max(max(getattr(run, name)) for run in runs.values())
        last = max(run.steps[-1] for run in runs.values())
        yield f'<text x="{left}" y="18" font-weight="bold">{title}</text>\n'
        yield (
            f'<path d="M{left} {top}v{height}h{width}" fill="none" stroke="#888"/>'
            f'<text x="{left - 4}" y="{top + 8}" text-anchor="end">{largest:.2g}</text>'
            f'<text x="{left - 4}" y="{top + height}" text-anchor="end">0</text>'
            f'<text x="{left + width}" y="{top + height + 16}" text-anchor="end">'
            f"step {last}</text>\n"
        )
        for run_name, run in runs.items():
            points = " ".join(
                f"{left + width * step / last:.1f},{top + height * (1 - value / largest):.1f}"
                for step, value in zip(run.steps, getattr(run, name), strict=True)
            )
            yield (
                f'<polyline points="{points}" fill="none" stroke="{colours[run_name]}" '
                'stroke-width="2"/>\n'
            )
            if run.said:
                x = left + width * run.said[0] / last
                yield (
                    f'<path d="M{x:.1f} {top}v{height}" stroke="{colours[run_name]}" '
                    'stroke-dasharray="4 3"/>\n'
                )
    for number, (name, colour) in enumerate(colours.items()):
        said = f", alarm at step {runs[name].said[0]}" if runs[name].said else ""
        yield f'<text x="{50 + 315 * number}" y="256" fill="{colour}">— {name}{said}</text>\n'
    yield "</svg>\n"


if __name__ == "__main__":
    typer.run(main)
