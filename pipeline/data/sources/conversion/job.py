"""The state of a conversion in its destination, which a second start finds and goes on from.

While `.sharding/` is there the destination is being filled: nothing can be loaded from it yet, and
the same command goes on where it was stopped.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.data import storage
from pipeline.data.sources.conversion.plan import PlanFacts, PlannedSet
from pipeline.data.sources.manifest import UNFINISHED, Manifest, load_manifest
from pipeline.data.stored_folder import delete_folder
from pipeline.errors import Problem, UserError

_JOB_FILE = "job.json"
_INDEX = ".index.parquet"


@dataclass(kw_only=True)
class Job:
    """A conversion into a destination."""

    destination: str
    """Path or URI."""
    asked: Mapping[str, Any]
    """What the user asked, as JSON."""
    before: Manifest | None = None
    """Shards that are there already, to which others are appended."""
    plan: PlanFacts | None = None
    told: dict[str, Any] = field(default_factory=dict)
    """What listing the source found to tell."""
    resumed: bool = False
    made: int = 0
    """How many folders, the destination and those above it, were not there."""

    @property
    def folder(self) -> str:
        """Where its state lies."""
        return storage.join(self.destination, UNFINISHED)

    @property
    def digest(self) -> str:
        """Tells shards of this conversion from any others."""
        return hashlib.sha256(json.dumps(dict(self.asked), sort_keys=True).encode()).hexdigest()

    def save_plan(self, plan: PlanFacts, told: dict[str, Any]) -> None:
        """Note that the plan is whole, so that a second start need not make it again."""
        self.plan, self.told = plan, told
        self.save()

    def save(self) -> None:
        """Write it down."""
        noted = {
            "asked": dict(self.asked),
            "plan": asdict(self.plan) if self.plan else None,
            "told": self.told,
            "made": self.made,
        }
        storage.write_file(storage.join(self.folder, _JOB_FILE), json.dumps(noted).encode())

    def finish(self) -> None:
        """Forget the state: the destination is whole."""
        delete_folder(self.folder)

    def abandon(self) -> None:
        """Remove all that was made."""
        old = {shard.path for shard in self.before.shards} if self.before else set()
        folders = self.set_folders()
        for location in folders:
            for name in _names(location):
                if name.startswith("shard-") and name.removesuffix(_INDEX) not in old:
                    storage.delete_file(storage.join(location, name))
        delete_folder(self.folder)
        if not storage.is_remote(self.destination):
            path = Path(self.destination)
            inner = [Path(folder) for folder in folders if folder != self.destination]
            for folder in (*inner, *(path, *path.parents)[: self.made]):
                with suppress(OSError):
                    folder.rmdir()

    def set_folders(self) -> list[str]:
        """Folders of the sets, as far as they are known."""
        sets = self.plan.sets if self.plan else ()
        return [self.folder_of(part) for part in sets] or [self.destination]

    def folder_of(self, part: PlannedSet) -> str:
        """The folder of a set."""
        return storage.join(self.destination, part.name) if part.name else self.destination


def _names(folder: str) -> list[str]:
    try:
        return [storage.file_name(file) for file in storage.list_files(folder)]
    except FileNotFoundError:
        return []


@contextmanager
def opened(destination: str, asked: Mapping[str, Any], *, append: bool) -> Iterator[Job]:
    """The job of a destination while the body runs: a new one, or one that was stopped.

    Args:
        destination: path or URI.
        asked: what the user asks.
        append: shards are there already.

    Raises:
        UserError: the destination holds something else, an unfinished conversion of other things,
            or one that is running.
    """
    job = Job(destination=destination, asked=asked)
    noted = _noted(job)
    if append:
        _take_over(job, noted)
    if noted is None:
        _refuse_what_is_there(destination, append=append)
        if not storage.is_remote(destination):
            path = Path(destination)
            job.made = sum(not folder.exists() for folder in (path, *path.parents))
    else:
        _refuse_another(job, noted["asked"])
        job.resumed, job.made = True, noted["made"]
        if noted["plan"] is not None:
            sets = tuple(PlannedSet(**part) for part in noted["plan"].pop("sets"))
            classes = tuple(noted["plan"].pop("classes"))
            job.plan = PlanFacts(sets=sets, classes=classes, **noted["plan"])
            job.told = noted["told"]
    with _alone(job):
        if noted is None:
            _begin(job)
        try:
            yield job
        except UserError:
            job.abandon()
            raise


def _take_over(job: Job, noted: Mapping[str, Any] | None) -> None:
    """The shards that were there when the job began; it may have been stopped at its very end."""
    now = load_manifest(job.destination)
    facts: dict[str, Any] = {
        "shards": len(now.shards),
        "classes": len(now.classes),
        "unlabelled": now.unlabelled,
    }
    before = noted["asked"].get("before", facts) if noted else facts
    job.before = replace(
        now,
        shards=now.shards[: before["shards"]],
        classes=now.classes[: before["classes"]],
        unlabelled=before["unlabelled"],
    )
    facts = {**{name: before[name] for name in facts}, "fingerprint": job.before.fingerprint}
    job.asked = {**job.asked, "before": facts}


def _noted(job: Job) -> dict[str, Any] | None:
    location = storage.join(job.folder, _JOB_FILE)
    if storage.size_of(location) is None:
        return None
    noted: dict[str, Any] = json.loads(storage.read_file(location))
    return noted


def _refuse_what_is_there(destination: str, *, append: bool) -> None:
    if append:
        return
    path = Path(destination)
    if storage.is_remote(destination):
        occupied = bool(_names(destination))
    else:
        occupied = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if occupied:
        raise UserError(Problem(destination, "already holds something; give a new folder"))


def _refuse_another(job: Job, before: Mapping[str, Any]) -> None:
    now = dict(job.asked)
    if before == now:
        return
    differing = [
        f"{name} was {before.get(name)}, is {now.get(name)}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    message = (
        f"holds a conversion that was stopped, and it was another: {'; '.join(differing)}. Give "
        "the same command to go on, or a new folder"
    )
    raise UserError(Problem(job.destination, message))


def _begin(job: Job) -> None:
    try:
        job.save()
    except OSError as error:
        raise _cannot_be_written(job, error) from error


def _cannot_be_written(job: Job, error: OSError) -> UserError:
    reason = " ".join((error.strerror or str(error)).split())
    return UserError(Problem(job.destination, f"cannot be written: {reason}"))


@contextmanager
def _alone(job: Job) -> Iterator[None]:
    """Hold the destination, on a disk; in a store nobody can."""
    if storage.is_remote(job.destination):
        yield
        return
    folder = Path(job.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_be_written(job, error) from error
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = "another process is filling it at this moment"
            raise UserError(Problem(job.destination, message)) from error
        yield
