"""The objectives that a recipe may name, but for their composition."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.objectives.amcl import AMCLConfig
from pipeline.objectives.barlow import BarlowConfig
from pipeline.objectives.byol import BYOLConfig
from pipeline.objectives.cmim import CMIMConfig
from pipeline.objectives.dmt_jepa import DMTJEPAConfig
from pipeline.objectives.hard_contrastive import HardContrastiveConfig
from pipeline.objectives.ijepa import IJEPAConfig
from pipeline.objectives.lejepa import LeJEPAConfig
from pipeline.objectives.mim import AMIMConfig, MIMConfig
from pipeline.objectives.moco import MoCoConfig
from pipeline.objectives.mocov3 import MoCoV3Config
from pipeline.objectives.simclr import SimCLRConfig
from pipeline.objectives.simsiam import SimSiamConfig
from pipeline.objectives.unigrad import UniGradConfig
from pipeline.objectives.vicreg import VICRegConfig

SingleObjectiveConfig = Annotated[
    SimCLRConfig
    | MoCoConfig
    | MoCoV3Config
    | BYOLConfig
    | SimSiamConfig
    | BarlowConfig
    | VICRegConfig
    | UniGradConfig
    | HardContrastiveConfig
    | AMCLConfig
    | LeJEPAConfig
    | IJEPAConfig
    | DMTJEPAConfig
    | MIMConfig
    | AMIMConfig
    | CMIMConfig,
    Field(discriminator="kind"),
]
