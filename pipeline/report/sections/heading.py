"""The top of the page: which run this is, how far it came, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from markupsafe import Markup

from pipeline.report.facts import RunFacts, RunRecord
from pipeline.report.sections.section import rendered

_EVENTS_TOLD = 5


def heading(run: RunFacts) -> Markup:
    """Name, banners and a list of facts."""
    return rendered("heading.html", name=run.name, banners=[*_banners(run)], facts=[*_facts(run)])


def _banners(run: RunFacts) -> Iterator[tuple[str, list[str]]]:
    collapses = run.events("collapse")
    if collapses:
        told = [_collapse(e["step"], e.get("message")) for e in collapses[:_EVENTS_TOLD]]
        if len(collapses) > len(told):
            told.append(f"… and {len(collapses) - len(told)} more in the journal")
        yield "Signs of collapse while this encoder was trained", told
    conflicts = run.events("pairs")
    if conflicts:
        told = [f"step {e['step']}: {e['message']}" for e in conflicts]
        yield "Miner and arbiter work against each other", told[:_EVENTS_TOLD]
    broken = run.events("not finite")
    if broken:
        told = [f"step {e['step']}: the loss or its gradient was not finite" for e in broken]
        yield "Training met values that are not finite", told[:_EVENTS_TOLD]
    if run.failures:
        yield "The run was stopped", list(run.failures)


def _collapse(step: int, message: str | None) -> str:
    return f"step {step}: {message}" if message else f"step {step}"


def _facts(run: RunFacts) -> Iterator[tuple[str, str]]:
    yield "state", state(run)
    yield "objective", str(run.identity.get("objective.kind", "unknown"))
    yield "encoder", str(run.identity.get("encoder.name", "unknown"))
    if run.identity.get("encoder.init sha256"):
        yield "started from weights", str(run.identity["encoder.init sha256"])
    yield "data fingerprint", str(run.identity.get("data fingerprint", "unknown"))
    if run.result is not None:
        model = run.result.get("model")
        yield "registered model", model["uri"] if model else "none"
        yield "encoder sha256", str(run.result["encoder_sha256"])
    if run.records and "time" in run.records[-1]:
        written = datetime.fromtimestamp(run.records[-1]["time"], tz=UTC)
        yield "journal until", f"{written:%Y-%m-%d %H:%M:%S} UTC"


def state(run: RunRecord) -> str:
    """How far a run came."""
    total = run.total_steps
    if total is None:
        return "not started"
    epochs = run.metrics.get("epoch")
    done = f" ({epochs.values[-1]:.4g} epochs)" if epochs else ""
    if run.result is not None:
        return f"finished: {run.last_step:,} steps{done}"
    return f"not finished: {run.last_step:,} of {total:,} steps{done}"
