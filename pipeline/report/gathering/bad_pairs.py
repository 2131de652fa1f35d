"""The list of the samples that a run's miner and arbiter find bad, by its newest checkpoint."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipeline.data import storage
from pipeline.data.order.corpus import load_corpus
from pipeline.data.reading.first_views import images_of
from pipeline.data.reading.kept import with_kept
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.pairs.history import SampleHistory
from pipeline.pairs.worst import Worst, worst_samples
from pipeline.recipe import Recipe
from pipeline.report.drawing.contact_sheet import contact_sheet
from pipeline.report.drawing.pictures import png_bytes
from pipeline.report.facts import BadPairs, BadSort, ListedSample, Pixels
from pipeline.report.gathering.pictures import or_reason
from pipeline.report.sections.bad_pairs import SHOWN
from pipeline.runs.checkpoint import CheckpointStore
from pipeline.runs.folder import RunFolder
from pipeline.views.opencv import render_probe_view

SCHEMA = pa.schema(
    [
        ("sample_id", pa.int64()),
        ("sort", pa.string()),  # noisy, faulty or outlier, or `EXCLUDED`
        ("rank", pa.int64()),  # 0: the worst of its sort
        ("shard", pa.string()),
        ("key", pa.string()),
        ("mean_loss", pa.float64()),  # of what the miner saw
        ("deviations", pa.float64()),  # of that mean, above the mean of all samples'
        ("seen", pa.int64()),
        ("miner_weight", pa.float64()),  # of a pair with that mean loss; null without a miner
        ("arbiter_weight", pa.float64()),  # its mean; null without an arbiter
    ]
)

EXCLUDED = "excluded"
"""Samples that the run itself left out, of which nothing but the id is listed: whoever leaves out
what is listed goes on leaving them out."""

MOST_ROWS = 10_000
"""Samples of each sort that are listed."""


@dataclass(frozen=True, kw_only=True)
class BadPairFiles:
    """Where a list and its contact sheet are, and how many samples of each sort there are."""

    list: str
    sheet: str
    counts: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """As a verb's result has it."""
        return asdict(self)


def bad_pairs(
    recipe: Recipe, reader: SliceReader | str, folder: RunFolder
) -> BadPairs | str | None:
    """What can be listed, or why nothing can; None where nothing weighs the run's pairs.

    Args:
        recipe: of the run.
        reader: of its samples, or why there is none.
        folder: of the run.
    """
    if recipe.pairs.miner is None and recipe.pairs.arbiter is None:
        return None
    if isinstance(reader, str):
        return reader
    return or_reason(
        lambda: _bad_pairs(recipe, reader, folder), "the memory of samples cannot be read"
    )


def counts_of(found: BadPairs | str | None) -> dict[str, int] | str | None:
    """How many samples of each sort there are, or why none are listed."""
    if isinstance(found, BadPairs):
        return {sort.name: sort.total for sort in found.sorts}
    return found


def write_bad_pairs(found: BadPairs, folder: RunFolder) -> BadPairFiles:
    """Write the list and its contact sheet into the run's folder, each whole or not at all.

    Columns that were kept of the samples follow, as `kept.NAME`.

    Raises:
        OSError: one cannot be written.
    """
    written = io.BytesIO()
    parts = [with_kept(_found(found), load_corpus(found.manifests)), _left_out(found)]
    pq.write_table(pa.concat_tables(parts, promote_options="default"), written)
    storage.write_file(folder.bad_pairs, written.getvalue())
    storage.write_file(folder.contact_sheet, png_bytes(contact_sheet(found)))
    return BadPairFiles(
        list=folder.bad_pairs,
        sheet=folder.contact_sheet,
        counts={sort.name: sort.total for sort in found.sorts},
    )


