"""One contender's measurement in a process of its own: `python -m benchmarks.embedding.contenders`.

All decode the same tars and run the same encoder, 128 images at a time, in two processes or threads
that encode and one that reads; ours also writes Parquet.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.shared.processes import cpu_seconds

ENCODERS = 2
BATCH = 128

Contender = Callable[[Path, Path], Iterator[int]]  # (encoder, shards) -> images done, as they are


def ours(encoder: Path, shards: Path) -> Iterator[int]:
    from pipeline.data.sources.manifest import load_manifest
    from pipeline.embedding.fetching import fetched
    from pipeline.embedding.ranges import Ranges, samples_per_range
    from pipeline.embedding.reading import RangeReader
    from pipeline.embedding.shares import Shares
    from pipeline.embedding.stages import embedded
    from pipeline.embedding.writing import RangeWriter

    start_ray()
    shipped = fetched(str(encoder), kind=None, tracking_uri=None)
    _, given = shipped.facts()
    size = shipped.load().config.preprocessing.size
    ranges = Ranges(load_manifest(shards).boundaries(), samples_per_range(size))
    with tempfile.TemporaryDirectory() as folder:
        done = embedded(
            RangeReader(shards=str(shards), size=size),
            shipped,
            RangeWriter(shards=str(shards), destination=folder, dtype="float16", width=given.width),
            ranges=ranges,
            due=ranges.missing([]),
            shares=Shares.of_cluster(ENCODERS),
        )
        for part in done:
            yield part.samples


def ray_stock(encoder: Path, shards: Path) -> Iterator[int]:
    import numpy as np
    import ray
    import torch
    from PIL import Image

    import pipeline

    start_ray()

    class Encoder:
        def __init__(self) -> None:
            torch.set_num_threads(1)
            self.encoder = pipeline.load_encoder(encoder)

        def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            with torch.inference_mode():
                images = torch.from_numpy(np.stack(batch["image"]).copy())
                return {"vector": self.encoder(images).numpy().astype(np.float16)}

    prepared = pipeline.load_encoder(encoder)
    suffix = "png" if any(b".png" in head(path) for path in tars(shards)) else "jpg"

    def prepare(row: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"image": prepared.preprocess([Image.fromarray(row[suffix])])[0].numpy()}

    rows = ray.data.read_webdataset(tars(shards), num_cpus=0.4)
    vectors = rows.map(prepare, num_cpus=0.4).map_batches(
        Encoder,
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=ENCODERS),
        num_cpus=0.6,
    )
    for batch in vectors.iter_batches(batch_size=None):
        yield len(batch["vector"])


def data_loader(encoder: Path, shards: Path) -> Iterator[int]:
    import torch
    import webdataset as wds

    import pipeline

    torch.set_num_threads(ENCODERS)
    loaded = pipeline.load_encoder(encoder)
    data = (
        wds.WebDataset(tars(shards), shardshuffle=False, empty_check=False)
        .decode("pil")
        .to_tuple("png;jpg")
        .map_tuple(lambda image: loaded.preprocess([image])[0])
        .batched(BATCH)
    )
    with torch.inference_mode():
        for (images,) in torch.utils.data.DataLoader(data, batch_size=None, num_workers=1):
            yield len(loaded(images).half().numpy())


def start_ray() -> None:
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def tars(shards: Path) -> list[str]:
    return sorted(map(str, shards.glob("*.tar")))


def head(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(2048)


CONTENDERS: dict[str, Contender] = {
    "ours": ours,
    "ray_stock": ray_stock,
    "data_loader": data_loader,
}


def measure(contender: Contender, encoder: Path, shards: Path, *, skip: int) -> dict[str, float]:
    """Throughput from the first `skip` images to the last, and CPU time of the whole tree."""
    seen = 0
    marks: list[tuple[int, float, float]] = []  # images, seconds, CPU seconds
    for count in contender(encoder, shards):
        seen += count
        if seen >= skip:  # at each, since workers' CPU time is lost when they end
            marks.append((seen, time.perf_counter(), cpu_seconds(os.getpid())))
    images, seconds, cpu = (last - first for first, last in zip(marks[0], marks[-1], strict=True))
    return {"images_per_s": images / seconds, "cpu_ms_per_image": cpu / images * 1e3}


if __name__ == "__main__":
    name, encoder_folder, shards_folder, skipped = sys.argv[1:]
    result = measure(CONTENDERS[name], Path(encoder_folder), Path(shards_folder), skip=int(skipped))
    print(json.dumps(result))
