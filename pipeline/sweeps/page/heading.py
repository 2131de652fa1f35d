"""The top of the page: how far the sweep came, what it optimises, and the best so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup, escape

from pipeline.sweeps.ledger import (
    COLLAPSED,
    FAILED,
    FINISHED,
    HALTED,
    PRUNED,
    RUNNING,
    Trial,
)
from pipeline.sweeps.page.facts import SweepFacts, error_of, value_of
from pipeline.sweeps.page.rendering import rendered
from pipeline.sweeps.page.texts import (
    counted,
    direction,
    plain_text,
    score_text,
    scores_text,
    value_text,
)
from pipeline.sweeps.spaces.scores import MEASURES

_FAILURES_TOLD = 5
_STATES = (FINISHED, PRUNED, RUNNING, COLLAPSED, FAILED, HALTED)
_FLOORS = ("_untrained", "_raw")


def heading(sweep: SweepFacts) -> Markup:
    """Name, banners and a list of facts."""
    return rendered(
        "heading.html",
        name=plain_text(sweep.name),
        banners=[*_banners(sweep)],
        facts=[*_facts(sweep)],
    )


def _banners(sweep: SweepFacts) -> Iterator[tuple[str, list[str]]]:
    failed = [trial for trial in sweep.trials if trial.state == FAILED]
    if failed:
        told = [f"trial {t.number}: {_reason(t)}" for t in failed[:_FAILURES_TOLD]]
        if len(failed) > len(told):
            told.append(f"… and {len(failed) - len(told):,} more")
        yield f"{counted(len(failed), 'trial')} failed", told


def _reason(trial: Trial) -> str:
    return plain_text(trial.reason or "no reason given")


def _facts(sweep: SweepFacts) -> Iterator[tuple[str, str]]:
    yield "trials", _counts(sweep)
    scheduler = sweep.config.scheduler
    by = scheduler.kind if scheduler is not None else "none: every trial is trained to its end"
    yield "searcher", sweep.config.searcher
    yield "scheduler", by
    for score in sweep.scores:
        caveat = MEASURES[score].caveat
        yield "optimised", direction(score) + (f". Caveat: {caveat}" if caveat else "")
    if sweep.best is not None:
        yield from _told_of_best(sweep.best)
    elif sweep.leader is not None:
        yield from _told_of_leader(sweep, sweep.leader)
    else:
        yield "best so far", "no trial has a score yet"


def _counts(sweep: SweepFacts) -> str:
    states = [trial.state for trial in sweep.trials]
    told = [f"{states.count(state):,} {state}" for state in _STATES if state in states]
    begun = f"{len(states):,} of at most {sweep.config.trials:,} begun"
    return ": ".join([begun, ", ".join(told)]) if told else begun


def _told_of_leader(sweep: SweepFacts, trial: Trial) -> Iterator[tuple[str, str]]:
    scores = ", ".join(
        f"{score} {score_text(value_of(trial, score), error_of(trial, score))}"
        for score in sweep.scores
    )
    done = "" if trial.state == FINISHED else f" ({trial.state} at step {trial.step:,})"
    yield (
        "best so far",
        f"trial {trial.number}{done}: {scores} on held-out samples of the training set",
    )
    yield "its settings", _params(trial.params)


def _told_of_best(best: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "best", f"trial {best['trial']}"
    yield "its settings", _params(best["params"])
    yield "in the search", scores_text(best["validation"])
    yield "trained again", counted(len(best["runs"]), "run")
    test = {
        name: value
        for name, value in (best["test"] or {}).items()
        if not name.removesuffix("_error").endswith(_FLOORS)
    }
    yield "on test", scores_text(test) or "not known: the recipe has no labelled test set"
    model = best["model"]
    yield "registered model", model["uri"] if model else "none"
    yield "encoder", plain_text(str(best["encoder"]))


def _params(params: Mapping[str, Any]) -> Markup:
    lines = [f"{plain_text(path)}: {value_text(value)}" for path, value in params.items()]
    joined = Markup("<br>").join(Markup("<code>{}</code>").format(line) for line in lines)
    return joined or escape("those of the recipe")
