"""The labelled images that probes look at: unaugmented, bounded in number, decoded once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from pipeline.data.corpus import load_corpus
from pipeline.data.decode import BadSample, decode_image
from pipeline.data.manifest import load_manifest, manifest_path
from pipeline.data.shard_reader import ShardReader, read_labels
from pipeline.errors import Problem, UserError
from pipeline.views.opencv import render_probe_view

_READ_TOGETHER = 512


@dataclass(frozen=True, kw_only=True)
class ProbeSet:
    """Labelled images."""

    images: npt.NDArray[np.uint8]  # (N, S, S, 3)
    labels: npt.NDArray[np.int64]  # (N,)


def load_probe_set(folder: str, *, size: int, max_samples: int) -> ProbeSet:
    """Decode the first samples of labelled shards.

    Args:
        folder: the shards; they are shuffled, so the first ones are a random part.
        size: side of the images in pixels.
        max_samples: largest number of images.

    Raises:
        UserError: the shards have no labels, or no image can be decoded.
    """
    manifest = load_manifest(folder)
    if not manifest.labelled:
        raise UserError(Problem(manifest_path(folder), "has no labels, a probe needs them"))
    count = min(max_samples, manifest.samples)
    images: list[npt.NDArray[np.uint8] | None] = []
    corpus = load_corpus((folder,))
    with ShardReader(corpus) as reader, ThreadPoolExecutor() as pool:
        for start in range(0, count, _READ_TOGETHER):
            encoded = reader.read(np.arange(start, min(start + _READ_TOGETHER, count)))
            images += pool.map(partial(_decode, size=size), encoded)
    labels = read_labels(corpus, at_most=count)
    good = [image for image in images if image is not None]
    if not good:
        raise UserError(Problem(folder, "not one image can be decoded"))
    kept = np.array([image is not None for image in images])
    return ProbeSet(images=np.stack(good), labels=labels[kept])


def _decode(data: bytes, *, size: int) -> npt.NDArray[np.uint8] | None:
    try:
        return render_probe_view(decode_image(data), size)
    except BadSample:
        return None
