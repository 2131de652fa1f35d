"""Evaluates snapshots beside the training, which waits for nothing but their features."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

from pipeline.data import storage
from pipeline.evaluation.snapshot import Evaluation, Snapshot, save_snapshot
from pipeline.registry.journal import Journal

Fit = Callable[[str], Evaluation]
"""Evaluates the snapshot at a location, and returns when it is done."""

_SUFFIX = ".safetensors"
_AT_ONCE = 2


class Evaluator:
    """Keeps snapshots in the run's folder until their figures are in the journal; rank 0 has it.

    A snapshot whose evaluation a kill cut short is evaluated by the process that resumes the run.
    """

    def __init__(self, *, folder: str, journal: Journal, fit: Fit) -> None:
        """Take up the snapshots that are there.

        Args:
            folder: of the snapshots, on a disk or in a store.
            journal: that gets their figures.
            fit: evaluates one.
        """
        self._folder = folder
        self._journal = journal
        self._fit = fit
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
        self._fitter = ThreadPoolExecutor(1, thread_name_prefix="evaluation")
        self._written: list[Future[None]] = []
        self._pending: dict[int, Future[Evaluation]] = {}
        self._noted: list[int] = []
        for step in self._steps_there():
            if journal.has_evaluation(step):
                self._noted.append(step)
            else:
                self._pending[step] = self._fitter.submit(fit, self._location(step))

    def wants(self, step: int, *, last: bool) -> bool:
        """Whether a snapshot of a step would be evaluated.

        One is left out if it is there already, and, unless it is the last, if two are still being
        evaluated: probes that are slower than they are due must not pile up.
        """
        if self._journal.has_evaluation(step) or step in self._pending:
            return False
        busy = sum(not evaluation.done() for evaluation in self._pending.values())
        if busy < _AT_ONCE or last:
            return True
        self._journal.event_once("evaluation left out", step=step)
        return False

    def submit(self, step: int, snapshot: Snapshot) -> None:
        """Evaluate a snapshot in the background."""
        location = self._location(step)
        written = self._writer.submit(save_snapshot, snapshot, location)
        self._written.append(written)

        def work() -> Evaluation:
            written.result()
            return self._fit(location)

        self._pending[step] = self._fitter.submit(work)

    def flush(self) -> None:
        """Return when all snapshots are in storage, from where a resumed run takes them up.

        Raises:
            OSError: one cannot be brought there.
        """
        while self._written:
            self._written.pop(0).result()

    def note(self) -> None:
        """Write the figures that are ready into the journal, at the steps of their snapshots.

        A snapshot that cannot be evaluated is noted as such: no training is lost for a probe. One
        that could not be read or written is left for a resumed run.
        """
        for step in [step for step, evaluation in self._pending.items() if evaluation.done()]:
            try:
                found = self._pending.pop(step).result()
            except Exception as error:
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                self._journal.event("evaluation failed", step=step, message=reason)
                if isinstance(error, OSError):
                    continue
                found = Evaluation({}, {})
            if found.note:
                self._journal.event("evaluation memory", step=step, message=found.note)
            self._journal.evaluation(step, found.metrics, found.intervals)
            self._noted.append(step)

    def finish(self) -> None:
        """Wait for all figures and note them."""
        wait(self._pending.values())
        self.note()

    def forget(self) -> None:
        """Delete snapshots whose figures are noted, once the journal is in storage."""
        while self._noted:
            with suppress(OSError):  # the next start finds it, and tries again
                storage.delete_file(self._location(self._noted.pop(0)))

    def close(self) -> None:
        """Give up what has not begun; a resumed run takes it up."""
        self._writer.shutdown(wait=False)
        self._fitter.shutdown(wait=False, cancel_futures=True)

    def _steps_there(self) -> list[int]:
        try:
            files = storage.list_files(self._folder)
        except FileNotFoundError:
            return []
        names = [storage.file_name(file) for file in files]
        return [int(name.removesuffix(_SUFFIX)) for name in names if name.endswith(_SUFFIX)]

    def _location(self, step: int) -> str:
        return storage.join(self._folder, f"{step:010d}{_SUFFIX}")
