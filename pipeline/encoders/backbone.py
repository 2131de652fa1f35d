"""Encoders: timm models without a classifier, with the arguments that build them again anywhere."""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn

from pipeline.encoders.configs.encoder import EncoderConfig
from pipeline.encoders.timm_names import unknown_model
from pipeline.encoders.transformers.patches import fix_positions
from pipeline.errors import Problem, UserError


def build_backbone(config: EncoderConfig) -> nn.Module:
    """Build the timm model with fresh weights.

    Returns:
        A module from (B, 3, S, S) float to features (B, D).

    Raises:
        UserError: timm knows no such model or refuses an argument.
    """
    if not timm.is_model(config.name):
        raise UserError(unknown_model(config.name))
    reserved = {"pretrained", "checkpoint_path"} & set(config.args)
    if reserved:
        raise UserError(
            Problem("encoder.args", f"{', '.join(sorted(reserved))}: use encoder.init instead")
        )
    if config.args.get("num_classes", 0) != 0:
        raise UserError(Problem("encoder.args.num_classes", "must be 0: an encoder has no classes"))
    try:
        model: nn.Module = timm.create_model(config.name, **config.create_model_args())
    except Exception as error:  # timm's models raise whatever their constructors meet
        raise UserError(
            Problem("encoder.args", f"timm refused {config.args} for {config.name}: {error}")
        ) from error
    if config.positions == "sincos":
        fix_positions(model)
    return model


def feature_width(backbone: nn.Module, size: int) -> int:
    """D, found by encoding two blank images of the given side.

    Raises:
        UserError: the model cannot encode images of this side, or gives no (B, D) features.
    """
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            features: Tensor = backbone(torch.zeros(2, 3, size, size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(
            Problem("views.size", f"the encoder cannot take images of {size} x {size}: {error}")
        ) from error
    finally:
        backbone.train(was_training)
    if features.ndim != 2:
        raise UserError(
            Problem(
                "encoder.args",
                f"the encoder gives features of shape {tuple(features.shape)}, needed: (B, D)",
            )
        )
    return int(features.shape[1])


def load_weights(backbone: nn.Module, weights: dict[str, Tensor]) -> int:
    """Load weights strictly.

    Returns:
        Number of tensors loaded, all of them.

    Raises:
        UserError: a tensor is missing, unexpected or of another shape, with the three counts.
    """
    own = backbone.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unexpected = sorted(weights.keys() - own.keys())
    reshaped = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own.keys() & weights.keys()
        if own[name].shape != weights[name].shape
    ]
    if missing or unexpected or reshaped:
        matched = len(own.keys() & weights.keys()) - len(reshaped)
        first = ", ".join([*missing[:2], *unexpected[:2], *sorted(reshaped)[:2]])
        raise UserError(
            Problem(
                "encoder.init",
                f"does not fit: {matched} tensors matched, {len(missing)} missing, "
                f"{len(unexpected)} unexpected, {len(reshaped)} of another shape ({first})",
            )
        )
    backbone.load_state_dict(weights)
    return len(own)
