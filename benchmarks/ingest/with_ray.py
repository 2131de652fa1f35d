"""Contenders of this project, under both ingests, and Ray Data as a user would first write it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import ray
import torch
from ray.data import DataContext
from ray.data._internal.execution.backpressure_policy import (
    ENABLED_BACKPRESSURE_POLICIES,
    ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY,
)

from benchmarks.ingest.data import Workload
from benchmarks.ingest.with_torch import fastest_views
from pipeline.data.config import DEFAULT_READ_AHEAD_BYTES
from pipeline.data.order.slices import slices
from pipeline.data.order.streams import StreamPlan
from pipeline.data.reading.ahead import reading_ahead
from pipeline.data.reading.assemble import BatchAssembler
from pipeline.data.reading.cursor import Cursor
from pipeline.data.reading.ingest import Ingest, inline
from pipeline.data.reading.ray_ingest import ray_data
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.data.sources.manifest import load_manifest
from pipeline.views.parameters import ImageViews

_ENDLESS = 10**6  # batches, or shards; nobody takes as many
STREAMS = 8
_SHARDS_AHEAD = 400


def _views(workload: Workload, *, antialias: bool) -> ImageViews:
    return ImageViews(
        size=workload.size,
        crop_scale=(0.2, 1.0),
        antialias=antialias,
        jitter=workload.jitter if workload.full else 0.0,
        grayscale=0.2 if workload.full else 0.0,
        blur=0.5 if workload.full else 0.0,
    )


def ours(workload: Workload, cpus: int, ingest: Ingest, *, antialias: bool = True) -> Iterator[int]:
    """Sizes of batches of this project's slices, read by an ingest."""
    shards = str(workload.images.shards)
    plan = StreamPlan(
        seed=0,
        samples=load_manifest(shards).samples,
        streams=STREAMS,
        global_batch=workload.batch,
        shuffle_window=4096,
    )
    reader = SliceReader(
        manifests=(shards,), plan=plan, views=_views(workload, antialias=antialias)
    )
    cursors = {stream: Cursor() for stream in plan.streams_of(0, 1)}
    pieces = slices(
        plan,
        positions=dict.fromkeys(cursors, 0),
        step=0,
        total_steps=_ENDLESS,
        per_stream=reading_ahead(
            streams=plan.streams,
            per_batch=plan.per_batch,
            row_bytes=reader.views.row_bytes,
            cpus=cpus,
            at_most=DEFAULT_READ_AHEAD_BYTES,
        ).per_stream,
    )
    assembler = BatchAssembler(reader, cursors=cursors, step=0, total_steps=_ENDLESS)
    for batch in assembler.batches(ingest(reader, pieces, cpus=cpus)):
        yield len(torch.from_numpy(batch.views[0]))


def ours_ray(workload: Workload, cpus: int) -> Iterator[int]:
    """Sizes of batches of this project's ingest on Ray Data."""
    return ours(workload, cpus, ray_data)


def ours_ray_bilinear(workload: Workload, cpus: int) -> Iterator[int]:
    """The same with `views.antialias=false`."""
    return ours(workload, cpus, ray_data, antialias=False)


def ours_inline(workload: Workload, cpus: int) -> Iterator[int]:
    """Sizes of batches of this project's ingest in threads of one process."""
    return ours(workload, cpus, inline)


class _MapBatch:
    """Decodes and transforms a batch of rows of `read_webdataset`."""

    def __init__(self, workload: Workload) -> None:
        self._column = workload.images.files[0].suffix[1:]
        self._views = fastest_views(workload)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"views": np.stack([self._views(data).numpy() for data in batch[self._column]])}


def ray_stock(workload: Workload, cpus: int) -> Iterator[int]:
    """Sizes of batches of `read_webdataset`, `map_batches` and `iter_torch_batches`.

    Decoded in `map_batches`, which is nearly twice as fast as the reader's own decoder.
    """
    context = DataContext.get_current()
    context.enable_progress_bars = False
    # What ours set in this process is put back.
    context.execution_options.preserve_order = False
    context.set_config(ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, ENABLED_BACKPRESSURE_POLICIES)
    tars = workload.images.tars
    paths = tars * (_SHARDS_AHEAD // len(tars))
    while True:
        dataset = ray.data.read_webdataset(
            paths, decoder=None, override_num_blocks=len(paths)
        ).map_batches(_MapBatch(workload), batch_size=workload.batch)
        for batch in dataset.iter_torch_batches(batch_size=workload.batch, prefetch_batches=2):
            yield len(batch["views"])
