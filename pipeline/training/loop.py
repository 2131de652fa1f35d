"""The training loop of one rank: plain PyTorch, in whatever process group there is.

Every rank runs it. Rank 0 alone writes the journal and the checkpoints.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial

import torch
from safetensors.torch import load

from pipeline import collectives
from pipeline.data import storage
from pipeline.data.order.slices import slices
from pipeline.data.reading.accounting import LedgerEntry, write_ledger
from pipeline.data.reading.assemble import Batch, BatchAssembler
from pipeline.data.reading.ingest import Ingest, batches_per_slice
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.errors import UserError
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
from pipeline.runs.folder import RunFolder
from pipeline.runs.stream_files import StoredFile
from pipeline.runs.trace import Trace
from pipeline.training.clock import Clock
from pipeline.training.evaluator import Fit
from pipeline.training.guards import Guards
from pipeline.training.snapshots import Snapshots
from pipeline.training.stops import unknown_metric


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
        fit: Fit | None = None,
    ) -> None:
        """Build everything and take up the newest checkpoint. Every rank calls this.

        Args:
            recipe: checked by `plan.find_problems`.
            folder: the run's, on storage that every rank sees.
            device: where this rank computes.
            ingest: runs the read tasks.
            notice: whether it became known since the last call that a rank will be taken away;
                asked every `train.log_every` steps, and rank 0's answer counts. On all ranks or
                none.
            fit: evaluates a saved snapshot, aside; None: a thread of this process.
        """
        self._recipe = recipe
        self._folder = folder
        self._device = device
        self._ingest = ingest
        self._plan = stream_plan(recipe)
        self._total_steps = total_steps(recipe, self._plan)
        self._streams = self._plan.streams_of(collectives.rank(), collectives.world_size())
        self._optimization = self._build_optimization()
        self._feed = Feed(recipe, grid=self.learner.objective.grid, device=device)
        self._data = DataState(self._plan.streams)
        checkpoints = recipe.train.checkpoint
        self._store = CheckpointStore(
            folder.checkpoints, keep=checkpoints.keep, best=checkpoints.best
        )
        self._store.register("optimization", self._optimization)
        self._store.register("data", self._data)
        self.learner.pairs.own(
            {stream: self._plan.bounds(stream) for stream in self._streams},
            epochs=-(-self._total_steps // self._plan.steps_per_epoch),
            device=device,
        )
        self._store.register("pairs", self.learner.pairs)
        if self.learner.pairs.history is not None:
            self._store.register_streams(self.learner.pairs.history)
        self._journal = Journal(folder.journal) if collectives.rank() == 0 else None
        alarm = CollapseAlarm()
        self._store.register("collapse", alarm)
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
        self._trace = Trace(folder.trace) if recipe.train.trace is not None else None
        self._metrics: dict[str, float] = {}
        self._schedule = CheckpointSchedule(
            recipe.train, steps_per_epoch=self._plan.steps_per_epoch, notice=notice
        )

    def _build_optimization(self) -> Optimization:
        learner = build_learner(self._recipe)
        if storage.exists(self._folder.initial_weights):
            learner.load_encoder(load(storage.read_file(self._folder.initial_weights)))
        return Optimization(
            learner,
            config=self._recipe.train,
            seed=self._recipe.seed,
            total_steps=self._total_steps,
            device=self._device,
        )

    @property
    def learner(self) -> Learner:
        """What is being trained."""
        return self._optimization.learner

    def run(self) -> dict[str, int]:
        """Train to the end. Every rank calls this.

        Returns:
            The account of all samples since the run began.

        Raises:
            UserError: more samples are bad than the recipe allows, or the loss is not finite.
            OSError: a checkpoint could not be written.
        """
        self._settle()
        self._resume()
        batch_size = self._plan.global_batch // collectives.world_size()
        reader = SliceReader(
            manifests=self._recipe.data.with_absolute_paths().manifests,
            plan=self._plan,
            views=self._recipe.views,
            cache_bytes=self._recipe.data.cache_bytes,
        )
        cursors = self._data.own(self._streams)
        step = self._optimization.step_count
        assembler = BatchAssembler(
            reader,
            cursors=cursors,
            step=step,
            total_steps=self._total_steps,
            max_bad_fraction=self._recipe.data.max_bad_fraction,
        )
        pieces = slices(
            self._plan,
            positions={stream: cursor.position for stream, cursor in cursors.items()},
            step=step,
            total_steps=self._total_steps,
            batches_per_slice=batches_per_slice(
                local_batch=batch_size, row_bytes=self._recipe.views.row_bytes
            ),
        )
        tables = self._ingest(reader, pieces, cpus=self._recipe.data.ingest_cpus)
        try:
            self._train(assembler, assembler.batches(tables))
            self._snapshots.finish(self._total_steps)
        finally:
            self._snapshots.close()
            self._store.wait()
            if self._journal:
                self._journal.flush()
            self._snapshots.forget()
        return asdict(self._data.account(self._plan))

    def _settle(self) -> None:
        count = self._plan.global_batch // collectives.world_size()
        self._optimization.settle(self._feed.noise(count))

    def _resume(self) -> None:
        newest = self._store.newest() if collectives.rank() == 0 else None
        chosen = collectives.gather_json(newest)[0]
        if chosen is not None:
            self._store.load(chosen)
        workers = collectives.gather_json({"rank": collectives.rank(), "pid": os.getpid()})
        if self._journal:
            self._journal.event(
                "training",
                step=self._optimization.step_count,
                total_steps=self._total_steps,
                workers=workers,
            )

    def _train(self, assembler: BatchAssembler, batches: Iterator[Batch]) -> None:
        config = self._recipe.train
        first = self._optimization.step_count
        clock = Clock()
        while (done := self._optimization.step_count) < self._total_steps:
            asked = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - asked
            result = self._optimization.step(self._feed.batch(batch, step=done))
            step = done + 1
            self._guards.watch(step, result, self._optimization.gradient_norm, batch.sample_id)
            if self._trace:
                self._trace.add(step, batch)
            if done == first:
                # The first step waits for the readers to start; rates are of the steady state.
                clock = Clock()
            else:
                clock.add(self._plan.global_batch, waited)
            last = step == self._total_steps
            if last:
                self.learner.pairs.conclude()
            if step % config.log_every == 0 or last:
                self._report(step, result, clock, assembler)
                clock = Clock()
            if self._snapshots.is_due(step):
                self._guards.check_finite()
                self._snapshots.take(step)
            announced = self._schedule.loss_is_announced(step)
            if last or announced or self._schedule.is_due(step):
                self._checkpoint(step, assembler)
            if announced:
                self._note_announcement(step)

    def _note_announcement(self, step: int) -> None:
        """Journal it once the checkpoint is whole, so that the note is a promise."""
        self._store.wait()
        if self._journal:
            self._journal.event("preemption", step=step)
            self._journal.flush()  # the node may be this one

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
        }
        if self._journal:
            self._journal.metrics(step, self._metrics)
        self._snapshots.note()
        self._guards.check_collapse(step, self._metrics)
        self._guards.note_conflict(step, self.learner.pairs.conflict)
        self._guards.check_budget(self._data.ledger())

    def _checkpoint(self, step: int, assembler: BatchAssembler) -> None:
        """Write a checkpoint; every rank calls this, because each owns some cursors."""
        self._guards.check_finite()
        if self._trace:
            self._trace.flush()
        self._store.wait()
        self._data.collect(assembler)
        streams = self._write_streams()
        self._guards.check_budget(self._data.ledger())
        best = self._recipe.train.checkpoint.best
        if best and self._metrics and best.metric not in self._metrics:
            raise UserError(unknown_metric(best.metric, known=self._metrics))
        self._schedule.saved()
        if collectives.rank() == 0:
            self._store.save(
                step,
                metrics=self._metrics,
                streams=streams,
                alongside=partial(self._save_records, self._data.ledger()),
            )

    def _write_streams(self) -> dict[str, StoredFile]:
        """Every rank writes what it knows of its streams; the files of all."""
        own = {name: file.model_dump() for name, file in self._store.write_streams().items()}
        return {
            name: StoredFile(**file)
            for of_rank in collectives.gather_json(own)
            for name, file in of_rank.items()
        }

    def _save_records(self, ledger: list[LedgerEntry]) -> None:
        """Bring to storage what a resumed run would not write again."""
        self._snapshots.flush()
        if self._journal:
            self._journal.flush()
        self._snapshots.forget()
        write_ledger(self._folder.ledger, ledger)
