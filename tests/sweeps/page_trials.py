"""Trials by hand, and pages drawn from them."""

from __future__ import annotations

import math
import random
import re
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pipeline.recipe import Recipe
from pipeline.sweeps.ledger import FINISHED, PRUNED, Look, Trial
from pipeline.sweeps.page.facts import sweep_facts
from pipeline.sweeps.page.page import render_page
from tests.report.report_facts import Page

TEMPERATURE, RATE = "objective.temperature", "train.optimizer.learning_rate"
HEAD, KIND, MOMENTUM = "encoder.head", "objective.kind", "objective.momentum"
HEADS = [[2048, 128], [512, 512, 128], None]
SPACE: dict[str, Any] = {
    TEMPERATURE: {"log_uniform": [0.02, 1.0]},
    RATE: {"uniform": [0.001, 0.1]},
    HEAD: {"choice": HEADS},
    KIND: {"choice": ["simclr", "moco"]},
    MOMENTUM: {"uniform": [0.9, 0.999], "when": {KIND: "moco"}},
}
SMALL = {TEMPERATURE: SPACE[TEMPERATURE]}
SCRIPT = "<script>alert('&amp;')</script>"
BEST = {
    "trial": 3,
    "params": {TEMPERATURE: 0.25},
    "validation": {"linear": 0.9, "linear_error": 0.01},
    "test": {"linear": 0.8765, "linear_error": 0.0021, "knn": 0.85, "linear_raw": 0.31},
    "run_id": "abc",
    "model": {"uri": "models:/encoder/7"},
    "encoder": "/runs/sweep-trial-3-seed-0/encoder",
    "runs": ["one", "two", "three"],
}


def recipe(space: Mapping[str, Any] = SPACE, **sweep: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "data": {"shards": "/data/shards"},
            "encoder": {"name": "resnet18"},
            "train": {"epochs": 10, "global_batch": 64},
            "evaluate": {"train": "/data/train", "test": "/data/test"},
            "sweep": {"space": space, "optimize": "linear", **sweep},
        }
    )


def trial(
    number: int,
    linear: float | None = 0.5,
    *,
    state: str = FINISHED,
    params: Mapping[str, Any] | None = None,
    looks: int = 3,
    more: Mapping[str, float] | None = None,
    **facts: Any,
) -> Trial:
    """A trial whose score grows to its last."""
    own = {TEMPERATURE: 0.1} if params is None else dict(params)
    metrics = {**({"eval/linear": linear} if linear is not None else {}), **(more or {})}
    seen = [
        Look(
            number=look + 1,
            step=100 * (look + 1),
            metrics={name: value * (look + 1) / looks for name, value in metrics.items()},
            errors={},
            params=own,
        )
        for look in range(looks)
    ]
    facts = {"origin": "optuna", "total_steps": 300, "earlier_seconds": 1800.0, **facts}
    final = metrics if state == FINISHED else {}
    return Trial(number=number, params=own, state=state, looks=seen, final=final, **facts)


def drawn(number: int, rng: random.Random, **facts: Any) -> Trial:
    """A trial anywhere in the space, whose score is the temperature's doing."""
    params: dict[str, Any] = {
        TEMPERATURE: 0.02 * 50 ** rng.random(),
        RATE: 0.001 + 0.099 * rng.random(),
        HEAD: rng.choice(HEADS),
        KIND: rng.choice(["simclr", "moco"]),
    }
    if params[KIND] == "moco":
        params[MOMENTUM] = 0.9 + 0.099 * rng.random()
    linear = 0.9 - 0.1 * math.log(params[TEMPERATURE] / 0.2) ** 2
    more = {
        "eval/rankme": 20 * rng.random(),
        "eval/uniformity": -3 + params[TEMPERATURE],
        "eval/tolerance": params[TEMPERATURE] / 2,
    }
    return trial(number, linear, params=params, more=more, **facts)


def usual_trials(count: int = 30) -> list[Trial]:
    rng = random.Random(0)
    states = [FINISHED, FINISHED, PRUNED, FINISHED]
    return [drawn(number, rng, state=states[number % 4]) for number in range(count)]


def html(
    trials: Sequence[Trial],
    of: Recipe | None = None,
    *,
    name: str = "sweep-1",
    best: Mapping[str, Any] | None = None,
) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        return render_page(sweep_facts(of or recipe(SMALL), name, trials, best=best))


def page(
    trials: Sequence[Trial], of: Recipe | None = None, *, text: str | None = None, **more: Any
) -> Page:
    """The page, well-formed, with nothing in it that is fetched or run."""
    text = html(trials, of, **more) if text is None else text
    found = Page(text)
    assert [r for r in found.references if not r.startswith("#")] == []
    assert not {"script", "link", "iframe", "object", "img"} & set(found.tags)
    assert not re.search(r"url\((?!#)|@import", text)
    assert "default-src 'none'" in text
    assert found.tags.count("svg") == len(found.labels) - 1  # of the navigation
    assert all(found.labels)
    assert "font-family: 'DejaVu" not in text
    return found


@lru_cache(maxsize=1)
def usual_html() -> str:
    return html(usual_trials(), recipe())


@lru_cache(maxsize=1)
def usual_page() -> Page:
    return page(usual_trials(), recipe(), text=usual_html())


def numbers(text: str, section: str = "trials") -> list[int]:
    """The trials of a table, in its order."""
    part = text.partition(f'<section id="{section}">')[2].partition("</section>")[0]
    first = re.findall(r"<tr>\s*<td[^>]*>(?:<strong>)?(\d+)<", part)
    return [int(number) for number in first]
