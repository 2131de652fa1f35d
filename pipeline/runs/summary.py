"""What the journal of a run that has ended says in a few figures."""

from __future__ import annotations

from typing import Any

from pipeline.registry.journal import records
from pipeline.runs.folder import RunFolder


def summary(folder: RunFolder) -> dict[str, Any]:
    """Length, speed, loss, what evaluation took of the time, and the last label-free panel."""
    metrics = [r["metrics"] for r in records(folder.journal) if r["kind"] == "metrics"]
    steps = [r["step"] for r in records(folder.journal) if r["kind"] == "metrics"]
    timed = [m for m in metrics if "images_per_second" in m]
    count = max(1, len(timed))
    return {
        "epochs": round(metrics[-1]["epoch"], 3),
        "steps": steps[-1],
        "images_per_second": round(sum(m["images_per_second"] for m in timed) / count, 1),
        "data_wait": round(sum(m["data_wait"] for m in timed) / count, 4),
        "loss": metrics[-1]["loss"],
        "evaluation_share": metrics[-1]["evaluation_share"],
        "panel": panel_of(folder),
    }


def panel_of(folder: RunFolder) -> dict[str, float]:
    """The label-free panel of the last snapshot; empty without snapshots."""
    evaluations = [r for r in records(folder.journal) if r["kind"] == "evaluation"]
    if not evaluations:
        return {}
    last = max(evaluations, key=lambda record: record["step"])
    return {
        name.removeprefix("eval/"): value
        for name, value in last["metrics"].items()
        if name not in last["intervals"]
    }


def collapse_of(folder: RunFolder) -> str | None:
    """What the collapse alarm said first, and when; None if it kept silent."""
    for record in records(folder.journal):
        if record.get("event") == "collapse":
            return f"{record['message']}, at step {record['step']}"
    return None
