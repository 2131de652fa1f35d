"""Reading speed from an object store 30 ms away, against the same shards on this disk.

    python benchmarks/remote.py --json

A real S3 server on loopback stands behind a proxy that holds every request back for 30 ms. The
node-local cache starts empty, so that every byte is fetched.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

_BATCH, _STREAMS = 64, 4


def main(
    json_: Annotated[bool, typer.Option("--json", help="End with a JSON line on stdout.")] = False,
    latency: Annotated[float, typer.Option(help="Seconds added to each request.")] = 0.03,
    photographs: Annotated[int, typer.Option(help="JPEGs of 500 x 375 pixels.")] = 1024,
    repeats: Annotated[int, typer.Option(min=1, help="Epochs read from each.")] = 2,
) -> None:
    """Read epochs from the disk and from the store in turn, with threads of this process."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}
    from ingest_data import build_workloads

    with tempfile.TemporaryDirectory() as folder:
        local = build_workloads(Path(folder), photographs=photographs, cliparts=8)[0].images.shards
        with _store(latency) as options:
            remote = f"s3://bench/shards?{options}"
            _upload(local, remote)
            rates: dict[str, list[float]] = {"local": [], "remote": []}
            for attempt in range(repeats):
                rates["local"].append(_epoch(str(local)))
                tempfile.tempdir = f"{folder}/{attempt}"  # where the cache goes: a new one
                Path(tempfile.tempdir).mkdir()
                with _counted() as fetched:
                    rates["remote"].append(_epoch(remote))
        size = sum(path.stat().st_size for path in local.glob("*.tar"))
    medians = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    report = {
        "latency": latency,
        "photographs": photographs,
        "images_per_s": medians,
        "ratio_local": round(medians["remote"] / medians["local"], 3),
        "bytes_ratio": round(sum(fetched) / size, 3),
        "requests": len(fetched),
        "mean_request_bytes": round(statistics.mean(fetched)),
    }
    for name, value in report.items():
        print(f"{name:20} {value}", file=sys.stderr)
    if json_:
        print(json.dumps(report))


def _epoch(location: str) -> float:
    """Images a second over an epoch of two 224 px crops."""
    from pipeline.data.assemble import BatchAssembler, Cursor
    from pipeline.data.ingest import batches_per_slice, inline
    from pipeline.data.manifest import load_manifest
    from pipeline.data.slice_reader import SliceReader
    from pipeline.data.streams import StreamPlan, slices
    from pipeline.views.parameters import ImageViews

    plan = StreamPlan(
        seed=0,
        samples=load_manifest(location).samples,
        streams=_STREAMS,
        global_batch=_BATCH,
        shuffle_window=256,
    )
    reader = SliceReader(
        manifests=(location,), plan=plan, views=ImageViews(size=224, jitter=0.0, grayscale=0.0)
    )
    cursors = {stream: Cursor() for stream in range(_STREAMS)}
    steps = plan.steps_per_epoch
    pieces = slices(
        plan,
        positions=dict.fromkeys(cursors, 0),
        step=0,
        total_steps=steps,
        batches_per_slice=batches_per_slice(local_batch=_BATCH, row_bytes=reader.views.row_bytes),
    )
    started = time.perf_counter()
    assembler = BatchAssembler(reader, cursors=cursors, step=0, total_steps=steps)
    for _ in assembler.batches(inline(reader, pieces, cpus=len(os.sched_getaffinity(0)))):
        pass
    return steps * _BATCH / (time.perf_counter() - started)


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
def _store(latency: float) -> Iterator[str]:
    """An S3 server with a bucket `bench` behind a slow proxy; options of a URI on it."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client: Any = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
    client.create_bucket(Bucket="bench")
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    proxy = asyncio.run_coroutine_threadsafe(_proxy(host, port, latency), loop).result()
    try:
        yield f"endpoint_override={host}:{proxy}&scheme=http&region=us-east-1"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        server.stop()


async def _proxy(host: str, port: int, latency: float) -> int:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(_pump(reader, up_writer, latency), _pump(up_reader, writer, 0.0))

    server = await asyncio.start_server(serve, host, 0)
    return int(server.sockets[0].getsockname()[1])


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, latency: float) -> None:
    try:
        while data := await reader.read(1 << 20):
            await asyncio.sleep(latency)
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


if __name__ == "__main__":
    typer.run(main)