def _found(found: BadPairs) -> pa.Table:
    rows = [
        {"sort": sort.name, "rank": rank, **asdict(sample)}
        for sort in found.sorts
        for rank, sample in enumerate(sort.listed)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _left_out(found: BadPairs) -> pa.Table:
    """Whole columns at once, since there may be very many."""
    count = len(found.excluded)
    told = {
        "sample_id": pa.array(found.excluded, pa.int64()),
        "sort": pa.repeat(pa.scalar(EXCLUDED), count),
        "rank": pa.array(np.arange(count)),
    }
    columns = [told.get(column.name, pa.nulls(count, column.type)) for column in SCHEMA]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _bad_pairs(recipe: Recipe, reader: SliceReader, folder: RunFolder) -> BadPairs | str:
    store = CheckpointStore(folder.checkpoints, keep=1)
    step = store.newest()
    if step is None:
        return "there is no checkpoint yet."
    plan = reader.plan
    if step < plan.steps_per_epoch:
        # Most samples have no history, and the others one of a single moment each.
        return (
            f"no epoch is over by the newest checkpoint, of step {step:,}; an epoch has "
            f"{plan.steps_per_epoch:,} steps."
        )
    bounds = {stream: plan.bounds(stream) for stream in range(plan.streams)}
    history = SampleHistory(bounds, device=torch.device("cpu"))
    store.load_streams(step, history)
    state = store.read(step, "pairs")
    history.load_state_dict(state["history"])
    miner = recipe.pairs.miner.build() if recipe.pairs.miner else None
    if miner is not None:
        miner.load_state_dict(state["miner"])
    arbitrated = recipe.pairs.arbiter is not None
    worst = worst_samples(history, miner=miner, arbitrated=arbitrated, at_most=MOST_ROWS)
    shown = np.unique(np.concatenate([w.sample_id[:SHOWN].numpy() for w in worst.values()]))
    return BadPairs(
        location=folder.bad_pairs,
        step=step,
        known=int(history.known.sum()),
        samples=plan.left,
        sorts=_described(worst, reader),
        images=or_reason(
            lambda: _images(reader, shown, recipe.views.size), "the shards cannot be read"
        ),
        excluded=plan.excluded.ids,
        manifests=reader.manifests,
        notes=_notes(recipe, epoch=(step - 1) // plan.steps_per_epoch),
    )


def _described(worst: Mapping[str, Worst], reader: SliceReader) -> list[BadSort]:
    """The sorts, with where their samples lie."""
    ids = np.unique(np.concatenate([found.sample_id.numpy() for found in worst.values()]))
    with reader.open_shards() as shards:
        places = dict(zip(ids.tolist(), shards.keys(ids), strict=True))
    sorts = []
    for name, found in worst.items():
        rows = zip(
            found.sample_id.tolist(),
            found.mean_loss.tolist(),
            found.deviations.tolist(),
            found.seen.tolist(),
            *(
                [None] * len(found.seen) if weights is None else weights.tolist()
                for weights in (found.miner_weight, found.arbiter_weight)
            ),
            strict=True,
        )
        listed = [
            ListedSample(
                sample_id=sample_id,
                shard=places[sample_id][0],
                key=places[sample_id][1],
                mean_loss=mean_loss,
                deviations=deviations,
                seen=seen,
                miner_weight=miner_weight,
                arbiter_weight=arbiter_weight,
            )
            for sample_id, mean_loss, deviations, seen, miner_weight, arbiter_weight in rows
        ]
        sorts.append(BadSort(name=name, total=found.total, listed=listed))
    return sorts


def _images(reader: SliceReader, ids: Any, size: int) -> dict[int, Pixels]:
    """Of each sample the images that views are drawn from, side by side: (size, n · size, 3)."""
    found = images_of(reader, ids)
    return {
        sample_id: np.concatenate([render_probe_view(image, size) for image in images], axis=1)
        for sample_id, images in zip(found.sample_ids.tolist(), found.parts, strict=True)
    }


def _notes(recipe: Recipe, *, epoch: int) -> list[str]:
    """What has not begun by an epoch, counted from 0."""
    notes = []
    miner, arbiter = recipe.pairs.miner, recipe.pairs.arbiter
    if miner is not None and not miner.build().begins(epoch):
        notes.append(
            f"The miner has turned nothing down: the newest checkpoint is of epoch {epoch + 1}, "
            f"and the first {miner.warm_up} only remember. These are its verdicts so far."
        )
    if arbiter is not None and not arbiter.build(per_view=False).begins(epoch):
        notes.append(
            f"The arbiter has weighed nothing: the newest checkpoint is of epoch {epoch + 1}, "
            f"and it lets {arbiter.start_epoch} go by. So there can be no outliers yet."
        )
    return notes
