"""A packaged encoder on its way to workers: as bytes, which the driver fetched for all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from pipeline.embedding.job import EncoderFacts, FeatureFacts
from pipeline.embedding.ranges import BATCH
from pipeline.errors import UserError
from pipeline.evaluation.config import FeatureKind
from pipeline.evaluation.features import encode_images, problems_of_kinds
from pipeline.registry.packages.config import CONFIG_FILE
from pipeline.registry.packages.encoder import PackagedEncoder

Encode = Callable[[np.ndarray], np.ndarray]
"""(N, S, S, 3) uint8 to (N, D) float32."""


@dataclass(frozen=True, kw_only=True)
class ShippedEncoder:
    """A package's files, and which of its features are wanted."""

    uri: str  # with a version's number, or a folder
    files: dict[str, bytes]
    kind: FeatureKind | None  # None: what the package says

    def load(self) -> PackagedEncoder:
        """The encoder, on the CPU.

        Raises:
            UserError: the package is damaged.
        """
        with TemporaryDirectory() as scratch:
            for name, data in self.files.items():
                path = Path(scratch) / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)
            return PackagedEncoder.load(Path(scratch))

    def facts(self) -> tuple[EncoderFacts, FeatureFacts]:
        """Which encoder this is, and what it gives.

        Raises:
            UserError: it cannot give such features.
        """
        encoder = self.load()
        kind = self._kind(encoder)
        problems = problems_of_kinds(
            [kind],
            setting="--features",
            encoder=encoder.backbone,
            autoencoder=encoder.autoencoder,
            has_head=False,
        )
        if problems:
            raise UserError(problems)
        size = encoder.config.preprocessing.size
        width = self.encoding(encoder)(np.zeros((2, size, size, 3), dtype=np.uint8)).shape[1]
        hidden = encoder.config.features.of_kind(kind) if kind == "decoder_hidden" else None
        return (
            EncoderFacts(
                uri=self.uri,
                sha256={
                    name: hashlib.sha256(data).hexdigest()
                    for name, data in self.files.items()
                    if name != CONFIG_FILE
                },
                preprocessing=encoder.config.preprocessing,
            ),
            FeatureFacts(
                kind=kind,
                layer=hidden.layer if hidden else None,
                pool=hidden.pool if hidden else None,
                width=width,
            ),
        )

    def encoding(self, encoder: PackagedEncoder) -> Encode:
        """What makes vectors of images, on the encoder's device, `BATCH` at a time."""
        prep = encoder.config.preprocessing
        encode = partial(
            encode_images,
            encoder.backbone,
            kind=self._kind(encoder),
            mean=prep.mean,
            std=prep.std,
            features=encoder.config.features,
            autoencoder=encoder.autoencoder,
            batch=BATCH,
        )
        return lambda images: encode(images).numpy()

    def _kind(self, encoder: PackagedEncoder) -> FeatureKind:
        return self.kind or FeatureKind(encoder.config.features.kind)


def to_device(encoder: PackagedEncoder, *, gpu: bool) -> PackagedEncoder:
    """The encoder where a worker computes: its GPU, or one thread of a CPU.

    With more threads sums would be split, and rounded, by how many there are.
    """
    if gpu:
        return encoder.cuda()
    torch.set_num_threads(1)
    return encoder
