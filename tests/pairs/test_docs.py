"""The page on pairs knows every setting and its default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from pipeline.pairs.config import DBPMConfig, UOTAConfig

pytestmark = pytest.mark.fast

PAGE = (Path(__file__).parent.parent.parent / "docs" / "pairs.md").read_text()


SETTINGS = [
    (model, name)
    for model in (UOTAConfig, DBPMConfig)
    for name in sorted(model.model_fields.keys() - {"kind"})
]


@pytest.mark.parametrize(("model", "name"), SETTINGS, ids=[name for _, name in SETTINGS])
def test_every_setting_is_on_the_page_with_its_default(model: type[BaseModel], name: str) -> None:
    told = re.findall(rf"^- .*?`{name}: ([^`]+)`", PAGE, re.MULTILINE)
    assert [yaml.safe_load(value) for value in told] == [model.model_fields[name].default]


@pytest.mark.parametrize("name", ["most", "normalize"])
def test_what_holds_for_both_is_on_the_page(name: str) -> None:
    assert f"`{name}: " in PAGE
