"""From the trials of a sweep to its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.data import storage
from pipeline.recipe import Recipe
from pipeline.sweeps.folder import SweepFolder
from pipeline.sweeps.ledger import Trial
from pipeline.sweeps.page.facts import sweep_facts
from pipeline.sweeps.page.page import render_page


def write_page(
    recipe: Recipe,
    folder: SweepFolder,
    trials: Sequence[Trial],
    *,
    best: Mapping[str, Any] | None = None,
) -> str:
    """Write sweep.html.

    Args:
        recipe: of the sweep, with its scores spelt out.
        folder: of the sweep.
        trials: all that have begun, by number.
        best: what `train_winner` gives; None while the sweep searches.

    Returns:
        Where it lies.

    Raises:
        OSError: it cannot be written.
    """
    page = render_page(sweep_facts(recipe, folder.name, trials, best=best))
    storage.write_file(folder.page, page.encode())
    return folder.page
