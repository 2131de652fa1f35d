"""What is to be done, written down before anything is: `embeddings.json`, by which one goes on.

Whoever goes on must come to the same bytes, so all that they depend on is in it, but for the kind
of processor.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.data import storage
from pipeline.encoders.configs.features import Pool
from pipeline.errors import Problem, UserError
from pipeline.evaluation.config import FeatureKind
from pipeline.registry.packages.config import Preprocessing

JOB_FILE = "embeddings.json"

Dtype = Literal["float16", "float32"]

_TOLD_ONLY = ("encoder.uri", "data.shards")
"""Where things lie: the same encoder and the same data may have moved."""


class _Fact(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EncoderFacts(_Fact):
    """Which encoder."""

    uri: str  # with a version's number, or a folder
    sha256: dict[str, str]  # of each file of weights
    preprocessing: Preprocessing


class FeatureFacts(_Fact):
    """What it gives."""

    kind: FeatureKind
    layer: int | None = None  # of decoder_hidden
    pool: Pool | None = None
    width: int


class DataFacts(_Fact):
    """Of which samples."""

    shards: str
    fingerprint: str
    samples: int


class Job(_Fact):
    """A corpus, an encoder, and the form of the result."""

    version: Literal[1] = 1
    encoder: EncoderFacts
    features: FeatureFacts
    data: DataFacts
    dtype: Dtype
    samples_per_file: int
    batch: int


def begin_or_go_on(destination: str, job: Job) -> Job:
    """Write the job down, or make sure that it is the one that was begun here.

    Args:
        destination: folder or URI.
        job: as it would be begun now.

    Returns:
        The job as it was begun.

    Raises:
        UserError: another was begun here, or the folder holds something else.
        OSError: the destination cannot be read or written.
    """
    location = storage.join(destination, JOB_FILE)
    before = _read(location)
    if before is not None:
        _refuse_another(before, job, destination)
        return before
    if _contents(destination):
        raise UserError(
            Problem(destination, f"holds something, and no {JOB_FILE}; give a new folder")
        )
    storage.write_file(location, (job.model_dump_json(indent=2) + "\n").encode())
    return job


def _read(location: str) -> Job | None:
    if not storage.exists(location):
        return None
    try:
        return Job.model_validate_json(storage.read_file(location))
    except ValidationError as error:
        raise UserError(
            Problem(location, f"is not of a job: {error.error_count()} faults")
        ) from error


def _contents(destination: str) -> list[str]:
    try:
        files = storage.list_files(destination)
    except FileNotFoundError:
        return []
    return [file for file in files if storage.file_name(file) != f"{JOB_FILE}.partial"]


def _refuse_another(before: Job, now: Job, destination: str) -> None:
    old, new = (dict(_flat(job.model_dump(mode="json"))) for job in (before, now))
    problems = [
        Problem(
            key,
            f"{_text(new.get(key))}, but {destination} was begun with {_text(old.get(key))}; give "
            "that again, or a new folder",
        )
        for key in sorted(old.keys() | new.keys())
        if key not in _TOLD_ONLY and old.get(key) != new.get(key)
    ]
    if problems:
        raise UserError(problems)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
