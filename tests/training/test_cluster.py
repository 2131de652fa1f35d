"""Room for the workers and their readers: counted, shared, refused when there is none."""

from __future__ import annotations

import os
import re
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
from pipeline.planning.length import stream_plan
from pipeline.planning.reading_plan import read_ahead
from pipeline.recipe import Recipe
from pipeline.training.cluster import connected, cpus_needed
from pipeline.training.demand import demand_of, shortage
from pipeline.training.device_choice import Limits, choose_device, most_of_config
from pipeline.training.evaluation_task import place_for_evaluation

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
    ("nodes", "data", "told"),
    [
        ([16], {}, None),
        ([12], {"ingest_cpus": 0.5}, None),
        ([8.8], {"ingest_cpus": 0.1}, None),
        ([8, 8], {}, None),
        ([12], {}, "need 16 CPUs, the cluster has 12; data.ingest_cpus=0.5 would fit"),
        ([11], {"ingest_cpus": 0.5}, "need 12 CPUs, the cluster has 11; data.ingest_cpus=0.37 wo"),
        ([8], {}, "need 16 CPUs, the cluster has 8$"),
        ([7], {"ingest": "inline"}, "need 8 CPUs, the cluster has 7$"),
        ([], {}, "need 16 CPUs, the cluster has 0$"),
        # A worker and its readers are on one node, unless readers may be anywhere.
        ([1] * 20, {}, "8 workers with 2 CPUs each, each on one node: 20 nodes, .* 1 CPU, have no"),
        ([3] * 6, {}, "6 nodes, the largest with 3 CPUs, have no room; data.ingest_cpus=0.5 would"),
        ([1] * 20, {"readers": "anywhere"}, None),
        ([1] * 15, {"readers": "anywhere"}, "need 16 CPUs, the cluster has 15$"),
        ([12], {"readers": "anywhere"}, "has 12; data.ingest_cpus=0.5 would fit"),
    ],
)
def test_nodes_without_room_are_refused_with_what_would_fit(
    nodes: list[float], data: dict[str, Any], told: str | None
) -> None:
    recipe = recipe_for(**data)
    found = shortage(recipe, demand_of(recipe, gpu=False), [{"CPU": cpus} for cpus in nodes])
    if told is None:
        assert not found
        return
    (problem,) = found
    assert problem.where == "train.workers"
    assert re.search(told, problem.message), problem.message


@pytest.mark.fast
def test_gpus_are_wanted_where_the_cpus_are() -> None:
    recipe = recipe_for(workers=2, ingest_cpus=3)
    demand = demand_of(recipe, gpu=True)
    assert str(demand) == "2 workers with 4 CPUs and 1 GPU each"
    assert demand.fits([{"CPU": 4, "GPU": 1}, {"CPU": 4, "GPU": 1}])
    assert not demand.fits([{"CPU": 8}, {"GPU": 2}])
    (problem,) = shortage(recipe, demand, [{"CPU": 8, "GPU": 1}])
    assert problem == (
        "train.device",
        "cuda needs a GPU for each of 2 workers, the cluster has 1",
    )


@pytest.mark.fast
@pytest.mark.parametrize("cpus", [0.1, 0.2, 0.33, 0.7, 1.1, 2.3])
@pytest.mark.parametrize("workers", [1, 3, 7, 10])
def test_ray_train_finds_as_many_workers_as_there_are_bundles(cpus: float, workers: int) -> None:
    """It divides what is reserved, a sum of floats, by the bundle, and rounds down."""
    worker = demand_of(recipe_for(workers=1, ingest_cpus=cpus), gpu=False).worker["CPU"]
    reserved = 0.0
    for _ in range(workers):
        reserved += worker
    assert reserved // worker == workers
    assert round(worker * 10_000) == round((1 + cpus) * 10_000)  # as Ray counts


@pytest.mark.fast
@pytest.mark.parametrize(
    ("gpus", "limits", "gpu", "told"),
    [
        (0, Limits(False, None), False, "device: cpu; this machine has no GPU"),
        (2, Limits(False, None), True, "cuda, a GPU for each of 2 workers; this machine has 2"),
        (1, Limits(False, None), False, "cpu, 2 workers want a GPU each; this machine has 1"),
        (0, Limits(True, {"GPU": 8}), True, "cuda, .* the cluster has 0 and may have 8"),
        (4, Limits(True, {"GPU": 8}), True, "cuda, .* the cluster has 4 and may have 8"),
        (1, Limits(True, {"GPU": 1}), False, "cpu, 2 workers .* the cluster has 1 and may have 1"),
        (0, Limits(True, {"CPU": 8}), False, "cpu; the cluster has no GPU and can have none"),
        (0, Limits(True, None), False, "cpu; .* not known; train.device=cuda waits for GPUs"),
        (2, Limits(True, None), True, "cuda, a GPU for each of 2 workers; the cluster has 2$"),
    ],
)
def test_auto_goes_by_what_the_cluster_has_and_can_have(
    gpus: int, limits: Limits, gpu: bool, told: str
) -> None:
    train = recipe_for(workers=2).train
    choice = choose_device(train.model_copy(update={"device": "auto"}), gpus=gpus, limits=limits)
    assert choice.gpu == gpu
    assert choice.told is not None
    assert re.search(told, choice.told), choice.told
    assert choose_device(train, gpus=gpus, limits=limits) == (False, None)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("nodes", "most", "gpus"), [(8, {}, 14), (2, {}, 8), (8, {"max_workers": 1}, 11), (0, {}, 0)]
)
def test_an_autoscalers_config_says_what_a_cluster_may_have(
    nodes: int, most: dict[str, int], gpus: int
) -> None:
    config = {
        "head_node_type": "head",
        "max_workers": nodes,
        "available_node_types": {
            "head": {"resources": {"CPU": 2}},
            "small": {"resources": {"CPU": 4, "GPU": 1}},
            "large": {"resources": {"CPU": 8, "GPU": 4}, "max_workers": 2, **most},
        },
    }
    found = most_of_config(config)
    assert found is not None
    assert found["GPU"] == gpus
    assert most_of_config({**config, "available_node_types": {"head": {}, "x": {}}}) is None


@pytest.mark.fast
def test_evaluations_go_where_memory_is_but_to_no_bare_head() -> None:
    def node(name: str, cpus: int, *, alive: bool = True) -> dict[str, Any]:
        return {"NodeID": name, "Alive": alive, "Resources": {"CPU": cpus} if cpus else {}}

    nodes = [node("head", 0), node("a", 1), node("b", 4), node("gone", 9, alive=False)]
    free = {"head": {"memory": 9e9}, "a": {"memory": 3e9}, "b": {"memory": 2e9}}
    assert place_for_evaluation(nodes, free) == ("a", 3_000_000_000)
    assert place_for_evaluation(nodes, {**free, "a": {}}) == ("b", 2_000_000_000)
    assert place_for_evaluation(nodes, {"head": free["head"]}) == ("b", 0)


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
