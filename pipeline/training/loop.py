"""The training loop of one rank: plain PyTorch, in whatever process group there is.

Every rank runs it. Rank 0 alone writes the journal and the checkpoints.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

import torch
from safetensors.torch import load

from pipeline import collectives
from pipeline.data import storage
from pipeline.data.reading.activity import Activity
from pipeline.data.reading.assemble import Batch, BatchAssembler
from pipeline.data.reading.ingest import Ingest
from pipeline.evaluation.collapse import CollapseAlarm
from pipeline.learning.feed import Feed
from pipeline.learning.finite import FiniteGuard
from pipeline.learning.learner import Learner, StepResult, build_learner
from pipeline.learning.optimization import Optimization
from pipeline.learning.step_metrics import step_metrics
from pipeline.planning.length import stream_plan, total_steps
from pipeline.recipe import Recipe
from pipeline.registry.journal import Journal
from pipeline.runs.checkpoint import CheckpointStore
from pipeline.runs.checkpoint_schedule import CheckpointSchedule
from pipeline.runs.cursors import DataState
from pipeline.runs.environment import environment
from pipeline.runs.folder import RunFolder
from pipeline.runs.start import Start
from pipeline.runs.trace import Trace
from pipeline.training.clock import Clock
from pipeline.training.data_waits import Waiting
from pipeline.training.evaluator import Fit
from pipeline.training.guards import Guards
from pipeline.training.reading import open_batches
from pipeline.training.saving import Saving
from pipeline.training.snapshots import Snapshots


class TrainingLoop:
    """Trains a recipe's learner from where the run's checkpoints stand to its end."""

    def __init__(
        self,
        *,
        recipe: Recipe,
        folder: RunFolder,
        device: torch.device,
        ingest: Ingest,
        notice: Callable[[], bool] | None = None,
        halt: Callable[[], bool] | None = None,
        fit: Fit | None = None,
        start: Start | None = None,
    ) -> None:
        """Build everything and register what has a state. Every rank calls this.

        Args:
            recipe: checked by `check.checked_recipe`.
            folder: the run's, on storage that every rank sees.
            device: where this rank computes.
            ingest: runs the read tasks.
            notice: whether it became known since the last call that a rank will be taken away;
                asked every `train.log_every` steps, and rank 0's answer counts. On all ranks or
                none.
            halt: whether the run is to be left as it is, to be taken up later; asked as often,
                of rank 0 alone. On all ranks or none.
            fit: evaluates a saved snapshot, aside; None: a thread of this process.
            start: from where to train while there is no checkpoint; None: from the beginning.
        """
        self._recipe = recipe
        self._device = device
        self._ingest = ingest
        self._activity = Activity()
        self._folder = folder
        self._halt = halt
        self._start = start
        self.halted = False
        self._plan = stream_plan(recipe)
        self._total_steps = total_steps(recipe, self._plan)
        self._streams = self._plan.streams_of(collectives.rank(), collectives.world_size())
        self._optimization = _optimization(
            recipe, start.folder if start else folder, self._total_steps, device
        )
        self._feed = Feed(recipe, grid=self.learner.objective.grid, device=device)
        self._data = DataState(self._plan.streams)
        self.learner.pairs.own(
            {stream: self._plan.bounds(stream) for stream in self._streams},
            epochs=-(-self._total_steps // self._plan.steps_per_epoch),
            device=device,
        )
        alarm = CollapseAlarm()
        self._store = self._registered(folder, alarm)
        self._journal = Journal(folder.journal) if collectives.rank() == 0 else None
        self._trace = Trace(folder.trace) if recipe.train.trace is not None else None
        self._guards = Guards(
            recipe,
            folder,
            samples=self._plan.left,
            finite=FiniteGuard(device),
            alarm=alarm,
            journal=self._journal,
        )
        self._snapshots = Snapshots(
            recipe, folder, self._plan, learner=self.learner, journal=self._journal, fit=fit
        )
        self._saving = Saving(
            recipe,
            folder,
            store=self._store,
            schedule=CheckpointSchedule(
                recipe.train,
                steps_per_epoch=self._plan.steps_per_epoch,
                total_steps=self._total_steps,
                notice=notice,
            ),
            data=self._data,
            guards=self._guards,
            snapshots=self._snapshots,
            journal=self._journal,
            trace=self._trace,
        )
        self._metrics: dict[str, float] = {}

    def _registered(self, folder: RunFolder, alarm: CollapseAlarm) -> CheckpointStore:
        """The store of checkpoints, with everything that has a state registered in it."""
        wanted = self._recipe.train.checkpoint
        store = CheckpointStore(folder.checkpoints, keep=wanted.keep, best=wanted.best)
        store.register("optimization", self._optimization)
        store.register("data", self._data)
        store.register("pairs", self.learner.pairs)
        store.register("collapse", alarm)
        if self.learner.pairs.history is not None:
            store.register_streams(self.learner.pairs.history)
        return store

    @property
    def learner(self) -> Learner:
        """What is being trained."""
        return self._optimization.learner

    def run(self) -> dict[str, int]:
        """Train to the end, or until the run is to halt, which leaves a checkpoint of where it is.

        Every rank calls this. Afterwards `halted` says which of the two it was.

        Returns:
            The account of all samples since the run began.

        Raises:
            UserError: more samples are bad than the recipe allows, or the loss is not finite.
            OSError: a checkpoint could not be written.
        """
        share = self._plan.global_batch // collectives.world_size()
        self._optimization.settle(self._feed.noise(share))
        self._resume()
        assembler, batches = open_batches(
            self._recipe,
            self._plan,
            cursors=self._data.own(self._streams),
            step=self._optimization.step_count,
            total_steps=self._total_steps,
            ingest=self._ingest,
            activity=self._activity,
        )
        waiting = Waiting(
            self._folder, rank=collectives.rank(), words=lambda: self._activity.words()
        )
        try:
            self._train(assembler, batches, waiting)
            if not self.halted:
                self._snapshots.finish(self._total_steps)
        finally:
            waiting.close()
            self._snapshots.close()
            self._saving.wait()
            if self._journal:
                self._journal.flush()
            self._snapshots.forget()
        return asdict(self._data.account(self._plan))

    def _resume(self) -> None:
        """Take up the newest checkpoint; every rank calls this, because rank 0 chooses it."""
        newest = self._store.newest() if collectives.rank() == 0 else None
        chosen = collectives.gather_json(newest)[0]
        if chosen is not None:
            self._store.load(chosen)
        elif self._start is not None and self._start.step:
            self._store.load(self._start.step, of=self._start.checkpoints)
        workers = collectives.gather_json({"rank": collectives.rank(), "pid": os.getpid()})
        environments = collectives.gather_json(environment(self._device))
        if self._journal:
            self._journal.event(
                "training",
                step=self._optimization.step_count,
                total_steps=self._total_steps,
                workers=workers,
                environments=[e for n, e in enumerate(environments) if e not in environments[:n]],
            )

    def _train(self, assembler: BatchAssembler, batches: Iterator[Batch], waiting: Waiting) -> None:
        first = self._optimization.step_count
        clock = Clock()
        while not self.halted and (done := self._optimization.step_count) < self._total_steps:
            asked = time.perf_counter()
            with waiting.noted():
                batch = next(batches)
            waited = time.perf_counter() - asked
            result = self._optimization.step(self._feed.batch(batch, step=done))
            step, last = done + 1, done + 1 == self._total_steps
            self._guards.watch(step, result, self._optimization.gradient_norm, batch.sample_id)
            if self._trace:
                self._trace.add(step, batch)
            if done == first:
                # The first step waits for the readers to start; rates are of the steady state.
                clock = Clock()
            else:
                clock.add(self._plan.global_batch, waited)
            if last:
                self.learner.pairs.conclude()
            if step % self._recipe.train.log_every == 0 or last:
                self._report(step, result, clock, assembler)
                clock = Clock()
            if self._snapshots.is_due(step):
                self._guards.check_finite()
                self._snapshots.take(step)
            self.halted = not last and self._is_to_halt(step)
            self._saving.after(step, assembler, self._metrics, last=last or self.halted)

    def _is_to_halt(self, step: int) -> bool:
        """Every rank calls this, because rank 0 decides."""
        if self._halt is None or step % self._recipe.train.log_every:
            return False
        wanted = self._halt() if collectives.rank() == 0 else False
        return bool(collectives.gather_json(wanted)[0])

    def _report(
        self, step: int, result: StepResult, clock: Clock, assembler: BatchAssembler
    ) -> None:
        """Write a journal line; every rank calls this, because figures are means over ranks."""
        self._guards.check_finite()
        if self._trace:
            self._trace.flush()
        self._data.collect(assembler)
        self._metrics = {
            **step_metrics(result, self.learner.objective, (step - 1) / self._total_steps),
            "epoch": step / self._plan.steps_per_epoch,
            "learning_rate": self._optimization.learning_rate,
            "gradient_norm": float(self._optimization.gradient_norm),
            "quarantined": len(self._data.ledger()),
            "evaluation_share": self._snapshots.share,
            **clock.rates(),
            **self._network_bytes(),
        }
        if self._journal:
            self._journal.metrics(step, self._metrics)
        self._snapshots.note()
        self._guards.check_collapse(step, self._metrics)
        self._guards.note_conflict(step, self.learner.pairs.conflict)
        self._guards.check_budget(self._data.ledger())

    def _network_bytes(self) -> dict[str, float]:
        """Views from other nodes since the last line; every rank calls this, to add them up."""
        data = self._recipe.data
        if (data.ingest, data.readers) != ("ray", "anywhere"):
            return {}
        fetched = self._activity.bytes_from_other_nodes
        self._activity.bytes_from_other_nodes -= fetched
        return {"network_bytes": sum(collectives.gather_json(fetched))}


def _optimization(
    recipe: Recipe, folder: RunFolder, steps: int, device: torch.device
) -> Optimization:
    learner = build_learner(recipe)
    if storage.exists(folder.initial_weights):
        learner.load_encoder(load(storage.read_file(folder.initial_weights)))
    return Optimization(
        learner, config=recipe.train, seed=recipe.seed, total_steps=steps, device=device
    )
