"""Ray's word that a node on which a run has workers will soon be taken away."""

from __future__ import annotations

import logging
import threading
import time

import ray.train
from ray.exceptions import RayActorError

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0


class PreemptionNotice:
    """Whether Ray has announced the loss of a node since the last call.

    Ray tells all of its workers together, in a collective. A thread takes part in it, so that no
    step waits for it, and workers that are too many to train need not stay for it.
    """

    def __init__(self) -> None:
        """Begin to ask. Every worker that Ray started calls this, whether or not it trains."""
        self._announced: ray.train.PreemptionInfo | None = None
        self._answered: ray.train.PreemptionInfo | None = None
        threading.Thread(target=self._watch, name="preemption", daemon=True).start()

    def __call__(self) -> bool:
        """True once for each announcement."""
        before, self._answered = self._answered, self._announced
        return self._answered != before

    def _watch(self) -> None:
        while True:
            try:
                self._announced = ray.train.get_preemption_info()
            except RayActorError as error:
                # Ray ends the actor in which the workers meet shortly before the workers.
                log.info("no more notices of preemption: %s", error)
                return
            time.sleep(_POLL_SECONDS)
