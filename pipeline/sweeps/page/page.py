"""The page: its sections, in order."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.report.sections.section import Section
from pipeline.sweeps.page.facts import SweepFacts
from pipeline.sweeps.page.heading import heading
from pipeline.sweeps.page.history import curves_section, history_section
from pipeline.sweeps.page.importance import importance_section
from pipeline.sweeps.page.parallel import parallel_section
from pipeline.sweeps.page.pareto import pareto_section
from pipeline.sweeps.page.population import population_section
from pipeline.sweeps.page.recipe import recipe_section
from pipeline.sweeps.page.rendering import rendered
from pipeline.sweeps.page.settings import settings_section, temperatures_section
from pipeline.sweeps.page.table import trials_section
from pipeline.sweeps.page.texts import plain_text

SECTIONS: tuple[Callable[[SweepFacts], Section | None], ...] = (
    trials_section,
    history_section,
    curves_section,
    parallel_section,
    importance_section,
    temperatures_section,
    settings_section,
    pareto_section,
    population_section,
    recipe_section,
)


def render_page(sweep: SweepFacts) -> str:
    """The page of a sweep, as HTML that refers to nothing outside it."""
    sections = [found for section in SECTIONS if (found := section(sweep)) is not None]
    title = plain_text(sweep.name)
    return str(rendered("page.html", title=title, heading=heading(sweep), sections=sections))
