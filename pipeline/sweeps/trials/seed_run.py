"""One run of a trial, of one seed: trained by Ray Train in a thread, followed by its journal."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.data import storage
from pipeline.errors import UserError
from pipeline.recipe import Recipe
from pipeline.registry.journal import JournalTail
from pipeline.runs.checkpoint import CheckpointStore
from pipeline.runs.folder import RunFolder
from pipeline.training.halting import ask_to_halt, let_run
from pipeline.training.outages import outage_of
from pipeline.training.ray_train import train_on_ray

_ON_COLLAPSE = "evaluate.on_collapse"


class SeedRun:
    """A run and what is known of it; `start` trains, `follow` reads its journal."""

    def __init__(self, recipe: Recipe, folder: RunFolder, *, inputs: RunFolder) -> None:
        """Prepare the run's folder.

        Args:
            recipe: of the run.
            folder: of the run, which may have been begun before.
            inputs: of the sweep, which has the weights that runs start from, and the samples that
                they leave out.
        """
        self._recipe = recipe
        self._folder = folder
        self.checkpoints = CheckpointStore(folder.checkpoints, keep=1)
        self.looks: dict[int, dict[str, float]] = {}
        self.error: Exception | None = None
        self._result: dict[str, Any] | None = None
        self._losses: dict[int, float] = {}
        self._tail = JournalTail(folder.journal)
        self._thread = threading.Thread(target=self._train, name="run", daemon=True)
        self._began = self._ended = time.monotonic()
        let_run(folder)
        storage.delete_file(folder.failure)
        storage.write_file(folder.recipe, recipe.to_yaml().encode())
        for source, copy in (
            (inputs.initial_weights, folder.initial_weights),
            (inputs.excluded, folder.excluded),
        ):
            if storage.exists(source):
                storage.write_file(copy, storage.read_file(source))

    def start(self) -> None:
        """Train, in a thread."""
        self._began = time.monotonic()
        self._thread.start()

    def halt(self) -> None:
        """Ask it to leave a checkpoint and end."""
        if self.is_running:
            ask_to_halt(self._folder)

    def join(self) -> None:
        """Wait for its end."""
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def is_running(self) -> bool:
        """Whether it trains."""
        return self._thread.is_alive()

    @property
    def seconds(self) -> float:
        """For which it has held its workers since it was started here."""
        return (time.monotonic() if self.is_running else self._ended) - self._began

    @property
    def halted(self) -> bool:
        """Whether it ended because it was asked to."""
        return self._result is not None and "probes" not in self._result

    @property
    def outage(self) -> str | None:
        """What was away when it failed, if that was why."""
        return None if self.error is None else outage_of(self.error)

    @property
    def collapsed(self) -> bool:
        """Whether it ended because of a collapse."""
        return isinstance(self.error, UserError) and all(
            problem.where == _ON_COLLAPSE for problem in self.error.problems
        )

    @property
    def reason(self) -> str:
        """Why it failed, in one line."""
        text = str(self.error) or type(self.error).__name__
        if not isinstance(self.error, UserError):
            text = f"{type(self.error).__name__}: {text}"
        return " ".join(text.split())

    @property
    def final(self) -> dict[str, float]:
        """Scores of the trained encoder on all held-out labels; empty before."""
        scores = (self._result or {}).get("probes", {})
        return {f"eval/{name}": float(value) for name, value in scores.items()}

    def follow(self) -> None:
        """Read what is new in the journal: `looks` has the evaluations by step.

        With the loss since the look before, which is the training's own score.
        """
        for record in self._tail.read():
            if record["kind"] == "metrics":
                self._losses[record["step"]] = record["metrics"]["loss"]
            elif record["kind"] == "evaluation":
                step = record["step"]
                before = max((other for other in self.looks if other < step), default=0)
                since = [loss for at, loss in self._losses.items() if before < at <= step]
                loss = {"loss": float(np.mean(since))} if since else {}
                self.looks[step] = {**record["metrics"], **loss}

    def _train(self) -> None:
        try:
            gpu = self._recipe.train.device == "cuda"  # the sweep's driver has decided
            self._result = train_on_ray(
                self._recipe, self._folder, gpu=gpu, verbose=False, floors=False
            )
        except Exception as error:  # kept for the trial, which says what became of it
            self.error = error
        finally:
            self._ended = time.monotonic()


def mean_and_error(
    of_seeds: Sequence[dict[str, float]],
) -> tuple[dict[str, float], dict[str, float]]:
    """The means of figures that all seeds have, and their standard errors if there are several."""
    names = set.intersection(*(set(found) for found in of_seeds)) if of_seeds else set()
    values = {name: np.array([found[name] for found in of_seeds]) for name in sorted(names)}
    errors = {
        name: float(v.std(ddof=1) / len(v) ** 0.5) for name, v in values.items() if len(v) > 1
    }
    return {name: float(v.mean()) for name, v in values.items()}, errors
