"""A run's checkpoints as its loop writes them: when, what goes with them, and what is kept."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from pipeline import collectives
from pipeline.data.reading.accounting import LedgerEntry, write_ledger
from pipeline.data.reading.assemble import BatchAssembler
from pipeline.errors import UserError
from pipeline.recipe import Recipe
from pipeline.registry.journal import Journal
from pipeline.runs.checkpoint import CheckpointStore
from pipeline.runs.checkpoint_schedule import CheckpointSchedule
from pipeline.runs.cursors import DataState
from pipeline.runs.folder import RunFolder
from pipeline.runs.stream_files import StoredFile
from pipeline.runs.trace import Trace
from pipeline.training.guards import Guards
from pipeline.training.snapshots import Snapshots
from pipeline.training.stops import unknown_metric


class Saving:
    """Writes checkpoints of a rank's loop, with the records that a resumed run would not repeat."""

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        *,
        store: CheckpointStore,
        schedule: CheckpointSchedule,
        data: DataState,
        guards: Guards,
        snapshots: Snapshots,
        journal: Journal | None,
        trace: Trace | None,
    ) -> None:
        """Keep what a checkpoint is made of. On every rank.

        Args:
            recipe: of the run.
            folder: of the run.
            store: in which everything stateful is registered.
            schedule: says when.
            data: the cursors of all streams.
            guards: let nothing be kept that is not a number.
            snapshots: wait in the folder until a checkpoint has their figures.
            journal: rank 0's.
            trace: of the run, if there is one.
        """
        self._best = recipe.train.checkpoint.best
        self._ledger = folder.ledger
        self._store = store
        self._schedule = schedule
        self._data = data
        self._guards = guards
        self._snapshots = snapshots
        self._journal = journal
        self._trace = trace

    def after(
        self, step: int, assembler: BatchAssembler, metrics: Mapping[str, float], *, last: bool
    ) -> None:
        """Write a checkpoint if one is due, or if a rank will be lost. Every rank calls this.

        Args:
            step: global, that has been taken.
            assembler: of this rank's batches.
            metrics: of the last journal line.
            last: whether the run ends, or halts, with this step.
        """
        announced = self._schedule.loss_is_announced(step)
        if last or announced or self._schedule.is_due(step):
            self._write(step, assembler, metrics)
        if announced:
            self._note_announcement(step)

    def wait(self) -> None:
        """Until what is being written is there."""
        self._store.wait()

    def _write(self, step: int, assembler: BatchAssembler, metrics: Mapping[str, float]) -> None:
        """Every rank calls this, because each owns some cursors."""
        self._guards.check_finite()
        if self._trace:
            self._trace.flush()
        self._store.wait()
        self._data.collect(assembler)
        streams = self._write_streams()
        self._guards.check_budget(self._data.ledger())
        if self._best and metrics and self._best.metric not in metrics:
            raise UserError(unknown_metric(self._best.metric, known=metrics))
        self._schedule.saved()
        if collectives.rank() == 0:
            self._store.save(
                step,
                metrics=metrics,
                streams=streams,
                alongside=partial(self._write_records, self._data.ledger()),
            )

    def _write_streams(self) -> dict[str, StoredFile]:
        """Every rank writes what it knows of its streams; the files of all."""
        own = {name: file.model_dump() for name, file in self._store.write_streams().items()}
        return {
            name: StoredFile(**file)
            for of_rank in collectives.gather_json(own)
            for name, file in of_rank.items()
        }

    def _write_records(self, ledger: list[LedgerEntry]) -> None:
        """Bring to storage what a resumed run would not write again."""
        self._snapshots.flush()
        if self._journal:
            self._journal.flush()
        self._snapshots.forget()
        write_ledger(self._ledger, ledger)

    def _note_announcement(self, step: int) -> None:
        """Journal it once the checkpoint is whole, so that the note is a promise."""
        self._store.wait()
        if self._journal:
            self._journal.event("preemption", step=step)
            self._journal.flush()  # the node may be this one
