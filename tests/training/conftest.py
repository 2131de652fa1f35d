"""What tests of checked recipes share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipeline.errors import UserError
from pipeline.registry.report.facts import RunFacts
from pipeline.training import reporting
from pipeline.training.plan import checked_recipe

Checker = Callable[..., dict[str, str]]
SMALL = {
    "encoder": {"name": "resnet10t", "args": {"channels": [16, 16, 32, 32], "stem_width": 8}},
    "views": {"size": 16},
    "objective": {"projector": [32, 16]},
    "train": {"epochs": 3, "global_batch": 32},
}


@pytest.fixture
def recipe(tmp_path: Path, clipart_shards: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the pictures' shards, without a mistake; a module may have its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(SMALL | {"data": {"shards": f"{clipart_shards}/train"}}))
    return path


@pytest.fixture
def problems(recipe: Path) -> Checker:
    """Checks the module's recipe with overrides, and says what is wrong with which setting."""

    def check(*overrides: str) -> dict[str, str]:
        with pytest.raises(UserError) as error:
            checked_recipe(recipe, overrides)
        found = dict(error.value.problems)
        assert len(found) == len(error.value.problems), f"told twice: {error.value}"
        assert str(error.value).splitlines() == [f"{w}: {m}" for w, m in found.items()]
        return found

    return check


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[RunFacts]:
    """What pages were drawn from, and they are drawn."""
    found: list[RunFacts] = []
    render = reporting.render_page

    def noting(facts: RunFacts) -> str:
        found.append(facts)
        return render(facts)

    monkeypatch.setattr(reporting, "render_page", noting)
    return found
