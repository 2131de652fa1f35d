"""The page on objectives knows every kind and every setting."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from pipeline.objectives.configs.single import SingleObjectiveConfig

pytestmark = pytest.mark.fast

PAGE = (Path(__file__).parent.parent.parent / "docs" / "objectives.md").read_text()
KINDS = {
    get_args(model.model_fields["kind"].annotation)[0]: model
    for model in get_args(get_args(SingleObjectiveConfig)[0])
}


def section(kind: str) -> str:
    """What is said of a kind, and before it of all under its family's heading."""
    (under,) = (part for part in re.split(r"^## ", PAGE, flags=re.M) if f"\n### `{kind}`\n" in part)
    before, *parts = re.split(r"^### ", under, flags=re.M)
    (own,) = (part for part in parts if part.startswith(f"`{kind}`\n"))
    return before + own


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_is_on_the_page(kind: str) -> None:
    model: Any = KINDS[kind]
    missing = [
        name
        for name in model.model_fields
        if name != "kind" and f"`{name}" not in section(kind) and name != "ema"
    ]
    assert not missing


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_and_lists_on_the_page_are_the_defaults(kind: str) -> None:
    """Wherever a setting stands with a value."""
    for name, field in KINDS[kind].model_fields.items():
        default = field.default
        if default is None:
            continue  # filled in by what it depends on
        expected = list(default) if isinstance(default, tuple) else default
        if isinstance(default, BaseModel):
            expected = default.model_dump()
        for told in re.findall(rf"`{name}: ([0-9.]+|\[[0-9, ]+\]|true|false)`", section(kind)):
            if (kind, name, told) not in ELSEWHERE:
                assert yaml.safe_load(told) == expected, f"{kind}.{name}"


ELSEWHERE = {
    ("mocov3", "projector", "[4096, 256]"),
    ("mocov3", "predictor_norm", "false"),
    ("hard_contrastive", "hardest", "1"),
    ("vicreg", "variance", "50"),
    ("unigrad", "memory", "0"),
}
"""Values that the page recommends or compares."""
