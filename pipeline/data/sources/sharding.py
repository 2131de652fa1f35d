"""A source in, a folder of globally shuffled shards out: all of it, or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.data.decode import BadSample, decode_image
from pipeline.data.sources.manifest import Format, Manifest, Shard, Shards, load_manifest
from pipeline.data.sources.shard_writer import ShardLayout, ShardSample, write_shard
from pipeline.data.sources.source import RawSample, Source
from pipeline.errors import Problem, UserError
from pipeline.whole_folder import whole_folder

_CHECKED_TOGETHER = 256


@dataclass(kw_only=True)
class ShardingResult:
    """What came of it."""

    manifests: dict[str, Manifest]  # by sub-folder: "" for a single set, else "train" and "test"
    left_out: Counter[str] = field(default_factory=Counter)  # reason -> samples
    examples: dict[str, str] = field(default_factory=dict)  # reason -> key of the first


def write_shards(
    source: Source,
    destination: Path,
    *,
    kind: Format,
    samples_per_shard: int,
    test_fraction: float,
    seed: int,
    progress: Callable[[int], None],
) -> ShardingResult:
    """Shuffle a source globally and write it as shards, manifest and indexes.

    Every image is decoded once, so that what cannot be read is left out and counted here, not met
    in training.

    Args:
        source: the samples.
        destination: a folder that does not exist or is empty.
        kind: format of the shards.
        samples_per_shard: samples in each shard but the last.
        test_fraction: share put in `destination/test`, the others in `destination/train`; 0 writes
            a single set into the destination itself.
        seed: of the shuffle.
        progress: called with the number of samples done since the last call.

    Raises:
        UserError: the destination holds something, or no image can be read.
    """
    with whole_folder(destination) as folder:
        return _write_sets(source, folder, kind, samples_per_shard, test_fraction, seed, progress)


def append_shards(
    source: Source,
    destination: Path,
    *,
    kind: Format,
    samples_per_shard: int,
    seed: int,
    progress: Callable[[int], None],
) -> ShardingResult:
    """Add a source, shuffled, as further shards of a manifest; ids that were given stay.

    Args:
        source: the samples.
        destination: the manifest's folder.
        kind: format of the new shards.
        samples_per_shard: samples in each of them but the last.
        seed: of the shuffle.
        progress: called with the number of samples done since the last call.

    Raises:
        UserError: there is no manifest, or no image can be read.
    """
    before = load_manifest(destination)
    result = ShardingResult(manifests={})
    old = before.classes
    classes = (*old, *(name for name in source.classes() if name not in old))
    with TemporaryDirectory(dir=destination, prefix=".append-") as scratch:
        shards, unlabelled = _write_set(
            _readable(source, seed, result, progress),
            Path(scratch),
            kind,
            samples_per_shard,
            classes,
            first_number=len(before.shards),
            first_id=before.samples,
        )
        if not shards:
            raise _nothing_readable("the source", result)
        for file in Path(scratch).iterdir():
            file.replace(destination / file.name)
    after = replace(
        before,
        shards=Shards.of([*before.shards, *shards]),
        classes=classes,
        unlabelled=before.unlabelled + unlabelled,
    )
    after.save(destination)
    result.manifests[""] = after
    return result


def _nothing_readable(name: str, result: ShardingResult) -> UserError:
    return UserError(Problem(name, f"has no readable image; left out: {dict(result.left_out)}"))


def _write_sets(
    source: Source,
    folder: Path,
    kind: Format,
    samples_per_shard: int,
    test_fraction: float,
    seed: int,
    progress: Callable[[int], None],
) -> ShardingResult:
    result = ShardingResult(manifests={})
    classes = source.classes()
    readable = _readable(source, seed, result, progress)
    sets: dict[str, Iterator[RawSample]] = {"": readable}
    if test_fraction and not 0 < round(test_fraction * len(source)) < len(source):
        raise UserError(
            Problem(
                "--test-fraction",
                f"{test_fraction} of {len(source)} samples leaves one of the two sets empty",
            )
        )
    if test_fraction:
        sets = {"test": islice(readable, round(test_fraction * len(source))), "train": readable}
    for name, samples in sets.items():
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        shards, unlabelled = _write_set(samples, target, kind, samples_per_shard, classes)
        if not shards:
            raise _nothing_readable(f"the {name} set" if name else "the source", result)
        manifest = Manifest(
            shuffled=True,
            classes=classes,
            unlabelled=unlabelled if classes else 0,
            shards=Shards.of(shards),
        )
        manifest.save(target)
        result.manifests[name] = manifest
    return result


def _write_set(
    samples: Iterator[RawSample],
    folder: Path,
    kind: Format,
    samples_per_shard: int,
    classes: tuple[str, ...],
    *,
    first_number: int = 0,
    first_id: int = 0,
) -> tuple[tuple[Shard, ...], int]:
    shards: list[Shard] = []
    unlabelled = 0
    while chunk := list(islice(samples, samples_per_shard)):
        samples_of_shard = []
        for row, sample in enumerate(chunk):
            unlabelled += sample.label is None
            samples_of_shard.append(
                ShardSample(
                    number=first_id + row,
                    key=sample.key,
                    images=(sample.data,),
                    label=sample.label,
                )
            )
        layout = ShardLayout(kind=kind, classes=classes)
        number = first_number + len(shards)
        shards.append(write_shard(samples_of_shard, str(folder), number, first_id, layout))
        first_id += len(chunk)
    return tuple(shards), unlabelled


def _readable(
    source: Source, seed: int, result: ShardingResult, progress: Callable[[int], None]
) -> Iterator[RawSample]:
    samples = source.shuffled(seed)
    with ThreadPoolExecutor() as pool:
        while chunk := list(islice(samples, _CHECKED_TOGETHER)):
            for sample, reason in zip(chunk, pool.map(_why_unreadable, chunk), strict=True):
                if reason is None:
                    yield sample
                else:
                    result.left_out[reason] += 1
                    result.examples.setdefault(reason, sample.key)
            progress(len(chunk))


def _why_unreadable(sample: RawSample) -> str | None:
    try:
        decode_image(sample.data)
    except BadSample as error:
        return str(error).partition(":")[0]
    return None
