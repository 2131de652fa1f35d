"""Contrast within groups of a batch: fewer negatives, and nothing else changed.

With another batch size the number of steps or of images changes too. Here a batch is as large as
ever, for the gradient and for batch normalisation, and only who is a negative of whom differs.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from pipeline.objectives.base import EncodedViews, Objective, PairLosses
from pipeline.objectives.cmim import CMIM, log_probability_own
from pipeline.objectives.configs.base import ObjectiveConfig
from pipeline.objectives.configs.cmim import CMIMConfig
from pipeline.objectives.configs.simclr import SimCLRConfig
from pipeline.objectives.simclr import SimCLR, nt_xent


class SimCLRInGroups(SimCLR):
    """NT-Xent of each group of samples by itself."""

    group: int

    def forward(self, views: EncodedViews) -> PairLosses:
        """A loss for each view of each sample."""
        z_VBD = F.normalize(self.project_views(views.features), dim=-1)
        temperature = self.temperature(views.progress)
        groups = z_VBD.split(self.group, dim=1)
        loss = torch.cat([nt_xent(z, temperature=temperature) for z in groups], dim=1)
        return self.pair_losses(loss, z_VBD, temperature=temperature)


class CMIMInGroups(CMIM):
    """Each code told from those of its group."""

    group: int

    def forward(self, views: EncodedViews) -> PairLosses:
        """A loss for each view of each sample."""
        codes = self.codes(views)
        beta = self._config.beta(views.progress)
        temperature = self.temperature(views.progress)
        groups = [z for z_BD in codes.sampled for z in z_BD.split(self.group)]
        log_own = torch.cat([log_probability_own(z, temperature=temperature) for z in groups])
        log_own_VB = log_own.view(codes.sampled.shape[:2])
        loss = self.reconstruction_loss(codes, beta) + self.latent_loss(codes, beta)
        return self.scored(codes, loss - self._contrast * log_own_VB, evidence=-log_own_VB)


def in_groups(objective: Objective, config: ObjectiveConfig, size: int) -> Objective:
    """The same objective with the same weights, of groups of this many samples."""
    grouped: SimCLRInGroups | CMIMInGroups
    if isinstance(objective, CMIM):
        assert isinstance(config, CMIMConfig)
        grouped = CMIMInGroups(
            config=config,
            autoencoder=objective.autoencoder,
            feature_width=objective.feature_width,
        )
    else:
        assert isinstance(config, SimCLRConfig)
        grouped = SimCLRInGroups(config=config, feature_width=objective.feature_width)
    grouped.load_state_dict(objective.state_dict())
    grouped.group = size
    return grouped
