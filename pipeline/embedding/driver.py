"""A corpus to Parquet: written down, done range by range, joined; the same call goes on."""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import ray

from pipeline.data import storage
from pipeline.data.ray_session import ray_session
from pipeline.data.sources.manifest import Ids, load_manifest
from pipeline.data.sources.verify import verify
from pipeline.embedding.fetching import fetched
from pipeline.embedding.job import DataFacts, Dtype, Job, begin_or_go_on
from pipeline.embedding.ledger import delete_parts, join_ledgers
from pipeline.embedding.mapping import MAP_FILE, draw_map, mapped_samples
from pipeline.embedding.progress import ProgressLine, showing
from pipeline.embedding.ranges import BATCH, Ranges, samples_per_range
from pipeline.embedding.reading import RangeReader
from pipeline.embedding.shares import Shares
from pipeline.embedding.shipping import ShippedEncoder
from pipeline.embedding.stages import Done, embedded
from pipeline.embedding.writing import RangeWriter, files_below
from pipeline.errors import InterruptedRunError, Problem, UserError
from pipeline.evaluation.config import FeatureKind

DONE_FILE = "done.json"


@dataclass(frozen=True, kw_only=True)
class EmbeddingResult:
    """What came of it."""

    folder: str  # or URI
    encoder: str  # with a version's number, or a folder
    samples: int  # embedded, in this call and before
    bad: int  # not embedded, and in `ledger.parquet`
    files: int  # below `vectors/`
    width: int  # of a vector
    images_per_second: float | None  # of this call, workers' start included; None: nothing was due
    already_finished: bool
    map: str | None  # `map.parquet`, if there is one

    @property
    def atlas(self) -> str | None:
        """The command that shows the map in a browser; None without a map."""
        if self.map is None:
            return None
        return f"embedding-atlas {shlex.quote(self.map)} --x x --y y --neighbors neighbors"


def embed(
    uri_or_path: str | Path,
    shards: str | Path,
    destination: str | Path,
    *,
    features: FeatureKind | str | None = None,
    dtype: Dtype = "float16",
    workers: int | None = None,
    max_bad_fraction: float = 0.01,
    map: bool = False,
    tracking_uri: str | None = None,
    verbose: bool = False,
) -> EmbeddingResult:
    """Embed every image of some shards, on Ray; the same call goes on with what was interrupted.

    Writes `embeddings.json` (what is done), `vectors/*.parquet` with the columns `sample_id` int64,
    `shard`, `key`, `vector` (a fixed-size list) and, where the shards have classes, `label`, and
    `ledger.parquet` of samples that cannot be decoded. The files depend on encoder and data alone,
    not on workers or interruptions, with the same kind of processor.

    Args:
        uri_or_path: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, or a folder.
        shards: folder or URI of a manifest.
        destination: folder or URI; new, or where the same was begun.
        features: what the encoder gives, as `evaluate` has it; None: what the package says.
        dtype: `float16` or `float32`, of the vectors.
        workers: actors that encode; None: one for each GPU of Ray, without any one for each CPU.
        max_bad_fraction: share of undecodable samples, of which clearly more stop it.
        map: also write `map.parquet`, with places on a plane and neighbours; see `draw_map`.
        tracking_uri: MLflow, for a registered encoder.
        verbose: show Ray's own log.

    Raises:
        UserError: the encoder or the shards are not there or do not fit, another job was begun at
            the destination, features are beyond the dtype, or there are too many bad samples.
        InterruptedRunError: a disk or a store failed again and again; the same call goes on.
    """
    shards, destination = storage.absolute(str(shards)), storage.absolute(str(destination))
    with _interruptions(destination):
        shipped, job = _prepared(
            str(uri_or_path), shards, features=features, dtype=dtype, tracking_uri=tracking_uri
        )
        job = begin_or_go_on(destination, job)
        ranges = Ranges(load_manifest(shards).boundaries(), job.samples_per_file)
        due = ranges.missing(storage.file_name(file) for file in files_below(destination))
        finished = not len(due) and storage.exists(storage.join(destination, DONE_FILE))
        rate = None
        if len(due):
            with ray_session(cpus=1, verbose=verbose):
                shares = Shares.of_cluster(workers)
                done = _stages(shipped, job, shards, destination, ranges, due, shares)
                rate = _watch(done, job, ranges, due, max_bad_fraction, shards)
        bad = _bad(destination) if finished else _conclude(destination, job, len(ranges))
        drawn = storage.join(destination, MAP_FILE)
        if map and not storage.exists(drawn):
            _draw(destination, samples=job.data.samples - bad, width=job.features.width)
        return EmbeddingResult(
            folder=destination,
            encoder=job.encoder.uri,
            samples=job.data.samples - bad,
            bad=bad,
            files=len(ranges),
            width=job.features.width,
            images_per_second=rate,
            already_finished=finished,
            map=drawn if storage.exists(drawn) else None,
        )


