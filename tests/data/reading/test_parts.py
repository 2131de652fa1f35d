"""Samples of several images: each view is what it would be of a set of its image alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.data.decode import BadSample, decode_image, decode_parts, encode_png
from pipeline.data.order.corpus import SOURCE_STRIDE, load_corpus
from pipeline.data.order.slices import slices
from pipeline.data.order.streams import StreamPlan
from pipeline.data.reading.assemble import Batch, BatchAssembler
from pipeline.data.reading.cursor import Cursor
from pipeline.data.reading.first_views import first_images, first_views
from pipeline.data.reading.ingest import inline
from pipeline.data.reading.shard_reader import ShardReader
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.data.sources.index import load_index
from pipeline.data.sources.manifest import load_manifest
from pipeline.data.sources.verify import verify
from pipeline.evaluation.probe_set import load_panel_set, load_probe_set
from pipeline.views.batched import finish_views
from pipeline.views.parameters import ImageViews, LocalViews
from tests.data.pairs import COUNT, LEFTS, RIGHTS, write_pairs, write_set

pytestmark = pytest.mark.fast

PLAN = StreamPlan(seed=3, samples=COUNT, streams=2, global_batch=20, shuffle_window=16)
STEPS = 6  # an epoch and a half


def views_of(*names: str, count: int = 4, **settings: object) -> ImageViews:
    local = LocalViews(count=3, size=4)
    values = {"size": 8, "count": count, "blur": 0.5, "local": local, **settings}
    return ImageViews.model_validate(values | ({"from": names} if names else {}))


def reader_of(views: ImageViews, *folders: Path, plan: StreamPlan = PLAN) -> SliceReader:
    return SliceReader(manifests=tuple(map(str, folders)), plan=plan, views=views)


def served(reader: SliceReader, steps: int = STEPS) -> tuple[list[Batch], BatchAssembler]:
    cursors = {stream: Cursor() for stream in range(reader.plan.streams)}
    assembler = BatchAssembler(reader, cursors=cursors, step=0, total_steps=steps)
    pieces = slices(
        reader.plan,
        positions=dict.fromkeys(cursors, 0),
        step=0,
        total_steps=steps,
        per_stream=2 * reader.plan.per_batch,
    )
    return list(assembler.batches(inline(reader, pieces, cpus=2))), assembler


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tar` and `parquet` of pairs, `left` and `right` of one image; read only."""
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder / "tar")
    write_pairs(folder / "parquet", "parquet")
    write_set(folder / "left", LEFTS)
    write_set(folder / "right", RIGHTS)
    return folder


def finished(batch: Batch, views: ImageViews) -> tuple[np.ndarray, ...]:
    """A batch's blocks as training sees them."""
    if views.executor == "cpu":
        return batch.views
    blocks = tuple(torch.from_numpy(block) for block in batch.views)
    done = finish_views(blocks, config=views, seed=3, epoch=batch.epoch, sample_ids=batch.sample_id)
    return tuple(block.numpy() for block in done)


@pytest.mark.parametrize("executor", ["cpu", "device"])
@pytest.mark.parametrize("kind", ["tar", "parquet"])
@pytest.mark.parametrize("names", [("left", "right"), ("right", "left"), ("left",)])
def test_a_view_is_what_it_is_of_a_set_of_its_image_alone(
    sets: Path, kind: str, executor: str, names: Sequence[str]
) -> None:
    views, plain = views_of(*names, executor=executor), views_of(executor=executor)
    pairs, _ = served(reader_of(views, sets / kind))
    assert {batch.epoch for batch in pairs} == {0, 1}
    for turn, name in enumerate(names):
        alone, _ = served(reader_of(plain, sets / name))
        for ours, theirs in zip(pairs, alone, strict=True):
            np.testing.assert_array_equal(ours.sample_id, theirs.sample_id)
            blocks = zip(finished(ours, views), finished(theirs, plain), strict=True)
            for block, other in blocks:
                own = slice(turn, None, len(names))
                assert block.shape == other.shape
                assert block[:, own].any()
                np.testing.assert_array_equal(block[:, own], other[:, own])


def test_manifests_may_have_their_images_in_different_orders(sets: Path, tmp_path: Path) -> None:
    other = write_set(tmp_path / "other", RIGHTS, LEFTS, parts=("right", "left"))
    ids = np.array([3, SOURCE_STRIDE + 3, 50, SOURCE_STRIDE + 88])
    corpus = load_corpus((str(sets / "tar"), str(other)))
    with ShardReader(corpus, parts=("right", "left")) as shards:
        pairs = shards.read_parts(ids)
        assert shards.read(ids) == [pair[0] for pair in pairs]
    assert pairs == [(RIGHTS[n], LEFTS[n]) for n in (3, 3, 50, 88)]
    with ShardReader(corpus) as shards:  # who looks at one takes the first
        assert shards.read(ids) == [LEFTS[3], RIGHTS[3], LEFTS[50], RIGHTS[88]]
    with ShardReader(corpus, parts=("middle",)) as shards, pytest.raises(KeyError):
        shards.read(ids)


