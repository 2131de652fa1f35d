"""One forwarder for a whole sweep: journals and ledger to MLflow, beside the search."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.registry.sweep_runs import SweepRuns, metric
from pipeline.registry.tracking import Forwarder, TrackedRun, TrackingError
from pipeline.sweeps.folder import SweepFolder
from pipeline.sweeps.ledger import FINISHED, HALTED, PRUNED, RUNNING, Ledger, Trial
from pipeline.sweeps.spaces.config import SweepConfig
from pipeline.sweeps.spaces.scores import MEASURES, merits_of

log = logging.getLogger(__name__)

_POLL_SECONDS = 2.0
_PAGE_SECONDS = 30.0


class SweepForwarder:
    """Tells MLflow of all trials."""

    def __init__(
        self,
        config: SweepConfig,
        folder: SweepFolder,
        ledger: Ledger,
        runs: SweepRuns,
        *,
        draw: Callable[[], str],
    ) -> None:
        """Begin with what MLflow does not know yet.

        Args:
            config: the recipe's `sweep` section.
            folder: of the sweep.
            ledger: of the sweep.
            runs: of the sweep in MLflow.
            draw: draws the sweep's page and says where it lies.
        """
        self._config = config
        self._folder = folder
        self._ledger = ledger
        self._runs = runs
        self._draw = draw
        self._children: dict[int, TrackedRun] = {}
        self._journals: dict[tuple[int, int, int], Forwarder] = {}
        self._ended = 0
        self._drawn_at = 0.0

    def forward(self) -> None:
        """Send what is new.

        Raises:
            TrackingError: MLflow does not take it; it waits for the next call.
        """
        for trial in list(self._ledger.trials.values()):
            if trial.told and trial.state != RUNNING:
                continue
            state = trial.state  # before the journals are read to their ends
            run = self._child(trial)
            for seed in range(self._config.seeds):
                self._journal(trial, seed, run).forward()
            if state != RUNNING:
                self._close(trial, state, run)

    def draw_if_due(self, *, now: bool = False) -> None:
        """Draw the page, and give it to the parent."""
        if not now and time.monotonic() - self._drawn_at < _PAGE_SECONDS:
            return
        self._drawn_at = time.monotonic()
        try:
            page = self._draw()
        except Exception as error:  # no search is lost for a picture
            log.warning("the page could not be drawn: %s", " ".join(str(error).split()))
            return
        self._runs.parent.log_files([page])

    def abandon(self) -> None:
        """Leave no child running, whatever has happened; the next start takes them up."""
        for run in self._children.values():
            try:
                run.stop_early()
            except TrackingError as error:
                log.warning("MLflow could not be told that a trial stopped: %s", error)

    def _child(self, trial: Trial) -> TrackedRun:
        found = self._children.get(trial.number)
        if found is None:
            params = {path: json.dumps(value) for path, value in trial.params.items()}
            found = self._runs.child(trial.number, name=f"trial-{trial.number}", params=params)
            self._children[trial.number] = found
            if trial.run_id is None:
                self._ledger.tracked(trial.number, found.run_id)
        return found

    def _journal(self, trial: Trial, seed: int, run: TrackedRun) -> Forwarder:
        key = (trial.number, trial.generation, seed)
        if key not in self._journals:
            journal = self._folder.run(*key).journal
            prefix = f"seed{seed}/" if self._config.seeds > 1 else ""
            self._journals[key] = Forwarder(journal, run, prefix=prefix)
        return self._journals[key]

    def _close(self, trial: Trial, state: str, run: TrackedRun) -> None:
        tags = {"sweep.state": state}
        if trial.reason:
            tags["sweep.reason"] = trial.reason[:5000]
        run.tag(tags)
        if trial.final:
            finals = {f"validation/{k.removeprefix('eval/')}": v for k, v in trial.final.items()}
            run.log_summary(finals, step=trial.step)
        if state in (PRUNED, HALTED):
            run.stop_early()
        else:
            run.finish(failed=state != FINISHED)
        self._note_best()
        self._children.pop(trial.number)
        self._journals = {k: v for k, v in self._journals.items() if k[0] != trial.number}
        self._ledger.told(trial.number)

    def _note_best(self) -> None:
        """The best score so far, over the number of trials that ended."""
        scores = self._config.optimize
        assert scores is not None
        ended = self._ledger.in_states(FINISHED)
        if len(ended) <= self._ended:
            return
        self._ended = len(ended)
        ranked = [(merits[0], t) for t in ended if (merits := merits_of(t.metrics, scores))]
        if ranked:
            best = max(ranked, key=lambda pair: pair[0])[1]
            value = best.metrics[MEASURES[scores[0]].metric]
            name = f"best/{scores[0]}"
            self._runs.parent.send([metric(name, value, seconds=time.time(), step=self._ended)])


@contextmanager
def forwarding_sweep(forwarder: SweepForwarder) -> Iterator[None]:
    """Forward in the background while the body runs, and all of it when it ends.

    A server that is away meanwhile costs nothing but a warning.

    Raises:
        TrackingError: the body has ended, and MLflow does not take all.
    """
    stop = threading.Event()

    def work() -> None:
        away = False
        while not stop.wait(_POLL_SECONDS):
            try:
                forwarder.forward()
                forwarder.draw_if_due()
                away = False
            except (TrackingError, OSError) as error:
                if not away:
                    log.warning("MLflow is away, the sweep goes on: %s", error)
                away = True

    thread = threading.Thread(target=work, name="mlflow-sweep", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        stop.set()
        thread.join()
        forwarder.abandon()
        raise
    stop.set()
    thread.join()
    forwarder.forward()
    forwarder.draw_if_due(now=True)
