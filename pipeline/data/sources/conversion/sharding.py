"""A source in, a folder of globally shuffled shards out; what was stopped goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from pipeline.data import storage
from pipeline.data.sources.conversion import job as jobs
from pipeline.data.sources.conversion.gathering import Gathering, UnitFacts
from pipeline.data.sources.conversion.job import Job
from pipeline.data.sources.conversion.outcome import ShardingResult, manifest_of
from pipeline.data.sources.conversion.plan import Cut, make_plan, planned_shards
from pipeline.data.sources.conversion.running import On, results, where
from pipeline.data.sources.conversion.samples import Fetching, Reduction
from pipeline.data.sources.conversion.shard_task import ShardFacts, ShardTask
from pipeline.data.sources.conversion.source import (
    ListedSource,
    Source,
    StreamedSource,
    Told,
    Unit,
)
from pipeline.data.sources.manifest import Format, Manifest
from pipeline.data.sources.shard_writer import ShardLayout
from pipeline.errors import Problem, UserError

Advance = Callable[[int, int], None]
"""Is called with how many samples, and bytes of images, are done since the last call."""

Progress = Callable[[str, int | None], Advance]
"""Is given what is being done and how many samples there are, if that is known."""

_EXAMPLES = 3


def unseen(doing: str, total: int | None) -> Advance:
    """No progress."""
    return lambda samples, size: None


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """How shards are made of a source; nothing else decides on their bytes."""

    kind: Format = "tar"
    cut: Cut
    reduction: Reduction | None = None
    append: bool = False
    """Add to the shards that are in the destination; ids that were given stay."""


def convert(
    source: ListedSource | StreamedSource,
    destination: str,
    conversion: Conversion,
    *,
    on: On = "auto",
    progress: Progress = unseen,
) -> ShardingResult:
    """Shuffle a source globally and write it as shards, manifest and indexes.

    Every image is decoded once, so that what cannot be read is left out and counted here, not met
    in training. Each shard depends on nothing but the plan: however often this is stopped and
    started again, on however many machines, the bytes are the same.

    Args:
        source: see `open_source`.
        destination: path or URI; new, empty, or left by a start before.
        conversion: how.
        on: `inline`, in threads of this process; `ray`, on the cluster of RAY_ADDRESS or a Ray of
            this machine; `auto`: see `where`.
        progress: see `Progress`.

    Raises:
        UserError: the destination holds something else, or no image can be read; then nothing is
            left there of this.
        OSError: a store or a disk failed again and again; the same call goes on.
    """
    destination = storage.absolute(destination)
    asked = _asked(source, conversion)
    with ExitStack() as session, jobs.opened(destination, asked, append=conversion.append) as job:
        _refuse_other_columns(job.before, source)
        runner = _Runner(session, on)
        if job.plan is None:
            _plan(source, job, conversion.cut, runner, progress)
        result = _write_sets(source, job, conversion, runner, progress)
        job.finish()
    return result


def _asked(source: Source, conversion: Conversion) -> dict[str, Any]:
    fields = source.fields
    return {
        **source.asked,
        "images": list(fields.images),
        "keep": list(fields.keep),
        "split by": fields.split_by,
        "format": conversion.kind,
        **{name.replace("_", " "): value for name, value in asdict(conversion.cut).items()},
        **({"reduction": asdict(conversion.reduction)} if conversion.reduction else {}),
    }


def _refuse_other_columns(before: Manifest | None, source: Source) -> None:
    if before is None:
        return
    fields = source.fields
    found = [
        Problem(setting, f"{', '.join(new) or 'none'}, but the shards there have {', '.join(old)}")
        for setting, new, old in (
            ("--images", fields.parts, before.parts),
            ("--keep", fields.keep, before.kept),
        )
        if old and new != old
    ]
    found += [
        Problem("--images", f"{', '.join(fields.parts)}, but samples there are one image each")
        for _ in range(bool(fields.parts and not before.parts and before.samples))
    ]
    if found:
        raise UserError(found)


class _Runner:
    """Runs tasks inline or on Ray, which is started when it is first needed."""

    def __init__(self, session: ExitStack, on: On) -> None:
        self._session, self._on = session, on
        self._connected = False

    def __call__(
        self, task: Callable[..., Any], calls: Iterator[tuple[Any, ...]], *, count: int
    ) -> Iterator[Any]:
        on_ray = where(self._on, tasks=count) == "ray"
        if on_ray and not self._connected:
            from pipeline.data.ray_session import ray_session  # which takes seconds

            self._session.enter_context(ray_session(cpus=1, verbose=False))
            self._connected = True
        return results(task, calls, ray=on_ray)


def _plan(
    source: ListedSource | StreamedSource,
    job: Job,
    cut: Cut,
    runner: _Runner,
    progress: Progress,
) -> None:
    told = Told()
    if isinstance(source, StreamedSource):
        listing = _gathered(source, job, cut, told, runner, progress)
    else:
        listing = _listed(source, told, progress)
    plan = make_plan(source, listing, cut, folder=job.folder)
    if plan.groupless:
        told.notes.append(f"{plan.groupless} samples are of no group; each counts as one")
    job.save_plan(plan, vars(told))


def _listed(source: ListedSource, told: Told, progress: Progress) -> Iterator[pa.RecordBatch]:
    advance = progress("listing", None)
    for batch in source.listing(told):
        advance(len(batch), 0)
        yield batch


def _gathered(
    source: StreamedSource,
    job: Job,
    cut: Cut,
    told: Told,
    runner: _Runner,
    progress: Progress,
) -> Iterator[pa.RecordBatch]:
    """The listing of a source that is read first, in the order of its units."""
    gathering = Gathering(
        folder=storage.join(job.folder, "runs"),
        seed=cut.seed,
        parts=source.fields.parts,
        kept=source.fields.keep,
        grouping=source.grouping,
    )
    units = source.units()
    advance = progress("reading", None)
    found: dict[int, UnitFacts] = {}
    calls = ((gathering, number, unit) for number, unit in enumerate(units))
    for number, facts in runner(_gather, calls, count=len(units)):
        advance(facts.samples, facts.bytes)
        found[number] = facts
    for number in range(len(units)):
        told.add(found[number].left_out, found[number].examples)
        yield from gathering.listing(found[number])


def _gather(gathering: Gathering, number: int, unit: Unit, *, cpus: int) -> tuple[int, UnitFacts]:
    return number, gathering.runs_of(number, unit)


def _write_sets(
    source: ListedSource | StreamedSource,
    job: Job,
    conversion: Conversion,
    runner: _Runner,
    progress: Progress,
) -> ShardingResult:
    plan = job.plan
    if plan is None:
        raise RuntimeError("nothing is planned")
    result = ShardingResult(notes=list(job.told["notes"]))
    told = Told(left_out=result.left_out, examples=result.examples)
    told.add(job.told["left_out"], job.told["examples"])
    classes = job.before.classes if job.before else ()
    classes = (*classes, *(name for name in plan.classes if name not in classes))
    layout = ShardLayout(
        kind=conversion.kind,
        classes=classes,
        parts=source.fields.parts,
        kept=source.fields.keep,
    )
    fetching = Fetching(
        root=getattr(source, "root", job.destination),
        parts=source.fields.parts,
        reduction=conversion.reduction,
    )
    advance = progress("sharding", plan.samples)
    for part in plan.sets:
        task = ShardTask(
            folder=job.folder_of(part),
            job_folder=job.folder,
            first_number=len(job.before.shards) if job.before else 0,
            first_place=job.before.samples if job.before else 0,
            layout=layout,
            fetching=fetching,
            job=job.digest,
        )
        facts: dict[int, ShardFacts] = {}
        calls = ((task, number, rows) for number, rows in planned_shards(job.folder, part))
        for found, written in runner(_write, calls, count=part.shards):
            advance(found.samples + sum(found.left_out.values()), found.read)
            facts[found.number] = found
            result.written += written
        ordered = [facts[number] for number in sorted(facts)]
        for found in ordered:
            told.add(found.left_out, found.examples)
        result.manifests[part.name] = manifest_of(job, part, layout, ordered, told)
        keys = [key for found in ordered for key in found.unlabelled_keys]
        if result.manifests[part.name].unlabelled:
            result.unlabelled[part.name] = keys[:_EXAMPLES]
    for part in plan.sets:  # when all are whole: a set that can be loaded is never half of two
        result.manifests[part.name].save(job.folder_of(part))
    return result


def _write(
    task: ShardTask, number: int, rows: pa.RecordBatch, *, cpus: int
) -> tuple[ShardFacts, bool]:
    return task.write(number, rows, cpus=cpus)
