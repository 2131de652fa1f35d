"""Whether the end of a run can be replayed, from where, and every reason why not."""

from __future__ import annotations

from dataclasses import dataclass

import yaml
from pydantic import ValidationError

from pipeline.data import storage
from pipeline.data.order.corpus import Corpus
from pipeline.data.order.exclusion import load_exclusion
from pipeline.errors import Problem, UserError
from pipeline.evaluation.config import EvaluateConfig
from pipeline.learning.config import CheckpointConfig
from pipeline.planning.data_plan import checked_cut
from pipeline.planning.length import total_steps
from pipeline.recipe import Recipe, recipe_of
from pipeline.runs.environment import CPU
from pipeline.runs.folder import RunFolder, read_json, with_own_exclusion
from pipeline.runs.identity import changes, run_identity
from pipeline.runs.start import Start
from pipeline.runs.stretches import Stretch, alike, stretches
from pipeline.training.claim import Claim

_STEPS = "--steps"
_FEW_STEPS = 100
"""A run of no more is replayed from its start, unasked, if there is nothing else to begin from."""


@dataclass(frozen=True, kw_only=True)
class ReplayPlan:
    """A replay that can be made."""

    recipe: Recipe
    """Of the run, without what does not change its weights."""
    start: Start
    last: int
    """The run's last step."""
    encoder_sha256: str
    """Of the weights' file that the run made."""
    stretches: list[Stretch]
    """Of the run, those that are replayed, the last one first."""


def plan_replay(claim: Claim, *, steps: int | None) -> ReplayPlan:
    """Check a claim with nothing started.

    Args:
        claim: what is to be verified.
        steps: to replay, at least; None: from the newest checkpoint before the last.

    Raises:
        UserError: with everything that makes a replay impossible.
    """
    folder = claim.folder
    recipe = _own_recipe(folder)
    result = read_json(folder.result)
    last = int(result["steps"])
    same = alike(stretches(folder, steps=last))
    if not same:
        raise UserError(Problem(folder.location, "its journal does not say how it was trained"))
    problems = _problems_of_claim(claim, made=result["encoder_sha256"])
    problems += _problems_of_data(recipe, folder, workers=same[0].workers, last=last)
    first, found = _first_step(folder, steps=steps, last=last, since=same[-1].first)
    problems += found
    if problems or first is None:
        raise UserError(problems)
    replayed = [stretch for stretch in same if stretch.last > first]
    return ReplayPlan(
        recipe=_without_evaluation(recipe, replayed, steps=last),
        start=Start(run=folder.location, step=first),
        last=last,
        encoder_sha256=result["encoder_sha256"],
        stretches=replayed,
    )


def _own_recipe(folder: RunFolder) -> Recipe:
    try:
        recipe = recipe_of(yaml.safe_load(storage.read_file(folder.recipe)))
    except (OSError, yaml.YAMLError, ValidationError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            Problem(folder.recipe, f"is no recipe that this version can read: {reason}")
        ) from error
    return with_own_exclusion(recipe, folder)


def _problems_of_claim(claim: Claim, *, made: str) -> list[Problem]:
    """A run that was made longer has another encoder than the one it had registered before."""
    if claim.registered_sha256 in (None, made):
        return []
    return [
        Problem(
            claim.encoder,
            f"was registered with the sha256 {claim.registered_sha256}, but {claim.folder.location}"
            f" ended with an encoder of {made}: it has gone on since, or is another run; only the "
            "encoder that a run ended with can be verified",
        )
    ]


def _problems_of_data(
    recipe: Recipe, folder: RunFolder, *, workers: int, last: int
) -> list[Problem]:
    before = read_json(folder.identity)["identity"]
    cut, problems = checked_cut(recipe, workers=workers)
    if cut is not None:
        now = run_identity(
            recipe,
            fingerprint=Corpus(recipe.data.manifests).fingerprint,  # as it is now
            init_sha256=before["encoder.init sha256"],
            excluded=load_exclusion(recipe.data.exclude),
        )
        problems += changes(before, now)
        if not problems and total_steps(recipe, cut) != last:
            told = f"makes {total_steps(recipe, cut)} steps, but the run has {last}"
            problems.append(Problem(folder.recipe, told))
    return problems


def _first_step(
    folder: RunFolder, *, steps: int | None, last: int, since: int
) -> tuple[int | None, list[Problem]]:
    """The step after which a replay begins, None if there is none such, and why.

    Args:
        folder: of the run.
        steps: as the user wants them.
        last: step of the run.
        since: from which on one start could have taken all steps.
    """
    start = Start(run=folder.location, step=0)
    kept = [step for step in start.checkpoints.steps() if since <= step < last]
    wanted = last - (steps if steps is not None else 1)
    unasked = steps is None and not kept and last <= _FEW_STEPS
    if since == 0 and (steps == last or unasked):
        chosen = 0
        if _lacks_initial_weights(folder):
            return None, [Problem(folder.initial_weights, "is missing: the run began from it")]
    else:
        found = max((step for step in kept if step <= wanted), default=None)
        if found is None:
            return None, [_nothing_so_far_back(kept, last=last, since=since)]
        chosen = found
        if fault := start.checkpoints.fault(chosen):
            return None, [Problem(folder.checkpoints, f"that of step {chosen} is damaged: {fault}")]
    return chosen, []


def _lacks_initial_weights(folder: RunFolder) -> bool:
    began_from = read_json(folder.identity)["identity"]["encoder.init sha256"]
    return began_from is not None and not storage.exists(folder.initial_weights)


def _nothing_so_far_back(kept: list[int], *, last: int, since: int) -> Problem:
    steps = " and ".join(map(str, sorted(kept)))
    have = (
        f"checkpoints before the last are kept of step {steps}"
        if kept
        else "no checkpoint before the last is kept"
    )
    allowed = [f"at most {last - min(kept)}"] if kept else []
    if since == 0:
        allowed.append(f"{last}, which replays the run from its start")
    else:
        have += f"; before step {since} it had another length or number of workers"
    return Problem(_STEPS, f"{have} (of {last}); allowed: {', or '.join(allowed) or 'none'}")


def _without_evaluation(recipe: Recipe, replayed: list[Stretch], *, steps: int) -> Recipe:
    """The recipe with the run's workers and device, and without all that changes no weight."""
    workers = replayed[0].workers
    devices = {e["device"] for stretch in replayed for e in stretch.environments}
    device = recipe.train.device
    if devices:
        device = "cpu" if devices == {CPU} else "cuda"
    train = recipe.train.model_copy(
        update={
            "workers": (workers, workers),
            "device": device,
            "checkpoint": CheckpointConfig(every_steps=steps, keep=1),
            "trace": None,
        }
    )
    evaluate = EvaluateConfig(snapshot_samples=0)
    return recipe.model_copy(update={"train": train, "evaluate": evaluate})
