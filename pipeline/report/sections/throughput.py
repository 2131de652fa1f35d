"""How fast the run was, and what it waited for."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from pipeline.report.facts import RunFacts
from pipeline.report.sections.curves import OF_SPEED, drawn
from pipeline.report.sections.section import Section, rendered


def throughput_section(run: RunFacts) -> Section:
    """Charts of speed and of waiting, and what they come to."""
    body = rendered(
        "throughput.html",
        facts=[*_facts(run)],
        charts=[*drawn(run, OF_SPEED)],
        resumed_at=run.resumed_at,
    )
    return Section(anchor="throughput", title="Throughput", body=body)


def _facts(run: RunFacts) -> Iterator[tuple[str, str]]:
    speed = run.metrics.get("images_per_second")
    if speed is not None and speed.finite:
        middle = statistics.median(speed.finite)
        yield "images/s", f"{middle:,.0f} (median of {len(speed.finite):,} journal lines)"
    wait = run.metrics.get("data_wait")
    if wait is not None and wait.finite:
        yield "waiting for data", f"{statistics.fmean(wait.finite):.1%} of the time, on average"
    share = run.metrics.get("evaluation_share")
    if share is not None and share.finite:
        yield "snapshots for evaluation", f"{share.finite[-1]:.1%} of training's time"
    starts = run.events("training")
    if starts:
        yield "starts", f"{len(starts):,}"
    workers = {len(start["workers"]) for start in starts if start.get("workers")}
    if workers:
        yield "workers", ", ".join(map(str, sorted(workers)))
