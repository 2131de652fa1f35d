"""The recipe's settings of DMT-JEPA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.encoders.configs.neighbours import Window
from pipeline.objectives.configs.ijepa import PatchPredictionConfig

if TYPE_CHECKING:
    from pipeline.encoders.shape import EncoderShape
    from pipeline.objectives.dmt_jepa import DMTJEPA


class DMTJEPAConfig(PatchPredictionConfig):
    """DMT-JEPA (Mo & Tong, Discriminative Masked Targets for JEPA, 2024)."""

    kind: Literal["dmt_jepa"]
    neighbours: Annotated[
        int, Field(ge=1, le=8, description="of the eight patches around a patch, how many count")
    ] = 4
    window: Annotated[
        Window,
        Field(
            description="clamped: a patch at an edge has fewer neighbours; toroidal: it has others "
            "at the opposite edge, as in the official code"
        ),
    ] = "clamped"

    def build(self, encoder: EncoderShape, *, global_batch: int) -> DMTJEPA:
        """The objective for an encoder with patches.

        Raises:
            UserError: it has none, or the predictor does not go with it.
        """
        from pipeline.objectives.dmt_jepa import DMTJEPA

        return DMTJEPA(config=self, encoder=encoder)
