"""Outages: what MLflow, a disk or a store does wrong interrupts a run, which can be taken up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ray.train import ControllerError, TrainingFailedError, WorkerGroupError

from pipeline.data.reading.slice_reader import UnreadableShardError
from pipeline.data.sources.manifest import StoreAwayError
from pipeline.errors import InterruptedRunError
from pipeline.registry.tracking import TrackingError
from pipeline.training.patience import NoResourcesError

_OUTAGES = (OSError, UnreadableShardError, StoreAwayError)


@contextmanager
def interrupted_by_outages(run: str) -> Iterator[None]:
    """Make an interruption of an outage that ends the body, here or on a worker.

    Raises:
        InterruptedRunError: names the run and what was away; the same command goes on.
    """
    try:
        yield
    except (TrackingError, OSError, TrainingFailedError) as error:
        outage = outage_of(error)
        if outage is None:
            raise
        raise _interruption(run, outage) from error


def outage_of(error: BaseException) -> str | None:
    """What was away, if that is what an error says; None of any other error."""
    if isinstance(error, TrackingError):
        return f"MLflow failed: {error}"
    if isinstance(error, TrainingFailedError):
        return _outage(error)
    return str(error) if isinstance(error, OSError) else None


def halted(run: str) -> InterruptedRunError:
    """What to raise of a run that was asked to halt, and has."""
    return _interruption(run, "it was asked to halt")


def _outage(error: TrainingFailedError) -> str | None:
    """What a disk or a store did to a worker, or that there was room for none."""
    if isinstance(error, ControllerError):
        gone = isinstance(error.controller_failure, NoResourcesError)
        return str(error.controller_failure) if gone else None
    failures = error.worker_failures.values() if isinstance(error, WorkerGroupError) else ()
    outages = [e for e in failures if isinstance(e, _OUTAGES)]
    return str(getattr(outages[0], "cause", outages[0])) if outages else None


def _interruption(run: str, reason: str) -> InterruptedRunError:
    line = " ".join(reason.split())
    return InterruptedRunError(
        f"{run} stopped, and will go on from its last checkpoint when the same command is given "
        f"again: {line}"
    )
