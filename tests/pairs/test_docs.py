"""The page on pairs knows every setting and its default."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.pairs.uota import UOTAConfig

pytestmark = pytest.mark.fast

PAGE = (Path(__file__).parent.parent.parent / "docs" / "pairs.md").read_text()


@pytest.mark.parametrize("name", sorted(UOTAConfig.model_fields.keys() - {"kind"}))
def test_every_setting_of_an_arbiter_is_on_the_page_with_its_default(name: str) -> None:
    default = UOTAConfig.model_fields[name].default
    (line,) = (line for line in PAGE.splitlines() if line.startswith(f"- `{name}: "))
    assert float(line.removeprefix(f"- `{name}: ").partition("`")[0]) == default
