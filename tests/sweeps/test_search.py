"""Which configurations a searcher gives, in what order, and what it makes of those that ended."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.recipe import Recipe
from pipeline.recipe_file import load_recipe
from pipeline.sweeps.ledger import (
    COLLAPSED,
    FAILED,
    FINISHED,
    HALTED,
    PRUNED,
    RUNNING,
    Ledger,
    Look,
    Trial,
)
from pipeline.sweeps.spaces.config import SweepConfig
from pipeline.sweeps.spaces.scores import MEASURES, Score
from pipeline.sweeps.spaces.space import Params
from pipeline.sweeps.trials.search import RECIPE, WARM_START, Search, best_of

pytestmark = pytest.mark.fast

RATE, SHARPNESS = "train.optimizer.lr", "objective.temperature"
SPACE: dict[str, Any] = {
    RATE: {"log_uniform": [1e-5, 1]},
    SHARPNESS: {"uniform": [0.05, 1.05]},
}
WITHIN = {RATE: 0.1, SHARPNESS: 0.2}
"""What the recipe has."""


def recipe_with(space: dict[str, Any] = SPACE, *, seed: int = 0, **sweep: Any) -> Recipe:
    return load_recipe(
        {
            "seed": seed,
            "data": {"shards": "shards"},
            "encoder": {"name": "resnet10t"},
            "objective": {"kind": "simclr", "projector": [16], "temperature": 0.2},
            "train": {"epochs": 3, "optimizer": {"kind": "sgd", "lr": 0.1}},
            "sweep": {"space": space, "optimize": "knn", **sweep},
        }
    )


def search_of(recipe: Recipe, known: Sequence[Params] = ()) -> Search:
    return Search(recipe, config_of(recipe), known=known)


def config_of(recipe: Recipe) -> SweepConfig:
    assert recipe.sweep is not None
    return recipe.sweep


def asked(search: Search, number: int) -> tuple[Params, str]:
    found = search.ask(number)
    assert found is not None
    return found


def trial(
    number: int, params: Params, *merits: float, state: str = FINISHED, looks: int = 2
) -> Trial:
    """Of a sweep by knn, and lidar as a second score."""
    metrics = {
        MEASURES[score].metric: merit
        for score, merit in zip((Score.knn, Score.lidar), merits, strict=False)
    }
    return Trial(
        number=number,
        params=params,
        origin="optuna",
        state=state,
        looks=[
            Look(number=look + 1, step=5 * (look + 1), metrics=metrics, errors={}, params=params)
            for look in range(looks)
        ],
        final=metrics if state == FINISHED else {},
    )


KNOWN = [{RATE: 0.01, SHARPNESS: 0.5}, WITHIN, {RATE: 0.02, SHARPNESS: 0.4}]


@pytest.mark.parametrize("searcher", ["random", "optuna"])
def test_the_recipe_itself_comes_first_and_then_what_is_known(searcher: str) -> None:
    search = search_of(recipe_with(searcher=searcher), KNOWN)
    found = [asked(search, number) for number in range(4)]
    assert found[:3] == [(WITHIN, RECIPE), (KNOWN[0], WARM_START), (KNOWN[2], WARM_START)]
    assert found[3][1] == searcher


def test_a_recipe_outside_its_space_does_not_come() -> None:
    space = {**SPACE, SHARPNESS: {"uniform": [0.3, 0.9]}}
    search = search_of(recipe_with(space, searcher="random"))
    assert asked(search, 0)[1] == "random"


def test_a_random_search_is_a_function_of_the_number_alone() -> None:
    recipe = recipe_with(searcher="random")
    expected = [asked(search_of(recipe), number) for number in range(30)]
    search, numbers = search_of(recipe), list(range(30))
    random.Random(0).shuffle(numbers)
    for number in numbers:
        found = asked(search, number)
        assert found == expected[number]
        search.tell(trial(number, found[0], random.Random(number).random()))
    drawn = [params for params, _ in expected[1:]]
    assert len({str(params) for params in drawn}) == 29
    other = search_of(recipe_with(searcher="random", seed=1))
    assert [asked(other, number)[0] for number in range(1, 30)] != drawn


def test_dimensions_of_a_random_search_do_not_depend_on_the_others() -> None:
    one = search_of(recipe_with({RATE: SPACE[RATE]}, searcher="random"))
    both = search_of(recipe_with(searcher="random"))
    for number in range(1, 20):
        assert asked(one, number)[0][RATE] == asked(both, number)[0][RATE]


def test_a_grid_is_gone_through_once() -> None:
    space = {RATE: {"grid": [0.1, 0.2, 0.3]}, SHARPNESS: {"grid": [0.5, 0.6]}}
    search = search_of(recipe_with(space, searcher="grid", trials=100), KNOWN)
    found = [asked(search, number) for number in range(6)]
    assert [(params[RATE], params[SHARPNESS]) for params, _ in found] == [
        (rate, sharpness) for rate in (0.1, 0.2, 0.3) for sharpness in (0.5, 0.6)
    ]
    assert {origin for _, origin in found} == {"grid"}
    assert search.ask(6) is None
    assert search.ask(7) is None
    few = search_of(recipe_with(space, searcher="grid", trials=4))
    assert [few.ask(number) for number in range(5)] == [*found[:4], None]


def hill(params: Params) -> float:
    """Highest at a rate of 1e-2 and a temperature of 0.6."""
    return -((math.log10(params[RATE]) + 2) ** 2) - 10 * (params[SHARPNESS] - 0.6) ** 2


def searched(recipe: Recipe, count: int, landscape: Callable[[Params], float]) -> list[float]:
    """Heights of what is given one after the other."""
    search, heights = search_of(recipe), []
    for number in range(count):
        params, _ = asked(search, number)
        heights.append(landscape(params))
        search.tell(trial(number, params, heights[-1]))
    return heights


def test_a_search_that_learns_comes_nearer_than_one_that_does_not() -> None:
    """On a hill, the last twenty of forty trials of ten sweeps."""
    drawn, learnt = (
        statistics.median(
            height
            for seed in range(10)
            for height in searched(recipe_with(searcher=searcher, seed=seed), 40, hill)[20:]
        )
        for searcher in ("random", "optuna")
    )
    assert learnt > 0.6 * drawn


def test_what_an_earlier_session_found_is_used() -> None:
    """A hundred trials of another process, written down, lead to the hill."""
    recipe = recipe_with()
    chance = random.Random(0)
    search = search_of(recipe)
    for number in range(100):
        params = {RATE: 10 ** chance.uniform(-5, 0), SHARPNESS: chance.uniform(0.05, 1.05)}
        search.tell(trial(number, params, hill(params)))
    found = [hill(asked(search, number)[0]) for number in range(100, 120)]
    blind = search_of(recipe)
    asked(blind, 0)
    unled = [hill(asked(blind, number)[0]) for number in range(100, 120)]
    assert statistics.median(found) > 0.5 * statistics.median(unled)


def test_a_trial_that_goes_on_is_learnt_from_when_it_has_ended() -> None:
    """What ended in this session leads away from where it was halted, as one told once does."""
    recipe = recipe_with()
    chance = random.Random(1)
    points = [
        {RATE: 10 ** chance.uniform(-5, 0), SHARPNESS: chance.uniform(0.05, 1.05)}
        for _ in range(30)
    ]
    once, twice = search_of(recipe), search_of(recipe)
    for number, params in enumerate(points):
        twice.tell(trial(number, params, 0.0, state=(HALTED, RUNNING)[number % 2]))
    for search in (once, twice):
        for number, params in enumerate(points):
            search.tell(trial(number, params, hill(params)))
            search.tell(trial(number, params, 0.0))  # which it knows already
    for number in range(30, 40):
        assert asked(once, number) == asked(twice, number)


MIXED: dict[str, Any] = {
    "objective.kind": {"choice": ["simclr", "vicreg"]},
    SHARPNESS: {"uniform": [0.1, 0.9], "step": 0.1, "when": {"objective.kind": "simclr"}},
    "objective.invariance": {"choice": [1, 25], "when": {"objective.kind": "vicreg"}},
    "objective.projector": {"choice": [[16], [32, 16]]},
    RATE: {"log_uniform": [1e-3, 1]},
    "train.global_batch": {"integer": [16, 250], "step": 16},
}
ENDS = [FINISHED, PRUNED, COLLAPSED, FAILED, HALTED]


@pytest.mark.parametrize("scores", [["knn"], ["knn", "lidar"]], ids=len)
@pytest.mark.parametrize("earlier", [True, False], ids=["earlier", "now"])
def test_trials_may_end_in_any_way(scores: list[str], earlier: bool) -> None:
    recipe = recipe_with(MIXED, optimize=scores)
    space = config_of(recipe).space
    chance = random.Random(0)
    giver, kinds = search_of(recipe), set()
    taker = search_of(recipe) if earlier else giver
    for number in range(45):
        params, _ = asked(giver, number)
        kind = params.get("objective.kind")
        kinds.add(kind)
        assert (SHARPNESS in params) == (kind == "simclr")
        assert ("objective.invariance" in params) == (kind == "vicreg")
        assert all(space[path].allows(value) for path, value in params.items())
        merits = [chance.choice([0.5, chance.random(), math.nan, math.inf]) for _ in range(2)]
        end = ENDS[number % len(ENDS)]
        taker.tell(trial(number, params, *merits, state=end, looks=number % 3))
    assert kinds == {"simclr", "vicreg"}
    assert {asked(taker, number)[1] for number in range(45, 50)} == {"optuna"}


def test_values_between_steps_or_written_otherwise_are_learnt_from() -> None:
    """As the recipe's own may be: a batch that is no multiple, 25.0 for 25."""
    recipe = recipe_with(MIXED)
    search = search_of(recipe)
    simclr = {"objective.kind": "simclr", SHARPNESS: 0.26}
    vicreg = {"objective.kind": "vicreg", "objective.invariance": 25.0}
    for number, params in enumerate((simclr, vicreg)):
        rest = {"objective.projector": [16], RATE: 0.1, "train.global_batch": 249 - number}
        search.tell(trial(number, {**params, **rest}, 0.5))
    assert asked(search, 2)[1] == "optuna"


