"""The page: its sections, in order."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.registry.report.bad_pairs import bad_pairs_section
from pipeline.registry.report.curves import curves_section
from pipeline.registry.report.facts import RunFacts
from pipeline.registry.report.heading import heading
from pipeline.registry.report.interpolations import interpolations_section
from pipeline.registry.report.masks import masks_section
from pipeline.registry.report.panel import panel_section
from pipeline.registry.report.prior_samples import prior_samples_section
from pipeline.registry.report.probes import probes_section
from pipeline.registry.report.recipe import recipe_section
from pipeline.registry.report.reconstructions import reconstructions_section
from pipeline.registry.report.samples import samples_section
from pipeline.registry.report.section import Section, rendered
from pipeline.registry.report.similarity import similarity_section
from pipeline.registry.report.views import views_section

SECTIONS: tuple[Callable[[RunFacts], Section | None], ...] = (
    curves_section,
    probes_section,
    panel_section,
    bad_pairs_section,
    views_section,
    masks_section,
    similarity_section,
    reconstructions_section,
    prior_samples_section,
    interpolations_section,
    samples_section,
    recipe_section,
)


def render_page(run: RunFacts) -> str:
    """The report of a run, as HTML that refers to nothing outside it."""
    sections = [found for section in SECTIONS if (found := section(run)) is not None]
    return str(rendered("page.html", title=run.name, heading=heading(run), sections=sections))
