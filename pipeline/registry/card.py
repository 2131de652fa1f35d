"""The model card that travels with an encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.encoders.configs.features import FeaturesConfig
from pipeline.evaluation.probes.score import Score
from pipeline.registry.package import (
    AUTOENCODER_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    PackageConfig,
)
from pipeline.registry.probe_names import FEATURE_NAMES, PROBE_NAMES


def model_card(
    config: PackageConfig, *, run: str, recipe_yaml: str, scores: Mapping[str, Score]
) -> str:
    """Markdown: what the encoder is, what it was trained on, what it scores, how to load it.

    Args:
        config: the package's config, with its provenance.
        run: name of the run.
        recipe_yaml: the resolved recipe.
        scores: of the probes, by name and suffix as `pretrain` reports them; may be empty.
    """
    return "\n".join(
        [
            f"# Encoder of run `{run}`",
            "",
            f"`{config.name}` from timm, {config.backbone_width} features, trained on images of "
            f"{config.preprocessing.size} x {config.preprocessing.size} without labels.",
            "",
            *_given(config),
            *_provenance(config.provenance),
            *_scores(scores),
            "## Load it",
            "",
            "With timm and safetensors alone:",
            "",
            "```python",
            "import json, timm",
            "from safetensors.torch import load_file",
            "",
            f'config = json.load(open("{CONFIG_FILE}"))',
            'encoder = timm.create_model(config["name"], **config["args"]).eval()',
            f'encoder.load_state_dict(load_file("{WEIGHTS_FILE}"))',
            "```",
            "",
            "Images go in as RGB in [0, 1], normalised by the mean and std in "
            f"`{CONFIG_FILE}`. `pipeline.load_encoder(FOLDER)` does that too.",
            "",
            *_other_features(config),
            "## Recipe",
            "",
            "```yaml",
            recipe_yaml.rstrip(),
            "```",
            "",
        ]
    )


def _given(config: PackageConfig) -> list[str]:
    """What there is beside the backbone; nothing to say where there is nothing."""
    if config.autoencoder is None:
        return []
    return [
        "It was trained with a decoder: behind it a linear layer gives the mean and the deviation "
        f"of a code of {config.autoencoder.width} dimensions, and a "
        f"`{config.autoencoder.decoder.kind}` decoder images of codes. `pipeline.load_encoder` "
        f"gives {_described(config.features)}, {config.feature_width} features; the model in "
        f"MLflow, which has no decoder, {_described(config.served)}, {config.served_width} "
        "features.",
        "",
    ]


def _described(features: FeaturesConfig) -> str:
    name = f"`{features.kind}` ({FEATURE_NAMES[features.kind]})"
    if features.kind == "decoder_hidden":
        name += f" `layer: {features.layer}`, `pool: {features.pool}`"
    return name


def _other_features(config: PackageConfig) -> list[str]:
    if config.autoencoder is None:
        return []
    return [
        f"Linear layer and decoder are in `{AUTOENCODER_FILE}`, which timm has no use for. "
        '`pipeline.load_encoder(FOLDER, features="decoder_hidden")` gives other features of the '
        "same weights; there are `pooled`, `mean`, `sample` and `decoder_hidden`.",
        "",
    ]


def _provenance(facts: Mapping[str, Any]) -> list[str]:
    if not facts:
        return []
    lines = [f"- {name.replace('_', ' ')}: `{value}`" for name, value in facts.items()]
    return ["## Where it comes from", "", *lines, ""]


def _scores(scores: Mapping[str, Score]) -> list[str]:
    if not scores:
        return ["## Probes", "", "None were run: the recipe has no `evaluate` section.", ""]
    head = [
        "| probe (test accuracy, 95 % interval) | this encoder | untrained | raw pixels |",
        "|---|---|---|---|",
    ]
    rows = []
    for probe, title in PROBE_NAMES.items():
        if probe in scores:
            cells = [scores[probe], scores[f"{probe}_untrained"], scores[f"{probe}_raw"]]
            rows.append(f"| {title} | " + " | ".join(map(str, cells)) + " |")
        for kind, what in FEATURE_NAMES.items():
            if f"{probe}_{kind}" in scores:
                rows.append(f"| {title}, {what} | {scores[f'{probe}_{kind}']} | | |")
    return ["## Probes", "", *head, *rows, ""]
