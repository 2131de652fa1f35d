"""`config.json` of a packaged encoder: what timm needs to build it, and how an image goes in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator
from timm.models import get_pretrained_cfg

from pipeline.encoders.autoencoders.autoencoder import Autoencoder
from pipeline.encoders.configs.autoencoder import AutoencoderConfig
from pipeline.encoders.configs.features import FeaturesConfig
from pipeline.encoders.embeddings import embedding_width

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "encoder.safetensors"

# Of timm's settings of a pretrained model, those that belong to the architecture.
_OF_THE_ARCHITECTURE = ("first_conv", "classifier", "fixed_input_size")


class Preprocessing(BaseModel):
    """How an image becomes the encoder's input, step by step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    orientation: Literal["as stored, EXIF is ignored"] = "as stored, EXIF is ignored"
    colour: Literal["RGB, 8 bits a channel, transparency over white"] = (
        "RGB, 8 bits a channel, transparency over white"
    )
    crop: Literal["the largest centred square"] = "the largest centred square"
    resize: Literal["to size x size, bilinear, antialiased where it reduces"] = (
        "to size x size, bilinear, antialiased where it reduces"
    )
    size: int
    range: tuple[Literal[0], Literal[1]] = (0, 1)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def steps(self) -> list[str]:
        """The steps in words, in their order."""
        mean, std = (", ".join(f"{v:g}" for v in values) for values in (self.mean, self.std))
        return [
            f"orientation: {self.orientation}",
            f"colour: {self.colour}",
            f"crop: {self.crop}",
            f"resize: {self.resize.replace('size x size', f'{self.size} x {self.size}')}",
            "range: divided by 255, so from 0 to 1",
            f"mean and deviation: less ({mean}), then divided by ({std}), by channel",
        ]


class PackageConfig(BaseModel):
    """`config.json`: timm's own keys, then ours. timm reads it as it is, from a folder or the hub.

    `architecture`, `num_classes`, `num_features`, `model_args` and `pretrained_cfg` are what
    `timm.create_model("local-dir:FOLDER", pretrained=True)` looks at.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    architecture: str
    num_classes: Literal[0] = 0
    num_features: int  # of the backbone, `pooled`
    model_args: dict[str, Any]
    pretrained_cfg: dict[str, Any]
    preprocessing: Preprocessing
    features: FeaturesConfig = FeaturesConfig(kind="pooled")
    feature_width: int  # of `features`
    autoencoder: AutoencoderConfig | None = None  # what stands behind the backbone
    provenance: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _of_an_older_package(cls, value: Any) -> Any:
        """Packages had our names of timm's keys, and the first ones a single width."""
        if isinstance(value, Mapping) and "architecture" not in value and "name" in value:
            old = dict(value)
            name, args = old.pop("name"), old.pop("args")
            width = old.pop("backbone_width", None) or old["feature_width"]
            prep = Preprocessing.model_validate(old["preprocessing"])
            return {
                "architecture": name,
                "model_args": args,
                "num_features": width,
                "pretrained_cfg": timm_settings(name, prep),
                **old,
            }
        return value

    @classmethod
    def of(
        cls,
        architecture: str,
        model_args: Mapping[str, Any],
        *,
        width: int,
        preprocessing: Preprocessing,
        autoencoder: AutoencoderConfig | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> PackageConfig:
        """That of a backbone whose pooled output is given.

        Args:
            architecture: timm's name of the model.
            model_args: of `timm.create_model`, beside the name.
            width: of the pooled output.
            preprocessing: that it was trained with.
            autoencoder: what stands behind the backbone.
            provenance: where it comes from.
        """
        return cls(
            architecture=architecture,
            model_args=dict(model_args),
            num_features=width,
            pretrained_cfg=timm_settings(architecture, preprocessing),
            preprocessing=preprocessing,
            feature_width=width,
            autoencoder=autoencoder,
            provenance=dict(provenance or {}),
        )

    def giving(self, features: FeaturesConfig, autoencoder: Autoencoder | None) -> PackageConfig:
        """The same for other features.

        Args:
            features: as `problems_of_embedding` allows them.
            autoencoder: behind the backbone, in eval mode, on the CPU.
        """
        width = embedding_width(
            features,
            autoencoder,
            feature_width=self.num_features,
            size=self.preprocessing.size,
        )
        return self.model_copy(update={"features": features, "feature_width": width})

    @property
    def served(self) -> FeaturesConfig:
        """What the model in MLflow gives: it has the backbone and the linear head, no decoder."""
        return self.features.of_kind("pooled" if self.features.kind == "pooled" else "mean")

    @property
    def served_width(self) -> int:
        """Of those features."""
        if self.served.kind == "pooled" or self.autoencoder is None:
            return self.num_features
        return self.autoencoder.width


def timm_settings(architecture: str, preprocessing: Preprocessing) -> dict[str, Any]:
    """`pretrained_cfg`: what timm's own loader and its transforms make of a model's weights.

    Args:
        architecture: timm's name of the model.
        preprocessing: that it was trained with.
    """
    known = get_pretrained_cfg(architecture)
    return {
        **{name: getattr(known, name, None) for name in _OF_THE_ARCHITECTURE},
        "input_size": [3, preprocessing.size, preprocessing.size],
        # Short side to the size, then the centre: the largest centred square, resized.
        "crop_pct": 1.0,
        "crop_mode": "center",
        "interpolation": "bilinear",
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "num_classes": 0,
        "hf_hub_filename": WEIGHTS_FILE,
    }
