"""What stops a run on all ranks alike: numbers that are none, a collapse, too many bad samples."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pipeline import collectives
from pipeline.data.reading.accounting import LedgerEntry, write_ledger
from pipeline.errors import UserError
from pipeline.evaluation.collapse import CollapseAlarm
from pipeline.evaluation.config import OnCollapse
from pipeline.learning.finite import FiniteGuard, Ids, NotFiniteError
from pipeline.learning.learner import StepResult
from pipeline.recipe import Recipe
from pipeline.registry.journal import Journal
from pipeline.runs.folder import RunFolder
from pipeline.training.stops import collapsed, not_finite, too_many_bad


class Guards:
    """Each check raises on every rank or on none, and leaves a note of why."""

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        *,
        samples: int,
        finite: FiniteGuard,
        alarm: CollapseAlarm,
        journal: Journal | None,
    ) -> None:
        """Begin to watch. On every rank.

        Args:
            recipe: of the run.
            folder: of the run.
            samples: of the run's data that are not excluded.
            finite: sees every step.
            alarm: sees every journal line.
            journal: rank 0's.
        """
        self._recipe = recipe
        self._folder = folder
        self._samples = samples
        self._finite = finite
        self._alarm = alarm
        self._journal = journal
        self._conflict_noted = False

    def watch(self, step: int, result: StepResult, gradient_norm: Tensor, ids: Ids) -> None:
        """See a step; `check_finite` says what came of it."""
        self._finite.watch(step, result, gradient_norm, ids)

    def check_finite(self) -> None:
        """Stop before anything that is not a number is kept. Every rank calls this.

        Raises:
            UserError: with the first bad step and its samples.
        """
        try:
            self._finite.check()
        except NotFiniteError as error:
            if self._journal:
                self._journal.event("not finite", step=error.step, sample_ids=error.sample_ids)
            raise UserError(not_finite(error, journal=self._folder.journal)) from error

    def check_collapse(self, step: int, metrics: Mapping[str, float]) -> None:
        """Note a collapse in the journal. Every rank calls this, with the same metrics.

        Raises:
            UserError: the recipe wants the run to stop for it.
        """
        found = self._alarm.look(metrics)
        if not found:
            return
        message, action = "; ".join(found), self._recipe.evaluate.on_collapse
        if self._journal:
            self._journal.event_once("collapse", step=step, message=message, action=action)
        if action == OnCollapse.stop:
            raise UserError(collapsed(message, step=step))

    def note_conflict(self, step: int, message: str | None) -> None:
        """Note once that miner and arbiter work against each other, if they do."""
        if message is not None and self._journal and not self._conflict_noted:
            self._journal.event_once("pairs", step=step, message=message)
            self._conflict_noted = True

    def check_budget(self, ledger: list[LedgerEntry]) -> None:
        """Stop if more samples are bad than the recipe allows. Every rank calls this.

        Raises:
            UserError: with the ledger's location.
        """
        allowed = self._recipe.data.max_bad_fraction
        if len(ledger) <= allowed * self._samples:
            return
        if collectives.rank() == 0:
            write_ledger(self._folder.ledger, ledger)
        raise UserError(
            too_many_bad(
                ledger, samples=self._samples, allowed=allowed, location=self._folder.ledger
            )
        )
