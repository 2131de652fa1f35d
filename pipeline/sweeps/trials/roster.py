"""Who is next: hands trials to Ray Tune, writes down how they end, and knows when to stop."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from ray.tune import Callback
from ray.tune.search import Searcher

from pipeline.data import storage
from pipeline.sweeps.folder import SweepFolder
from pipeline.sweeps.ledger import (
    COLLAPSED,
    FAILED,
    FINISHED,
    HALTED,
    PRUNED,
    RUNNING,
    Ledger,
    Trial,
)
from pipeline.sweeps.spaces.config import SweepConfig
from pipeline.sweeps.spaces.space import Params
from pipeline.sweeps.trials.search import Search

_FEWEST_ENDED = 4
"""Trials of which a share that failed means something."""

INTERRUPTED, HOURS, FAILURES, OUTAGE = "interrupted", "hours", "failures", "outage"
"""Why a sweep stops before all of its trials have ended."""


class Roster:
    """The trials of a sweep for as long as it searches. Tune's thread calls it, and the driver."""

    def __init__(
        self,
        config: SweepConfig,
        folder: SweepFolder,
        ledger: Ledger,
        search: Search,
        *,
        failed_too: bool,
    ) -> None:
        """Take up what the ledger has.

        Args:
            config: the recipe's `sweep` section.
            folder: of the sweep.
            ledger: of the sweep.
            search: gives configurations.
            failed_too: whether trials that failed are tried again.
        """
        self._config = config
        self._folder = folder
        self.ledger = ledger
        self._search = search
        for trial in ledger.in_states(
            FINISHED, PRUNED, COLLAPSED, *([] if failed_too else [FAILED])
        ):
            search.tell(trial)
        self.unfinished = ledger.in_states(RUNNING, HALTED, *([FAILED] if failed_too else []))
        self._waiting = list(self.unfinished)
        self._looked = {trial.number: trial.step for trial in self.unfinished}
        self._lock = threading.Lock()
        self.stopped: str | None = None
        self.outage = ""

    def stop(self, reason: str) -> None:
        """Begin no trial any more, and halt those that run."""
        with self._lock:
            if self.stopped is None or reason == INTERRUPTED:
                self.stopped = reason
                storage.write_file(self._folder.halt, b"")

    def prune(self, number: int) -> None:
        """Ask a trial to end, since others are better."""
        storage.write_file(self._folder.pruned(number), b"")

    def next(self) -> dict[str, Any] | None:
        """The config of the next trial for Tune; None: there is none."""
        with self._lock:
            if self.stopped is not None:
                return None
            if self._waiting:
                trial = self._waiting.pop(0)
                self.ledger.resumed(trial.number)
                return self._for_tune(trial.number, trial.params)
            number = len(self.ledger.trials)
            if number >= self._config.trials:
                return None
            found = self._search.ask(number)
            if found is None:
                return None
            self.ledger.started(number, *found)
            # Or its number might be given again, after a kill, to what takes up its checkpoints.
            self.ledger.flush()
            return self._for_tune(number, found[0])

    def population(self) -> list[dict[str, Any]]:
        """The configs of all trials that are to train, at once."""
        configs = []
        while (config := self.next()) is not None:
            configs.append(config)
        members = [config["trial"] for config in configs]
        return [{**config, "members": members} for config in configs]

    def looked(self, number: int, result: dict[str, Any]) -> None:
        """A trial had a result."""
        trial = self.ledger.trials[number]
        lineage = result["lineage"]
        if lineage is not None and lineage["generation"] > trial.generation:
            if lineage["donor"] == number:
                self.ledger.continued(number, lineage["generation"])
            else:
                self.ledger.exploited(number, **lineage)
        if result["metrics"] and result["step"] > trial.step:
            names = ("look", "step", "metrics", "errors", "total_steps", "seconds")
            self.ledger.looked(number, **{name: result[name] for name in names})

    def ended(self, number: int, result: dict[str, Any] | None, *, fault: str | None) -> None:
        """A trial will have no more results, in this session.

        Args:
            number: of the trial.
            result: the last one, which says how it ended unless the scheduler stopped it.
            fault: what Tune says of an actor that is gone.
        """
        if fault is not None:
            self.ledger.ended(number, state=FAILED, reason=fault)
        elif result is not None and "state" in result:
            self.ledger.ended(
                number,
                state=result["state"],
                reason=result["reason"],
                final=result["metrics"],
                errors=result["errors"],
                seeds=result["seeds"],
                seconds=result["seconds"],
            )
        else:
            self.ledger.ended(number, state=PRUNED, reason=None)
        trial = self.ledger.trials[number]
        if trial.state != HALTED:
            self._search.tell(trial)
        elif trial.reason:
            self.outage = trial.reason
            self.stop(OUTAGE)
        self._check_failures()

    def _check_failures(self) -> None:
        ended = [t for t in self.ledger.trials.values() if t.state not in (RUNNING, HALTED)]
        failed = [trial for trial in ended if trial.state == FAILED]
        if too_many_failed(len(failed), len(ended), self._config):
            self.stop(FAILURES)

    def _for_tune(self, number: int, params: Params) -> dict[str, Any]:
        return {
            "sweep": self._folder.location,
            "trial": number,
            "params": params,
            "looked": self._looked,
        }


def too_many_failed(failed: int, ended: int, config: SweepConfig) -> bool:
    """Whether a larger share of the trials failed than may."""
    return ended >= _FEWEST_ENDED and failed > config.max_failed * ended


class _NotSaved:
    """Tune writes what it was given to a file, to restore it from; we restore from the ledger."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: Any) -> _NotSaved:
        return self


class RosterSearcher(_NotSaved, Searcher):
    """The roster as Tune asks for trials."""

    def __init__(self, roster: Roster) -> None:
        super().__init__(metric="score", mode="max")
        self._roster = roster

    def suggest(self, trial_id: str) -> Any:
        """The next config."""
        config = self._roster.next()
        return Searcher.FINISHED if config is None else config

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Known by the callback."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger has it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger has it."""


class RosterCallback(_NotSaved, Callback):
    """The roster as Tune tells of trials."""

    def __init__(self, roster: Roster, *, members: Sequence[int] | None) -> None:
        """Know whose results they are.

        Args:
            roster: that is told.
            members: of a population, by their order in Tune, since configs are copied there.
        """
        self._roster = roster
        self._members = members

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any
    ) -> None:
        """A look, or the last result."""
        self._roster.looked(self._number(trial), result)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        """A trial that ended, or was stopped."""
        self._roster.ended(self._number(trial), trial.last_result, fault=None)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        """A trial whose actor is gone."""
        lines = (str(trial.get_error()) if trial.get_error() else "").strip().splitlines()
        reason = lines[-1] if lines else "no reason given"
        self._roster.ended(self._number(trial), None, fault=f"its process ended: {reason}")

    def _number(self, trial: Any) -> int:
        if self._members is not None:
            return self._members[int(trial.trial_id.rpartition("_")[2])]
        return int(trial.config["trial"])


def trials_of(ledger: Ledger) -> list[Trial]:
    """All trials, by number."""
    return [trial for _, trial in sorted(ledger.trials.items())]
