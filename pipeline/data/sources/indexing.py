"""Makes a manifest of shards that somebody else made, without copying them.

Shards are read in parallel by Ray, each once. What was indexed before is not read again, so the
same command goes on after an interruption, and adds shards that have come since: they are appended,
and ids that were given stay.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import pyarrow.parquet as pq
import ray

from pipeline.data import storage
from pipeline.data.sources.foreign_shards import Contents, Fields, read_contents
from pipeline.data.sources.index import write_index
from pipeline.data.sources.manifest import (
    Format,
    Manifest,
    Shard,
    Shards,
    class_names,
    index_name,
    load_manifest,
    manifest_path,
)
from pipeline.errors import Problem, UserError

_SIZES_FILE = "sizes.json"
_FACTS = "facts"
_TASKS_IN_FLIGHT = 256


@dataclass(frozen=True, kw_only=True)
class IndexedShard:
    """What is known of a shard once it was read."""

    path: str  # as in the manifest
    samples: int
    bytes: int
    sha256: str
    classes: tuple[str, ...]
    unlabelled: int
    image_column: str
    left_out: dict[str, int]


@dataclass(kw_only=True)
class IndexingResult:
    """What came of it."""

    manifest: Manifest
    read: int = 0  # shards read now, not before
    left_out: Counter[str] = field(default_factory=Counter)  # reason -> samples
    examples: dict[str, str] = field(default_factory=dict)  # reason -> a shard


def find_shards(source: str) -> list[str]:
    """Locations of the tar and Parquet files under a folder; those of `sizes.json` if it has one.

    Raises:
        UserError: there is no such folder, or no shard in it.
    """
    try:
        files = storage.list_files(source)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(Problem(source, f"cannot be listed: {error}")) from error
    sizes = _sizes(source, files)
    shards = [
        file
        for file in files
        if storage.file_name(file).endswith((".tar", ".parquet"))
        and not file.partition("?")[0].endswith(".index.parquet")
        and (not sizes or storage.file_name(file) in sizes)
    ]
    if not shards:
        raise UserError(Problem(source, "has no .tar or .parquet file"))
    return shards


def index_shards(
    source: str,
    destination: str,
    *,
    fields: Fields,
    progress: Callable[[int], None],
) -> IndexingResult:
    """Index a folder of shards and write a manifest of them. Ray must be connected.

    Args:
        source: folder or URI of the shards.
        destination: folder or URI of the manifest and the indexes; may be the source.
        fields: what is image, what is label.
        progress: called with the number of shards done since the last call.

    Raises:
        UserError: a shard changed since it was indexed, holds no sample, or fewer than
            `sizes.json` says; or samples of the manifest so far are of other images.
    """
    source, destination = storage.absolute(source), storage.absolute(destination)
    before = _manifest_before(destination)
    _refuse_other_parts(before, fields, destination)
    locations = find_shards(source)
    known = {shard.path for shard in before.shards} if before else set()
    paths = [_path_in_manifest(location, source, destination) for location in locations]
    shards = list(zip(paths, locations, strict=True))
    indexed = _index_all(shards, destination, fields, progress)
    _refuse(indexed, before, _sizes(source, locations), destination)
    result = IndexingResult(manifest=_manifest(before, indexed, known, fields.parts))
    for shard, was_read in indexed:
        result.read += was_read
        for reason, count in shard.left_out.items():
            result.left_out[reason] += count
            result.examples.setdefault(reason, shard.path)
    result.manifest.save(destination)
    return result


def _refuse_other_parts(before: Manifest | None, fields: Fields, destination: str) -> None:
    if before is None or before.parts == fields.parts:
        return
    there = ",".join(before.parts) or "of one image"
    raise UserError(
        Problem(
            "--images",
            f"{fields.images or 'not given'}, but samples of {destination} are {there}; give the "
            "same, in the same order, or take a new folder",
        )
    )


def _sizes(source: str, files: Iterable[str]) -> dict[str, int]:
    """Samples of each shard by file name, as WebDataset's `sizes.json` lists them."""
    location = storage.join(storage.absolute(source), _SIZES_FILE)
    if storage.size_of(location) is None:
        return {}
    try:
        sizes = json.loads(storage.read_file(location))
        return {storage.file_name(name): int(count) for name, count in sizes.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(Problem(location, f"is not a list of sizes: {error}")) from error


def _manifest_before(destination: str) -> Manifest | None:
    if storage.size_of(manifest_path(destination)) is None:
        return None
    return load_manifest(destination)


def _path_in_manifest(location: str, source: str, destination: str) -> str:
    """Relative if manifest and shards share a folder, so that both can move together."""
    if source.rstrip("/") != destination.rstrip("/"):
        return location
    return location.partition("?")[0][len(source.partition("?")[0].rstrip("/")) + 1 :]


def _index_all(
    shards: list[tuple[str, str]],
    destination: str,
    fields: Fields,
    progress: Callable[[int], None],
) -> list[tuple[IndexedShard, bool]]:
    task = ray.remote(num_cpus=1, max_retries=3)(index_shard)
    waiting = iter(shards)
    pending: dict[ray.ObjectRef, str] = {}
    found: dict[str, tuple[IndexedShard, bool]] = {}
    while len(found) < len(shards):
        for path, at in islice(waiting, _TASKS_IN_FLIGHT - len(pending)):
            pending[task.remote(path, at, destination, fields)] = path
        (done, *_), _ = ray.wait(list(pending))
        try:
            found[pending.pop(done)] = ray.get(done)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from error
            raise
        progress(1)
    return [found[path] for path, _ in shards]


def index_shard(
    path: str, location: str, destination: str, fields: Fields
) -> tuple[IndexedShard, bool]:
    """Read a shard and write its index; a read task of Ray's.

    Args:
        path: of the shard in the manifest.
        location: of the shard.
        destination: folder of the index.
        fields: what is image, what is label.

    Returns:
        What was found, and whether it was read now: an index of the same fields of
        a file that did not change since stands.

    Raises:
        OSError: it cannot be read.
    """
    index = storage.join(destination, index_name(path))
    asked = {
        "fields": [fields.images, fields.labels],
        "state": list(storage.state_of(location) or ()),
    }
    facts = _facts_of(index)
    if facts is not None and facts.pop("asked") == asked:
        facts["classes"] = tuple(facts["classes"])
        return IndexedShard(path=path, **facts), False
    contents = storage.retrying(lambda: read_contents(location, fields))
    shard = _describe(path, contents)
    kept = {k: v for k, v in vars(shard).items() if k != "path"}
    write_index(
        index,
        keys=contents.keys,
        offsets=contents.offsets,
        sizes=contents.sizes,
        labels=contents.labels,
        more=contents.further,
        facts={_FACTS: json.dumps({"asked": asked, **kept})},
    )
    return shard, True


def _facts_of(index: str) -> dict[str, Any] | None:
    if storage.size_of(index) is None:
        return None
    store, path = storage.resolve(index)
    found = (pq.read_schema(path, filesystem=store).metadata or {}).get(_FACTS.encode())
    facts: dict[str, Any] | None = json.loads(found) if found else None
    return facts


def _describe(path: str, contents: Contents) -> IndexedShard:
    return IndexedShard(
        path=path,
        samples=len(contents.keys),
        bytes=contents.bytes,
        sha256=contents.sha256,
        classes=tuple(sorted({label for label in contents.labels if label is not None})),
        unlabelled=contents.labels.count(None),
        image_column=contents.image_column,
        left_out=dict(contents.left_out),
    )


def _refuse(
    indexed: list[tuple[IndexedShard, bool]],
    before: Manifest | None,
    sizes: dict[str, int],
    destination: str,
) -> None:
    old = {shard.path: shard for shard in before.shards} if before else {}
    problems = []
    for shard, _ in indexed:
        expected = sizes.get(storage.file_name(shard.path))
        present = shard.samples + sum(shard.left_out.values())
        if shard.path in old and old[shard.path].sha256 != shard.sha256:
            problems.append(
                Problem(shard.path, f"changed since {destination} was made; take a new folder")
            )
        elif not shard.samples:
            problems.append(Problem(shard.path, f"holds no sample: {shard.left_out or 'empty'}"))
        elif expected is not None and present < expected:
            problems.append(
                Problem(shard.path, f"holds {present} samples, {_SIZES_FILE} says {expected}")
            )
    columns = {shard.image_column for shard, _ in indexed}
    if len(columns) > 1:
        problems.append(Problem("--images", f"shards differ in it: {', '.join(sorted(columns))}"))
    if problems:
        raise UserError(problems)


def _manifest(
    before: Manifest | None,
    indexed: list[tuple[IndexedShard, bool]],
    known: set[str],
    parts: tuple[str, ...],
) -> Manifest:
    rows = list(before.shards) if before else []
    first_id = before.samples if before else 0
    for shard, _ in indexed:
        if shard.path in known:
            continue
        kind: Format = "parquet" if shard.path.partition("?")[0].endswith(".parquet") else "tar"
        rows.append(
            Shard(
                path=shard.path,
                format=kind,
                samples=shard.samples,
                bytes=shard.bytes,
                first_id=first_id,
                sha256=shard.sha256,
            )
        )
        first_id += shard.samples
    old = before.classes if before else ()
    names = {name for shard, _ in indexed for name in shard.classes}
    classes = (*old, *class_names(sorted(names - set(old))))
    unlabelled = sum(shard.unlabelled for shard, _ in indexed) if classes else 0
    new = Manifest(
        shards=Shards.of(rows),
        shuffled=False,
        classes=classes,
        unlabelled=unlabelled,
        image_column=indexed[0][0].image_column,
        parts=parts,
    )
    return replace(new, shuffled=before.shuffled) if before else new
