"""The run that was not disturbed, which those that were are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.data.sources.opening import open_source
from pipeline.data.sources.sharding import write_shards
from tests.faults.pretraining import TRAIN, Pretraining


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 pictures in eight shards, 4 MB: more than the smallest cache of remote shards holds."""
    folder = tmp_path_factory.mktemp("pictures")
    pixels = np.random.default_rng(0).integers(0, 256, (240, 72, 72, 3), dtype=np.uint8)
    np.savez(folder / "pictures.npz", x=pixels)
    write_shards(
        open_source(folder / "pictures.npz", labels=None, images=None),
        folder / "shards",
        kind="tar",
        samples_per_shard=30,
        test_fraction=0.0,
        seed=0,
        progress=lambda count: None,
    )
    return folder / "shards"


@pytest.fixture(scope="session")
def undisturbed(
    shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Pretraining, dict[str, Any]]:
    """A run of two workers through Ray, and the result of its command."""
    folder = tmp_path_factory.mktemp("run")
    run = Pretraining(folder, data={"shards": str(shards), "ingest": "inline"}, train=TRAIN)
    with run.started() as process:
        return run, run.result(process)
