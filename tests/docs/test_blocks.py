"""Every block on a page runs as it stands, or says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.recipe_file import draft_recipe
from tests.docs.conftest import checkout, run
from tests.docs.pages import ALL_BLOCKS, PAGES, RUN, Block, groups, name_of, without_blocks

GROUPS = groups()
RECIPES = [block for block in ALL_BLOCKS if block.language == "yaml" and not block.mark]
TOUR = "README.md: tour"


@pytest.mark.fast
def test_every_block_is_run_or_says_why_not() -> None:
    unmarked = [b.where for b in ALL_BLOCKS if b.language in RUN and not b.mark]
    unknown = [b.where for b in ALL_BLOCKS if b.language not in (*RUN, "yaml")]
    assert (unmarked, unknown) == ([], [])


@pytest.mark.fast
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_code_are_fenced(page: Path) -> None:
    words = ("python ", "pip ", "make ", "pytest ", "ray ", "import ", "from ", "$ ")
    indented = [line for line in without_blocks(page).splitlines() if line.startswith("    ")]
    assert [line for line in indented if line.strip().startswith(words)] == []


@pytest.mark.fast
@pytest.mark.parametrize("block", RECIPES, ids=lambda block: block.where)
def test_settings_shown_are_settings(block: Block) -> None:
    shown: dict[str, Any] = yaml.safe_load(block.code)
    if "space" in shown:  # a file with the `sweep` section alone
        shown = {"sweep": shown}
    least = {
        "data": {"shards": "shards/train"},
        "encoder": {"name": "resnet18"},
        "train": {"epochs": 100},
    }
    whole = {section: least.get(section, {}) | shown.get(section, {}) for section in least | shown}
    assert draft_recipe(whole).problems == []


@pytest.mark.parametrize("name", [TOUR, *(name for name in GROUPS if name != TOUR)])
def test_blocks_run_as_they_stand(
    name: str,
    request: pytest.FixtureRequest,
    clipart: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if name == TOUR:
        _, made = request.getfixturevalue("toured")
        assert made["features"].shape == (1, 512)
        return
    blocks = GROUPS[name]
    (after_tour,) = {block.after_tour for block in blocks}
    if after_tour:
        folder, _ = request.getfixturevalue("toured")
    else:
        folder = checkout(tmp_path, clipart)
    run(blocks, folder)
    if after_tour:
        (trained,) = (folder / "runs" / "images").iterdir()  # else this one has trained, too
        assert (trained / "report.html").is_file()
