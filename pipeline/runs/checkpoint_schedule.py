"""When a run writes a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable

from pipeline import collectives
from pipeline.learning.config import TrainConfig


class CheckpointSchedule:
    """Checkpoints by steps, by minutes, at the ends of epochs, and when a rank will be lost."""

    def __init__(
        self,
        config: TrainConfig,
        *,
        steps_per_epoch: int,
        total_steps: int,
        notice: Callable[[], bool] | None,
    ) -> None:
        """Begin to count. On every rank.

        Args:
            config: the recipe's `train` section.
            steps_per_epoch: steps between checkpoints unless the recipe says otherwise.
            total_steps: of the whole run.
            notice: whether it became known since the last call that a rank will be taken away. On
                all ranks or none.
        """
        self._config = config
        self._steps_per_epoch = steps_per_epoch
        self._notice = notice
        self._saved_at = time.monotonic()
        # From where the end of a run can be replayed, if nothing else is kept before the last.
        self._late = total_steps - -(-total_steps // 10) if config.checkpoint.keep > 1 else 0

    def is_due(self, step: int) -> bool:
        """Whether the recipe wants one; every rank calls this, because rank 0's clock decides."""
        config = self._config.checkpoint
        if step == self._late:
            return True
        if config.every_steps is None and config.every_minutes is None:
            return step % self._steps_per_epoch == 0
        if config.every_steps is not None and step % config.every_steps == 0:
            return True
        if config.every_minutes is None or step % self._config.log_every:
            return False
        waited = time.monotonic() - self._saved_at
        return bool(collectives.gather_json(waited >= 60 * config.every_minutes)[0])

    def loss_is_announced(self, step: int) -> bool:
        """Whether a rank will be taken away; every rank calls this, because rank 0 decides."""
        if self._notice is None or step % self._config.log_every:
            return False
        return bool(collectives.gather_json(self._notice())[0])

    def saved(self) -> None:
        """One is being written: count minutes from now on."""
        self._saved_at = time.monotonic()
        self._late = 0
