"""The model card that travels with an encoder, as a hub shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.encoders.configs.features import FeaturesConfig
from pipeline.evaluation.probes.score import Score
from pipeline.registry.packages.config import PackageConfig
from pipeline.registry.packages.files import AUTOENCODER_FILE, CHECKSUMS_FILE
from pipeline.registry.packages.names import FEATURE_NAMES, PANEL_NAMES, PROBE_NAMES

EXCLUDED_FILE = "excluded.parquet"
"""Ids of the samples that the run left out, if it did."""

_TAGS = ("image-feature-extraction", "timm", "self-supervised-learning")


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a card tells of the run that an encoder comes from."""

    run: str
    recipe_yaml: str  # resolved
    scores: Mapping[str, Score] = field(default_factory=dict)  # as `pretrain` names them
    panel: Mapping[str, float] = field(default_factory=dict)  # label-free, of the last snapshot
    collapse: str | None = None  # what the alarm said, if it did
    samples: int | None = None  # of the data, those left out among them
    quarantined: int = 0
    bad_pairs: Mapping[str, int] | str | None = None  # by sort, or why not; None: none are weighed
    excluded: int = 0
    sources: Sequence[str] = ()  # of the methods: what there is to cite


def model_card(config: PackageConfig, facts: CardFacts) -> str:
    """Markdown: what the encoder is, how to use it, what it was trained on, what it scores.

    Args:
        config: the package's config, with its provenance.
        facts: of its run.
    """
    return "\n".join(
        [
            *_front_matter(),
            f"# Encoder of run `{facts.run}`",
            "",
            f"`{config.architecture}` from timm, {config.num_features} features, trained on images "
            f"of {config.preprocessing.size} x {config.preprocessing.size} without labels.",
            "",
            *_given(config),
            *_usage(config),
            *_input(config),
            *_other_features(config),
            *_provenance(config.provenance),
            *_data(facts),
            *_scores(facts.scores),
            *_panel(facts),
            *_limits(config),
            *_citation(facts.sources),
            "## Recipe",
            "",
            "```yaml",
            facts.recipe_yaml.rstrip(),
            "```",
            "",
        ]
    )


def _front_matter() -> list[str]:
    """What the Hugging Face hub reads."""
    tags = [f"- {tag}" for tag in _TAGS]
    return [
        "---",
        "library_name: timm",
        "pipeline_tag: image-feature-extraction",
        "tags:",
        *tags,
        "---",
        "",
    ]


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


def _usage(config: PackageConfig) -> list[str]:
    return [
        "## Use it",
        "",
        "With timm alone (1.0.20 or newer), `FOLDER` being the one that this card lies in:",
        "",
        "```python",
        "import timm, torch",
        "from PIL import Image",
        "",
        'encoder = timm.create_model("local-dir:FOLDER", pretrained=True).eval()',
        "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(encoder))",
        'image = Image.open("IMAGE").convert("RGB")',
        "with torch.no_grad():",
        f"    features = encoder(transform(image)[None])  # (1, {config.num_features})",
        "```",
        "",
        'From the Hugging Face hub, where this folder is a repository: `"hf-hub:USER/NAME"` in '
        'place of `"local-dir:FOLDER"`. For fine-tuning add `num_classes=10`. '
        "`pipeline.load_encoder(FOLDER)` does the same in the pipeline. `sha256sum --check "
        f"{CHECKSUMS_FILE}` says whether all files are as they were written.",
        "",
    ]


def _input(config: PackageConfig) -> list[str]:
    steps = [f"{number}. {step};" for number, step in enumerate(config.preprocessing.steps, 1)]
    return [
        "## How an image becomes the input",
        "",
        *steps,
        "",
        "The code above does this to opaque images of 8 bits a channel; lay others over white, "
        "and keep the upper 8 of 16 bits, first. `pipeline.load_encoder(FOLDER).preprocess` does "
        "all of it. An image that is squeezed into a square, instead of cut, gives other features.",
        "",
    ]


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
    known = {name: value for name, value in facts.items() if value is not None}
    if not known:
        return []
    lines = [f"- {name.replace('_', ' ')}: `{value}`" for name, value in known.items()]
    return ["## Where it comes from", "", *lines, ""]


def _data(facts: CardFacts) -> list[str]:
    lines = [] if facts.samples is None else [f"- samples: {facts.samples:,}"]
    if facts.excluded:
        lines.append(f"- left out by their ids: {facts.excluded:,}, listed in `{EXCLUDED_FILE}`")
    lines.append(f"- quarantined because their bytes are damaged: {facts.quarantined:,}")
    if isinstance(facts.bad_pairs, str):
        lines.append(f"- bad pairs: not listed: {facts.bad_pairs}")
    elif facts.bad_pairs is not None:
        counts = ", ".join(f"{count:,} {sort}" for sort, count in facts.bad_pairs.items())
        lines.append(f"- samples found bad by their pairs: {counts or 'none'}")
    return ["## What it was trained on", "", *lines, ""]


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


def _panel(facts: CardFacts) -> list[str]:
    lines = [f"Collapse alarm: {facts.collapse or 'silent'}.", ""]
    if facts.panel:
        rows = [
            f"| {PANEL_NAMES.get(name, name)} | {value:.4g} |"
            for name, value in facts.panel.items()
        ]
        lines += ["| without labels, of the last snapshot | |", "|---|---|", *rows, ""]
    return ["## Features without labels", "", *lines]


def _limits(config: PackageConfig) -> list[str]:
    size = config.preprocessing.size
    return [
        "## Limits",
        "",
        "- The probes say how well these features tell the classes of the probe's own data apart, "
        "and no more. Probe it on yours before you rely on it: `python -m jobs evaluate`.",
        f"- It saw images of {size} x {size} pixels. Details that vanish at this size are not in "
        "its features, and of a longer image only the centre is seen.",
        "- What its data has too much or too little of, it has learnt so: nobody labelled or "
        "balanced them for it.",
        "- Features of different versions cannot be compared or mixed in one index.",
        "",
    ]


def _citation(sources: Sequence[str]) -> list[str]:
    if not sources:
        return []
    return ["## Cite", "", *(f"- {source}" for source in sources), ""]
