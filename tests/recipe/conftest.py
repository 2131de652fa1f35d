"""Recipes as files, with overrides as on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.recipe_file import Draft, draft_recipe

SMALL = {
    "data": {"shards": "shards"},
    "encoder": {"name": "resnet10t", "args": {"channels": [16, 16, 32, 32], "stem_width": 8}},
    "train": {"epochs": 3, "global_batch": 32},
}

Reader = Callable[..., Draft]


@pytest.fixture
def draft(tmp_path: Path) -> Reader:
    """Reads a recipe with overrides."""

    def read(*overrides: str, recipe: dict[str, Any] = SMALL) -> Draft:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe))
        return draft_recipe(path, overrides)

    return read
