"""What the page says, in words, for one who reads nothing else of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from pipeline.report.facts import RunFacts
from pipeline.report.sections.collapse_answer import collapse_answer
from pipeline.report.sections.data_answer import data_answer
from pipeline.report.sections.section import Section, rendered
from pipeline.report.sections.worth_answer import worth_answer


def summary_section(run: RunFacts) -> Section:
    """How far the run came, and three questions with what is known of each."""
    body = rendered(
        "summary.html",
        state=" ".join(_state(run)),
        answers=[worth_answer(run), collapse_answer(run), data_answer(run)],
    )
    return Section(anchor="summary", title="Summary", body=body)


def _state(run: RunFacts) -> Iterator[str]:
    total = run.total_steps
    if run.result is not None:
        yield f"The run has finished, after {run.last_step:,} steps."
        return
    stopped = "; ".join(run.failures)
    if total is None:
        yield (
            f"The run was stopped before it trained: {stopped}."
            if stopped
            else ("Training has not begun.")
        )
    elif stopped:
        yield f"The run was stopped after {run.last_step:,} of {total:,} steps:"
        yield f"{stopped}."
        yield "What follows is of what it did until then."
    else:
        yield f"The run has not finished: {run.last_step:,} of {total:,} steps are in its journal"
        yield f"{_until(run)}. What follows is what is known so far."


def _until(run: RunFacts) -> str:
    if not run.records or "time" not in run.records[-1]:
        return ""
    written = datetime.fromtimestamp(run.records[-1]["time"], tz=UTC)
    return f", which ends at {written:%Y-%m-%d %H:%M} UTC"
