"""What the gathering of a report's pictures shares: its samples, and reasons for no picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from torch.utils.flop_counter import FlopCounterMode

from pipeline.data.reading.first_views import FirstImages
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.report.facts import FirstViews

_T = TypeVar("_T")

NO_ENCODER_YET = "the run has no encoder yet; it is made when it ends."


@dataclass(frozen=True, kw_only=True)
class FirstSamples:
    """The samples that a run's order begins with."""

    reader: SliceReader
    images: FirstImages
    views: FirstViews


def or_reason(make: Callable[[], _T], failed: str) -> _T | str:
    """What is made, or why it could not be: no page is lost for a picture."""
    try:
        return make()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return f"{failed}. {reason}"


def operations(run: Callable[[], object]) -> int:
    """How many operations running something takes, at least 1."""
    with FlopCounterMode(display=False) as counter:
        run()
    return max(1, counter.get_total_flops())
