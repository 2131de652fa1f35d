"""Proves where an encoder comes from: replays the end of its run, and compares the weights."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from ray.train import TrainingFailedError
from safetensors.torch import load
from torch import Tensor

from pipeline.data import storage
from pipeline.errors import InterruptedRunError
from pipeline.learning.learner import build_learner
from pipeline.registry.journal import JournalTail, records
from pipeline.runs.environment import CPU, changes_of_environment, environment
from pipeline.runs.folder import RunFolder
from pipeline.runs.product import trained_learner
from pipeline.runs.weights_difference import WeightsDifference, weights_difference
from pipeline.training.claim import read_claim, trained_weights
from pipeline.training.cluster import connected, is_one_machine
from pipeline.training.outages import outage_of
from pipeline.training.progress import showing_progress
from pipeline.training.ray_train import train_on_ray
from pipeline.training.replay_plan import ReplayPlan, plan_replay
from pipeline.training.scratch import scratch_folder

_TOLERANCE = 0.02
"""Share of its way by which a tensor may differ that a GPU has computed.

Of a small ResNet, sums in another order made 0.002 over a dozen steps and 0.06 over two dozen; a
learning rate that is 5 % off made 0.054, another seed more than 1.
"""


class Outcome(StrEnum):
    """What a replay says of an encoder."""

    proved = "proved"
    """Every bit is the same."""
    within_tolerance = "within_tolerance"
    """Of a GPU, whose sums have no order: the same but for rounding."""
    differs = "differs"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What came of a replay."""

    encoder: str
    """As it was named."""
    run: str
    """Folder or URI of its run."""
    from_step: int
    """After which the replay began: of a checkpoint, or 0."""
    to_step: int
    """The run's last step."""
    workers: int
    verdict: Outcome
    difference: WeightsDifference
    file_unchanged: bool
    """Whether the weights' file has the sha256 that it was made with."""
    changes: list[str]
    """What was computed with otherwise than in the run, and may round otherwise, in words."""
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether the weights are those that the run ends with."""
        return self.verdict != Outcome.differs

    def as_json(self) -> dict[str, Any]:
        """All that `jobs verify --json` prints; what cannot be compared is null."""
        return {
            "encoder": self.encoder,
            "run": self.run,
            "from_step": self.from_step,
            "to_step": self.to_step,
            "steps": self.to_step - self.from_step,
            "workers": self.workers,
            "verdict": str(self.verdict),
            "tensors": self.difference.tensors,
            "tensors_differing": self.difference.differing,
            "max_abs_difference": _finite(self.difference.max_absolute),
            "max_rel_difference": _finite(self.difference.max_relative),
            "max_share_of_way": _finite(self.difference.max_share),
            "file_unchanged": self.file_unchanged,
            "changes": self.changes,
            "seconds": round(self.seconds, 1),
        }


def verify(
    uri: str,
    *,
    steps: int | None = None,
    run: str | None = None,
    tracking_uri: str | None = None,
    verbose: bool = False,
) -> Verification:
    """Replay the last steps of the run that an encoder comes from, and compare the weights.

    The run's folder, its MLflow run and the registry are only read. On a CPU the weights must be
    the same in every bit; those that a GPU has computed may differ by rounding.

    Args:
        uri: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, the folder or URI of a finished run, or,
            with `run`, a local folder that holds an encoder.
        steps: to replay, at least; from the newest checkpoint that is so far back, or, if they are
            all of the run's, from its start. None: from the newest checkpoint before the last.
        run: folder or URI of the run, if it has moved.
        tracking_uri: the MLflow server; by default `MLFLOW_TRACKING_URI`, else `./runs/mlflow.db`.
        verbose: show Ray's own log.

    Returns:
        What came of it; `holds` says whether the weights are those of the run.

    Raises:
        UserError: there is no such encoder or run, the data has changed, or no checkpoint is so
            far back.
        InterruptedRunError: what the replay needs is away; nothing is left of it.
    """
    began = time.monotonic()
    claim = read_claim(uri, run=run, tracking_uri=tracking_uri)
    plan = plan_replay(claim, steps=steps)
    then = [ranks for stretch in plan.stretches for ranks in stretch.environments]
    for told in _versions_changed(then):
        print(f"{told}: bits may differ", file=sys.stderr)
    weights, now = _replay(plan, name=claim.folder.name, verbose=verbose)
    difference = weights_difference(
        weights, claim.weights, began=lambda: _weights_before(plan, claim.folder)
    )
    return Verification(
        encoder=uri,
        run=claim.folder.location,
        from_step=plan.start.step,
        to_step=plan.last,
        workers=plan.stretches[0].workers,
        verdict=_verdict(difference, on_gpu=any(ranks["device"] != CPU for ranks in now)),
        difference=difference,
        file_unchanged=claim.sha256 == plan.encoder_sha256,
        changes=changes_of_environment(then, now),
        seconds=time.monotonic() - began,
    )


def _replay(
    plan: ReplayPlan, *, name: str, verbose: bool
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The weights that the run ends with, and what the replay's ranks computed them with."""
    with (
        connected(plan.recipe, verbose=verbose) as gpu,
        scratch_folder(beside=None if is_one_machine() else plan.start.run) as scratch,
    ):
        folder = RunFolder(scratch)
        try:
            with showing_progress(JournalTail(folder.journal), folder):
                train_on_ray(plan.recipe, folder, gpu=gpu, verbose=verbose, start=plan.start)
            weights = trained_weights(plan.recipe, trained_learner(plan.recipe, folder))
            starts = [r for r in records(folder.journal) if r.get("event") == "training"]
        except (OSError, TrainingFailedError) as error:
            outage = outage_of(error)
            if outage is None:
                raise
            raise InterruptedRunError(
                f"the replay of {name} stopped, and nothing is left of it; the same command begins "
                f"it anew: {' '.join(outage.split())}"
            ) from error
    return weights, [ranks for start in starts for ranks in start["environments"]]


def _weights_before(plan: ReplayPlan, folder: RunFolder) -> dict[str, Tensor]:
    """As they were when the replay began."""
    learner = build_learner(plan.recipe)
    if plan.start.step:
        state = plan.start.checkpoints.read(plan.start.step, "optimization")
        learner.load_state_dict(state["learner"])
    elif storage.exists(folder.initial_weights):
        learner.load_encoder(load(storage.read_file(folder.initial_weights)))
    return trained_weights(plan.recipe, learner)


def _verdict(difference: WeightsDifference, *, on_gpu: bool) -> Outcome:
    if not difference.differing:
        return Outcome.proved
    if on_gpu and difference.max_share <= _TOLERANCE:
        return Outcome.within_tolerance
    return Outcome.differs


def _versions_changed(then: list[dict[str, Any]]) -> list[str]:
    """What this process can say before it asks the workers, which may have other CPUs."""
    here = environment(torch.device(CPU))
    return changes_of_environment(then, [{name: here[name] for name in ("package", "torch")}])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
