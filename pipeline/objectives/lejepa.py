"""LeJEPA: views agree with the mean of the global ones, and are spread like a normal cloud."""

from __future__ import annotations

from pipeline.encoders.heads import mlp
from pipeline.objectives.base import Capabilities, EncodedViews, Objective, PairLosses
from pipeline.objectives.configs.lejepa import LeJEPAConfig
from pipeline.objectives.parts.sigreg import random_slices, sigreg


class LeJEPA(Objective):
    """No twin, no predictor, no stopped gradient."""

    capabilities = Capabilities(
        views=2, more_views=True, local_views=True, mining="per_sample", arbitration="per_view"
    )

    def __init__(self, *, config: LeJEPAConfig, feature_width: int) -> None:
        super().__init__(
            feature_width=feature_width, projector=mlp(feature_width, config.projector)
        )
        self._config = config

    def forward(self, views: EncodedViews) -> PairLosses:
        """Each view's squared distance from the global views' mean, by dimension, and SIGReg.

        Equation 7 of the paper, with the mean over dimensions of the official code in place of
        their sum.
        """
        z_VBD = self.project_views(views.features)
        centre_BD = z_VBD[: views.global_views].mean(dim=0)
        loss = (1 - self._config.sigreg) * (z_VBD - centre_BD).square().mean(dim=2)
        slices = random_slices(z_VBD.shape[2], self._config.slices, seed=views.step_seed)
        if z_VBD.is_cuda:
            slices = slices.pin_memory()
        normality = sigreg(z_VBD, slices.to(z_VBD, non_blocking=True)).mean()
        return PairLosses(
            loss=loss,
            evidence=loss.detach().mean(dim=0),
            projections=z_VBD,
            terms={"sigreg": self._config.sigreg * normality},
        )