def _prepared(
    uri_or_path: str,
    shards: str,
    *,
    features: FeatureKind | str | None,
    dtype: Dtype,
    tracking_uri: str | None,
) -> tuple[ShippedEncoder, Job]:
    """The encoder fetched and what is to be done with it, all mistakes found before anything is."""
    problems = verify(shards)
    try:
        kind = None if features is None else _kind(features)
        if dtype not in get_args(Dtype):
            problems.append(Problem("--dtype", f"{dtype}; allowed: {', '.join(get_args(Dtype))}"))
        shipped = fetched(uri_or_path, kind=kind, tracking_uri=tracking_uri)
        encoder, given = shipped.facts()
    except UserError as error:
        problems += error.problems
    if problems:
        raise UserError(problems)
    manifest = load_manifest(shards)
    job = Job(
        encoder=encoder,
        features=given,
        data=DataFacts(shards=shards, fingerprint=manifest.fingerprint, samples=manifest.samples),
        dtype=dtype,
        samples_per_file=samples_per_range(encoder.preprocessing.size),
        batch=BATCH,
    )
    return shipped, job


def _kind(features: FeatureKind | str) -> FeatureKind:
    try:
        return FeatureKind(features)
    except ValueError:
        allowed = ", ".join(FeatureKind)
        raise UserError(Problem("--features", f"{features}; allowed: {allowed}")) from None


def _stages(
    shipped: ShippedEncoder,
    job: Job,
    shards: str,
    destination: str,
    ranges: Ranges,
    due: Ids,
    shares: Shares,
) -> Iterator[Done]:
    return embedded(
        RangeReader(shards=shards, size=job.encoder.preprocessing.size),
        shipped,
        RangeWriter(
            shards=shards, destination=destination, dtype=job.dtype, width=job.features.width
        ),
        ranges=ranges,
        due=due,
        shares=shares,
    )


def _watch(
    done: Iterator[Done],
    job: Job,
    ranges: Ranges,
    due: Ids,
    max_bad_fraction: float,
    shards: str,
) -> float:
    """Show how it goes to its end; images per second.

    Raises:
        UserError: clearly more than the allowed share of samples is bad, or features do not fit.
        OSError: a disk or a store failed in a task.
    """
    begun = time.monotonic()
    total = ranges.count(due)
    line = ProgressLine(total=job.data.samples, before=job.data.samples - total)
    seen = bad = files = 0
    with showing(line):
        for part in done:
            _refuse_stopped(part)
            files, seen, bad = files + 1, seen + part.samples, bad + part.bad
            line.take(samples=part.samples, bad=part.bad, now=time.monotonic())
            expected = max_bad_fraction * seen
            # Beyond what chance would give an allowed share.
            if max_bad_fraction < 1 and bad > expected + 5 * math.sqrt(expected) + 10:
                raise UserError(
                    Problem(
                        "--max-bad-fraction",
                        f"{max_bad_fraction}, but of {seen} samples {bad} cannot be decoded; e.g. "
                        f"in {load_manifest(shards).shards[ranges[part.number].shard].path}: "
                        f"{part.error}",
                    )
                )
    if files != len(due):
        raise RuntimeError(f"{len(due)} ranges gave {files} files")
    return seen / (time.monotonic() - begun)


def _refuse_stopped(part: Done) -> None:
    if part.mistake is not None:
        raise UserError(Problem("--dtype", part.mistake))
    if part.outage is not None:
        raise OSError(part.outage)


def _draw(destination: str, *, samples: int, width: int) -> None:
    count = mapped_samples(samples, width=width)
    part = "" if count == samples else f" of {samples}, at random"
    print(f"laying out a map of {count} samples{part}", file=sys.stderr, flush=True)
    draw_map(destination, files_below(destination), samples=samples, width=width)


def _conclude(destination: str, job: Job, files: int) -> int:
    """Join the ledgers and note the end; the number of bad samples."""
    bad = join_ledgers(destination)
    note = {"samples": job.data.samples - bad, "bad": bad, "files": files}
    storage.write_file(storage.join(destination, DONE_FILE), (json.dumps(note) + "\n").encode())
    delete_parts(destination)
    return bad


def _bad(destination: str) -> int:
    note = json.loads(storage.read_file(storage.join(destination, DONE_FILE)))
    return int(note["bad"])


@contextmanager
def _interruptions(destination: str) -> Iterator[None]:
    """Make an interruption of an outage that ends the body, here or in a task.

    Raises:
        InterruptedRunError: says what was away; the same command goes on.
    """
    try:
        yield
    except ray.exceptions.RayTaskError:
        raise  # of something that should not happen
    except (OSError, ray.exceptions.RayError) as error:  # that is: or of a process or a node
        raise InterruptedRunError(
            f"the embedding stopped; what is in {destination} stays, and the same command goes on: "
            f"{' '.join(str(error).split())}"
        ) from error
