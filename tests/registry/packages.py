"""Small packages, and how they come into a registry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import timm
import torch

from pipeline.registry.packages.config import PackageConfig, Preprocessing
from pipeline.registry.packages.encoder import PackagedEncoder
from pipeline.registry.packages.files import write_package
from pipeline.registry.packages.parity import expected_of
from pipeline.registry.tracking import TrackedRun, open_experiment
from pipeline.registry.versions.register import RegisteredEncoder, register_encoder

WIDTH = 32
CONFIG = PackageConfig.of(
    "resnet10t",
    {"num_classes": 0, "channels": [16, 16, 32, 32], "stem_width": 8},
    width=WIDTH,
    preprocessing=Preprocessing(size=16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3)),
)


def make_package(folder: Path, seed: int) -> Path:
    """A package of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        weights = timm.create_model(CONFIG.architecture, **CONFIG.model_args).state_dict()
    write_package(folder, config=CONFIG, weights=weights, card=f"# Encoder {seed}\n")
    return folder


def new_run(uri: str, name: str) -> TrackedRun:
    """A run in an experiment of encoders."""
    experiment = open_experiment(uri, "encoders")
    return TrackedRun.create(uri, experiment, name=name, params={})


def register(
    folder: Path, *, name: str, run: TrackedRun, tags: Mapping[str, str]
) -> RegisteredEncoder:
    """As the run does it whose encoder was written there."""
    parity = expected_of(PackagedEncoder.load(folder).backbone, CONFIG)
    return register_encoder(folder, name=name, run=run, tags=tags, parity=parity)
