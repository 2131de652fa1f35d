"""The space and the resolved recipe."""

from __future__ import annotations

import yaml

from pipeline.report.sections.section import Section
from pipeline.sweeps.page.facts import SweepFacts
from pipeline.sweeps.page.rendering import rendered


def recipe_section(sweep: SweepFacts) -> Section:
    """What was searched, and the file that is enough to repeat the sweep."""
    space = {
        path: dimension.model_dump(mode="json", exclude_defaults=True)
        for path, dimension in sweep.config.space.items()
    }
    body = rendered(
        "space.html",
        space=yaml.safe_dump(space, sort_keys=False, default_flow_style=None),
        recipe=sweep.recipe.to_yaml(),
    )
    return Section(anchor="recipe", title="Space and recipe", body=body)
