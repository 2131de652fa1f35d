"""The images that probes and panel look at: bounded in number, decoded once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.data import storage
from pipeline.data.decode import BadSample, decode_image
from pipeline.data.order.corpus import load_corpus
from pipeline.data.order.exclusion import NOTHING, Exclusion
from pipeline.data.reading.shard_reader import ShardReader, read_labels
from pipeline.data.sources.index import load_index
from pipeline.data.sources.manifest import Ids, load_manifest, manifest_path, manifest_root
from pipeline.errors import Problem, UserError
from pipeline.evaluation.config import EvaluateConfig
from pipeline.views.opencv import render_probe_view, render_views
from pipeline.views.parameters import ImageViews

_READ_TOGETHER = 512
_PANEL_VIEWS = 2

Images = npt.NDArray[np.uint8]
Share = tuple[int, int]  # this rank and the number of ranks


class Part(NamedTuple):
    """Of the first samples of shards, those from one share of them to another."""

    start: float = 0.0
    stop: float = 1.0
    samples: int | None = None
    """How many the first samples are; None: all."""

    def of(self, available: int, *, at_most: int) -> range:
        """Positions of the samples, of so many and the first of them."""
        count = available if self.samples is None else min(available, self.samples)
        start, stop = round(count * self.start), round(count * self.stop)
        return range(start, min(stop, start + at_most))


WHOLE = Part()


def parts_of(config: EvaluateConfig) -> dict[str, Part]:
    """What probes are fitted on and what they are scored on, `train` and `test`, of their shards.

    With a validation part that is the end of the first `max_samples` of `train`, and the fitting
    is done on what is before it.
    """
    if config.validation is None:
        return {"train": WHOLE, "test": WHOLE}
    cut = 1 - config.validation
    return {
        "train": Part(0.0, cut, config.max_samples),
        "test": Part(cut, 1.0, config.max_samples),
    }


@dataclass(frozen=True, kw_only=True)
class ProbeSet:
    """Labelled images."""

    images: Images  # (N, S, S, 3)
    labels: npt.NDArray[np.int64]  # (N,), not negative


@dataclass(frozen=True, kw_only=True)
class PanelSet:
    """Augmented views of images, the same ones each time."""

    views: Images  # (N, 2, S, S, 3)
    labels: npt.NDArray[np.int64]  # (N,), -1 without one


class LabelledSamples(NamedTuple):
    """Samples that have a label, in the order of their ids."""

    ids: Ids  # (N,)
    labels: npt.NDArray[np.int64]  # (N,), not negative
    without: int
    """Samples before the last of them that have none."""


def labelled_samples(folder: str, *, at_most: int | None) -> LabelledSamples:
    """The first samples of shards that have a label; no index is read behind the last of them.

    Args:
        folder: the shards.
        at_most: largest number; None: all.

    Raises:
        UserError: not one has a label.
    """
    manifest, root = load_manifest(folder), manifest_root(folder)
    ids: list[Ids] = []
    labels: list[Ids] = []
    missing = at_most
    for shard in manifest.shards if manifest.classes else ():
        own = load_index(storage.join(root, shard.index_path)).labels(manifest.classes)
        rows = np.flatnonzero(own >= 0)[:missing]
        ids.append(shard.first_id + rows)
        labels.append(own[rows])
        if missing is not None:
            missing -= len(rows)
            if not missing:
                break
    if not any(map(len, ids)):
        raise UserError(Problem(manifest_path(folder), "has no labels, a probe needs them"))
    found = np.concatenate(ids)
    return LabelledSamples(found, np.concatenate(labels), int(found[-1]) + 1 - len(found))


def load_probe_set(
    folder: str, *, size: int, max_samples: int, share: Share = (0, 1), part: Part = WHOLE
) -> ProbeSet:
    """Decode the first labelled samples of shards; those without a label are passed over.

    Args:
        folder: the shards; they are shuffled, so the first ones are a random part.
        size: side of the images in pixels.
        max_samples: largest number of images.
        share: decode only this part of them, as one of so many ranks.
        part: of the labelled samples, whose first ones are taken.

    Raises:
        UserError: no sample has a label, or no image can be decoded.
    """
    needed = max_samples if part == WHOLE else part.samples
    samples = labelled_samples(folder, at_most=needed)
    taken = part.of(len(samples.ids), at_most=max_samples)
    first, last = taken.start, taken.stop
    images, rows = load_images(folder, samples.ids[first:last], size=size, share=share)
    return ProbeSet(images=images, labels=samples.labels[first:last][rows])


def load_images(folder: str, ids: Ids, *, size: int, share: Share = (0, 1)) -> tuple[Images, Ids]:
    """Decode samples as probes see them.

    Args:
        folder: the shards.
        ids: (N,) of the samples.
        size: side of the images in pixels.
        share: decode only this part of them, as one of so many ranks.

    Returns:
        (n, size, size, 3), and which of the N they are, (n,): all of the share that can be decoded.

    Raises:
        UserError: no image can be decoded.
    """
    render = partial(_probe_view, size=size)
    return _rendered(folder, ids, render, shape=(size, size, 3), share=share)


def load_panel_set(
    folder: str,
    *,
    views: ImageViews,
    seed: int,
    max_samples: int,
    share: Share = (0, 1),
    excluded: Exclusion = NOTHING,
    part: Part = WHOLE,
) -> PanelSet:
    """Two augmented views of the first samples of shards, drawn by their ids.

    Args:
        folder: the shards.
        views: the augmentations; of its views the first two are taken, or drawn. Of samples of
            several images they are of the first one.
        seed: of the draws.
        max_samples: largest number of samples.
        share: decode only this part of them, as one of so many ranks.
        excluded: samples of the shards that are passed over.
        part: of the shards, whose first samples are taken.

    Raises:
        UserError: no image can be decoded.
    """
    pair = views.model_copy(
        update={"count": _PANEL_VIEWS, "parts": None, "local": None, "executor": "cpu"}
    )
    render = partial(_panel_views, views=pair, seed=seed)
    (shape,) = pair.shapes
    manifest = load_manifest(folder)
    left = manifest.samples - excluded.count(0, manifest.samples)
    taken = part.of(left, at_most=max_samples)
    chosen = excluded.ids_at(np.arange(taken.start, taken.start + len(taken)))
    drawn, rows = _rendered(folder, chosen, render, shape=shape, share=share)
    labels = np.full(len(chosen), -1, dtype=np.int64)
    if manifest.labelled:
        corpus = load_corpus((folder,))
        labels = read_labels(corpus, at_most=int(chosen.max(initial=-1)) + 1)[chosen]
    return PanelSet(views=drawn, labels=labels[rows])


def _rendered(
    folder: str,
    chosen: Ids,
    render: Callable[[Images, int], Images],
    *,
    shape: tuple[int, ...],
    share: Share,
) -> tuple[Images, Ids]:
    """What `render` makes of decoded images and their ids, and which of the chosen they are."""
    rank, ranks = share
    first, last = len(chosen) * rank // ranks, len(chosen) * (rank + 1) // ranks
    rendered: list[Images | None] = []

    def make(data: bytes, sample_id: int) -> Images | None:
        try:
            return render(decode_image(data), sample_id)
        except BadSample:
            return None

    with ShardReader(load_corpus((folder,))) as reader, ThreadPoolExecutor() as pool:
        for start in range(first, last, _READ_TOGETHER):
            ids = chosen[start : min(start + _READ_TOGETHER, last)]
            rendered += pool.map(make, reader.read(ids), ids)
    good = [image for image in rendered if image is not None]
    if not good and ranks == 1:
        raise UserError(Problem(folder, "not one image can be decoded"))
    images = np.stack(good) if good else np.zeros((0, *shape), dtype=np.uint8)
    kept = [row for row, image in enumerate(rendered, first) if image is not None]
    return images, np.array(kept, dtype=np.int64)


def _probe_view(image: Images, sample_id: int, *, size: int) -> Images:
    return render_probe_view(image, size)


def _panel_views(image: Images, sample_id: int, *, views: ImageViews, seed: int) -> Images:
    row = np.zeros((1, views.row_bytes), dtype=np.uint8)
    ids = np.array([sample_id], dtype=np.int64)
    render_views({0: (image,)}, row, config=views, seed=seed, epoch=0, sample_ids=ids)
    (block,) = views.split(row)
    drawn: Images = block[0]
    return drawn
