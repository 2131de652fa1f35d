"""Reading speed from an object store 30 ms away, against the same shards on this disk.

    python -m benchmarks.remote --json

A real S3 server on loopback stands behind a proxy that holds every request back for 30 ms, both in
a process of their own. The node-local cache starts empty, so that every byte is fetched. The server
runs on the same cores, and what it takes of them is printed: a real one would not.
"""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import typer

_CHUNK = 4 << 20
_BATCH, _STREAMS, _WINDOW = 64, 2, 1024


def main(
    json_: Annotated[bool, typer.Option("--json", help="End with a JSON line on stdout.")] = False,
    latency: Annotated[float, typer.Option(help="Seconds added to each request.")] = 0.03,
    photographs: Annotated[int, typer.Option(help="JPEGs of 500 x 375 pixels.")] = 8192,
    repeats: Annotated[int, typer.Option(min=1, help="Epochs read from each.")] = 2,
) -> None:
    """Read epochs from the disk and from the store in turn, with threads of this process."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}
    from benchmarks.ingest.data import build_workloads
    from benchmarks.shared.processes import cpu_seconds

    with tempfile.TemporaryDirectory() as folder:
        local = build_workloads(
            Path(folder), photographs=photographs, cliparts=8, photographs_per_shard=512
        )[0].images.shards
        with _store(latency) as (options, store_pid):
            remote = f"s3://bench/shards?{options}"
            _upload(local, remote)
            runs: dict[str, list[_Epoch]] = {"local": [], "remote": []}
            shares: list[float] = []
            for attempt in range(repeats):
                runs["local"].append(_epoch(str(local)))
                tempfile.tempdir = f"{folder}/{attempt}"  # where the cache goes: a new one
                Path(tempfile.tempdir).mkdir()
                cpu, started = cpu_seconds(store_pid), time.perf_counter()
                with _counted() as fetched:
                    runs["remote"].append(_epoch(remote))
                available = (time.perf_counter() - started) * len(os.sched_getaffinity(0))
                shares.append((cpu_seconds(store_pid) - cpu) / available)
        size = sum(path.stat().st_size for path in local.glob("*.tar"))
    rates = {
        name: round(statistics.median(epoch.images_per_s for epoch in epochs), 1)
        for name, epochs in runs.items()
    }
    report = {
        "latency": latency,
        "photographs": photographs,
        "seconds_to_first_batch": {
            name: round(statistics.median(epoch.first_batch for epoch in epochs), 2)
            for name, epochs in runs.items()
        },
        "images_per_s": rates,
        "ratio_local": round(rates["remote"] / rates["local"], 3),
        "cores_share_of_the_store": round(statistics.median(shares), 3),
        "bytes_ratio": round(sum(fetched) / size, 3),
        "requests": len(fetched),
        "mean_request_bytes": round(statistics.mean(fetched)),
    }
    for name, value in report.items():
        print(f"{name:20} {value}", file=sys.stderr)
    if json_:
        print(json.dumps(report))


@dataclass(frozen=True, kw_only=True)
class _Epoch:
    first_batch: float  # seconds
    images_per_s: float  # from then on


def _epoch(location: str) -> _Epoch:
    """An epoch of two 224 px crops."""
    from pipeline.data.config import DEFAULT_READ_AHEAD_BYTES
    from pipeline.data.order.slices import slices
    from pipeline.data.order.streams import StreamPlan
    from pipeline.data.reading.ahead import reading_ahead
    from pipeline.data.reading.assemble import BatchAssembler
    from pipeline.data.reading.cursor import Cursor
    from pipeline.data.reading.ingest import inline
    from pipeline.data.reading.slice_reader import SliceReader
    from pipeline.data.sources.manifest import load_manifest
    from pipeline.views.parameters import ImageViews

    plan = StreamPlan(
        seed=0,
        samples=load_manifest(location).samples,
        streams=_STREAMS,
        global_batch=_BATCH,
        shuffle_window=_WINDOW,
    )
    reader = SliceReader(
        manifests=(location,), plan=plan, views=ImageViews(size=224, jitter=0.0, grayscale=0.0)
    )
    cursors = {stream: Cursor() for stream in range(_STREAMS)}
    steps, cpus = plan.steps_per_epoch, len(os.sched_getaffinity(0))
    ahead = reading_ahead(
        streams=_STREAMS,
        per_batch=plan.per_batch,
        row_bytes=reader.views.row_bytes,
        cpus=cpus,
        at_most=DEFAULT_READ_AHEAD_BYTES,
    )
    pieces = slices(
        plan,
        positions=dict.fromkeys(cursors, 0),
        step=0,
        total_steps=steps,
        per_stream=ahead.per_stream,
    )
    started = time.perf_counter()
    assembler = BatchAssembler(reader, cursors=cursors, step=0, total_steps=steps)
    batches = assembler.batches(inline(reader, pieces, cpus=cpus))
    next(batches)
    first = time.perf_counter()
    for _ in batches:
        pass
    return _Epoch(
        first_batch=first - started,
        images_per_s=(steps - 1) * _BATCH / (time.perf_counter() - first),
    )


@contextmanager
def _counted() -> Iterator[list[int]]:
    """Bytes of each ranged request while the body runs."""
    from pipeline.data import storage

    sizes: list[int] = []
    read_range = storage.read_range

    def counted(location: str, start: int, stop: int) -> bytes:
        data = read_range(location, start, stop)
        sizes.append(len(data))
        return data

    storage.read_range = counted
    try:
        yield sizes
    finally:
        storage.read_range = read_range


def _upload(folder: Path, location: str) -> None:
    from pipeline.data import storage

    for file in folder.iterdir():
        if file.is_file():
            storage.write_file(storage.join(location, file.name), file.read_bytes())


@contextmanager
def _store(latency: float) -> Iterator[tuple[str, int]]:
    """An S3 server with a bucket `bench` behind a slow proxy; options of a URI on it, its pid."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(latency, theirs), daemon=True)
    process.start()
    try:
        options = f"endpoint_override=127.0.0.1:{ours.recv()}&scheme=http&region=us-east-1"
        yield options, int(process.pid or 0)
    finally:
        process.terminate()
        process.join()


def _serve(latency: float, parent: Connection) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with suppress(PermissionError):
        os.nice(-10)  # or each of its many short turns would wait for a core that decodes
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client: Any = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
    client.create_bucket(Bucket="bench")
    loop = asyncio.new_event_loop()
    parent.send(loop.run_until_complete(_proxy(host, port, latency)))
    loop.run_forever()


async def _proxy(host: str, port: int, latency: float) -> int:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(host, port, limit=_CHUNK)
        await asyncio.gather(_pump(reader, up_writer, latency), _pump(up_reader, writer, 0.0))

    server = await asyncio.start_server(serve, host, 0, limit=_CHUNK)
    return int(server.sockets[0].getsockname()[1])


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, latency: float) -> None:
    try:
        while data := await reader.read(_CHUNK):
            await asyncio.sleep(latency)
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


if __name__ == "__main__":
    typer.run(main)
