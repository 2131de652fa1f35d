"""A corpus cut into ranges: every sample once, whatever the shards' sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.embedding.ranges import BATCH, Ranges, samples_per_range
from pipeline.embedding.shares import _largest_share

pytestmark = pytest.mark.fast

sizes = st.lists(st.integers(1, 50), min_size=1, max_size=8)


@given(sizes, st.integers(1, 20))
def test_ranges_hold_every_sample_once_in_order(shards: list[int], samples: int) -> None:
    boundaries = np.concatenate([[0], np.cumsum(shards)]).astype(np.int64)
    ranges = Ranges(boundaries, samples)
    parts = [ranges[number] for number in range(len(ranges))]
    ids = [
        i for p in parts for i in range(boundaries[p.shard] + p.start, boundaries[p.shard] + p.stop)
    ]
    assert ids == list(range(sum(shards)))
    assert all(0 < part.stop - part.start <= samples for part in parts)
    assert [part.number for part in parts] == list(range(len(parts)))
    assert sorted(part.file for part in parts) == [part.file for part in parts]
    assert ranges.count(np.arange(len(ranges))) == sum(shards)


@given(sizes, st.integers(1, 20), st.randoms())
def test_what_is_missing_is_what_is_not_among_the_files(
    shards: list[int], samples: int, chance: np.random.Generator
) -> None:
    ranges = Ranges(np.concatenate([[0], np.cumsum(shards)]).astype(np.int64), samples)
    there = {number for number in range(len(ranges)) if chance.random() < 0.5}
    others = ["000000-000000000.parquet.partial", "999999-000000000.parquet", "x.parquet"]
    missing = ranges.missing([*(ranges[number].file for number in there), *others])
    assert set(missing.tolist()) == set(range(len(ranges))) - there
    assert ranges.count(missing) == sum(ranges[int(n)].stop - ranges[int(n)].start for n in missing)


@pytest.mark.parametrize(("size", "samples"), [(32, 4096), (224, 768), (384, 256), (4096, 128)])
def test_a_range_is_whole_batches_within_128_mib(size: int, samples: int) -> None:
    assert samples_per_range(size) == samples
    assert samples % BATCH == 0
    assert samples == BATCH or samples * size * size * 3 <= 128 << 20


@given(st.lists(st.integers(1, 64), min_size=1, max_size=6), st.integers(1, 100))
def test_all_claims_fit_on_the_nodes(cpus: list[int], claims: int) -> None:
    share = _largest_share([float(have) for have in cpus], claims)
    assert 0 < share <= 1
    assert sum(int(have / share + 1e-9) for have in cpus) >= claims
