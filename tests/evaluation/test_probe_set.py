"""The labelled images that probes look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.data.decode import decode_image, encode_png
from pipeline.data.order.corpus import load_corpus
from pipeline.data.reading.shard_reader import ShardReader, read_labels
from pipeline.data.sources.manifest import Manifest, Shards
from pipeline.data.sources.shard_writer import ShardLayout, ShardSample, write_shard
from pipeline.errors import UserError
from pipeline.evaluation.probe_set import load_probe_set
from pipeline.views.opencv import render_probe_view

pytestmark = pytest.mark.fast


def picture(row: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(row).integers(0, 256, (9, 7, 3), dtype=np.uint8)


def shrunk(row: int) -> npt.NDArray[np.uint8]:
    return render_probe_view(picture(row), 6)


MakeShards = Callable[..., Path]


@pytest.fixture
def shards(tmp_path: Path) -> MakeShards:
    """Two shards of 3 samples; those that are named are no images."""

    def write(*, bad: tuple[int, ...] = (), labelled: bool = True) -> Path:
        made = []
        classes = ("a", "b") if labelled else ()
        for number in range(2):
            samples = [
                ShardSample(
                    number=row,
                    key=str(row),
                    images=(b"no image" if row in bad else encode_png(picture(row)),),
                    label="ab"[row % 2] if labelled else None,
                )
                for row in range(3 * number, 3 * number + 3)
            ]
            layout = ShardLayout(kind="tar", classes=classes)
            made.append(write_shard(samples, str(tmp_path), number, 3 * number, layout))
        Manifest(shuffled=True, classes=classes, shards=Shards.of(made)).save(tmp_path)
        return tmp_path

    return write


@pytest.mark.parametrize("limit", [1, 3, 4, 6, 100])
@pytest.mark.parametrize("bad", [(), (0,), (2, 3)])
def test_a_probe_set_is_the_first_samples_that_can_be_decoded(
    shards: MakeShards, limit: int, bad: tuple[int, ...]
) -> None:
    rows = [row for row in range(min(limit, 6)) if row not in bad]
    folder = shards(bad=bad)
    if not rows:
        with pytest.raises(UserError, match="not one image can be decoded"):
            load_probe_set(str(folder), size=6, max_samples=limit)
        return
    found = load_probe_set(str(folder), size=6, max_samples=limit)
    assert found.labels.tolist() == [row % 2 for row in rows]
    assert np.array_equal(found.images, np.stack([shrunk(row) for row in rows]))


def test_a_probe_set_without_labels_is_refused(shards: MakeShards) -> None:
    with pytest.raises(UserError, match="has no labels, a probe needs them"):
        load_probe_set(str(shards(labelled=False)), size=6, max_samples=6)


def test_labels_stay_with_their_images(clipart_shards: Path) -> None:
    folder = clipart_shards / "test"
    found = load_probe_set(str(folder), size=32, max_samples=20_000)
    corpus = load_corpus((str(folder),))
    with ShardReader(corpus) as reader:
        encoded, labels = reader.read(np.arange(60)), read_labels(corpus, at_most=60)
    assert np.array_equal(found.labels, labels)
    assert np.array_equal(found.images, np.stack([decode_image(data) for data in encoded]))
