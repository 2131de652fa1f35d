"""Ray Tune in a thread, so that an interruption is ours to handle: trials halt, none is killed."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ray import tune

from pipeline.data import storage
from pipeline.data.stored_folder import delete_folder
from pipeline.recipe import Recipe
from pipeline.sweeps.folder import SweepFolder
from pipeline.sweeps.spaces.config import PBTConfig
from pipeline.sweeps.spaces.recipes import sweep_config
from pipeline.sweeps.trials.room import TRIAL_BYTES
from pipeline.sweeps.trials.roster import HOURS, INTERRUPTED, Roster, RosterCallback, RosterSearcher
from pipeline.sweeps.trials.schedulers import scheduler_of
from pipeline.sweeps.trials.tidying import Tidier
from pipeline.sweeps.trials.trial import SweepTrial

_POLL_SECONDS = 0.5
_ACTOR_FAILURES = 2
"""Times that a trial's process may be lost; its runs go on from their checkpoints."""
_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a look may be without a score
}


def tune_trials(recipe: Recipe, folder: SweepFolder, roster: Roster, *, concurrent: int) -> None:
    """Run trials until there are no more, or the roster stops. Ray must be connected.

    Args:
        recipe: of the sweep.
        folder: of the sweep.
        roster: of its trials.
        concurrent: trials at a time.
    """
    config = sweep_config(recipe)
    roster.ledger.begin()
    tidier = Tidier(config, folder, roster.ledger)
    thread = _InThread(lambda: _fit(recipe, folder, roster, concurrent=concurrent))
    thread.start()
    try:
        with _terminated_like_interrupted():
            try:
                while not thread.ended.wait(_POLL_SECONDS):
                    tidier.tidy()
                    if config.hours and roster.ledger.searched_seconds >= 3600 * config.hours:
                        roster.stop(HOURS)
            except KeyboardInterrupt:
                roster.stop(INTERRUPTED)
                thread.ended.wait()  # a second interruption ends the wait
    finally:
        roster.ledger.pause()
    tidier.tidy(last=True)
    delete_folder(folder.tune)
    if thread.error is not None:
        raise thread.error


def _fit(recipe: Recipe, folder: SweepFolder, roster: Roster, *, concurrent: int) -> None:
    config = sweep_config(recipe)
    scheduler = scheduler_of(
        config,
        trials=list(roster.ledger.trials.values()),
        seed=recipe.seed + len(roster.ledger.trials),
        prune=roster.prune,
    )
    in_population = isinstance(config.scheduler, PBTConfig)
    members = roster.population() if in_population else []
    if in_population and not members:
        return
    store, path = storage.resolve(folder.tune)
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    search: dict[str, Any] = {"search_alg": RosterSearcher(roster), "num_samples": -1}
    if in_population:  # whose configs Tune itself changes
        search = {"num_samples": 1}
    tune.Tuner(
        tune.with_resources(SweepTrial, {"CPU": 0, "memory": TRIAL_BYTES}),
        param_space=_population_space(members) if in_population else {},
        tune_config=tune.TuneConfig(
            scheduler=scheduler, max_concurrent_trials=concurrent, reuse_actors=True, **search
        ),
        run_config=tune.RunConfig(
            storage_filesystem=store,
            storage_path=path,
            verbose=0,
            callbacks=[RosterCallback(roster, members=[m["trial"] for m in members] or None)],
            failure_config=tune.FailureConfig(max_failures=_ACTOR_FAILURES),
        ),
    ).fit()


def _population_space(members: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What makes Tune's trials those members, in their order."""
    params = {member["trial"]: member["params"] for member in members}
    return {
        **members[0],
        "trial": tune.grid_search(list(params)),
        "params": tune.sample_from(lambda spec: dict(params[spec.config.trial])),
    }


class _InThread(threading.Thread):
    """A thread that keeps what it failed of, and says when it has ended.

    By an event: a `join` that Ctrl-C interrupts takes the thread for ended (CPython 3.11).
    """

    def __init__(self, work: Any) -> None:
        super().__init__(name="tune", daemon=True)
        self._work = work
        self.error: BaseException | None = None
        self.ended = threading.Event()

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # raised again by whoever waits
            self.error = error
        finally:
            self.ended.set()


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM, with which a job is stopped, as Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
