"""What to know about an objective's settings before a run."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.objectives.configs.base import ObjectiveConfig
from pipeline.objectives.configs.composite import CompositeConfig
from pipeline.objectives.configs.mim import MIMConfig
from pipeline.recipe import Recipe


def warnings(recipe: Recipe) -> Iterator[str]:
    """MIM with samples of its own through which no gradient passes."""
    for where, objective in _parts(recipe.objective):
        if not isinstance(objective, MIMConfig) or not objective.model_samples:
            continue
        likelihood = objective.likelihood
        if not likelihood.differentiable:
            yield (
                f"{where}: mim with likelihood {likelihood.kind}: the gradient of its own samples "
                "is by the score function, which on images is all but noise and many times that "
                "of the data; likelihood: gaussian or model_samples: 0 are without it"
            )


def _parts(objective: ObjectiveConfig) -> Iterator[tuple[str, ObjectiveConfig]]:
    if isinstance(objective, CompositeConfig):
        for number, part in enumerate(objective.parts):
            yield f"objective.parts[{number}].objective", part.objective
    else:
        yield "objective", objective
