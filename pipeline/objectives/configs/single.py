"""The objectives that a recipe may name, but for their composition."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.objectives.configs.amcl import AMCLConfig
from pipeline.objectives.configs.barlow import BarlowConfig
from pipeline.objectives.configs.byol import BYOLConfig
from pipeline.objectives.configs.cmim import CMIMConfig
from pipeline.objectives.configs.dmt_jepa import DMTJEPAConfig
from pipeline.objectives.configs.hard_contrastive import HardContrastiveConfig
from pipeline.objectives.configs.ijepa import IJEPAConfig
from pipeline.objectives.configs.lejepa import LeJEPAConfig
from pipeline.objectives.configs.mim import AMIMConfig, MIMConfig
from pipeline.objectives.configs.moco import MoCoConfig
from pipeline.objectives.configs.mocov3 import MoCoV3Config
from pipeline.objectives.configs.simclr import SimCLRConfig
from pipeline.objectives.configs.simsiam import SimSiamConfig
from pipeline.objectives.configs.unigrad import UniGradConfig
from pipeline.objectives.configs.vicreg import VICRegConfig

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
