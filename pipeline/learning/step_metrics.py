"""What the journal says of a step's losses: means over ranks, and signs of collapse."""

from __future__ import annotations

from functools import partial

from pipeline import collectives
from pipeline.evaluation.collapse import collapse_signs
from pipeline.evaluation.pair_signs import pair_signs
from pipeline.learning.learner import StepResult
from pipeline.objectives.base import Objective
from pipeline.pairs.weighting import weight_signs


def step_metrics(result: StepResult, objective: Objective, progress: float) -> dict[str, float]:
    """Figures of a step, equal on all ranks. Every rank calls this.

    Args:
        result: of this rank.
        objective: that gave its losses.
        progress: as the step was given it.

    Returns:
        `loss`, the objective's terms and logs by their names, the signs of `collapse_signs`,
        those of `pair_signs` where samples have several views and none is masked, and those of
        `weight_signs`.

    Raises:
        ValueError: an objective's term or log has the name of another figure.
    """
    projections = result.losses.projections.detach()
    found = {"loss": result.total}
    signs = collapse_signs(result.features[0], projections[0])
    if objective.grid is None and len(projections) > 1:  # blocks of a sample are no views of it
        signs |= pair_signs(
            projections, negative_weights=partial(objective.negative_weights, progress=progress)
        )
    signs |= weight_signs(result.weights)
    for figures in (result.losses.terms, result.losses.logs, signs):
        if taken := found.keys() & figures.keys():
            raise ValueError(f"two figures of a step are called {', '.join(sorted(taken))}")
        found |= figures
    local = {name: float(value.detach()) for name, value in found.items()}
    everyone = collectives.gather_json(local)
    return {name: _over_ranks(name, [rank[name] for rank in everyone]) for name in local}


def _over_ranks(name: str, values: list[float]) -> float:
    """The mean, but of what is called the least or the most that."""
    if name.endswith("_least"):
        return min(values)
    if name.endswith("_most"):
        return max(values)
    return sum(values) / len(values)
