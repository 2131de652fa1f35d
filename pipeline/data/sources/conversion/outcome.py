"""What came of a conversion: the manifests of its sets, and what is to be told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from pipeline.data import storage
from pipeline.data.sources.conversion.job import Job
from pipeline.data.sources.conversion.plan import PlannedSet
from pipeline.data.sources.conversion.shard_task import ShardFacts
from pipeline.data.sources.conversion.source import Told
from pipeline.data.sources.manifest import Manifest, Shards, index_name
from pipeline.data.sources.shard_writer import ShardLayout, shard_name
from pipeline.errors import Problem, UserError


@dataclass(kw_only=True)
class ShardingResult:
    """What came of it."""

    manifests: dict[str, Manifest] = field(default_factory=dict)
    """By sub-folder: "" for a single set, else "train" and "test"."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Samples by reason."""
    examples: dict[str, str] = field(default_factory=dict)
    """The key of one, by reason."""
    unlabelled: dict[str, list[str]] = field(default_factory=dict)
    """By sub-folder keys of some samples without a label, where others have one."""
    notes: list[str] = field(default_factory=list)
    """What else is to be told of the source."""
    written: int = 0
    """Shards written now; the others were there from a start before."""


def manifest_of(
    job: Job, part: PlannedSet, layout: ShardLayout, shards: list[ShardFacts], told: Told
) -> Manifest:
    """The manifest of a set's shards, without those of which nothing could be read; these go.

    Args:
        job: of the conversion.
        part: the set.
        layout: of its shards.
        shards: what they hold, in order.
        told: what was left out, to be said if nothing is left.

    Raises:
        UserError: none has a sample.
    """
    before = job.before
    rows = list(before.shards) if before else []
    first_id = before.samples if before else 0
    folder = job.folder_of(part)
    for facts in shards:
        if facts.samples:
            rows.append(facts.shard(layout, first_id=first_id))
            first_id += facts.samples
        else:
            name = shard_name(facts.number, layout.kind)
            storage.delete_file(storage.join(folder, name))
            storage.delete_file(storage.join(folder, index_name(name)))
    if len(rows) == (len(before.shards) if before else 0):
        name = f"the {part.name} set" if part.name else "the source"
        message = f"has no readable image; left out: {dict(told.left_out)}"
        raise UserError(Problem(name, message))
    unlabelled = sum(facts.unlabelled for facts in shards) if layout.classes else 0
    manifest = Manifest(
        shuffled=True,
        classes=layout.classes,
        unlabelled=unlabelled,
        parts=layout.parts,
        kept=layout.kept,
        shards=Shards.of(rows),
    )
    if before is None:
        return manifest
    return replace(
        before,
        shards=manifest.shards,
        classes=manifest.classes,
        unlabelled=(before.unlabelled if before.classes else before.samples) + unlabelled
        if layout.classes
        else 0,
    )
