"""Checkpoints of trials that ended, deleted: a thousand trials would fill any disk with them."""

from __future__ import annotations

import logging
import time

from pipeline.data import storage
from pipeline.data.stored_folder import delete_folder
from pipeline.sweeps.folder import SweepFolder
from pipeline.sweeps.ledger import ENDED, Ledger
from pipeline.sweeps.spaces.config import PBTConfig, SweepConfig

log = logging.getLogger(__name__)

_SECONDS = 60.0
"""After a trial ended: workers of one that was stopped write a last checkpoint before they end."""


class Tidier:
    """Deletes what nobody will take up: the best settings are trained from anew."""

    def __init__(self, config: SweepConfig, folder: SweepFolder, ledger: Ledger) -> None:
        """Know the trials.

        Args:
            config: the recipe's `sweep` section.
            folder: of the sweep.
            ledger: of its trials.
        """
        self._seeds = config.seeds
        self._are_donors = isinstance(config.scheduler, PBTConfig)
        self._folder = folder
        self._ledger = ledger
        self._seen: dict[int, float] = {}
        # Of earlier starts, looked at again when nothing runs: a kill may have come between.
        self._tidied: set[int] = set()
        self._earlier = {trial.number for trial in ledger.in_states(*ENDED)}

    def tidy(self, *, last: bool = False) -> None:
        """Delete checkpoints of trials that ended a while ago, or of all if nothing runs."""
        if self._are_donors and not last:
            return
        now = time.monotonic()
        for trial in self._ledger.in_states(*ENDED):
            ended = self._seen.setdefault(trial.number, now)
            if trial.number in self._earlier and not last:
                continue
            if trial.number not in self._tidied and (last or now - ended >= _SECONDS):
                self._tidied.add(trial.number)
                self._delete(trial.number, trial.generation)

    def _delete(self, number: int, generations: int) -> None:
        for generation in range(generations + 1):
            for seed in range(self._seeds):
                run = self._folder.run(number, generation, seed)
                for location in (run.checkpoints, run.ray):
                    try:
                        delete_folder(location)
                        storage.delete_file(run.initial_weights)
                    except OSError as error:  # which costs no more than room
                        log.warning("%s cannot be deleted: %s", location, error)