def test_one_that_is_outside_a_changed_space_is_passed_over() -> None:
    search = search_of(recipe_with())
    search.tell(trial(0, {RATE: 10.0, SHARPNESS: 0.5}, 1.0))
    search.tell(trial(1, {RATE: 0.1, SHARPNESS: 0.5, "train.optimizer.momentum": 0.9}, 1.0))
    assert asked(search, 2)[1] == "optuna"


def test_the_best_of_an_earlier_sweep_are_those_of_this_space(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "trials.jsonl"))
    rows = [
        ({RATE: 0.01, SHARPNESS: 0.5}, 0.3, FINISHED),
        ({RATE: 0.02, SHARPNESS: 0.5}, 0.9, PRUNED),
        ({RATE: 0.03, SHARPNESS: 0.5}, 0.7, FINISHED),
        ({RATE: 0.04, SHARPNESS: 2.0}, 0.99, FINISHED),
        ({RATE: 0.05}, 0.98, FINISHED),
        ({RATE: 0.06, SHARPNESS: 0.5, "seed": 1}, 0.97, FINISHED),
        ({RATE: 0.07, SHARPNESS: 0.5}, math.nan, FINISHED),
        ({RATE: 0.08, SHARPNESS: 0.5}, 0.6, FINISHED),
        ({RATE: 0.09, SHARPNESS: 0.5}, 0.5, FINISHED),
    ]
    for number, (params, score, state) in enumerate(rows):
        ledger.started(number, params, "random")
        ledger.ended(number, state=state, reason=None, final={"eval/knn": score})
    found = best_of(str(tmp_path / "trials.jsonl"), recipe_with())
    assert [params[RATE] for params in found] == [0.03, 0.08, 0.09]
    assert best_of(str(tmp_path / "none.jsonl"), recipe_with()) == []
