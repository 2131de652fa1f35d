"""Perfect knowledge of bad pairs, used within a step: in the losses, or in the batch's terms too.

Weights reach what a pair owns, not what a batch has in common, as the variance and covariance of
VICReg and SIGReg of LeJEPA. These two ways of leaving planted samples out tell the difference.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from benchmarks.bad_pairs.planted import Sorts
from pipeline.data.reading.assemble import Batch
from pipeline.encoders.shape import EncoderShape
from pipeline.objectives.base import EncodedViews, Objective, PairLosses
from pipeline.recipe import Recipe


class LeftOut:
    """Takes planted samples out of an objective's losses, and out of its terms where it is told to.

    They are encoded and normalised with the others, as pairs of weight 0 are.
    """

    def __init__(
        self, objective: Objective, recipe: Recipe, sorts: Sorts, *, of_terms: bool
    ) -> None:
        self._sorts = sorts
        self._of_terms = of_terms
        self._sound = torch.ones(0, dtype=torch.bool)
        shape = EncoderShape(width=objective.feature_width, size=recipe.views.size)
        headless = recipe.objective.build(shape, global_batch=recipe.train.global_batch)
        headless.projector = nn.Identity()
        self._of_projections = headless
        objective.register_forward_hook(self._corrected)

    def see(self, batch: Batch) -> None:
        """Note which samples the next step has."""
        self._sound = torch.from_numpy(self._sorts[batch.sample_id] < 0)

    def _corrected(
        self, objective: nn.Module, given: tuple[EncodedViews], losses: PairLosses
    ) -> PairLosses:
        share = self._sound.float() / self._sound.float().mean()
        terms = losses.terms
        if self._of_terms:
            sound = replace(given[0], features=losses.projections[:, self._sound])
            terms = self._of_projections(sound).terms
        return replace(losses, loss=losses.loss * share, terms=terms)
