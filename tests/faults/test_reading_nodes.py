"""Four nodes that read, each with a cache of its own: what they fetch, and what a lost one costs.

Raylets of one machine share its temporary folder, so each is given one.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from pipeline.data import storage
from pipeline.data.order.slices import slices
from pipeline.data.order.streams import StreamPlan
from pipeline.data.reading.activity import Activity
from pipeline.data.reading.assemble import BatchAssembler
from pipeline.data.reading.cursor import Cursor
from pipeline.data.reading.ingest import Ingest, inline
from pipeline.data.reading.ray_ingest import ray_data
from pipeline.data.reading.reading_nodes import divided, reading_nodes
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.views.parameters import ImageViews

RANKS = 4
STREAMS = 8
EPOCHS = 2
PLAN = StreamPlan(seed=4, samples=240, streams=STREAMS, global_batch=48, shuffle_window=10)
STEPS = EPOCHS * PLAN.steps_per_epoch
VIEWS = ImageViews(size=16)


@dataclass
class FourNodes:
    """Trainers' node with a CPU for each, and four that read, with two."""

    cluster: Cluster
    trainers: str
    readers: list[Any]
    folders: list[Path]

    def fetched(self) -> list[int]:
        """Bytes that each node's cache has fetched."""
        return [
            sum(
                stop - start
                for notes in folder.glob("shard-cache-*/*.json")
                for start, stop in json.loads(notes.read_text())
            )
            for folder in self.folders
        ]


@pytest.fixture
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FourNodes]:
    def folder() -> Path:
        return Path(tempfile.mkdtemp(prefix="node-", dir="/tmp"))

    folders = [folder() for _ in range(RANKS + 1)]
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        added = [
            cluster.add_node(num_cpus=count, env_vars={"TMPDIR": str(place)})
            for count, place in zip([RANKS, 2, 2, 2, 2], folders, strict=True)
        ]
        ray.init(address=cluster.address, log_to_driver=False)
        yield FourNodes(cluster, added[0].node_id, added[1:], folders)
    finally:
        ray.shutdown()
        cluster.shutdown()


@ray.remote(num_cpus=1)
class Rank:
    """Reads its share, and says what it got."""

    def __init__(self, location: str, rank: int) -> None:
        self._location = location
        self._rank = rank
        self._activity = Activity()
        self._served: list[str] = []

    def home(self) -> str:
        return str(ray.get_runtime_context().get_node_id())

    def begin(self, homes: list[str] | None) -> int:
        """Take a batch, of readers beside it, or of those that ranks at some homes have."""
        nodes = None
        if homes is not None:
            has = {n["NodeID"]: n["Resources"].get("CPU", 0) for n in ray.nodes() if n["Alive"]}
            found = reading_nodes(has, homes, cpus=2, streams=STREAMS // RANKS)
            nodes = divided(PLAN.streams_of(self._rank, RANKS), found[self._rank])

        def read(*arguments: Any, **named: Any) -> Any:
            return ray_data(*arguments, **named, nodes=nodes, activity=self._activity)

        self._batches = batches(self._location, self._rank, read)
        return self.take(1)

    def take(self, count: int | None) -> int:
        for batch in self._batches:
            self._served.append(digest(batch))
            if len(self._served) == count:
                break
        return len(self._served)

    def served(self) -> tuple[list[str], int]:
        return self._served, self._activity.bytes_from_other_nodes


def batches(location: str, rank: int, read: Ingest) -> Iterator[Any]:
    reader = SliceReader(manifests=(location,), plan=PLAN, views=VIEWS)
    cursors = {stream: Cursor() for stream in PLAN.streams_of(rank, RANKS)}
    pieces = slices(
        PLAN,
        positions=dict.fromkeys(cursors, 0),
        step=0,
        total_steps=STEPS,
        per_stream=PLAN.per_batch,
    )
    assembler = BatchAssembler(reader, cursors=cursors, step=0, total_steps=STEPS)
    return assembler.batches(read(reader, pieces, cpus=1))


def digest(batch: Any) -> str:
    return hashlib.sha256(batch.sample_id.tobytes() + batch.views[0].tobytes()).hexdigest()


def on(node: str) -> dict[str, Any]:
    return {"label_selector": {"ray.io/node-id": node}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "lost"), [("beside", False), ("anywhere", False), ("anywhere", True)]
)
def test_nodes_fetch_the_data_once_together(
    where: str,
    lost: bool,
    nodes: FourNodes,
    shards: Path,
    object_store: str,
    report: Callable[[str], None],
) -> None:
    location = f"s3://data/four-nodes?{object_store}"
    for file in shards.iterdir():
        storage.write_file(storage.join(location, file.name), file.read_bytes())
    data = sum(file.stat().st_size for file in shards.glob("*.tar"))
    if where == "beside":
        homes = [node.node_id for node in nodes.readers]
    else:
        homes = [nodes.trainers] * RANKS
    ranks = [Rank.options(**on(home)).remote(location, rank) for rank, home in enumerate(homes)]
    assert ray.get([rank.home.remote() for rank in ranks]) == homes
    begun = [rank.begin.remote(None if where == "beside" else homes) for rank in ranks]
    assert ray.get(begun) == [1] * RANKS
    if lost:
        nodes.cluster.remove_node(nodes.readers[2], allow_graceful=False)
    started = time.monotonic()
    assert ray.get([rank.take.remote(None) for rank in ranks]) == [STEPS] * RANKS
    seconds = time.monotonic() - started
    expected = [
        [digest(batch) for batch in batches(str(shards), rank, inline)] for rank in range(RANKS)
    ]
    served = ray.get([rank.served.remote() for rank in ranks])
    assert [digests for digests, _ in served] == expected
    from_others = sum(count for _, count in served)
    fetched = nodes.fetched()
    report(f"{where}, {lost=}: fetched {sum(fetched) / data:.2f} of {data} bytes, {seconds:.0f} s")
    if where == "beside":
        assert from_others == 0
        assert fetched[0] == 0
    else:
        assert from_others == STEPS * PLAN.global_batch * VIEWS.row_bytes
    # A lost node's share is fetched by others, once.
    assert sum(fetched) <= (1.2 + 0.3 * lost) * data, fetched


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    def tell(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}")

    return tell
