"""A trial as Ray Tune runs it: an actor that starts real runs, follows them, and halts them.

Nothing is killed: who stops a trial asks its runs to halt, so that their workers end by themselves,
and Ray Train gives back all that it took.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from ray import tune

from pipeline.data import storage
from pipeline.data.stored_folder import delete_folder
from pipeline.errors import UserError
from pipeline.planning.check import find_problems
from pipeline.planning.length import snapshot_steps, stream_plan, total_steps
from pipeline.recipe import recipe_of
from pipeline.runs.checkpoint import CheckpointStore
from pipeline.runs.folder import read_json, write_json
from pipeline.sweeps.folder import SweepFolder
from pipeline.sweeps.ledger import COLLAPSED, FAILED, FINISHED, HALTED, PRUNED
from pipeline.sweeps.spaces.recipes import sweep_config, trial_recipe
from pipeline.sweeps.spaces.scores import merits_of
from pipeline.sweeps.trials.seed_run import SeedRun, mean_and_error
from pipeline.training.halting import HaltRequest

_POLL_SECONDS, _POLL_SECONDS_OF_STORES = 0.25, 2.0
_SAVED_SECONDS = 120.0
_POINTER = "pointer.json"
_LINEAGE = "lineage.json"


class SweepTrial(tune.Trainable):
    """A configuration, with a run for each seed.

    Its config: `sweep`, location of the sweep's folder; `trial`, its number; `params`, the
    configuration; `looked`, by number, the last step that the ledger has; `members`, in a
    population, numbers of the trials in the order in which Tune has them, since there a config is
    copied from another trial.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Know what to run; nothing is started before the first `step`."""
        self._folder = SweepFolder(config["sweep"])
        self._recipe = recipe_of(yaml.safe_load(storage.read_file(self._folder.recipe)))
        self._config = sweep_config(self._recipe)
        members = config.get("members")
        self._number = (
            members[int(self.trial_id.rpartition("_")[2])] if members else config["trial"]
        )
        self._params = config["params"]
        self._looked = config["looked"].get(self._number, 0)
        self._generation = self._last_generation() if members else 0
        self._asked_to_halt = HaltRequest(self._folder.halt)
        self._asked_to_end = HaltRequest(self._folder.pruned(self._number))
        remote = storage.is_remote(self._folder.location)
        self._pause = _POLL_SECONDS_OF_STORES if remote else _POLL_SECONDS
        self._donor: dict[str, Any] | None = None
        self._total, self._every = 0, 1
        self._runs: list[SeedRun] = []
        self._held = False

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial."""
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Wait for the next look, or the end."""
        if not self._runs and self._asked_to_halt():
            return self._without_runs(HALTED, None)
        if not self._runs:
            try:
                self._start()
            except (UserError, ValidationError) as error:
                return self._without_runs(FAILED, " ".join(str(error).split()))
        while True:
            look = self._next_look()
            if look is not None and look["step"] < self._total:
                return look
            if self._asked_to_halt() or self._asked_to_end():
                self._halt()
            if not any(run.is_running for run in self._runs):
                # What was noted after the last look at the journals.
                look = look or self._next_look()
                if look is not None and look["step"] < self._total:
                    return look
                return self._end(look)
            if any(run.error is not None for run in self._runs):
                self._halt()
            time.sleep(self._pause)

    def cleanup(self) -> None:
        """Halt, and wait for it."""
        self._halt()
        for run in self._runs:
            run.join()
        self._runs = []

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Point to our own checkpoint of the last look, or a later one, once it is there."""
        deadline = time.monotonic() + _SAVED_SECONDS
        while self._runs and not self._saved() and time.monotonic() < deadline:
            time.sleep(self._pause)
        pointer = {"trial": self._number, "generation": self._generation, "step": self._looked}
        (Path(checkpoint_dir) / _POINTER).write_text(json.dumps(pointer))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from where a pointer points, another trial's or one's own, in a new folder.

        In one's own too: the actor that had the trial may still be halting its runs there.
        """
        self._donor = json.loads((Path(checkpoint) / _POINTER).read_text())

    def _start(self) -> None:
        lineage = self._lineage()
        if self._donor is not None:
            self._begin_generation(self._donor)
        elif lineage is not None:
            self._params = lineage["params"]
        self._refuse_impossible()
        for seed in range(self._config.seeds):
            recipe = trial_recipe(self._recipe, self._params, seed=seed)
            folder = self._folder.run(self._number, self._generation, seed)
            self._runs.append(SeedRun(recipe, folder, inputs=self._folder))
            plan = stream_plan(recipe)
            self._total = total_steps(recipe, plan)
            self._every = snapshot_steps(recipe, plan) or self._total
        for run in self._runs:
            run.start()

    def _refuse_impossible(self) -> None:
        """Values that are right each by itself may not be so together.

        Raises:
            UserError: with what `jobs pretrain` would refuse.
        """
        problems = find_problems(trial_recipe(self._recipe, self._params, seed=0))
        found = [problem for problem in problems if not problem.where.startswith("tracking")]
        if found:
            raise UserError(found)

    def _begin_generation(self, donor: Mapping[str, Any]) -> None:
        """Copy the donor's checkpoint; `lineage.json` says that all of it is there."""
        self._generation += 1
        self._donor = None
        own = self._folder.generation(self._number, self._generation)
        delete_folder(own)
        taken = max(self._take_over(donor, seed) for seed in range(self._config.seeds))
        self._looked = taken
        lineage = {
            "generation": self._generation,
            "donor": donor["trial"],
            "step": taken,
            "params": self._params,
        }
        write_json(storage.join(own, _LINEAGE), lineage)

    def _take_over(self, donor: Mapping[str, Any], seed: int) -> int:
        """Copy a checkpoint of one of the donor's runs; its step.

        The donor goes on meanwhile, and keeps few: the one that was meant, or the oldest after it.
        """
        theirs = self._folder.run(donor["trial"], donor["generation"], seed)
        ours = self._folder.run(self._number, self._generation, seed)
        source = CheckpointStore(theirs.checkpoints, keep=1)
        while True:
            step = min(step for step in source.steps() if step >= donor["step"])
            try:
                CheckpointStore(ours.checkpoints, keep=1).take_over(source, step)
            except FileNotFoundError:
                if step in source.steps():
                    raise
            else:
                return step

    def _last_generation(self) -> int:
        """The newest whose checkpoints were all copied."""
        generation = 0
        while storage.exists(
            storage.join(self._folder.generation(self._number, generation + 1), _LINEAGE)
        ):
            generation += 1
        return generation

    def _lineage(self) -> dict[str, Any] | None:
        if not self._generation:
            return None
        own = self._folder.generation(self._number, self._generation)
        found: dict[str, Any] = read_json(storage.join(own, _LINEAGE))
        return found

    def _saved(self) -> bool:
        return all(max(run.checkpoints.steps(), default=0) >= self._looked for run in self._runs)

    def _next_look(self) -> dict[str, Any] | None:
        """The next step of which all runs have an evaluation."""
        for run in self._runs:
            run.follow()
        common = set.intersection(*(set(run.looks) for run in self._runs))
        ahead = sorted(step for step in common if step > self._looked)
        if not ahead:
            return None
        if ahead[0] < self._total:
            self._looked = ahead[0]
        metrics, errors = mean_and_error([run.looks[ahead[0]] for run in self._runs])
        return self._told(ahead[0], metrics, errors)

    def _told(
        self, step: int, metrics: dict[str, float], errors: dict[str, float]
    ) -> dict[str, Any]:
        assert self._config.optimize is not None
        merits = merits_of(metrics, self._config.optimize)
        return {
            **({"score": merits[0]} if merits else {}),
            "look": math.ceil(step / self._every),
            "step": step,
            "metrics": metrics,
            "errors": errors,
            "total_steps": self._total,
            "seconds": sum(run.seconds for run in self._runs) / len(self._runs),
            "lineage": self._lineage(),
        }

    def _halt(self) -> None:
        if not self._held:
            for run in self._runs:
                run.halt()
            self._held = bool(self._runs)

    def _without_runs(self, state: str, reason: str | None) -> dict[str, Any]:
        """The end of a trial that was not started."""
        self._runs = []
        return {
            **dict.fromkeys(("total_steps", "lineage")),
            "look": 0,
            "step": self._looked,
            "metrics": {},
            "errors": {},
            "seconds": 0.0,
            "done": True,
            "state": state,
            "reason": reason,
            "seeds": [],
        }

    def _state(self) -> tuple[str, str | None]:
        """How the runs ended, and why."""
        failures = [run for run in self._runs if run.error is not None]
        away = next((run.outage for run in failures if run.outage), None)
        if away is not None:
            return HALTED, away
        if failures:
            collapsed = all(run.collapsed for run in failures)
            return COLLAPSED if collapsed else FAILED, failures[0].reason
        if any(run.halted for run in self._runs):
            return PRUNED if self._asked_to_end() else HALTED, None
        return FINISHED, None

    def _end(self, look: dict[str, Any] | None) -> dict[str, Any]:
        """How it ended. Tune is not told of errors: a failed trial ends like any other."""
        step = look["step"] if look else self._looked
        metrics, errors = mean_and_error([run.final for run in self._runs])
        if look is not None:
            metrics, errors = {**look["metrics"], **metrics}, {**look["errors"], **errors}
        state, reason = self._state()
        result = {
            **self._told(step, metrics, errors),
            "done": True,
            "state": state,
            "reason": reason,
            "seeds": [run.final for run in self._runs],
        }
        self._runs = []
        return result
