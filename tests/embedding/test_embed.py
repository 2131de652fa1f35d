"""A corpus to Parquet through a real Ray: what is in the files, and that only data decides it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image

import pipeline
from pipeline.data import storage
from pipeline.data.order.corpus import load_corpus
from pipeline.data.reading.accounting import read_ledger
from pipeline.data.reading.shard_reader import ShardReader
from pipeline.embedding import driver
from pipeline.embedding.driver import EmbeddingResult
from pipeline.errors import InterruptedRunError, UserError
from pipeline.registry.packages.config import PackageConfig, Preprocessing
from pipeline.registry.packages.files import write_package

SAMPLES, BAD, PER_FILE = 240, 75, 32
FILES = 3 + 3 + 3 + 1  # shards of 70, 70, 70 and 30
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def write_encoder(folder: Path, *, seed: int = 0, scale: float = 1.0) -> Path:
    torch.manual_seed(seed)
    args = {"num_classes": 0, "channels": [16, 16, 32, 32], "stem_width": 8}
    weights = timm.create_model("resnet10t", **args).state_dict()
    if scale != 1:
        weights["layer4.0.bn2.bias"] = torch.full_like(weights["layer4.0.bn2.bias"], scale)
    config = PackageConfig.of(
        "resnet10t",
        args,
        width=32,
        preprocessing=Preprocessing(size=24, mean=MEAN, std=STD),
    )
    write_package(folder, config=config, weights=weights, card="")
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder") / "encoder")


@pytest.fixture(scope="module")
def shards(clipart_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled pictures, one of which is no picture."""
    folder = tmp_path_factory.mktemp("one bad") / "train"
    shutil.copytree(clipart_shards / "train", folder)
    damage(folder, [BAD])
    return folder


def damage(folder: Path, ids: list[int]) -> None:
    with ShardReader(load_corpus((str(folder),))) as reader:
        for sample_id in ids:
            shard, _, offset = reader.describe(sample_id)
            with (folder / shard.path).open("r+b") as file:
                file.seek(offset)
                file.write(b"nothing")


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "samples_per_range", lambda size: PER_FILE)


Embed = Callable[..., EmbeddingResult]


@pytest.fixture
def embed(local_ray: None, encoder: Path, shards: Path) -> Embed:
    """`pipeline.embed` of the encoder and the shards, unless told otherwise."""

    def run(destination: Path | str, **given: object) -> EmbeddingResult:
        source, data = given.pop("encoder", encoder), given.pop("shards", shards)
        return pipeline.embed(source, data, destination, **{"dtype": "float32", **given})

    return run


