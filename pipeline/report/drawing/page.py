"""The page: its sections, in order."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

from pipeline.report.facts import RunFacts
from pipeline.report.sections.bad_pairs import bad_pairs_section
from pipeline.report.sections.comparison import comparison_section
from pipeline.report.sections.curves import curves_section
from pipeline.report.sections.embedding_map import map_section
from pipeline.report.sections.heading import heading
from pipeline.report.sections.interpolations import interpolations_section
from pipeline.report.sections.masks import masks_section
from pipeline.report.sections.neighbours import neighbours_section
from pipeline.report.sections.panel import panel_section
from pipeline.report.sections.prior_samples import prior_samples_section
from pipeline.report.sections.probes import probes_section
from pipeline.report.sections.recipe import recipe_section
from pipeline.report.sections.reconstructions import reconstructions_section
from pipeline.report.sections.samples import samples_section
from pipeline.report.sections.section import Section, rendered
from pipeline.report.sections.similarity import similarity_section
from pipeline.report.sections.spectrum import spectrum_section
from pipeline.report.sections.summary import summary_section
from pipeline.report.sections.throughput import throughput_section
from pipeline.report.sections.views import views_section

SECTIONS: tuple[Callable[[RunFacts], Section | None], ...] = (
    summary_section,
    comparison_section,
    probes_section,
    panel_section,
    map_section,
    neighbours_section,
    spectrum_section,
    curves_section,
    throughput_section,
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
    script = rendered("script.js")
    return str(
        rendered(
            "page.html",
            title=run.name,
            heading=heading(run),
            sections=sections,
            script=script,
            script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )
