"""The trials of a sweep on stderr: a table that lives on a terminal, elsewhere a line each time."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.sweeps.ledger import ENDED, FAILED, RUNNING, Ledger, Trial
from pipeline.sweeps.outcome import ranked, scores_of, scores_text
from pipeline.sweeps.spaces.config import SweepConfig

_POLL_SECONDS = 0.5
_ROWS = 10
_LETTERS = 60


@contextmanager
def showing_trials(ledger: Ledger, config: SweepConfig) -> Iterator[None]:
    """Show how trials come along while the body runs.

    Args:
        ledger: of the sweep.
        config: the recipe's `sweep` section.
    """
    stop = threading.Event()
    console = Console(stderr=True)
    told = {number: (trial.state, len(trial.looks)) for number, trial in ledger.trials.items()}

    def live() -> None:
        with Live(console=console, refresh_per_second=2, transient=True) as view:
            while not stop.wait(_POLL_SECONDS):
                view.update(_table(ledger, config))

    def plain() -> None:
        while not stop.wait(_POLL_SECONDS):
            _tell_news(ledger, config, told)

    thread = threading.Thread(target=live if console.is_terminal else plain, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        _tell_news(ledger, config, told)


def _tell_news(ledger: Ledger, config: SweepConfig, told: dict[int, tuple[str, int]]) -> None:
    """A line for each trial that began, was looked at or ended since the last call."""
    for number, trial in list(ledger.trials.items()):
        now = (trial.state, len(trial.looks))
        if told.get(number) != now:
            told[number] = now
            print(_line(trial, config), file=sys.stderr, flush=True)


def _line(trial: Trial, config: SweepConfig) -> str:
    parts = [f"trial {trial.number}", trial.state]
    if trial.total_steps:
        parts.append(f"step {trial.step}/{trial.total_steps}")
    parts += [scores_text(scores_of(trial, config)), params_text(trial)]
    if trial.reason:
        parts.append(trial.reason)
    return "  ".join(part for part in parts if part)


def _table(ledger: Ledger, config: SweepConfig) -> Table:
    trials = list(ledger.trials.values())
    ended = sum(trial.state in ENDED for trial in trials)
    title = f"{ended} of {config.trials} trials ended, {ledger.searched_seconds / 60:.0f} min"
    table = Table(title=Text(title), title_justify="left", box=None, padding=(0, 2))
    for column in ("trial", "state", "step", "score", "settings"):
        table.add_column(column, no_wrap=column != "settings")
    best = ranked([t for t in trials if t.state not in (RUNNING, FAILED)], config)[:_ROWS]
    for trial in [*(t for t in trials if t.state == RUNNING), *best]:
        steps = f"{trial.step}/{trial.total_steps or '…'}"
        cells = (
            str(trial.number),
            trial.state,
            steps,
            scores_text(scores_of(trial, config)),
            params_text(trial),
        )
        table.add_row(*map(Text, cells))
    return table


def params_text(trial: Trial) -> str:
    """A trial's settings by the last words of their paths, in one line."""
    text = ", ".join(
        f"{path.rpartition('.')[2]} {value:.4g}"
        if isinstance(value, float)
        else f"{path.rpartition('.')[2]} {value}"
        for path, value in trial.params.items()
    )
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"
