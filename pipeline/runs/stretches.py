"""How a run came to its last step: the starts whose steps counted, out of its journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.registry.journal import records
from pipeline.runs.folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Steps that were taken by the same start of a run."""

    first: int
    """Step after which it began."""
    last: int
    """Its last step that counts: later ones were taken again by another start."""
    total_steps: int
    """To which the run was to go then; schedules follow it."""
    workers: int
    environments: list[dict[str, Any]]
    """Those of its ranks, each once; empty in runs that did not note them."""


def stretches(folder: RunFolder, *, steps: int) -> list[Stretch]:
    """The stretches of a run, the last one first; together they are its steps.

    Args:
        folder: of the run.
        steps: that it has.
    """
    starts = [r for r in records(folder.journal) if r.get("event") == "training"]
    found: list[Stretch] = []
    last = steps
    for start in reversed(starts):
        if start["step"] < last:
            found.append(
                Stretch(
                    first=start["step"],
                    last=last,
                    total_steps=start["total_steps"],
                    workers=len(start["workers"]),
                    environments=start.get("environments", []),
                )
            )
            last = start["step"]
    return found


def alike(found: list[Stretch]) -> list[Stretch]:
    """The last stretches of a run that one start could have taken: of one length and one W."""
    kept = found[:1]
    for stretch in found[1:]:
        if (stretch.total_steps, stretch.workers) != (kept[0].total_steps, kept[0].workers):
            break
        kept.append(stretch)
    return kept
