"""What the journal says of a step's losses: means over ranks, and signs of collapse."""

from __future__ import annotations

from pipeline import collectives
from pipeline.evaluation.collapse import collapse_signs
from pipeline.training.learner import StepResult


def step_metrics(result: StepResult) -> dict[str, float]:
    """Figures of a step, equal on all ranks. Every rank calls this.

    Args:
        result: of this rank.

    Returns:
        `loss`, the objective's terms and logs by their names, and the signs of `collapse_signs`.
    """
    found = {"loss": result.total, **result.losses.terms, **result.losses.logs}
    found |= collapse_signs(result.features[0], result.losses.projections[0].detach())
    local = {name: float(value.detach()) for name, value in found.items()}
    everyone = collectives.gather_json(local)
    return {name: sum(rank[name] for rank in everyone) / len(everyone) for name in local}