@pytest.fixture(scope="module")
def made(
    local_ray: None, encoder: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The undisturbed embedding, by one worker; read only."""
    folder = tmp_path_factory.mktemp("made") / "embeddings"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "samples_per_range", lambda size: PER_FILE)
        found = pipeline.embed(encoder, shards, folder, dtype="float32", workers=1)
    assert found.images_per_second is not None
    counts = (found.samples, found.bad, found.files, found.width, found.already_finished)
    assert counts == (SAMPLES - 1, 1, FILES, 32, False)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_vectors_are_those_of_the_loaded_encoder(made: Path, encoder: Path, shards: Path) -> None:
    table = pq.read_table(made / "vectors")
    ids = np.delete(np.arange(SAMPLES), BAD)
    assert table["sample_id"].to_pylist() == ids.tolist()
    corpus = load_corpus((str(shards),))
    loaded = pipeline.load_encoder(encoder)
    with ShardReader(corpus) as reader:
        images = [Image.open(BytesIO(data)) for data in reader.read(ids)]
        places = reader.keys(ids)
    assert list(zip(table["shard"].to_pylist(), table["key"].to_pylist(), strict=True)) == places
    with torch.inference_mode():
        expected = torch.cat([loaded(loaded.preprocess([image])) for image in images]).numpy()
    found = np.stack(table["vector"].to_numpy())
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.01


def test_labels_are_names_of_classes(made: Path, shards: Path) -> None:
    table = pq.read_table(made / "vectors")
    indexes = [pq.read_table(path) for path in sorted(shards.glob("*.index.parquet"))]
    labels = {
        (path.name.removesuffix(".index.parquet"), key): label
        for path, index in zip(sorted(shards.glob("*.index.parquet")), indexes, strict=True)
        for key, label in zip(index["key"].to_pylist(), index["label"].to_pylist(), strict=True)
    }
    rows = table.select(["shard", "key", "label"]).to_pylist()
    assert all(labels[row["shard"], row["key"]] == row["label"] for row in rows)
    assert len(set(table["label"].to_pylist())) == 12


def test_a_sample_that_is_no_image_is_in_the_ledger(made: Path, shards: Path) -> None:
    ((entry,), count) = read_ledger(str(made / "ledger.parquet"), at_most=10)
    with ShardReader(load_corpus((str(shards),))) as reader:
        shard, key, offset = reader.describe(BAD)
    assert count == 1
    assert (entry.sample_id, entry.shard, entry.key, entry.offset) == (BAD, shard.path, key, offset)
    assert entry.error
    assert not (made / "bad").exists()


def test_a_finished_one_says_so_and_needs_no_ray(
    made: Path, embed: Embed, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(made)
    monkeypatch.delattr(driver, "ray_session")
    found = embed(made)
    assert (found.already_finished, found.samples, found.bad) == (True, SAMPLES - 1, 1)
    assert found.images_per_second is None
    assert contents(made) == before


def test_another_encoder_or_form_or_other_data_is_refused(
    made: Path, embed: Embed, clipart_shards: Path, tmp_path: Path
) -> None:
    before = contents(made)
    other = write_encoder(tmp_path / "other", seed=1)
    for given, differing in (
        ({"encoder": other}, {"encoder.sha256.encoder.safetensors"}),
        ({"shards": clipart_shards / "test"}, {"data.fingerprint", "data.samples"}),
        ({"dtype": "float16"}, {"dtype"}),
        ({"features": "patch_average"}, {"features.kind"}),
    ):
        with pytest.raises(UserError) as error:
            embed(made, **given)
        assert {problem.where for problem in error.value.problems} == differing
        assert all(str(made) in problem.message for problem in error.value.problems)
    assert contents(made) == before


def test_mistakes_are_told_all_at_once_before_anything_is_written(
    embed: Embed, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        embed(tmp_path / "new", encoder=tmp_path / "no encoder", shards=tmp_path / "no shards")
    assert len(error.value.problems) == 2
    with pytest.raises(UserError, match="needs one autoencoder"):
        embed(tmp_path / "new", features="mean")
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(UserError, match="holds something"):
        embed(tmp_path)
    assert not (tmp_path / "new").exists()


def test_killed_and_gone_on_it_is_the_same(
    made: Path, embed: Embed, encoder: Path, shards: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    script = (
        "import pipeline; from pipeline.embedding import driver\n"
        f"driver.samples_per_range = lambda size: {PER_FILE}\n"
        f"pipeline.embed({str(encoder)!r}, {str(shards)!r}, {str(folder)!r}, dtype='float32', "
        "workers=2)"
    )
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", script], stdout=log, stderr=log, start_new_session=True
        )
        try:
            while process.poll() is None and not list(folder.glob("vectors/*.parquet")):
                time.sleep(0.005)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert not (folder / "done.json").exists(), (tmp_path / "log").read_text()
    # However far it came, one file more is gone, and half of another has been written.
    there = sorted(folder.glob("vectors/*.parquet"))
    assert there, (tmp_path / "log").read_text()
    there[0].rename(f"{there[0]}.partial")
    untouched = {path: path.stat().st_mtime_ns for path in there[1:]}
    found = embed(folder, workers=1)
    assert (found.already_finished, found.samples, found.files) == (False, SAMPLES - 1, FILES)
    assert {path: path.stat().st_mtime_ns for path in untouched} == untouched
    assert contents(folder) == contents(made)


def test_from_a_store_to_a_store(made: Path, embed: Embed, shards: Path, object_store: str) -> None:
    source = f"s3://data/embedded?{object_store}"
    for file in shards.iterdir():
        storage.write_file(storage.join(source, file.name), file.read_bytes())
    destination = f"s3://made/embeddings?{object_store}"
    found = embed(destination, shards=source, workers=2)
    assert (found.folder, found.samples, found.bad) == (destination, SAMPLES - 1, 1)
    stored = {
        location.partition("?")[0].removeprefix("s3://made/embeddings/"): storage.read_file(
            location
        )
        for location in storage.list_files(destination)
    }
    expected = contents(made)
    assert json.loads(stored.pop("embeddings.json"))["data"]["shards"] == source
    expected.pop("embeddings.json")
    assert stored == expected
    assert embed(destination, shards=source).already_finished


def test_a_map_has_places_and_neighbours(made: Path, embed: Embed, tmp_path: Path) -> None:
    folder = tmp_path / "embeddings"
    shutil.copytree(made, folder)
    found = embed(folder, map=True)
    assert found.map == str(folder / "map.parquet")
    assert found.atlas == f"embedding-atlas {found.map} --x x --y y --neighbors neighbors"
    table = pq.read_table(found.map)
    assert table.column_names == ["sample_id", "shard", "key", "label", "x", "y", "neighbors"]
    vectors = pq.read_table(folder / "vectors")
    assert table["sample_id"].equals(vectors["sample_id"])
    assert np.isfinite(np.stack([table["x"], table["y"]])).all()
    units = np.stack(vectors["vector"].to_numpy()).astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    away = 1 - units @ units.T
    np.fill_diagonal(away, np.inf)
    nearest = np.sort(away, axis=1)[:, :15]
    for row, neighbours in enumerate(table["neighbors"].to_pylist()):
        assert row not in neighbours["ids"]
        np.testing.assert_allclose(away[row, neighbours["ids"]], nearest[row], atol=1e-5)
        np.testing.assert_allclose(neighbours["distances"], nearest[row], atol=1e-5)


def test_what_stops_a_task_is_told_as_what_it_is(
    embed: Embed, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = write_encoder(tmp_path / "huge", scale=1e5)
    with pytest.raises(UserError, match=r"float16, but features of 0.* reach .*float32 holds"):
        embed(tmp_path / "huge features", encoder=huge, dtype="float16", workers=1)
    lost = tmp_path / "lost"
    shutil.copytree(shards, lost)
    (lost / "shard-000001.tar").unlink()
    monkeypatch.setattr(driver, "verify", lambda folder: [])  # it was there a moment ago
    with pytest.raises(InterruptedRunError, match=r"the same command goes on: .*shard-000001"):
        embed(tmp_path / "half", shards=lost, workers=1)
    shutil.copyfile(shards / "shard-000001.tar", lost / "shard-000001.tar")
    assert embed(tmp_path / "half", shards=lost, workers=1).samples == SAMPLES - 1


def test_too_many_bad_samples_stop_it(embed: Embed, clipart_shards: Path, tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish"
    shutil.copytree(clipart_shards / "test", rubbish)
    damage(rubbish, list(range(0, 60, 2)))
    with pytest.raises(UserError, match=r"max-bad-fraction: 0.01, but of \d+ samples \d+ cannot"):
        embed(tmp_path / "embeddings", shards=rubbish, workers=1)
    assert not (tmp_path / "embeddings/done.json").exists()
