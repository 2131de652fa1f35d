"""The table of trials, the best first."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from pipeline.report.sections.section import Section
from pipeline.sweeps.ledger import Trial
from pipeline.sweeps.page.facts import SweepFacts, error_of, value_of
from pipeline.sweeps.page.rendering import Cell, rendered
from pipeline.sweeps.page.texts import counted, direction, plain_text, score_text, value_text

_ROWS = 200
_REASON_LETTERS = 120
_SHORT = 24
"""Letters of a value that is not broken."""


def trials_section(sweep: SweepFacts) -> Section:
    """All trials, or as many as one reads."""
    trials = [*sweep.ranked, *sweep.unscored]
    more = len(trials) - _ROWS
    notes = ["Finished trials come first, each kind of trials the best first."] if trials else []
    if sweep.config.seeds > 1:
        notes.append(
            f"Scores are means of {sweep.config.seeds} seeds, ± their standard error; hours are "
            "those of one seed."
        )
    if more > 0:
        notes.append(f"{counted(more, 'more trial')} in trials.jsonl.")
    body = rendered(
        "trials.html", table=trial_table(sweep, trials[:_ROWS]) if trials else "", notes=notes
    )
    return Section(anchor="trials", title="Trials", body=body)


def trial_table(sweep: SweepFacts, trials: Sequence[Trial]) -> Markup:
    """Some trials, in their order."""
    columns = [plain_text(path) for path in sweep.config.space]
    head = [
        "trial",
        *(direction(score) for score in sweep.scores),
        "state",
        *columns,
        "step",
        "hours",
        "origin",
        *(["reason"] if any(trial.reason for trial in trials) else []),
    ]
    leader = sweep.leader.number if sweep.leader is not None else None
    return rendered(
        "table.html",
        head=head,
        rows=[(trial.number == leader, _cells(sweep, trial)[: len(head)]) for trial in trials],
    )


def _cells(sweep: SweepFacts, trial: Trial) -> list[Cell]:
    scores = [
        Cell(text=score_text(value_of(trial, score), error_of(trial, score)))
        for score in sweep.scores
    ]
    reason = plain_text(trial.reason or "", letters=_REASON_LETTERS)
    values = [
        value_text(trial.params[path]) if path in trial.params else "–"
        for path in sweep.config.space
    ]
    steps = f"{trial.step:,} / {trial.total_steps:,}" if trial.total_steps else "–"
    return [
        Cell(text=str(trial.number)),
        *scores,
        Cell(text=trial.state),
        *(Cell(text=value, short=len(value) <= _SHORT) for value in values),
        Cell(text=steps),
        Cell(text=f"{trial.seconds / 3600:.3g}"),
        Cell(text=plain_text(trial.origin, letters=_SHORT)),
        Cell(text=reason, short=False),
    ]
