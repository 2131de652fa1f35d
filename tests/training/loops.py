"""Training loops in this process, without Ray."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from pipeline.data.order.slices import Slice
from pipeline.data.reading import ingest
from pipeline.data.reading.activity import Activity
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.recipe import Recipe
from pipeline.runs.folder import RunFolder
from pipeline.runs.trace import join_trace
from pipeline.training.loop import TrainingLoop


def recipe_for(shards: Path, **settings: Any) -> Recipe:
    train = {
        "steps": 25,
        "global_batch": 24,
        "log_every": 5,
        "checkpoint": {"every_steps": 4},
        **settings.pop("train", {}),
    }
    return Recipe.model_validate(
        {
            "data": {"shards": str(shards), "streams": 4, "shuffle_window": 64},
            "views": settings.pop("views", {"size": 16}),
            "encoder": {"name": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8}},
            "objective": {"kind": "simclr", "projector": [16]},
            "train": train,
            **settings,
        }
    )


def loop_for(
    recipe: Recipe,
    path: Path,
    read: ingest.Ingest = ingest.inline,
    notice: Callable[[], bool] | None = None,
    halt: Callable[[], bool] | None = None,
) -> TrainingLoop:
    path.mkdir(exist_ok=True)
    return TrainingLoop(
        recipe=recipe,
        folder=RunFolder(str(path)),
        device=torch.device("cpu"),
        ingest=read,
        notice=notice,
        halt=halt,
    )


def serve_by_the_plain_loop(recipe: Recipe, folder: Path) -> None:
    """Train on one rank without Ray; what was served is in `trace.parquet`."""
    loop_for(recipe, folder / "plain").run()
    join_trace(RunFolder(str(folder / "plain")).trace, folder / "trace.parquet")


class Crash(Exception):
    """Stands for a machine that goes away."""


def crashing_after(count: int) -> ingest.Ingest:
    def read(
        reader: SliceReader,
        slices: Iterable[Slice],
        *,
        cpus: float,
        activity: Activity | None = None,
    ) -> Iterator[pa.Table]:
        tables = ingest.inline(reader, slices, cpus=cpus, activity=activity)
        for number, table in enumerate(tables):
            if number == count:
                raise Crash
            yield table

    return read


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def metrics_of(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (path / "journal.jsonl").open()]
    return [line for line in lines if line["kind"] == "metrics"]
