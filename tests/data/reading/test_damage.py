"""Whatever is wrong with bytes: nothing crashes or hangs, and every sample is accounted for."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.data.decode import BadSample, decode_image
from pipeline.data.order.corpus import load_corpus
from pipeline.data.order.slices import slices
from pipeline.data.order.streams import StreamPlan
from pipeline.data.reading.accounting import Account
from pipeline.data.reading.assemble import BatchAssembler
from pipeline.data.reading.cursor import Cursor
from pipeline.data.reading.ingest import inline
from pipeline.data.reading.shard_reader import ShardReader
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.data.sources.foreign_shards import Fields, read_contents
from pipeline.data.sources.index import write_index
from pipeline.data.sources.manifest import Manifest, Shard, Shards, load_manifest
from pipeline.errors import UserError
from pipeline.views.parameters import ImageViews

pytestmark = pytest.mark.fast

SAMPLES, STREAMS, BATCH = 200, 2, 20


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(mode: str = "RGB", side: int = 12) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def bomb() -> bytes:
    """A PNG header that promises 60,000 x 60,000 pixels, and little more."""
    data = bytearray(encoded(picture()))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    return bytes(data)


JPEG, PNG = encoded(picture(), "JPEG", quality=95), encoded(picture())
BAD = {
    "truncated JPEG": JPEG[: len(JPEG) // 2],
    "JPEG without its end": JPEG[:-40],
    "zero bytes": b"",
    "zeros": bytes(300),
    "text renamed": b"<html>404 not found</html>",
    "bomb": bomb(),
    "truncated PNG": PNG[: len(PNG) // 2],
    "PNG header alone": PNG[:33],
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n.",
    "executable": b"\x7fELF" + bytes(200),
    "truncated GIF": encoded(picture(), "GIF")[:100],
    "truncated WebP": encoded(picture(), "WEBP")[:60],
}
CONVERTED = {
    "CMYK": encoded(picture("CMYK"), "JPEG"),
    "16 bit": encoded(Image.fromarray(np.full((9, 9), 40_000, np.uint16))),
    "grey": encoded(picture("L"), "JPEG"),
    "grey and alpha": encoded(picture("LA")),
    "alpha": encoded(picture("RGBA")),
    "palette": encoded(picture("P")),
    "animated": encoded(
        picture(), "GIF", save_all=True, append_images=[picture(side=12).rotate(90)]
    ),
}


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number in range(4):
            for name, data in ((f"{number}.png", PNG), (f"{number}.cls", b"1")):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _parquet() -> bytes:
    buffer = io.BytesIO()
    table = pa.table({"image": pa.array([PNG, JPEG] * 20), "label": [1, 2] * 20})
    pq.write_table(table, buffer, row_group_size=8, compression="snappy")
    return buffer.getvalue()


TAR, PARQUET = _tar(), _parquet()


def shards_of(folder: Path, images: list[bytes]) -> Path:
    """A tar of images as they are, indexed as a clean one would be."""
    keys, offsets = [f"{number:06d}" for number in range(len(images))], []
    with tarfile.open(folder / "a.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for key, data in zip(keys, images, strict=True):
            member = tarfile.TarInfo(f"{key}.jpg")
            member.size = len(data)
            offsets.append(archive.offset + tarfile.BLOCKSIZE)
            archive.addfile(member, io.BytesIO(data))
    sizes = [len(data) for data in images]
    shard = Shard(
        path="a.tar",
        format="tar",
        samples=len(images),
        bytes=(folder / "a.tar").stat().st_size,
        first_id=0,
        sha256="",
    )
    write_index(
        folder / shard.index_path,
        keys=keys,
        offsets=offsets,
        sizes=sizes,
        labels=[None] * len(images),
    )
    Manifest(shards=Shards.of([shard]), shuffled=True).save(folder)
    return folder


def run(folder: Path, *, steps: int, max_bad_fraction: float = 1.0) -> tuple[Account, list[int]]:
    """The account of a run, and the samples in its ledger."""
    load_corpus.cache_clear()
    plan = StreamPlan(
        seed=0,
        samples=load_manifest(folder).samples,
        streams=STREAMS,
        global_batch=BATCH,
        shuffle_window=64,
    )
    reader = SliceReader(
        manifests=(str(folder),), plan=plan, views=ImageViews(size=4, count=1, jitter=0)
    )
    positions = dict.fromkeys(range(STREAMS), 0)
    pieces = slices(
        plan, positions=positions, step=0, total_steps=steps, per_stream=2 * plan.per_batch
    )
    assembler = BatchAssembler(
        reader,
        cursors={stream: Cursor() for stream in positions},
        step=0,
        total_steps=steps,
        max_bad_fraction=max_bad_fraction,
    )
    for batch in assembler.batches(inline(reader, pieces, cpus=1)):
        assert len(set(batch.sample_id.tolist())) == BATCH
    ledger = [e.sample_id for cursor in assembler.cursors.values() for e in cursor.ledger]
    return assembler.account(), sorted(ledger)


def balanced(account: Account) -> bool:
    return account.planned == (
        account.served - account.repeated + account.quarantined + account.dropped
    )


@pytest.mark.parametrize("name", BAD)
def test_damaged_bytes_are_a_fault_of_the_sample(name: str) -> None:
    with pytest.raises(BadSample):
        decode_image(BAD[name])


@pytest.mark.parametrize("name", CONVERTED)
def test_unusual_pictures_are_converted_and_kept(name: str) -> None:
    found = decode_image(CONVERTED[name])
    assert found.ndim == 3
    assert found.shape[2] == 3
    assert found.dtype == np.uint8


def test_the_account_holds_with_damage_of_every_kind_and_pictures_of_every_kind(
    tmp_path: Path,
) -> None:
    images = [PNG, JPEG, *CONVERTED.values()] * SAMPLES
    images = images[:SAMPLES]
    bad = {7 + 13 * number: data for number, data in enumerate(BAD.values())}
    for number, data in bad.items():
        images[number] = data
    account, ledger = run(shards_of(tmp_path, images), steps=19)  # two epochs, one step short
    assert ledger == sorted(bad)
    assert balanced(account)
    assert account.planned == 2 * SAMPLES
    assert account.served == 19 * BATCH


def test_clean_data_serve_every_sample_once(tmp_path: Path) -> None:
    account, ledger = run(shards_of(tmp_path, [PNG] * SAMPLES), steps=20)
    assert ledger == []
    assert account == Account(planned=400, served=400)


def test_a_source_of_rubbish_stops_within_its_first_thousand_samples(tmp_path: Path) -> None:
    images = [PNG if number % 3 == 0 else b"rubbish" for number in range(5000)]
    with pytest.raises(UserError, match=r"of the first (\d+) samples") as caught:
        run(shards_of(tmp_path, images), steps=100, max_bad_fraction=0.01)
    (problem,) = caught.value.problems
    assert problem.where == "data.max_bad_fraction"
    assert int(problem.message.split("of the first ")[1].split()[0]) <= 1000
    assert "a.tar" in problem.message


def test_an_allowed_share_of_bad_samples_never_stops_a_run_early(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [b"rubbish" if rng.random() < 0.2 else PNG for _ in range(2000)]
    account, _ = run(shards_of(tmp_path, images), steps=150, max_bad_fraction=0.2)
    assert balanced(account)


def test_a_shard_that_ends_early_loses_the_samples_behind_its_end(tmp_path: Path) -> None:
    folder = shards_of(tmp_path, [PNG] * SAMPLES)
    whole = (folder / "a.tar").read_bytes()
    (folder / "a.tar").write_bytes(whole[: len(whole) * 9 // 10])
    account, ledger = run(folder, steps=20)
    assert balanced(account)
    assert ledger == list(range(ledger[0], SAMPLES))


def index_one_shard(file: Path) -> None:
    """Make a manifest of one Parquet file of 40 samples, in its folder."""
    found = read_contents(str(file), Fields())
    assert len(found.keys) == 40
    shard = Shard(
        path=file.name, format="parquet", samples=40, bytes=found.bytes, first_id=0, sha256="x"
    )
    write_index(
        file.parent / shard.index_path,
        keys=found.keys,
        offsets=found.offsets,
        sizes=found.sizes,
        labels=found.labels,
    )
    Manifest(shards=Shards.of([shard]), shuffled=True).save(file.parent)
    load_corpus.cache_clear()


def test_a_parquet_null_is_an_empty_file(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"image": pa.array([PNG, None] * 20, pa.binary())}), tmp_path / "a.parquet"
    )
    index_one_shard(tmp_path / "a.parquet")
    plan = StreamPlan(seed=0, samples=40, streams=1, global_batch=10, shuffle_window=8)
    reader = SliceReader(manifests=(str(tmp_path),), plan=plan, views=ImageViews(size=4, count=1))
    assembler = BatchAssembler(reader, cursors={0: Cursor()}, step=0, total_steps=2)
    pieces = slices(plan, positions={0: 0}, step=0, total_steps=2, per_stream=plan.per_batch)
    list(assembler.batches(inline(reader, pieces, cpus=1)))
    assert all(e.sample_id % 2 == 1 for e in assembler.cursors[0].ledger)
    assert {e.error for e in assembler.cursors[0].ledger} == {"empty file"}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    edits=st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), min_size=1, max_size=6)
)
def test_a_parquet_file_mutated_after_indexing_is_read_to_its_end(
    tmp_path: Path, edits: list[tuple[int, int]]
) -> None:
    found = tmp_path / "a.parquet"
    found.write_bytes(PARQUET)
    index_one_shard(found)
    footer = int.from_bytes(PARQUET[-8:-4], "little") + 8  # checked when the file is opened
    data = bytearray(PARQUET)
    for place, value in edits:
        data[4 + place % (len(data) - footer - 4)] = value
    found.write_bytes(data)
    with ShardReader(load_corpus((str(tmp_path),))) as reader:
        assert len(reader.read(np.arange(40))) == 40


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    kind=st.sampled_from([JPEG, PNG, *CONVERTED.values(), encoded(picture(), "WEBP")]),
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8),
    cut=st.integers(0, 4000),
)
def test_mutated_images_decode_or_are_bad_samples(
    kind: bytes, edits: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(kind)
    for place, value in edits:
        data[place % len(data)] = value
    try:
        found = decode_image(bytes(data[: len(data) - cut] if cut < len(data) else data))
    except BadSample:
        return
    assert found.dtype == np.uint8
    assert found.shape[2] == 3


def _mutated(data: bytes, edits: list[tuple[int, int]], cut: int) -> bytes:
    changed = bytearray(data)
    for place, value in edits:
        changed[place % len(changed)] = value
    return bytes(changed[: max(1, len(changed) - cut)])


@settings(
    max_examples=600,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    kind=st.sampled_from(["tar", "parquet"]),
    edits=st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), max_size=12),
    cut=st.integers(0, 3000),
)
def test_mutated_shards_are_indexed_or_refused(
    tmp_path: Path, kind: str, edits: list[tuple[int, int]], cut: int
) -> None:
    path = tmp_path / f"mutated.{kind}"
    path.write_bytes(_mutated(TAR if kind == "tar" else PARQUET, edits, cut))
    try:
        found = read_contents(str(path), Fields())
    except UserError:
        return
    size = path.stat().st_size
    assert found.bytes == size
    assert len(found.keys) == len(found.offsets) == len(found.sizes) == len(found.labels)
    if kind == "tar":
        places = zip(found.offsets, found.sizes, strict=True)
        assert all(0 <= offset <= offset + length <= size for offset, length in places)
