"""The recipes of trials, which never see the test set, and of the best one, which is told on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluation.config import OnCollapse
from pipeline.planning.length import snapshot_steps, stream_plan
from pipeline.recipe import Recipe
from pipeline.recipe_file import load_recipe
from pipeline.sweeps.spaces.recipes import looks_of, trial_recipe, winner_recipe
from tests.sweeps.sweeping import recipe_for

pytestmark = pytest.mark.fast

TEMPERATURE = {"objective.temperature": {"uniform": [0.1, 0.9]}}
PARAMS = {"objective.temperature": 0.35}


def recipe_of(shards: Path, folder: Path, *overrides: str, **sweep: Any) -> Recipe:
    values = recipe_for(shards, folder, **{"space": TEMPERATURE, "optimize": ["knn"], **sweep})
    return load_recipe({**values, "seed": 5}, overrides)


def test_trials_differ_by_their_settings_and_seeds_alone(
    clipart_shards: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(clipart_shards, tmp_path)
    one, other = (trial_recipe(recipe, PARAMS, seed=seed).resolved() for seed in (0, 2))
    assert (one.pop("seed"), other.pop("seed")) == (5, 7)
    assert one == other
    base = trial_recipe(recipe, {}, seed=0).resolved()
    assert one["objective"].pop("temperature") == 0.35
    assert base["objective"].pop("temperature") != 0.35
    del base["seed"]
    assert one == base


def test_a_trial_is_scored_on_a_share_of_train(clipart_shards: Path, tmp_path: Path) -> None:
    recipe = recipe_of(clipart_shards, tmp_path, validation=0.3)
    evaluate = trial_recipe(recipe, PARAMS, seed=0).evaluate
    assert evaluate.validation == 0.3
    assert evaluate.sets == (f"{clipart_shards}/train",) * 2
    assert evaluate.on_collapse == OnCollapse.stop


def test_a_trial_has_the_probes_that_are_optimised_and_no_others(
    clipart_shards: Path, tmp_path: Path
) -> None:
    for scores, probes in (
        (["linear"], ["linear"]),
        (["lidar", "naive_bayes"], ["naive_bayes"]),
        (["lidar"], ["knn"]),  # the recipe's first
    ):
        recipe = recipe_of(clipart_shards, tmp_path, optimize=scores)
        assert list(trial_recipe(recipe, {}, seed=0).evaluate.probes) == probes


@pytest.mark.parametrize(("steps", "looks", "every"), [(15, 3, 5), (90, 9, 10), (40, 40, 1)])
def test_looks_are_as_many_as_asked_for_with_the_last(
    clipart_shards: Path, tmp_path: Path, steps: int, looks: int, every: int
) -> None:
    recipe = recipe_of(clipart_shards, tmp_path, f"train.steps={steps}", looks=looks)
    trial = trial_recipe(recipe, PARAMS, seed=0)
    assert snapshot_steps(trial, stream_plan(trial)) == every
    assert looks_of(recipe, trial) == looks - 1


def test_the_recipes_own_rhythm_of_looks_is_kept(clipart_shards: Path, tmp_path: Path) -> None:
    recipe = recipe_of(clipart_shards, tmp_path, "evaluate.every=0.4")
    assert trial_recipe(recipe, PARAMS, seed=0).evaluate.every == 0.4


def test_members_of_a_population_have_a_checkpoint_at_every_look(
    clipart_shards: Path, tmp_path: Path
) -> None:
    rhythm = ["train.checkpoint.every_steps=4", "train.checkpoint.every_minutes=9"]
    recipe = recipe_of(clipart_shards, tmp_path, *rhythm, scheduler="pbt")
    checkpoint = trial_recipe(recipe, PARAMS, seed=0).train.checkpoint
    assert (checkpoint.every_steps, checkpoint.every_minutes) == (5, None)
    assert checkpoint.keep >= 4
    alone = recipe_of(clipart_shards, tmp_path, *rhythm)
    assert trial_recipe(alone, PARAMS, seed=0).train.checkpoint == alone.train.checkpoint


def test_snapshots_of_trials_may_cost_a_tenth(clipart_shards: Path, tmp_path: Path) -> None:
    for share, expected in ((0.02, 0.1), (0.5, 0.5)):
        recipe = recipe_of(clipart_shards, tmp_path, f"evaluate.snapshot_share={share}")
        assert trial_recipe(recipe, {}, seed=0).evaluate.snapshot_share == expected


def test_nothing_of_a_trial_is_registered_or_traced(clipart_shards: Path, tmp_path: Path) -> None:
    overrides = ["tracking.register=digits", f"train.trace={tmp_path}/trace.parquet"]
    trial = trial_recipe(recipe_of(clipart_shards, tmp_path, *overrides), {}, seed=0)
    assert trial.tracking.register_as is None
    assert (trial.train.trace, trial.name, trial.sweep) == (None, None, None)


def test_the_best_is_trained_as_the_recipe_says_with_its_settings(
    clipart_shards: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(clipart_shards, tmp_path)
    found = [winner_recipe(recipe, PARAMS, sweep="mine", trial=4, seed=seed) for seed in (0, 1)]
    assert [(w.seed, w.name, w.tracking.register_as) for w in found] == [
        (5, "mine-trial-4-seed-5", "mine"),
        (6, "mine-trial-4-seed-6", None),
    ]
    expected = recipe.resolved()
    expected["objective"]["temperature"] = 0.35
    del expected["tracking"]["register"]
    own = ("sweep", "seed", "name")
    for winner in found:
        values = winner.resolved()
        del values["tracking"]["register"]
        assert {k: v for k, v in values.items() if k not in own} == {
            k: v for k, v in expected.items() if k not in own
        }
        assert winner.sweep is None
        assert winner.evaluate.sets == (f"{clipart_shards}/train", f"{clipart_shards}/test")
    named = recipe_of(clipart_shards, tmp_path, "tracking.register=digits")
    first = winner_recipe(named, PARAMS, sweep="mine", trial=4, seed=0)
    assert first.tracking.register_as == "digits"
