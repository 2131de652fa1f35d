"""The ledger of a sweep: what happened to its trials, as JSON lines, from which it is taken up."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from pipeline.registry.line_log import open_log, reader_of
from pipeline.sweeps.spaces.space import Params

RUNNING, HALTED = "running", "halted"
FINISHED, PRUNED, COLLAPSED, FAILED = "finished", "pruned", "collapsed", "failed"
ENDED = (FINISHED, PRUNED, COLLAPSED, FAILED)
"""States that a trial does not leave again."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a snapshot of a trial showed, the mean of its seeds."""

    number: int
    """From 1 on: the same for trials that have seen as much."""
    step: int
    metrics: dict[str, float]
    errors: dict[str, float]
    """Standard errors of several seeds."""
    params: Params
    """What the trial trained with then."""


@dataclass(kw_only=True)
class Trial:
    """A configuration and what is known of it."""

    number: int
    params: Params
    origin: str
    """`recipe`, `warm start`, or the searcher that gave it."""
    state: str = RUNNING
    looks: list[Look] = field(default_factory=list)
    final: dict[str, float] = field(default_factory=dict)
    """Of a finished trial: metrics of its end, probes among them on all of the held-out labels."""
    errors: dict[str, float] = field(default_factory=dict)
    seeds: list[dict[str, float]] = field(default_factory=list)
    """The same of each seed."""
    reason: str | None = None
    total_steps: int | None = None
    generation: int = 0
    donors: list[dict[str, Any]] = field(default_factory=list)
    run_id: str | None = None
    told: bool = False
    """Whether MLflow knows how it ended."""
    earlier_seconds: float = 0.0
    seconds_now: float = 0.0

    @property
    def seconds(self) -> float:
        """For which its workers were held, over all starts."""
        return self.earlier_seconds + self.seconds_now

    def hold(self, seconds: float) -> None:
        """Workers are held for so long since their last start; less than before: a new start."""
        if seconds < self.seconds_now:
            self.earlier_seconds += self.seconds_now
        self.seconds_now = seconds

    @property
    def step(self) -> int:
        """Of the last look."""
        return self.looks[-1].step if self.looks else 0

    @property
    def metrics(self) -> dict[str, float]:
        """The last that is known."""
        return self.final or (self.looks[-1].metrics if self.looks else {})

    @property
    def metric_errors(self) -> dict[str, float]:
        """Their standard errors, of several seeds."""
        if self.final or not self.looks:
            return self.errors
        return self.looks[-1].errors


