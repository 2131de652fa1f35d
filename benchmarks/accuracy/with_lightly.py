"""lightly's methods in the loops of its examples: plain PyTorch, views encoded one by one.

Heads, losses, transforms and the momentum update are lightly's. Encoder, optimizer, schedule, batch
and widths are those of our cells, and so are the strengths of its transforms. lightly has no loss
for MoCo v3, which is left out.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from lightly.loss import (
    BarlowTwinsLoss,
    NegativeCosineSimilarity,
    NTXentLoss,
    SIGReg,
    VICRegLoss,
)
from lightly.loss.lejepa_loss import lejepa_invariance_loss
from lightly.models.modules import heads
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.transforms import (
    BYOLTransform,
    MoCoV2Transform,
    SimCLRTransform,
    SimSiamTransform,
    VICRegTransform,
)
from lightly.transforms.byol_transform import BYOLView1Transform, BYOLView2Transform
from lightly.utils.scheduler import cosine_schedule
from PIL import Image
from timm.optim import create_optimizer_v2, param_groups_weight_decay
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.accuracy.methods import QUEUE
from pipeline.encoders.backbone import build_backbone, feature_width
from pipeline.learning.schedules import learning_rate
from pipeline.randomness import seed_for
from pipeline.recipe import Recipe
from pipeline.views.parameters import ImageViews

_MOCO_MOMENTUM = 0.99


class _Images(Dataset[Any]):
    def __init__(self, images: np.ndarray, transform: Callable[[Any], Any]) -> None:
        self._images = images
        self._transform = transform

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, number: int) -> Any:
        return self._transform(Image.fromarray(self._images[number]))


class _Joint(nn.Module):
    """SimCLR, Barlow Twins and VICReg: both views through one head into the loss."""

    def __init__(self, backbone: nn.Module, head: nn.Module, criterion: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection_head = head
        self.criterion = criterion

    def follow(self, share: float) -> None:
        """Nothing follows."""

    def embed(self, x: Tensor) -> Tensor:
        return self.projection_head(self.backbone(x))

    def forward(self, x0: Tensor, x1: Tensor) -> Tensor:
        return self.criterion(self.embed(x0), self.embed(x1))


class _SimSiam(_Joint):
    def __init__(self, backbone: nn.Module, width: int) -> None:
        head = heads.SimSiamProjectionHead(width, 512, 512)
        super().__init__(backbone, head, NegativeCosineSimilarity())
        self.prediction_head = heads.SimSiamPredictionHead(512, 128, 512)

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.embed(x)
        return z.detach(), self.prediction_head(z)

    def forward(self, x0: Tensor, x1: Tensor) -> Tensor:
        z0, p0 = self.predict(x0)
        z1, p1 = self.predict(x1)
        return 0.5 * (self.criterion(z0, p1) + self.criterion(z1, p0))


class _LeJEPA(_Joint):
    """Two global views; its loss insists on local ones, so its two parts are put together here."""

    def __init__(self, backbone: nn.Module, width: int, weight: float) -> None:
        head = heads.LeJEPAProjectionHead(width, 512, 64)
        super().__init__(backbone, head, SIGReg(num_vectors=256))
        self.weight = weight

    def forward(self, x0: Tensor, x1: Tensor) -> Tensor:
        z = torch.stack([self.embed(x0), self.embed(x1)])
        agreement = lejepa_invariance_loss(all_proj=z, global_proj=z)
        return self.weight * self.criterion(z) + (1 - self.weight) * agreement


class _Momentum(_Joint):
    """MoCo, and what BYOL has in common with it."""

    momentum = (_MOCO_MOMENTUM, _MOCO_MOMENTUM)

    def __init__(self, backbone: nn.Module, head: nn.Module, criterion: nn.Module) -> None:
        super().__init__(backbone, head, criterion)
        self.backbone_momentum = copy.deepcopy(backbone)
        self.projection_head_momentum = copy.deepcopy(head)
        deactivate_requires_grad(self.backbone_momentum)
        deactivate_requires_grad(self.projection_head_momentum)

    def follow(self, share: float) -> None:
        """Before a step, as in the examples; a constant momentum or a cosine to its end."""
        start, end = self.momentum
        m = start if start == end else cosine_schedule(round(1000 * share), 1000, start, end)
        update_momentum(self.backbone, self.backbone_momentum, m=m)
        update_momentum(self.projection_head, self.projection_head_momentum, m=m)

    def target(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.projection_head_momentum(self.backbone_momentum(x))

    def forward(self, x0: Tensor, x1: Tensor) -> Tensor:
        return self.criterion(self.embed(x0), self.target(x1))


class _BYOL(_Momentum):
    def __init__(self, backbone: nn.Module, width: int, start: float) -> None:
        head = heads.BYOLProjectionHead(width, 512, 128)
        super().__init__(backbone, head, NegativeCosineSimilarity())
        self.prediction_head = heads.BYOLPredictionHead(128, 256, 128)
        self.momentum = (start, 1.0)

    def forward(self, x0: Tensor, x1: Tensor) -> Tensor:
        p0, z0 = self.prediction_head(self.embed(x0)), self.target(x0)
        p1, z1 = self.prediction_head(self.embed(x1)), self.target(x1)
        return 0.5 * (self.criterion(p0, z1) + self.criterion(p1, z0))


def trained_by_lightly(
    method: str, settings: dict[str, Any], recipe: Recipe, images: np.ndarray
) -> Iterator[Any]:
    """First the encoder, then the loss of each step that trains it.

    Args:
        method: as the study names it.
        settings: lr, and temperature or ema.
        recipe: for encoder, views, length, batch, optimizer and seed.
        images: (N, S, S, 3) uint8, what it is trained on.
    """
    torch.manual_seed(seed_for(recipe.seed, "weights"))
    random.seed(recipe.seed)
    backbone = build_backbone(recipe.encoder)
    model = _model(method, settings, backbone, feature_width(backbone, recipe.views.size))
    yield backbone
    config = recipe.train.optimizer
    optimizer = create_optimizer_v2(
        param_groups_weight_decay(model, config.weight_decay),
        opt=config.kind,
        lr=config.lr,
        weight_decay=config.weight_decay,
    )
    loader = DataLoader(
        _Images(images, _transform(method, recipe.views)),
        batch_size=recipe.train.global_batch,
        shuffle=True,
        drop_last=True,
        num_workers=0,
    )
    total = recipe.train.steps or recipe.train.epochs * len(loader)
    model.train()
    step = 0
    while step < total:
        for x0, x1 in loader:
            if step == total:
                return
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step=step, total_steps=total)
            model.follow(step / total)
            loss = model(x0, x1)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            yield loss.item()


def _model(method: str, settings: dict[str, Any], backbone: nn.Module, width: int) -> Any:
    if method == "simclr":
        head: nn.Module = heads.SimCLRProjectionHead(width, 512, 128)
        return _Joint(backbone, head, NTXentLoss(temperature=settings["temperature"]))
    if method == "moco":
        loss = NTXentLoss(temperature=settings["temperature"], memory_bank_size=(QUEUE, 128))
        return _Momentum(backbone, heads.MoCoProjectionHead(width, 512, 128), loss)
    if method == "byol":
        return _BYOL(backbone, width, settings["ema"])
    if method == "simsiam":
        return _SimSiam(backbone, width)
    if method == "barlow":
        head = heads.BarlowTwinsProjectionHead(width, 512, 512)
        return _Joint(backbone, head, BarlowTwinsLoss())
    if method == "lejepa":
        return _LeJEPA(backbone, width, settings["sigreg"])
    if method == "vicreg":
        return _Joint(backbone, heads.VICRegProjectionHead(width, 512, 512), VICRegLoss())
    raise ValueError(method)


def _transform(method: str, views: ImageViews) -> Callable[[Any], Any]:
    """The example's transform with the strengths of our views."""
    strengths: dict[str, Any] = {
        "input_size": views.size,
        "cj_prob": views.jitter_probability,
        "cj_strength": views.jitter,
        "cj_bright": 0.8,
        "cj_contrast": 0.8,
        "cj_sat": 0.8,
        "cj_hue": 0.2,
        "min_scale": views.crop_scale[0],
        "random_gray_scale": views.grayscale,
        "gaussian_blur": 0.0,
    }
    if method in ("byol", "barlow"):  # the example of Barlow Twins takes BYOL's
        return BYOLTransform(
            view_1_transform=BYOLView1Transform(**strengths, solarization_prob=0.0),
            view_2_transform=BYOLView2Transform(**strengths, solarization_prob=0.0),
        )
    if method == "lejepa":  # no example has views as small as these
        return SimCLRTransform(**strengths)
    if method == "vicreg":
        return VICRegTransform(**strengths, solarize_prob=0.0)
    kinds = {"simclr": SimCLRTransform, "moco": MoCoV2Transform, "simsiam": SimSiamTransform}
    return kinds[method](**strengths)
