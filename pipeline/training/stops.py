"""What a run is stopped for, in words: mistakes that show only while it trains."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.data.reading.accounting import LedgerEntry
from pipeline.errors import Problem
from pipeline.learning.finite import NotFiniteError

_NAMED_SAMPLES = 8  # in a message; the journal has all


def not_finite(error: NotFiniteError, *, journal: str) -> Problem:
    """The loss or its gradient is not finite; `journal` is where all samples are listed."""
    some = ", ".join(map(str, error.sample_ids[:_NAMED_SAMPLES]))
    rest = len(error.sample_ids) - _NAMED_SAMPLES
    more = f" and {rest} more, listed in {journal}" if rest > 0 else ""
    return Problem(
        "train",
        f"{error}, on the samples {some}{more}; checkpoints from before it are kept; "
        "lower train.optimizer.lr, or raise objective.temperature",
    )


def collapsed(message: str, *, step: int) -> Problem:
    """What the collapse alarm said, in a run that is to stop for it."""
    return Problem(
        "evaluate.on_collapse",
        f"stop: {message}, at step {step}; checkpoints from before it are kept; look at the "
        "objective's terms against collapse, or allow it with warn or tag",
    )


def too_many_bad(
    ledger: Sequence[LedgerEntry], *, samples: int, allowed: float, location: str
) -> Problem:
    """More samples are undecodable than the share `allowed`; `location` is the ledger's file."""
    first = ledger[0]
    return Problem(
        "data.max_bad_fraction",
        f"{allowed} of {samples} samples may be undecodable, {len(ledger)} are so far; e.g. "
        f"{first.key} in {first.shard}: {first.error}; all of them: {location}",
    )


def unknown_metric(metric: str, *, known: Iterable[str]) -> Problem:
    """Checkpoints cannot be compared by a metric that the journal does not have."""
    return Problem(
        "train.checkpoint.best.metric",
        f"{metric!r}; the journal has {', '.join(sorted(known))}",
    )
