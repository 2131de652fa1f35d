"""The recipe's settings of AMCL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from pipeline.encoders.configs.ema import EMAConfig
from pipeline.encoders.configs.heads import HiddenWidths, Widths
from pipeline.errors import Problem
from pipeline.objectives.configs.base import ObjectiveConfig
from pipeline.objectives.configs.queue import queue_problems

if TYPE_CHECKING:
    from pipeline.encoders.shape import EncoderShape
    from pipeline.objectives.base import Objective


QUEUE = 4096
EMA = EMAConfig(start=0.99)
_TOP_K = 100
_ONLY_WITH = {
    "top_k": ("simclr", "moco"),
    "queue": ("moco",),
    "ema": ("moco",),
    "predictor": ("simsiam",),
    "redundancy": ("barlow",),
}


class AMCLConfig(ObjectiveConfig):
    """AMCL (Wang et al., Adaptive Multi-head Contrastive Learning, ECCV 2024).

    Over SimCLR, MoCo, SimSiam or Barlow Twins. Two settings differ from the authors': temperatures
    end at 0.05, not 0.00001, because with a small `regularisation` the loss of positives has no
    minimum and falls to -1 / tau; and what temperatures cost is averaged over the `top_k` negatives
    like the rest of the loss, so that `top_k: 1` is the paper's equation.
    """

    kind: Literal["amcl"]
    base: Annotated[
        Literal["simclr", "moco", "simsiam", "barlow"], Field(description="what it is built over")
    ] = "simclr"
    heads: Annotated[int, Field(ge=1, description="projection heads C")] = 3
    temperature_least: Annotated[float, Field(gt=0, description="lowest temperature")] = 0.05
    temperature_most: Annotated[float, Field(gt=0, description="highest temperature")] = 2.0
    regularisation: Annotated[
        float | None,
        Field(ge=0, description="beta, weight of what temperatures cost; null: 1e-4, barlow 1e-6"),
    ] = None
    hidden: Annotated[int, Field(ge=1, description="width within the temperatures' map")] = 128
    projector: Annotated[
        Widths | None, Field(description="of a head; null: [512, 128], simsiam and barlow 2048s")
    ] = None
    top_k: Annotated[
        int | None, Field(ge=1, description="most similar negatives that count; null: 100")
    ] = None
    queue: Annotated[int | None, Field(ge=1, description="past keys; null: 4096")] = None
    ema: Annotated[EMAConfig | None, Field(description="of moco's twin; null: 0.99")] = None
    predictor: Annotated[
        HiddenWidths | None, Field(description="hidden widths of simsiam's predictor; null: [512]")
    ] = None
    redundancy: Annotated[
        float | None,
        Field(ge=0, description="lambda of barlow, weight of other dimensions; null: 0.005"),
    ] = None

    @model_validator(mode="after")
    def _fits_the_base(self) -> AMCLConfig:
        wrong = [
            f"{name} is a setting of base {' and '.join(bases)}, not of {self.base}; allowed: null"
            for name, bases in _ONLY_WITH.items()
            if getattr(self, name) is not None and self.base not in bases
        ]
        if not self.temperature_least < self.temperature_most:
            wrong.append(
                f"temperature_least {self.temperature_least} is not below temperature_most "
                f"{self.temperature_most}"
            )
        if self.heads > self.widths[-1]:
            wrong.append(
                f"heads {self.heads} are more than the {self.widths[-1]} dimensions of a head's "
                "projection"
            )
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    @property
    def widths(self) -> tuple[int, ...]:
        """Of a head."""
        if self.projector is not None:
            return self.projector
        return (512, 128) if self.base in ("simclr", "moco") else (2048, 2048)

    @property
    def twin(self) -> EMAConfig | None:
        """Only MoCo has one."""
        return (self.ema or EMA) if self.base == "moco" else None

    @property
    def beta(self) -> float:
        """Weight of what temperatures cost."""
        if self.regularisation is not None:
            return self.regularisation
        return 1e-6 if self.base == "barlow" else 1e-4

    def build(self, encoder: EncoderShape, *, global_batch: int) -> Objective:
        """The objective for an encoder of this feature width."""
        from pipeline.objectives.amcl import build_amcl

        return build_amcl(self, encoder, global_batch=global_batch)

    def top_k_of(self, negatives: int) -> int:
        """How many of an anchor's negatives count."""
        return self.top_k or min(_TOP_K, negatives)

    def problems(self, *, global_batch: int) -> list[Problem]:
        """A queue that a step's keys do not fill evenly, or more hard negatives than there are."""
        found = []
        negatives = 2 * (global_batch - 1)
        if self.base == "moco":
            negatives = self.queue or QUEUE
            found += queue_problems(negatives, global_batch=global_batch)
        if self.top_k is not None and self.top_k > negatives:
            found.append(Problem("top_k", f"{self.top_k}, but an anchor has {negatives} negatives"))
        return found
