"""The weights that a run starts from, when its recipe names an encoder to start from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from safetensors.torch import load
from torch import Tensor

from pipeline.encoders.backbone import build_backbone, load_weights
from pipeline.errors import Problem, UserError
from pipeline.recipe import Recipe
from pipeline.registry.packages.config import WEIGHTS_FILE
from pipeline.registry.tracking_server import tracking_uri
from pipeline.registry.versions.resolve import encoder_folder


@dataclass(frozen=True, kw_only=True)
class InitialWeights:
    """Weights that were found to fit the recipe's encoder, all of them."""

    tensors: dict[str, Tensor]
    sha256: str  # of the file they came from


def initial_weights(recipe: Recipe) -> InitialWeights | None:
    """Fetch `encoder.init` and try it on the encoder; None if the recipe names none.

    Raises:
        UserError: there is no such encoder, or a tensor is missing, unexpected or misshapen.
    """
    if recipe.encoder.init is None:
        return None
    server = tracking_uri(recipe.tracking.uri, recipe.tracking.storage)
    try:
        with encoder_folder(recipe.encoder.init, tracking_uri=server) as source:
            data = (source / WEIGHTS_FILE).read_bytes()
    except UserError as error:
        messages = "; ".join(str(problem) for problem in error.problems)
        raise UserError(Problem("encoder.init", messages)) from error
    tensors = load(data)
    backbone = build_backbone(recipe.encoder)
    fixed = {
        n: weight.clone() for n, weight in backbone.named_parameters() if not weight.requires_grad
    }
    load_weights(backbone, tensors)
    if any(not torch.allclose(tensors[name], weight) for name, weight in fixed.items()):
        raise UserError(
            Problem(
                "encoder.positions",
                f"{recipe.encoder.positions}, but encoder.init has other positions; allowed: timm",
            )
        )
    return InitialWeights(tensors=tensors, sha256=hashlib.sha256(data).hexdigest())
