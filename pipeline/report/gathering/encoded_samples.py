"""A bounded number of samples as the packaged encoder of a finished run finds them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from pipeline.data import storage
from pipeline.data.decode import BadSample, decode_image
from pipeline.data.order.corpus import SOURCE_STRIDE, Corpus, load_corpus
from pipeline.data.reading.shard_reader import ShardReader
from pipeline.data.sources.index import load_index
from pipeline.data.stored_folder import folder_to_read
from pipeline.evaluation.probe_set import parts_of
from pipeline.recipe import Recipe
from pipeline.registry.packages.encoder import PackagedEncoder
from pipeline.report.encoded_facts import EncodedSamples
from pipeline.report.gathering.pictures import operations
from pipeline.runs.folder import RunFolder
from pipeline.views.arrays import Ints, Pixels
from pipeline.views.opencv import render_probe_view

MOST = 1500
"""Samples that are encoded at most."""

TRAINING = "training samples"
"""The source of those that a run trained on."""

_AFFORDED = 1e12  # operations, some twenty seconds of a core
_STRETCHES = 32  # of samples side by side: shards that others made may lie in order of class
_TOGETHER = 64  # are decoded and encoded, so that no more images are in memory
_THUMBNAIL = 64  # pixels, of larger images

Features = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SampleSet:
    """What samples are taken from."""

    source: str  # in words
    corpus: Corpus
    positions: range  # in the sequence of all its samples
    excluded: Ints  # ids that are passed over
    cache_bytes: int

    def spread(self, count: int) -> Ints:
        """About so many ids at most, in stretches from all over the set."""
        starts, length = [self.positions.start], len(self.positions)
        if length > count:
            stretches = min(_STRETCHES, count)
            length = count // stretches
            last = self.positions.stop - length
            starts = np.linspace(self.positions.start, last, stretches).astype(np.int64).tolist()
        places = np.unique(np.concatenate([np.arange(at, at + length) for at in starts]))
        first = np.cumsum([0, *self.corpus.samples])
        manifest = np.searchsorted(first, places, side="right") - 1
        ids = manifest * SOURCE_STRIDE + places - first[manifest]
        return np.asarray(np.setdiff1d(ids, self.excluded), dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Samples and their features."""

    samples: EncodedSamples
    features: Features  # (N, D)


def training_set(recipe: Recipe, excluded: Ints) -> SampleSet:
    """What the run trained on, without what it left out."""
    data = recipe.data.with_absolute_paths()
    corpus = load_corpus(data.manifests)
    return SampleSet(
        source=TRAINING,
        corpus=corpus,
        positions=range(sum(corpus.samples)),
        excluded=excluded,
        cache_bytes=data.cache_bytes,
    )


def test_set(recipe: Recipe) -> SampleSet | None:
    """What probes are scored on; None if the recipe names no such samples."""
    evaluate = recipe.with_absolute_paths().evaluate
    if evaluate.sets is None:
        return None
    corpus = load_corpus((evaluate.sets[1],))
    (available,) = corpus.samples
    held_out = evaluate.validation is not None
    return SampleSet(
        source="samples held out for evaluation" if held_out else "test samples of the evaluation",
        corpus=corpus,
        positions=parts_of(evaluate)["test"].of(available, at_most=available),
        excluded=np.zeros(0, dtype=np.int64),
        cache_bytes=recipe.data.cache_bytes,
    )


def packaged_encoder(folder: RunFolder) -> PackagedEncoder:
    """What the run gave.

    Raises:
        OSError: it cannot be read.
    """
    with folder_to_read(folder.package) as package:
        return PackagedEncoder.load(package)


def affordable(encoder: PackagedEncoder) -> int:
    """How many samples are encoded, so that a large encoder holds up no run's end for long."""
    size = encoder.config.preprocessing.size
    with torch.inference_mode():
        each = operations(lambda: encoder(torch.zeros(1, 3, size, size)))
    return int(np.clip(_AFFORDED / each, 1, MOST))


def encoded(encoder: PackagedEncoder, of: SampleSet, ids: Ints) -> Encoded:
    """Samples by their ids; what cannot be decoded is left out.

    Raises:
        OSError: a shard cannot be read.
        ValueError: none can be decoded, or features are not finite.
    """
    size = encoder.config.preprocessing.size
    kept: list[int] = []
    thumbnails, features = [], []
    with (
        ShardReader(of.corpus, cache_bytes=of.cache_bytes) as shards,
        ThreadPoolExecutor() as pool,
        torch.inference_mode(),
    ):
        for start in range(0, len(ids), _TOGETHER):
            part = ids[start : start + _TOGETHER]
            views = [*pool.map(lambda data: _view(data, size), shards.read(part))]
            good = [view for view in views if view is not None]
            if not good:
                continue
            kept += [
                int(number) for number, view in zip(part, views, strict=True) if view is not None
            ]
            images = torch.from_numpy(np.stack(good)).permute(0, 3, 1, 2)
            features.append(encoder(images).float().numpy())
            thumbnails += [_thumbnail(view) for view in good]
    if not kept:
        raise ValueError("none of these samples can be decoded")
    rows = np.concatenate(features)
    if not np.isfinite(rows).all():
        raise ValueError("the encoder gives features that are not finite")
    samples = EncodedSamples(
        source=of.source,
        available=len(of.positions),
        sample_ids=np.array(kept),
        labels=labels_of(of.corpus, np.array(kept)),
        thumbnails=np.stack(thumbnails),
    )
    return Encoded(samples=samples, features=rows)


def labels_of(corpus: Corpus, ids: Ints) -> Sequence[str | None]:
    """Names of the samples' classes, of the shards that they lie in alone."""
    found: list[str | None] = [None] * len(ids)
    entries, rows = corpus.locate(ids)
    for entry in np.unique(entries):
        manifest, root, shard = corpus.shard(int(entry))
        if not manifest.classes:
            continue
        places = np.flatnonzero(entries == entry)
        labels = load_index(storage.join(root, shard.index_path)).labels(manifest.classes)
        for place, label in zip(places, labels[rows[places]], strict=True):
            found[place] = manifest.classes[label] if label >= 0 else None
    return found


def _view(data: bytes, size: int) -> Pixels | None:
    try:
        return render_probe_view(decode_image(data), size)
    except BadSample:
        return None


def _thumbnail(view: Pixels) -> Pixels:
    if len(view) <= _THUMBNAIL:
        return view
    small = Image.fromarray(view).resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    return np.asarray(small)
