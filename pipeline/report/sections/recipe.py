"""The resolved recipe, folded away."""

from __future__ import annotations

from pipeline.report.facts import RunFacts
from pipeline.report.sections.section import Section, rendered


def recipe_section(run: RunFacts) -> Section:
    """The file that is enough to repeat the run."""
    body = rendered("recipe.html", recipe=run.recipe_yaml)
    return Section(anchor="recipe", title="Recipe", body=body)
