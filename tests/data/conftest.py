"""Small shards, whole and spoilt."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.sources.convert import shard
from pipeline.data.sources.index import load_index
from pipeline.data.sources.manifest import load_manifest, locate

Spoil = Callable[[Path, Path, Collection[int]], Path]


@pytest.fixture(scope="session")
def noise_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same 90 pictures, 9 x 11, in `tar` and in `parquet` shards of 25; read only."""
    folder = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    np.savez(folder / "src.npz", x=rng.integers(0, 256, (90, 9, 11, 3), dtype=np.uint8))
    for kind in ("tar", "parquet"):
        shard(
            folder / "src.npz",
            folder / kind,
            kind=kind,
            samples_per_shard=25,
            test_fraction=0.0,
            seed=0,
        )
    return folder


@pytest.fixture(scope="session")
def spoil() -> Spoil:
    """Copies tar shards and overwrites the bytes of some samples: spoil(folder, copy, bad)."""

    def copy_and_spoil(folder: Path, copy: Path, bad: Collection[int]) -> Path:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        manifest = load_manifest(copy)
        for sample in bad:
            shard, row = (int(v) for v in locate(manifest.boundaries(), np.array(sample)))
            index = load_index(str(copy / manifest.shards[shard].index_path))
            with (copy / manifest.shards[shard].path).open("r+b") as file:
                file.seek(int(index.offset[row]))
                file.write(b"spoilt" * (int(index.size[row]) // 6))
        return copy

    return copy_and_spoil