def test_an_image_may_serve_several_views_and_is_read_once(sets: Path) -> None:
    views = views_of("left", "left", "right", count=3)
    assert views.images == ("left", "right")
    assert [views.image_of(view) for view in range(6)] == [0, 0, 1, 0, 0, 1]
    (batch, *_), _ = served(reader_of(views, sets / "tar"))
    for name, own in (("left", [0, 1]), ("right", [2])):
        (alone, *_), _ = served(reader_of(views_of(count=3), sets / name))
        np.testing.assert_array_equal(batch.views[0][:, own], alone.views[0][:, own])


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_probes_and_the_panel_look_at_the_first_image(sets: Path, kind: str) -> None:
    assert verify(sets / kind) == []
    pairs, alone = (
        load_probe_set(str(sets / name), size=8, max_samples=COUNT) for name in (kind, "left")
    )
    np.testing.assert_array_equal(pairs.images, alone.images)
    np.testing.assert_array_equal(pairs.labels, np.arange(COUNT) % 2)
    of_pairs, of_one = (
        load_panel_set(str(sets / name), views=views, seed=1, max_samples=9).views
        for name, views in ((kind, views_of("right", "left")), ("left", views_of()))
    )
    np.testing.assert_array_equal(of_pairs, of_one)


def test_pictures_of_views_are_of_the_images_that_training_sees(sets: Path) -> None:
    reader = reader_of(views_of("right", "left"), sets / "tar")
    first = first_images(reader, count=4)
    wanted = [decode_image(RIGHTS[sample]) for sample in first.sample_ids]
    for image, other in zip(first.images, wanted, strict=True):
        np.testing.assert_array_equal(image, other)
    (batch, *_), _ = served(reader)
    rows = [batch.sample_id.tolist().index(sample) for sample in first.sample_ids]
    for block, of_batch in zip(first_views(reader, first), batch.views, strict=True):
        np.testing.assert_array_equal(block, of_batch[rows])


BAD = (0, 41, 60)


def spoilt_rights() -> list[bytes]:
    """The rights, of which some are no image, cut off, or empty."""
    rights = list(RIGHTS)
    rights[0], rights[41], rights[60] = b"no image at all", RIGHTS[41][:-30], b""
    return rights


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_a_sample_is_bad_if_an_image_is_that_its_views_need(tmp_path: Path, kind: str) -> None:
    folder = write_pairs(tmp_path / "shards", kind, spoilt_rights())  # type: ignore[arg-type]
    batches, assembler = served(reader_of(views_of("left", "right"), folder), steps=4)
    assert not {int(sample) for batch in batches for sample in batch.sample_id} & set(BAD)
    account = assembler.account()
    entries = [entry for cursor in assembler.cursors.values() for entry in cursor.ledger]
    assert account.planned == (
        account.served - account.repeated + account.quarantined + account.dropped
    )
    assert {entry.sample_id for entry in entries} <= set(BAD)
    assert entries
    for entry in entries:
        assert entry.key == f"k{entry.sample_id}"
        assert entry.error.startswith("right: ")
    lefts, assembler = served(reader_of(views_of("left"), folder), steps=4)
    assert assembler.account().quarantined == 0
    alone, _ = served(reader_of(views_of(), write_set(tmp_path / "left", LEFTS)), steps=4)
    for ours, theirs in zip(lefts, alone, strict=True):
        np.testing.assert_array_equal(ours.views[0], theirs.views[0])


def test_a_damaged_column_is_a_fault_of_its_own_image_alone(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "shards", "parquet")
    (shard, *_) = load_manifest(folder).shards
    path = folder / shard.path
    names = pq.read_schema(path).names
    column = pq.read_metadata(path).row_group(0).column(names.index("right"))
    with path.open("r+b") as file:
        file.seek(column.data_page_offset)
        file.write(b"\xff" * 40)
    with ShardReader(load_corpus((str(folder),)), parts=("left", "right")) as shards:
        found = shards.read_parts(np.arange(3))
    assert [left for left, _ in found] == LEFTS[:3]
    with pytest.raises(BadSample, match=r"^right: "):
        decode_parts(found[0], ("left", "right"))


def test_an_index_has_the_places_of_all_images_and_a_tar_the_members(sets: Path) -> None:
    (shard, *_) = load_manifest(sets / "tar").shards
    index = load_index(str(sets / "tar" / shard.index_path))
    data = (sets / "tar" / shard.path).read_bytes()
    for name, images in ((None, LEFTS), ("right", RIGHTS)):
        offsets, sizes = index.places(name)
        assert [data[at : at + n] for at, n in zip(offsets, sizes, strict=True)] == images[:25]
    with pytest.raises(KeyError):
        index.places("middle")


def test_images_of_a_sample_may_be_of_any_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [
        [encode_png(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in sizes]
        for sizes in ([(4, 4)] * 20, [(40, 3)] * 20, [(1, 1)] * 20)
    ]
    folder = write_set(tmp_path / "three", *images, parts=("a", "b", "c"))
    views = views_of("c", "a", "b", count=3)
    plan = StreamPlan(seed=0, samples=20, streams=1, global_batch=10, shuffle_window=20)
    (batch, *_), _ = served(reader_of(views, folder, plan=plan), steps=2)
    of_c = batch.views[0][:, 0]
    assert (of_c == of_c[:, :1, :1]).all()  # of a single pixel
    assert batch.views[0][:, 1:].std(axis=(2, 3)).any()


def test_pairs_are_other_data_than_their_shards_with_another_image_first(sets: Path) -> None:
    manifest = load_manifest(sets / "tar")
    found = {
        replace(manifest, parts=parts).fingerprint
        for parts in ((), ("left", "right"), ("right", "left"))
    }
    assert len(found) == 3
    assert manifest.fingerprint in found
