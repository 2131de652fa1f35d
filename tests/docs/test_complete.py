"""Pages that list things list all of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

import pipeline
from pipeline.objectives.configs.composite import CompositeConfig
from pipeline.objectives.configs.single import SingleObjectiveConfig
from tests.docs.pages import PAGES, ROOT, code_spans, name_of
from tests.docs.test_named import JOBS

pytestmark = pytest.mark.fast

README = (ROOT / "README.md").read_text()
DOCS = ROOT / "docs"
DECISIONS = sorted((DOCS / "decisions").glob("0*.md"))


def test_the_readme_has_at_most_120_lines() -> None:
    assert len(README.splitlines()) <= 120


def test_the_set_up_is_two_commands() -> None:
    assert {"demo", "test"} <= set(re.findall(r"^make ([a-z-]+)", README, flags=re.M))
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_readme_has_every_verb() -> None:
    table = re.search(r"^## The verbs\n.*?\n\n- ", README, flags=re.M | re.S)
    assert table
    assert set(re.findall(r"^\| `(\w+)", table[0], flags=re.M)) - {"python"} == set(JOBS.commands)


def test_the_readme_links_every_objective() -> None:
    kinds = [
        get_args(model.model_fields["kind"].annotation)[0]
        for model in (*get_args(get_args(SingleObjectiveConfig)[0]), CompositeConfig)
    ]
    linked = re.findall(r"\[`(\w+)`\]\(docs/objectives\.md#(\w+)\)", README)
    assert sorted(linked) == sorted((kind, kind) for kind in kinds)


def test_the_recipe_shown_is_the_recipe_shipped() -> None:
    shipped = (ROOT / "jobs" / "recipes" / "images.yaml").read_text()
    assert f"```yaml\n{shipped}```" in (DOCS / "recipes.md").read_text()


def test_every_public_name_is_on_both_pages_of_python() -> None:
    reference = re.findall(r"^::: pipeline\.(\w+)$", (DOCS / "api.md").read_text(), flags=re.M)
    assert sorted(reference) == sorted(pipeline.__all__)
    guide = (DOCS / "python.md").read_text()
    assert [name for name in pipeline.__all__ if not re.search(rf"\b{name}\b", guide)] == []


def test_the_start_page_leads_to_every_page() -> None:
    start = (DOCS / "index.md").read_text()
    pages = {name_of(page) for page in PAGES} - {"README.md", "docs/index.md"}
    linked = {f"docs/{target}" for target in re.findall(r"\]\(([\w/]+\.md)\)", start)}
    assert linked == {page for page in pages if not re.match(r"docs/decisions/\d", page)}


@pytest.mark.parametrize("page", DECISIONS, ids=name_of)
def test_a_decision_is_a_short_record_that_is_listed(page: Path) -> None:
    text = page.read_text()
    assert 8 <= len(text.splitlines()) <= 20
    assert re.findall(r"^\*\*(\w+)\.\*\*", text, flags=re.M) == [
        "Context",
        "Decision",
        "Consequence",
    ]
    heading = re.match(r"# (\d+)\. (.+)\n", text)
    assert heading
    number, title = heading.groups()
    assert page.name.startswith(f"{int(number):04d}-")
    row = f"| {number} | [{title}]({page.name}) |"
    assert row in (DOCS / "decisions" / "index.md").read_text().splitlines()


def test_code_spans_are_found() -> None:
    assert "jobs/recipes/images.yaml" in code_spans(DOCS / "recipes.md")
