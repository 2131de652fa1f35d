"""Samples of several images: whatever they lie in, they stay together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from pipeline.data.decode import decode_image
from pipeline.data.sources.convert import shard
from pipeline.data.sources.manifest import Format, load_manifest
from pipeline.errors import UserError
from tests.data.sources.conversion.pictures import picture
from tests.data.sources.conversion.test_archives import archive

pytestmark = pytest.mark.fast

COUNT = 12
LEFT = [picture(number) for number in range(COUNT)]
RIGHT = [picture(100 + number) for number in range(COUNT)]
PIXELS = [[decode_image(data).tobytes() for data in side] for side in (LEFT, RIGHT)]
PAIRS = dict(zip(*PIXELS, strict=True))


def members() -> dict[str, bytes]:
    found = {}
    for number in range(COUNT):
        found[f"s/{number}.left.png"] = LEFT[number]
        found[f"s/{number}.middle.png"] = b"of no interest"
        found[f"s/{number}.right.png"] = RIGHT[number]
    return found | {"s/99.left.png": LEFT[0]}


def a_folder(root: Path) -> Path:
    for name, data in members().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def an_archive(root: Path) -> Path:
    return archive(root / "a.tar.gz", members())


def a_table(root: Path) -> Path:
    root.mkdir()
    pq.write_table(pa.table({"right": RIGHT, "left": LEFT}), root / "t.parquet")
    return root / "t.parquet"


def arrays(root: Path) -> Path:
    root.mkdir()
    left, right = (np.stack([decode_image(d) for d in side]) for side in (LEFT, RIGHT))
    np.savez(root / "a.npz", left=left, right=right)
    return root / "a.npz"


def a_list(root: Path) -> Path:
    a_folder(root)
    rows = [f"s/{n}.left.png,s/{n}.right.png" for n in range(COUNT)]
    (root / "list.csv").write_text("\n".join(["left,right", *rows, "s/0.left.png,"]) + "\n")
    return root / "list.csv"


@pytest.mark.parametrize("kind", ["tar", "parquet"])
@pytest.mark.parametrize("make", [a_folder, an_archive, a_table, arrays, a_list])
def test_images_of_a_sample_stay_together(tmp_path: Path, make: object, kind: Format) -> None:
    source = make(tmp_path / "src")  # type: ignore[operator]
    result = shard(source, tmp_path / "out", images="left,right", kind=kind, samples_per_shard=5)
    manifest = load_manifest(tmp_path / "out")
    assert (manifest.samples, manifest.parts) == (COUNT, ("left", "right"))
    lacking = {"a_folder": 1, "an_archive": 1, "a_list": 1}.get(make.__name__, 0)  # type: ignore[attr-defined]
    assert sum(result.left_out.values()) == lacking
    assert pairs_in(tmp_path / "out", kind) == PAIRS


def pairs_in(out: Path, kind: Format) -> dict[bytes, bytes]:
    """By readers of others."""
    paths = [str(out / part.path) for part in load_manifest(out).shards]
    if kind == "parquet":
        rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
        found = [(row["left"], row["right"]) for row in rows]
    else:
        samples = [s for path in paths for s in webdataset.WebDataset(path, shardshuffle=False)]
        found = [(sample["left.png"], sample["right.png"]) for sample in samples]
    return {decode_image(a).tobytes(): decode_image(b).tobytes() for a, b in found}


def test_shards_of_one_image_are_not_appended_to_with_two(tmp_path: Path) -> None:
    source = a_table(tmp_path / "src")
    shard(source, tmp_path / "out", images="left")
    with pytest.raises(UserError, match="--images: left, right, but samples there are one image"):
        shard(source, tmp_path / "out", images="left,right", append=True)
    shard(source, tmp_path / "two", images="left,right")
    with pytest.raises(UserError, match="--images: none, but the shards there have left, right"):
        shard(source, tmp_path / "two", images="left", append=True)
    assert load_manifest(tmp_path / "two").samples == COUNT
