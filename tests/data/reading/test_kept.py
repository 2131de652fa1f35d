"""Columns that were kept come by sample id, of several manifests, in any order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.order.corpus import SOURCE_STRIDE, load_corpus
from pipeline.data.reading.kept import kept_fields, with_kept
from pipeline.data.sources.convert import shard
from pipeline.data.sources.manifest import load_manifest
from pipeline.runs.trace import TRACE_SCHEMA, join_trace
from tests.data.sources.conversion.pictures import contents, picture

pytestmark = pytest.mark.fast


def shards(folder: Path, name: str, **columns: list[str]) -> str:
    images = [picture(number) for number in range(9)]
    pq.write_table(pa.table({"image": images, **columns}), folder / f"{name}.parquet")
    shard(folder / f"{name}.parquet", folder / name, keep=tuple(columns), samples_per_shard=4)
    return str(folder / name)


@pytest.fixture
def manifests(tmp_path: Path) -> tuple[str, str]:
    who = [f"p{number}" for number in range(9)]
    return (
        shards(tmp_path, "one", patient=who),
        shards(tmp_path, "two", patient=who[::-1], ward=list("abcabcabc")),
    )


def test_what_was_kept_follows_the_ids(manifests: tuple[str, str]) -> None:
    corpus = load_corpus(manifests)
    assert [field.name for field in kept_fields(corpus)] == ["kept.patient", "kept.ward"]
    ids = np.array([8, 0, SOURCE_STRIDE + 3, 4, SOURCE_STRIDE, 4])
    found = with_kept(pa.table({"sample_id": ids, "x": range(6)}), corpus).to_pylist()
    for sample_id, row in zip(ids.tolist(), found, strict=True):
        source, number = divmod(sample_id, SOURCE_STRIDE)
        manifest = load_manifest(manifests[source])
        part = next(p for p in manifest.shards if p.first_id <= number < p.first_id + p.samples)
        key = pq.read_table(Path(manifests[source], part.index_path))["key"]
        kept = contents(manifests[source])[key[number - part.first_id].as_py()].kept
        assert row["kept.patient"] == kept[0]
        assert row["kept.ward"] == (kept[1] if source else None)


def test_a_trace_has_what_was_kept(manifests: tuple[str, str], tmp_path: Path) -> None:
    rows = [
        {"step": 1, "epoch": 0, "rank": 0, "stream": 0, "position": at, "sample_id": at}
        for at in range(3)
    ]
    table = pa.Table.from_pylist([row | {"view_checksums": [1]} for row in rows], TRACE_SCHEMA)
    (tmp_path / "trace").mkdir()
    name = "start-000000-part-000000-rank-00000-of-00001.arrow"
    with pa.ipc.new_file(tmp_path / "trace" / name, TRACE_SCHEMA) as writer:
        writer.write_table(table)
    join_trace(str(tmp_path / "trace"), tmp_path / "t.parquet", load_corpus(manifests))
    joined = pq.read_table(tmp_path / "t.parquet")
    assert joined.schema.names == [*TRACE_SCHEMA.names, "kept.patient", "kept.ward"]
    assert joined["kept.patient"].null_count == 0
    assert joined["kept.ward"].null_count == 3
