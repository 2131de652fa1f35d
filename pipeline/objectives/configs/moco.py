"""The recipe's settings of MoCo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.encoders.configs.ema import EMAConfig
from pipeline.encoders.configs.heads import Widths
from pipeline.errors import Problem
from pipeline.objectives.configs.base import ObjectiveConfig
from pipeline.objectives.configs.queue import queue_problems
from pipeline.objectives.configs.temperature import TemperatureConfig

if TYPE_CHECKING:
    from pipeline.encoders.shape import EncoderShape
    from pipeline.objectives.moco import MoCo


class MoCoConfig(ObjectiveConfig):
    """MoCo v2 (Chen et al., Improved Baselines with Momentum Contrastive Learning, 2020).

    Both views are queries and keys, as in solo-learn and the authors' CIFAR notebook; a queue holds
    the past keys of each. Shuffled batch normalisation is not needed: with `train.batch_norm: sync`
    query and key statistics are of the whole batch.
    """

    kind: Literal["moco"]
    temperature: Annotated[TemperatureConfig, Field(description="tau of similarities")] = (
        TemperatureConfig(start=0.2)
    )
    queue: Annotated[
        int, Field(ge=1, description="past keys, a multiple of train.global_batch")
    ] = 65536
    ema: Annotated[EMAConfig, Field(description="of the keys' twin")] = EMAConfig(start=0.999)
    projector: Widths = (2048, 128)

    def build(self, encoder: EncoderShape, *, global_batch: int) -> MoCo:
        """The objective for an encoder of this feature width."""
        from pipeline.objectives.moco import MoCo

        return MoCo(config=self, feature_width=encoder.width)

    def problems(self, *, global_batch: int) -> list[Problem]:
        """A queue that a step's keys do not fill evenly."""
        return queue_problems(self.queue, global_batch=global_batch)
