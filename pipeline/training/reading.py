"""A rank's batches of a run, from where its cursors stand; and an epoch's, for one's own loop."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from pipeline import collectives
from pipeline.data.order.slices import slices
from pipeline.data.order.streams import StreamPlan
from pipeline.data.reading.activity import Activity
from pipeline.data.reading.assemble import Batch, BatchAssembler
from pipeline.data.reading.cursor import Cursor
from pipeline.data.reading.ingest import Ingest, inline
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.encoders.backbone import build_backbone
from pipeline.encoders.transformers.patches import patch_grid
from pipeline.errors import UserError
from pipeline.learning.feed import Feed
from pipeline.learning.learner import LearnerBatch
from pipeline.planning.data_plan import checked_cut
from pipeline.planning.reading_plan import read_ahead
from pipeline.recipe import Recipe


def open_batches(
    recipe: Recipe,
    plan: StreamPlan,
    *,
    cursors: dict[int, Cursor],
    step: int,
    total_steps: int,
    ingest: Ingest,
    activity: Activity | None = None,
) -> tuple[BatchAssembler, Iterator[Batch]]:
    """Begin to read a rank's share of the batches from a step on.

    Args:
        recipe: of the run.
        plan: the cut of its data.
        cursors: of the rank's streams; they move as batches are taken.
        step: global batches already taken.
        total_steps: global batches of the whole run.
        ingest: runs the read tasks.
        activity: is told what they do.

    Returns:
        What sets bad samples aside and keeps the account, and its batches.
    """
    reader = SliceReader(
        manifests=recipe.data.with_absolute_paths().manifests,
        plan=plan,
        views=recipe.views,
        cache_bytes=recipe.data.cache_bytes,
    )
    assembler = BatchAssembler(
        reader,
        cursors=cursors,
        step=step,
        total_steps=total_steps,
        max_bad_fraction=recipe.data.max_bad_fraction,
    )
    pieces = slices(
        plan,
        positions={stream: cursor.position for stream, cursor in cursors.items()},
        step=step,
        total_steps=total_steps,
        per_stream=read_ahead(recipe, workers=collectives.world_size()).per_stream,
    )
    tables = ingest(reader, pieces, cpus=recipe.data.ingest_cpus, activity=activity)
    return assembler, assembler.batches(tables)


def batches(
    recipe: Recipe, epoch: int = 0, *, device: str | torch.device = "cpu"
) -> Iterator[LearnerBatch]:
    """The batches that a run of this recipe is served in an undisturbed epoch, read by threads.

    In a process group each rank gets its share, as in a run with so many workers.

    Args:
        recipe: see `load_recipe`.
        epoch: counted from 0.
        device: where the batches are to be.

    Returns:
        `train.global_batch` samples at a time (divided by the ranks), as a learner takes them:
        ids (B,) int64, views (B, V, S, S, 3) uint8, masks where an objective has them.

    Bad samples are set aside as in a run, and the next of their streams take their places; only a
    run keeps a ledger of them, and compares their number with `data.max_bad_fraction` exactly.

    Raises:
        UserError: the shards cannot be read, or cut for so many ranks, or far too many samples are
            bad.
    """
    plan = _checked(recipe)
    where = torch.device(device)
    first = epoch * plan.steps_per_epoch
    streams = plan.streams_of(collectives.rank(), collectives.world_size())
    _, read = open_batches(
        recipe,
        plan,
        cursors={stream: Cursor() for stream in streams},
        step=first,
        total_steps=first + plan.steps_per_epoch,
        ingest=inline,
    )
    feed = Feed(recipe, grid=_grid(recipe), device=where)
    return (feed.batch(batch, step=step) for step, batch in enumerate(read, first))


def _checked(recipe: Recipe) -> StreamPlan:
    """The cut of the recipe's data, for the ranks that there are."""
    plan, problems = checked_cut(recipe.with_absolute_paths(), workers=collectives.world_size())
    if problems or plan is None:
        raise UserError(problems)
    return plan


def _grid(recipe: Recipe) -> tuple[int, int] | None:
    if recipe.views.masks is None:
        return None
    return patch_grid(build_backbone(recipe.encoder), recipe.views.size)
