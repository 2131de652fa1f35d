"""The page's section on pruning: what ASHA saves of the trials, and what it loses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.shared.study import Line
from benchmarks.sweeps.lines import NOT_RUN, rank_correlation
from benchmarks.sweeps.replay import (
    Outcome,
    asha,
    first_look,
    looks_of,
    orders,
    replay,
    whole_trials,
)
from pipeline.sweeps.spaces.rungs import rungs

AT_A_TIME = (2, 4)
REDUCTIONS = (3, 4)
_FEWER = 12
_GOAL = 0.5
_LOOKS = (1, 3, 7)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A way to stop trials, in many orders."""

    reduction: int
    orders: list[list[Line]]
    pruned: list[Outcome]
    whole: list[Outcome]
    """The same steps spent without looking."""

    @property
    def trials(self) -> int:
        """How many there are."""
        return len(self.orders[0])

    @property
    def saved(self) -> float:
        """Share of steps, on average."""
        return float(np.mean([outcome.saved for outcome in self.pruned]))


def pruning(tried: list[Line]) -> Iterator[str]:
    """Paragraphs and a table."""
    if len(tried) < 2:
        yield NOT_RUN
        return
    cases = _cases(tried)
    yield _introduction(tried, len(cases[0].orders))
    yield "\n".join(
        [
            "| one of … goes on | trials | steps saved | in the worst order | its rank: median, "
            "worst | it is the best | points lost | whole trials: the best | points lost |",
            "|---" * 9 + "|",
            *map(_row, cases),
        ]
    )
    with_all = [case for case in cases if case.trials == len(tried)]
    sentences = [*(_as_listed(case, tried) for case in with_all), _foresight(tried), _worse(cases)]
    yield "\n".join(f"- {sentence}" for sentence in sentences)
    reached = [case.saved >= _GOAL for case in with_all]
    told = "reached" if all(reached) else "reached by one of both" if any(reached) else "missed"
    yield (
        f"The goal, {100 * _GOAL:.0f} % of the steps saved on average with all trials, is "
        f"{told}. All orders are of the same curves: how good the best trial was early on is one "
        "case, not as many as there are orders. Trials of equal pace come to a look in the order "
        "in which they were begun, so that how many there are at a time cannot matter here; of "
        "unequal pace it would."
    )


def _cases(tried: list[Line]) -> list[Case]:
    cases = []
    for reduction in REDUCTIONS:
        for many in dict.fromkeys((len(tried), min(_FEWER, len(tried)))):
            first = [each[:many] for each in orders(tried)]
            pruned = [replay(x, at_a_time=AT_A_TIME[0], reduction=reduction) for x in first]
            whole = [
                whole_trials(each, trained=outcome.trained)
                for each, outcome in zip(first, pruned, strict=True)
            ]
            cases.append(Case(reduction=reduction, orders=first, pruned=pruned, whole=whole))
    return cases


def _introduction(tried: list[Line], many: int) -> str:
    steps = sum(line["steps"] for line in tried)
    hours = sum(line["train_seconds"] for line in tried) / 3600
    return (
        f"The curves of the {len(tried)} trials ({steps:,} steps, {hours:.1f} core-hours with "
        "their looks) are replayed through the sweep's own ASHA with a grace of 1: a trial begins "
        "when a place is free, all steps take equally long, so that steps saved are core-hours "
        "saved. Scores are the looks' linear probe, fitted on 2,000 images and checked on 1,000, "
        f"at the end on 8,000 and 2,000. Figures are of {many} random orders, of all trials or of "
        f"the first {_FEWER}. Trials are stopped, not paused, so nothing is restarted; their "
        "start-up is not counted. The winner is the best at the end of those that are not stopped, "
        "its rank that among all, by the probe of the end. *Whole trials*: the same steps spent on "
        "as many trials as can be trained to their end with them, without looking."
    )


def _row(case: Case) -> str:
    saved = [100 * outcome.saved for outcome in case.pruned]
    ranks = [outcome.rank for outcome in case.pruned]
    figures = [
        f"{np.mean(saved):.1f} %",
        f"{min(saved):.1f} %",
        f"{np.median(ranks):.0f}, {max(ranks)}",
        *(f"{_best(each)} | {_lost(each):.2f}" for each in (case.pruned, case.whole)),
    ]
    return f"| {case.reduction} | {case.trials} | {' | '.join(figures)} |"


def _best(outcomes: list[Outcome]) -> str:
    return f"{100 * np.mean([outcome.rank == 1 for outcome in outcomes]):.0f} %"


def _lost(outcomes: list[Outcome]) -> float:
    return float(np.mean([outcome.lost for outcome in outcomes]))


def _as_listed(case: Case, tried: list[Line]) -> str:
    """In the order of the table of trials, and with more of them at a time."""
    few, more = AT_A_TIME
    listed = replay(tried, at_a_time=few, reduction=case.reduction)
    changed = sum(
        replay(each, at_a_time=more, reduction=case.reduction) != outcome
        for each, outcome in zip(case.orders, case.pruned, strict=True)
    )
    steps = tried[0]["steps"]
    decisions = rungs(asha(case.reduction), every=first_look(tried), total=steps)
    return (
        f"One of {case.reduction} (decides at steps {' and '.join(map(str, decisions))} of "
        f"{steps}): in the order of the table below {100 * listed.saved:.1f} % of the steps are "
        f"saved, and the winner is number {listed.rank} of {len(tried)}. {more} trials at a time "
        f"instead of {few} change the outcome of {changed} of {len(case.orders)} orders."
    )


def _foresight(tried: list[Line]) -> str:
    """How much looks say of the end."""
    ends = [line["linear"] for line in tried]
    told = []
    for look in _LOOKS:
        scores = [looks_of(line)[look - 1][1] for line in tried]
        told.append(f"{rank_correlation(scores, ends):.2f} of look {look}")
    return f"Rank correlation (Spearman) with the score of the end: {', '.join(told)}."


def _worse(cases: list[Case]) -> str:
    """Where one would rather have trained fewer trials."""
    found = [
        f"one of {case.reduction} with {case.trials} trials"
        for case in cases
        if _lost(case.pruned) > _lost(case.whole)
    ]
    where = f"with {'; '.join(found)}" if found else "nowhere"
    return f"ASHA loses more points than whole trials for the same steps {where}."
