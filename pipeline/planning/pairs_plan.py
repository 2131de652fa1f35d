"""Whether the weighting of pairs goes with the objective and the run, and what to know about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.errors import Problem
from pipeline.pairs.config import UOTAConfig
from pipeline.recipe import Recipe

if TYPE_CHECKING:
    from pipeline.objectives.base import Objective


def problems(recipe: Recipe, objective: Objective) -> Iterator[Problem]:
    """A miner or an arbiter over an objective that can do nothing with its weights."""
    miner, arbiter, allowed = recipe.pairs.miner, recipe.pairs.arbiter, objective.capabilities
    name = _name_in_full(recipe)
    if miner is not None and allowed.mining == "none":
        yield Problem(
            "pairs.miner", f"{miner.kind}, but no pair owns a part of {name}'s loss; allowed: null"
        )
    if arbiter is None or allowed.arbitration != "none":
        return
    reason = (
        f"no pair owns a part of {name}'s loss"
        if allowed.mining == "none"
        else f"{name} looks at each view by itself, not at how far it is from others"
    )
    yield Problem("pairs.arbiter", f"{arbiter.kind}, but {reason}; allowed: null")


def start_problems(recipe: Recipe, *, last_epoch: int) -> Iterator[Problem]:
    """An arbiter that would never begin.

    Args:
        recipe: of the run.
        last_epoch: of the run, counted from 0.
    """
    arbiter = recipe.pairs.arbiter
    if arbiter is not None and arbiter.start_epoch > last_epoch:
        length = "train.steps" if recipe.train.epochs is None else "train.epochs"
        yield Problem(
            "pairs.arbiter.start_epoch",
            f"{arbiter.start_epoch}, but with this {length} the last epoch is {last_epoch}, so "
            f"that no pair would be weighed; allowed: 0 to {last_epoch}",
        )


def warnings(recipe: Recipe, objective: Objective, *, last_epoch: int) -> Iterator[str]:
    """A miner that stays in its warm-up, and UOTA where it can tell nothing apart."""
    miner = recipe.pairs.miner
    if miner is not None and miner.warm_up > last_epoch:
        yield (
            f"pairs.miner.warm_up: {miner.warm_up} epochs, and the run ends in epoch {last_epoch}, "
            "counted from 0: losses are remembered, but no pair is weighed"
        )
    if isinstance(recipe.pairs.arbiter, UOTAConfig):
        yield from _too_few_deviations(recipe, objective)


def _too_few_deviations(recipe: Recipe, objective: Objective) -> Iterator[str]:
    """Deviations that do not depend on each other all lie equally far."""
    width = objective.arbitrated_width
    views = recipe.views.count + (recipe.views.local.count if recipe.views.local else 0)
    independent = (views - 1) * recipe.train.global_batch
    if independent <= width:
        yield (
            f"pairs.arbiter: a global batch of {recipe.train.global_batch} has {independent} "
            f"independent deviations, no more than the {width} dimensions of projections, so that "
            "hardly any stands out; a larger batch or a narrower objective.projector is needed"
        )


def _name_in_full(recipe: Recipe) -> str:
    kind, base = recipe.objective.kind, getattr(recipe.objective, "base", None)
    return kind if base is None else f"{kind} over {base}"
