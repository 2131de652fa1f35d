"""The trace survives kills: joined, each step appears once, as the start that counted served it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline import collectives
from pipeline.data.reading.assemble import Batch
from pipeline.runs.trace import TRACE_SCHEMA, Trace, join_trace

pytestmark = pytest.mark.fast

Start = Callable[..., None]


def share(step: int, rank: int, ranks: int, salt: int = 0) -> Batch:
    """A rank's share of a step: two samples of each of its streams, of four in all."""
    streams = range(rank * 4 // ranks, (rank + 1) * 4 // ranks)
    stream = np.repeat(np.array(streams, dtype=np.int32), 2)
    position = np.tile([2 * step, 2 * step + 1], len(streams))
    sample_id = 1000 * stream.astype(np.int64) + position + salt
    views = np.broadcast_to(sample_id[:, None, None, None, None] % 251, (len(stream), 2, 3, 3, 3))
    return Batch(
        epoch=step // 5,
        stream=stream,
        position=position,
        sample_id=sample_id,
        views=(np.array(views, dtype=np.uint8),),
    )


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Lets every rank of one start of a run trace steps `first` … `last`."""
    starts = iter(range(9))

    def run(first: int, last: int, *, ranks: int, every: int = 2, salt: int = 0) -> None:
        number = next(starts)
        for rank in range(ranks):
            monkeypatch.setattr(collectives, "rank", lambda rank=rank: rank)
            monkeypatch.setattr(collectives, "world_size", lambda: ranks)
            # Ranks come one after the other here, so the later ones would count the first's file.
            monkeypatch.setattr(collectives, "gather_json", lambda _: [number])
            trace = Trace(str(tmp_path / "trace"))
            for step in range(first, last + 1):
                trace.add(step, share(step, rank, ranks, salt))
                if step % every == 0:
                    trace.flush()

    return run


def joined(folder: Path) -> list[dict[str, Any]]:
    join_trace(str(folder / "trace"), folder / "trace.parquet")
    table = pq.read_table(folder / "trace.parquet")
    assert table.schema == TRACE_SCHEMA
    assert sorted(path.name for path in folder.iterdir()) == ["trace", "trace.parquet"]
    return table.to_pylist()


def served(rows: list[dict[str, Any]]) -> list[tuple[int, int, int, int]]:
    return [(r["step"], r["stream"], r["position"], r["sample_id"]) for r in rows]


def expected(first: int, last: int, salt: int = 0) -> list[tuple[int, int, int, int]]:
    return [
        (step, *row)
        for step in range(first, last + 1)
        for batch in [share(step, 0, 1, salt)]
        for row in zip(
            *(c.tolist() for c in (batch.stream, batch.position, batch.sample_id)), strict=True
        )
    ]


def test_rows_say_where_a_sample_went_and_what_its_views_were(tmp_path: Path, start: Start) -> None:
    start(1, 6, ranks=2)
    rows = joined(tmp_path)
    assert served(rows) == expected(1, 6)
    assert [row["rank"] for row in rows] == [0, 0, 0, 0, 1, 1, 1, 1] * 6
    assert [row["epoch"] for row in rows] == [0] * 8 * 4 + [1] * 8 * 2
    (row,) = (row for row in rows if row["sample_id"] == 3004)
    view = hashlib.blake2b(bytes([3004 % 251] * 27), digest_size=8).digest()
    assert row["view_checksums"] == [int.from_bytes(view, "little")] * 2


def test_repeated_steps_are_those_of_the_last_start_whatever_the_ranks(
    tmp_path: Path, start: Start
) -> None:
    start(1, 8, ranks=2)
    start(5, 10, ranks=4, salt=100)
    start(9, 10, ranks=1, salt=200)
    start(11, 10, ranks=1)
    assert served(joined(tmp_path)) == expected(1, 4) + expected(5, 8, 100) + expected(9, 10, 200)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("kept", [0, 1, 3])
def test_what_a_killed_rank_did_not_write_ends_the_start_for_all(
    tmp_path: Path, start: Start, kept: int, rank: int
) -> None:
    start(1, 8, ranks=2)
    for path in sorted((tmp_path / "trace").glob(f"*-rank-0000{rank}-*"))[kept:]:
        path.unlink()
    assert served(joined(tmp_path)) == expected(1, 2 * kept)
    start(2 * kept + 1, 10, ranks=2)
    assert served(joined(tmp_path)) == expected(1, 10)


def test_what_was_not_flushed_is_not_there(tmp_path: Path, start: Start) -> None:
    start(1, 7, ranks=1, every=5)
    assert served(joined(tmp_path)) == expected(1, 5)


def test_a_start_takes_the_next_number(tmp_path: Path) -> None:
    for step in range(2):
        trace = Trace(str(tmp_path / "trace"))
        trace.add(step, share(step, 0, 1))
        trace.flush()
    assert [path.name for path in sorted((tmp_path / "trace").iterdir())] == [
        "start-000000-part-000000-rank-00000-of-00001.arrow",
        "start-000001-part-000000-rank-00000-of-00001.arrow",
    ]