class Ledger:
    """The trials of a sweep; the driver alone writes it, from any of its threads."""

    def __init__(self, location: str) -> None:
        """Read what there is, and open it for appending.

        Args:
            location: path or URI; it need not exist.
        """
        self.trials, self.searched = _read(location)
        self.known = _known(location)
        self._log = open_log(location)
        self._lock = threading.Lock()
        self._session: float | None = None

    @property
    def searched_seconds(self) -> float:
        """For which the sweep searched, over all its starts."""
        now = 0.0 if self._session is None else time.monotonic() - self._session
        return self.searched + now

    def begin(self) -> None:
        """Count the time of the search from now."""
        self._session = time.monotonic()
        self._note({"event": "begun"})

    def pause(self) -> None:
        """The search is over, for now."""
        if self._session is not None:
            self.searched, self._session = self.searched_seconds, None
            self._note({"event": "paused", "searched": self.searched})

    def started(self, number: int, params: Params, origin: str) -> None:
        """A trial is new."""
        self._note({"event": "started", "trial": number, "params": params, "origin": origin})

    def resumed(self, number: int) -> None:
        """A trial goes on."""
        self._note({"event": "resumed", "trial": number})

    def looked(self, number: int, **facts: Any) -> None:
        """A snapshot of a trial is evaluated."""
        self._note({"event": "looked", "trial": number, **facts})

    def exploited(self, number: int, **facts: Any) -> None:
        """A trial goes on from another's checkpoint, with other settings."""
        self._note({"event": "exploited", "trial": number, **facts})

    def continued(self, number: int, generation: int) -> None:
        """A trial goes on from its own checkpoint in a folder of a new generation."""
        self._note({"event": "continued", "trial": number, "generation": generation})

    def began_with(self, known: list[Params]) -> None:
        """Configurations of an earlier sweep come first."""
        self._note({"event": "known", "params": known})

    def ended(self, number: int, **facts: Any) -> None:
        """A trial ended, or is halted."""
        self._note({"event": "ended", "trial": number, **facts})

    def tracked(self, number: int, run_id: str) -> None:
        """A trial has an MLflow run."""
        self._note({"event": "tracked", "trial": number, "run_id": run_id})

    def told(self, number: int) -> None:
        """MLflow knows how a trial ended."""
        self._note({"event": "told", "trial": number})

    def flush(self) -> None:
        """Return when all is in storage.

        Raises:
            OSError: it cannot be brought there.
        """
        self._log.flush()

    def in_states(self, *states: str) -> list[Trial]:
        """Trials in one of some states, by number."""
        with self._lock:
            found = [trial for trial in self.trials.values() if trial.state in states]
        return sorted(found, key=lambda trial: trial.number)

    def _note(self, record: dict[str, Any]) -> None:
        record = {"time": time.time(), **record}
        with self._lock:
            _apply(record, self.trials)
            self._log.append(json.dumps(record))


def _known(location: str) -> list[Params] | None:
    """What the sweep began with; None if it has not been noted."""
    records = map(json.loads, reader_of(location).read())
    return next((record["params"] for record in records if record["event"] == "known"), None)


def read_trials(location: str) -> list[Trial]:
    """The trials of any ledger, by number."""
    return [trial for _, trial in sorted(_read(location)[0].items())]


def _read(location: str) -> tuple[dict[int, Trial], float]:
    trials: dict[int, Trial] = {}
    searched, begun, last = 0.0, None, 0.0
    for line in reader_of(location).read():
        record = json.loads(line)
        if record["event"] == "begun":
            # A driver that was killed left no note of when.
            searched += last - begun if begun is not None else 0.0
            begun = record["time"]
        elif record["event"] == "paused":
            searched, begun = record["searched"], None
        last = record["time"]
        _apply(record, trials)
    if begun is not None:
        searched += last - begun
    return trials, searched


def _apply(record: dict[str, Any], trials: dict[int, Trial]) -> None:
    event = record["event"]
    if "trial" not in record:
        return
    if event == "started":
        trials[record["trial"]] = Trial(
            number=record["trial"], params=record["params"], origin=record["origin"]
        )
        return
    trial = trials[record["trial"]]
    if event == "resumed":
        trial.state, trial.reason, trial.told = RUNNING, None, False
        trial.final, trial.errors, trial.seeds = {}, {}, []
        trial.earlier_seconds, trial.seconds_now = trial.seconds, 0.0
    elif event == "looked":
        trial.looks.append(
            Look(
                number=record["look"],
                step=record["step"],
                metrics=record["metrics"],
                errors=record["errors"],
                params=trial.params,
            )
        )
        trial.total_steps = record["total_steps"]
        trial.hold(record["seconds"])
    elif event == "exploited":
        trial.generation, trial.params = record["generation"], record["params"]
        trial.donors.append({name: record[name] for name in ("donor", "step", "params")})
        trial.looks = [look for look in trial.looks if look.step <= record["step"]]
    elif event == "continued":
        trial.generation = record["generation"]
    elif event == "ended":
        trial.state, trial.reason = record["state"], record["reason"]
        trial.final, trial.errors = record.get("final", {}), record.get("errors", {})
        trial.seeds = record.get("seeds", [])
        trial.hold(record.get("seconds", trial.seconds_now))
    elif event == "tracked":
        trial.run_id = record["run_id"]
    elif event == "told":
        trial.told = True
