"""Shards, CPUs and cache for images of any number and size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.planning.layout import ImageSet, layout

pytestmark = pytest.mark.fast

MIB = 1 << 20


@given(
    samples=st.integers(1, 10**9),
    sample_bytes=st.floats(200, 20e6),
    streams=st.sampled_from([1, 8, 64]),
    window=st.integers(1, 10**5),
)
def test_bounds_hold_for_any_set(
    samples: int, sample_bytes: float, streams: int, window: int
) -> None:
    images = ImageSet(samples=samples, sample_bytes=sample_bytes, images_per_cpu_second=100)
    found = layout(images, images_per_second=1e3, streams=streams, shuffle_window=window)
    assert (found.shards - 1) * found.samples_per_shard < samples
    assert found.shards * found.samples_per_shard >= samples
    assert found.samples_per_shard * sample_bytes <= 1024 * MIB or found.samples_per_shard == 1
    assert found.shards >= min(samples, 4 * streams)
    assert found.cache_bytes <= images.bytes
    if found.shards > max(11_500, 5 * streams):  # then only because they are as large as may be
        assert found.samples_per_shard * sample_bytes > 0.9 * 1024 * MIB
    assert found.ingest_cpus == 10


def test_a_set_that_is_neither_small_nor_huge_has_shards_of_256_mb() -> None:
    images = ImageSet(samples=10**7, sample_bytes=100e3, images_per_cpu_second=287)
    found = layout(images, images_per_second=1000, streams=8, shuffle_window=4096)
    assert (found.samples_per_shard, found.shards) == (2600, 3847)
    assert found.cache_bytes == 2 * 8 * 4096 * 100_000
    assert found.ingest_cpus == 4


def test_a_small_set_has_four_shards_a_stream_and_lies_in_the_cache_as_a_whole() -> None:
    images = ImageSet(samples=10**5, sample_bytes=1000, images_per_cpu_second=7000)
    found = layout(images, images_per_second=1000, streams=8, shuffle_window=10**5)
    assert (found.samples_per_shard, found.shards) == (3100, 33)
    assert found.cache_bytes == images.bytes
    assert found.ingest_cpus == 1
