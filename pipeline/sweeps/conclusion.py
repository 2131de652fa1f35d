"""The end of a sweep: what came of the search, and its best configuration trained again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.errors import InterruptedRunError, Problem, UserError
from pipeline.recipe import Recipe
from pipeline.registry.sweep_runs import SweepRuns
from pipeline.sweeps.folder import SweepFolder
from pipeline.sweeps.ledger import ENDED, FAILED, Trial
from pipeline.sweeps.outcome import figures, winner
from pipeline.sweeps.page.writing import write_page
from pipeline.sweeps.spaces.config import SweepConfig
from pipeline.sweeps.spaces.recipes import sweep_config
from pipeline.sweeps.trials.cores import cores_of_trial
from pipeline.sweeps.trials.roster import (
    HOURS,
    INTERRUPTED,
    OUTAGE,
    Roster,
    too_many_failed,
    trials_of,
)
from pipeline.sweeps.winner import train_winner


def conclude(
    recipe: Recipe, folder: SweepFolder, roster: Roster, runs: SweepRuns, *, verbose: bool
) -> dict[str, Any]:
    """Train the winner again, and draw the page.

    Args:
        recipe: of the sweep.
        folder: of the sweep.
        roster: of its trials, none of which runs any more.
        runs: of the sweep in MLflow.
        verbose: show Ray's own log.

    Returns:
        What `jobs sweep` says.

    Raises:
        InterruptedRunError: it was interrupted, or none of its trials has finished yet.
        UserError: too many trials failed.
    """
    trials = trials_of(roster.ledger)
    winning = _winning(sweep_config(recipe), folder, trials, roster)
    best = train_winner(recipe, winning, runs, sweep=folder.name, verbose=verbose)
    return {
        **figures(trials, sweep_config(recipe), folder, cores=cores_of_trial(recipe)),
        "hours": round(roster.ledger.searched_seconds / 3600, 4),
        "stopped_by": roster.stopped,
        "best": best,
        "run_id": runs.parent.run_id,
        "tracking_uri": runs.parent.uri,
        "page": write_page(recipe, folder, trials, best=best),
    }


def _winning(
    config: SweepConfig, folder: SweepFolder, trials: Sequence[Trial], roster: Roster
) -> Trial:
    """The best trial of a search that is over."""
    if roster.stopped in (INTERRUPTED, OUTAGE):
        reason = f": {roster.outage}" if roster.stopped == OUTAGE else ""
        raise InterruptedRunError(
            f"{folder.name} stopped, and will go on from its trials' checkpoints when the same "
            f"command is given again{reason}"
        )
    failed = [trial for trial in trials if trial.state == FAILED]
    found = winner(trials, config)
    ended = sum(trial.state in ENDED for trial in trials)
    if too_many_failed(len(failed), ended, config) or (found is None and failed):
        raise UserError([_too_many(failed, trials, config), *_reasons(failed, folder)])
    if found is None:
        why = "its hours are over" if roster.stopped == HOURS else "all collapsed or were stopped"
        raise InterruptedRunError(
            f"{folder.name}: no trial has finished with a score, {why}; the same command with more "
            "--hours or --trials goes on"
        )
    return found


def _too_many(failed: Sequence[Trial], trials: Sequence[Trial], config: SweepConfig) -> Problem:
    return Problem(
        "sweep.max_failed",
        f"{len(failed)} of {len(trials)} trials failed, a share of {config.max_failed:g} may; mend "
        "what they failed of, or allow more",
    )


def _reasons(failed: Sequence[Trial], folder: SweepFolder) -> list[Problem]:
    return [
        Problem(f"trial {trial.number}", f"{trial.reason}; {folder.trial(trial.number)}")
        for trial in failed
    ]
