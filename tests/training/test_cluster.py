"""Room for the workers and their readers: counted, shared, refused when there is none."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from pipeline.data.order.slices import slices
from pipeline.data.reading.ray_ingest import ray_data
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.data.sources.convert import shard
from pipeline.errors import UserError
from pipeline.planning.length import stream_plan
from pipeline.planning.reading_plan import read_ahead
from pipeline.recipe import Recipe
from pipeline.training.cluster import connected, cpus_needed

RANKS = 8
SPARE_CPUS = 4
SETTLING_SECONDS = 10
SECONDS = 40


def recipe_for(*, shards: str = "/shards", workers: int = RANKS, **data: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "data": {"shards": shards, "streams": 8, "shuffle_window": 1024, **data},
            "views": {"size": 32},
            "encoder": {"name": "resnet10t"},
            "train": {"epochs": 1, "global_batch": 256, "workers": workers, "device": "cpu"},
        }
    )


@pytest.mark.fast
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, 16),
        ({"ingest_cpus": 3}, 32),
        ({"ingest_cpus": 0.5}, 12),
        ({"ingest_cpus": 0.1}, 8.8),
        ({"ingest": "inline", "ingest_cpus": 3}, 8),
    ],
)
def test_workers_and_their_shares_of_readers_are_counted(
    data: dict[str, Any], expected: float
) -> None:
    recipe = recipe_for(**data)
    assert cpus_needed(recipe, workers=recipe.train.most_workers) == expected


@pytest.mark.fast
@pytest.mark.parametrize(
    ("has", "data", "told"),
    [
        (16, {}, None),
        (12, {"ingest_cpus": 0.5}, None),
        (8.8, {"ingest_cpus": 0.1}, None),
        (12, {}, "need 16 CPUs, the cluster has 12; data.ingest_cpus=0.5 would fit"),
        (11, {"ingest_cpus": 0.5}, "need 12 CPUs, the cluster has 11; data.ingest_cpus=0.37 would"),
        (8, {}, "need 16 CPUs, the cluster has 8$"),
        (7, {"ingest": "inline"}, "need 8 CPUs, the cluster has 7$"),
    ],
)
def test_a_cluster_without_room_is_refused_with_what_would_fit(
    monkeypatch: pytest.MonkeyPatch, has: float, data: dict[str, Any], told: str | None
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": has})
    if told is None:
        with connected(recipe_for(**data), verbose=False):
            return
    with pytest.raises(UserError, match=told), connected(recipe_for(**data), verbose=False):
        pass


@ray.remote(num_cpus=1)
class Rank:
    """Takes what its pipeline reads as fast as it comes; it computes nothing itself."""

    def __init__(self, recipe: Recipe, rank: int) -> None:
        plan = stream_plan(recipe)
        workers = recipe.train.most_workers
        reader = SliceReader(manifests=recipe.data.manifests, plan=plan, views=recipe.views)
        pieces = slices(
            plan,
            positions=dict.fromkeys(plan.streams_of(rank, workers), 0),
            step=0,
            total_steps=100_000,  # more than are read in the time
            per_stream=read_ahead(recipe, workers=workers).per_stream,
        )
        self._tables = ray_data(reader, pieces, cpus=recipe.data.ingest_cpus)

    def first(self) -> int:
        return len(next(self._tables))

    def samples_per_second(self, begin: float) -> float:
        """Between the first and the last table that come within the time from `begin` on."""
        came: list[tuple[float, int]] = []
        while time.time() < begin + SECONDS:
            rows = len(next(self._tables))
            if time.time() >= begin:
                came.append((time.time(), rows))
        return sum(rows for _, rows in came[1:]) / (came[-1][0] - came[0][0])


def rates(recipe: Recipe) -> list[float]:
    """Samples a second of each of the recipe's ranks, all reading at the same time."""
    actors = [Rank.remote(recipe, rank) for rank in range(recipe.train.most_workers)]
    try:
        ray.get([actor.first.remote() for actor in actors], timeout=200)
        begin = time.time() + SETTLING_SECONDS
        return ray.get([a.samples_per_second.remote(begin) for a in actors], timeout=200)
    finally:
        for actor in actors:
            ray.kill(actor)


@pytest.mark.slow
def test_eight_ranks_share_four_cpus_evenly_and_lose_little(
    clipart: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As training ranks do, each rank holds a CPU; their readers share what is left."""
    images = np.load(clipart)["x"]
    np.savez(tmp_path / "many.npz", x=np.resize(images, (8192, *images.shape[1:])))
    shard(
        tmp_path / "many.npz",
        tmp_path / "shards",
        kind="tar",
        samples_per_shard=1000,
        test_fraction=0.0,
        seed=0,
    )
    shards = str(tmp_path / "shards")
    shared = recipe_for(shards=shards, ingest_cpus=SPARE_CPUS / RANKS)
    with connected(shared, verbose=False):
        assert ray.cluster_resources()["CPU"] == max(RANKS + SPARE_CPUS, os.cpu_count() or 1)
        (one,) = rates(recipe_for(shards=shards, workers=1, ingest_cpus=SPARE_CPUS))
        many = rates(shared)
    with capsys.disabled():
        print(f"\none pipeline {one:.0f} samples/s; eight {[round(rate) for rate in many]}")
    assert sum(many) >= 0.8 * one
    assert min(many) >= 0.8 * max(many)
