"""Stops a run whose numbers are no longer finite, and says at which step and on which samples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from pipeline import collectives
from pipeline.learning.learner import StepResult

Ids = npt.NDArray[np.int64]

_NEVER = 2**62


class NotFiniteError(Exception):
    """The loss or its gradient is infinite or not a number."""

    def __init__(self, step: int, sample_ids: list[int]) -> None:
        super().__init__(f"the loss or its gradient is not finite at step {step}")
        self.step = step
        self.sample_ids = sample_ids


class FiniteGuard:
    """Watches every step on the device, and looks at what it saw only where ranks meet anyway."""

    def __init__(self, device: torch.device) -> None:
        self._first_bad = torch.tensor(_NEVER, device=device)
        self._ids: dict[int, Ids] = {}

    def watch(self, step: int, result: StepResult, gradient_norm: torch.Tensor, ids: Ids) -> None:
        """Look at a step without waiting for the device.

        Args:
            step: counted from 1.
            result: of this rank.
            gradient_norm: of all ranks' gradient, a scalar.
            ids: (B,) samples of this rank.
        """
        evidence = result.losses.evidence  # of an objective that scores it apart from its loss
        finite = torch.isfinite(result.total.detach()) & torch.isfinite(gradient_norm)
        finite &= torch.isfinite(evidence).all()
        self._first_bad = torch.where(finite, self._first_bad, self._first_bad.clamp(max=step))
        self._ids[step] = ids

    def check(self) -> None:
        """Raise if a step since the last check was bad. Every rank calls this after the same steps.

        Raises:
            NotFiniteError: with the first bad step and the samples of all ranks in it.
        """
        first = min(collectives.gather_json(int(self._first_bad)))
        if first != _NEVER:
            shares = collectives.gather_json(self._ids[first].tolist())
            raise NotFiniteError(first, [sample_id for share in shares for sample_id in share])
        self._ids.clear()
