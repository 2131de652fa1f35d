"""docs/recipe.md says what the settings' models say, of every setting."""

from __future__ import annotations

import re

import pytest

import pipeline
from docs._scripts.recipe_reference import PAGE, page
from docs._scripts.settings import Section, Setting, all_sections, definition

pytestmark = pytest.mark.fast

SECTIONS = list(all_sections())
ROWS = {(found.name, row.key): row for _, found in SECTIONS for row in found.settings}


def row_of(key: str) -> Setting:
    (found,) = {row for (_, name), row in ROWS.items() if name == key}
    return found


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(), "run `make reference`"


@pytest.mark.parametrize("found", [found for _, found in SECTIONS], ids=lambda found: found.name)
def test_every_setting_has_a_description(found: Section) -> None:
    assert found.about
    assert all(row.description for row in found.settings)
    properties = definition(pipeline.recipe_schema(), found.name)["properties"]
    own = [name for name, value in properties.items() if "description" not in value]
    assert all("const" in properties[name] or "$ref" in properties[name] for name in own)


def test_every_section_of_the_schema_has_a_table() -> None:
    schema = pipeline.recipe_schema()
    sections = {n for n in schema["definitions"] if "properties" in definition(schema, n)}
    assert {found.name for _, found in SECTIONS} == sections | {"Recipe"}
    assert len(SECTIONS) == len(sections) + 1


@pytest.mark.parametrize(
    ("key", "type", "default", "unit", "allowed"),
    [
        ("data.shards", "text or list of sections", None, "", "not empty"),
        ("data.shards[].weight", "number or null", "null", "share", "> 0"),
        ("data.cache_bytes", "whole number", "8589934592", "bytes", "≥ 1048576"),
        ("data.ingest_cpus", "number", "1", "CPUs", "≥ 0.01"),
        ("views", "section", "its settings' defaults", "", ""),
        ("views.crop_scale", "list of 2 numbers", "[0.2, 1.0]", "share", ""),
        ("views.rotate", "number", "0.0", "degrees", "≥ 0, ≤ 180"),
        ("encoder.args", "mapping", "{}", "", ""),
        ("objective", "section", "{kind: simclr}", "", ""),
        (
            "objective.decoder.channels",
            "list of whole numbers",
            "[128, 64, 32]",
            "",
            "each ≥ 8, multiple of 8; not empty",
        ),
        ("objective.model_samples", "number", "1.0", "", "≥ 0"),
        ("pairs.miner", "word or section or null", "null", "", "dbpm"),
        ("pairs.miner.warm_up", "whole number", "50", "epochs", "≥ 1"),
        ("train.workers", "whole number or list of 2 whole numbers", "1", "", "≥ 1"),
        ("train.checkpoint.every_minutes", "number or null", "null", "minutes", "> 0"),
        ("train.checkpoint.best.mode", "word", None, "", "min, max"),
        ("evaluate", "null or section", "its settings' defaults", "", ""),
        ("tracking.register", "text or null", "null", "", ""),
    ],
)
def test_a_row(key: str, type: str, default: str | None, unit: str, allowed: str) -> None:
    row = row_of(key)
    assert (row.type, row.default, row.unit, row.allowed) == (type, default, unit, allowed)


def test_links_lead_to_headings_of_the_page() -> None:
    text = page()
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    anchors = [re.sub(r"[^\w\s-]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert len(set(anchors)) == len(anchors)
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= set(anchors)
