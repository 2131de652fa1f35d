"""What `plan` says of reading: how far ahead, from which disk, over which network."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.data import storage
from pipeline.planning.check import checked_recipe
from pipeline.planning.length import stream_plan
from pipeline.planning.reading_plan import _open_bytes, fetching, network_bytes, warnings
from pipeline.recipe import Recipe
from tests.conftest import Checker

ROW = 2 * 16 * 16 * 3


@pytest.fixture
def remote(recipe: Path, clipart_shards: Path, object_store: str) -> str:
    location = f"s3://data/planned?{object_store}"
    for file in (clipart_shards / "train").iterdir():
        storage.write_file(storage.join(location, file.name), file.read_bytes())
    return location


@pytest.mark.fast
def test_a_bound_that_one_sample_of_each_stream_breaks_is_a_problem(problems: Checker) -> None:
    needed = 206 * 8 * ROW
    found = problems("data.ingest_cpus=100", "data.read_ahead_bytes=2000000")
    assert found == {
        "data.read_ahead_bytes": f"2000000 bytes, but 206 slices for 100 CPUs, each of one sample "
        f"of a worker's 8 streams, are {needed}; allowed are as many or more, or fewer of "
        "data.ingest_cpus"
    }


@pytest.mark.fast
def test_a_bound_that_just_does_is_none(recipe: Path) -> None:
    bound = f"data.read_ahead_bytes={206 * 8 * ROW}"
    assert checked_recipe(recipe, ["data.ingest_cpus=100", bound])


@pytest.mark.fast
def test_views_cross_the_network_only_from_readers_that_may_be_anywhere(recipe: Path) -> None:
    def of(*overrides: str) -> int:
        return network_bytes(checked_recipe(recipe, overrides))

    assert of() == of("data.readers=anywhere", "data.ingest=inline") == 0
    assert of("data.readers=anywhere") == ROW


@pytest.mark.fast
def test_local_shards_need_no_cache(recipe: Path) -> None:
    checked = checked_recipe(recipe)
    assert fetching(checked, stream_plan(checked), workers=1) == (0, 0.0)


@pytest.mark.fast
def test_many_small_shards_need_two_windows_of_each_stream() -> None:
    def needed(shards: float) -> float:
        return _open_bytes(100_000, shards, 50.0, 1000) / 50 / 2000

    assert needed(1600) == pytest.approx(1.01, abs=0.001)
    assert needed(32) == pytest.approx(1.65, abs=0.01)
    assert needed(3) == needed(0.2) == 50  # all of the stream


def test_a_cache_that_holds_less_than_the_open_windows_is_warned_of_with_what_would_do(
    recipe: Path, remote: str, clipart_shards: Path
) -> None:
    # Megabytes are the least that a cache may be told to have, so the rest is made large.
    def planned(*overrides: str) -> tuple[Recipe, list[str], int]:
        checked = checked_recipe(recipe, [f"data.shards={remote}", *overrides])
        found = fetching(checked, stream_plan(checked), workers=2)
        return checked, [*warnings(checked, found, workers=2)], found.cache_bytes

    checked, told, needed = planned("data.shuffle_window=10", "train.workers=2")
    size = sum(file.stat().st_size for file in (clipart_shards / "train").glob("*.tar"))
    # A stream's thirty samples are in half a shard, so that all its copy stays open.
    assert needed == pytest.approx(size, rel=0.01)
    assert told == []
    small = checked.model_copy(
        update={"data": checked.data.model_copy(update={"cache_bytes": needed - 1})}
    )
    found = fetching(small, stream_plan(small), workers=2)
    (warning,) = warnings(small, found, workers=2)
    assert warning.startswith(f"data.cache_bytes: {needed - 1} hold less than the open windows")
    assert f"; {needed} would do, {-(-needed // 2)} if each of the 2 workers" in warning
