"""Runs that were not disturbed, which those that were are compared with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.data.sources.convert import shard
from pipeline.recipe import Recipe
from pipeline.runs.folder import RunFolder
from pipeline.runs.product import package_encoder
from pipeline.runs.trace import join_trace
from tests.faults import one_rank
from tests.faults.pretraining import Pretraining
from tests.ranks import processes


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 pictures in eight shards, 4 MB: more than the smallest cache of remote shards holds."""
    folder = tmp_path_factory.mktemp("pictures")
    pixels = np.random.default_rng(0).integers(0, 256, (240, 72, 72, 3), dtype=np.uint8)
    np.savez(folder / "pictures.npz", x=pixels)
    shard(
        folder / "pictures.npz",
        folder / "shards",
        kind="tar",
        samples_per_shard=30,
        test_fraction=0.0,
        seed=0,
    )
    return folder / "shards"


@dataclass(frozen=True)
class Undisturbed:
    """What came of a run."""

    encoder_sha256: str
    samples: dict[str, int]
    trace: pa.Table


@pytest.fixture(scope="session")
def undisturbed(
    shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Mapping[str, Any]], Undisturbed]:
    """A run on two ranks with a `train` section, by the plain loop: through Ray it is the same."""
    finished: dict[int, Undisturbed] = {}

    def run(train: Mapping[str, Any]) -> Undisturbed:
        steps = train["steps"]
        if steps not in finished:
            finished[steps] = _trained(shards, tmp_path_factory.mktemp("undisturbed"), train)
        return finished[steps]

    return run


def _trained(shards: Path, folder: Path, train: Mapping[str, Any]) -> Undisturbed:
    written = Pretraining(folder, data={"shards": str(shards)}, train=train).folder / "recipe.yaml"
    recipe = Recipe.model_validate(yaml.safe_load(written.read_text()))
    (folder / "recipe.json").write_text(json.dumps(recipe.resolved()))
    for name in ("run", "package"):
        (folder / name).mkdir()
    files = (folder / "rendezvous", folder / "recipe.json", folder / "run")
    with processes.started(one_rank.main, 2, *files, log=folder / "log") as ranks:
        processes.finish(ranks, log=folder / "log")
    run = RunFolder(str(folder / "run"))
    join_trace(run.trace, folder / "trace.parquet")
    identity = {"data fingerprint": "", "encoder.init sha256": None}
    return Undisturbed(
        encoder_sha256=package_encoder(recipe, run, identity, {}, into=folder / "package").sha256,
        samples=json.loads((folder / "run" / "samples.json").read_text()),
        trace=pq.read_table(folder / "trace.parquet"),
    )
