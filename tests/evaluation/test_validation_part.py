"""With a validation part probes are scored on the end of `train`, and nobody opens `test`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.data.order.corpus import load_corpus
from pipeline.data.reading.shard_reader import read_labels
from pipeline.evaluation.config import EvaluateConfig
from pipeline.evaluation.features import raw_pixels
from pipeline.evaluation.probe_set import (
    WHOLE,
    Part,
    ProbeSet,
    load_panel_set,
    load_probe_set,
    parts_of,
)
from pipeline.evaluation.probes.scoring import contestant_scores
from pipeline.evaluation.snapshot import load_snapshot_images
from pipeline.learning.learner import build_learner
from pipeline.planning.check import find_problems
from pipeline.recipe import Recipe
from pipeline.training.probing import probe_learner

pytestmark = pytest.mark.fast

COUNT = 240
SIZE = 16


def recipe_for(shards: Path, **evaluate: Any) -> Recipe:
    """With a test path where nothing is."""
    sets = {"train": f"{shards}/train", "test": f"{shards}/nowhere", "validation": 0.25}
    return Recipe.model_validate(
        {
            "data": {"shards": f"{shards}/train", "streams": 4},
            "views": {"size": SIZE},
            "encoder": {"name": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8}},
            "objective": {"kind": "simclr", "projector": [16]},
            "train": {"epochs": 1, "global_batch": 24},
            "evaluate": {"probes": ["knn", "naive_bayes"], **sets, **evaluate},
        }
    )


def whole(shards: Path, most: int = COUNT) -> Any:
    return load_probe_set(f"{shards}/train", size=SIZE, max_samples=most)


@settings(deadline=None)
@given(
    st.integers(1, 5000),
    st.floats(0.001, 0.999),
    st.integers(10, 6000),
    st.integers(1, 6000),
)
def test_parts_are_apart_and_are_the_first_samples_together(
    available: int, validation: float, most: int, at_most: int
) -> None:
    config = EvaluateConfig(train="train", validation=validation, max_samples=most)
    parts = parts_of(config)
    fitted, scored = (parts[name].of(available, at_most=10**9) for name in ("train", "test"))
    first = min(available, most)
    assert [*fitted, *scored] == list(range(first))
    assert abs(len(scored) - validation * first) <= 0.5 + 1e-6
    # A snapshot's are the first of each.
    for part, all_of_it in ((parts["train"], fitted), (parts["test"], scored)):
        assert part.of(available, at_most=at_most) == all_of_it[:at_most]


def test_without_a_validation_part_sets_are_whole() -> None:
    config = EvaluateConfig(train="a", test="b")
    assert parts_of(config) == {"train": WHOLE, "test": WHOLE}
    assert WHOLE.of(10, at_most=4) == range(4)
    assert WHOLE.of(3, at_most=4) == range(3)
    assert Part(0.5, 1.0, 8).of(100, at_most=3) == range(4, 7)


@pytest.mark.parametrize("most", [COUNT, 100, 20_000])
def test_probe_sets_are_the_parts_of_the_one_that_is_whole(clipart_shards: Path, most: int) -> None:
    parts = parts_of(recipe_for(clipart_shards, max_samples=most).evaluate)
    fitted, scored = (
        load_probe_set(f"{clipart_shards}/train", size=SIZE, max_samples=most, part=parts[name])
        for name in ("train", "test")
    )
    everything = whole(clipart_shards, most)
    assert len(scored.labels) == min(most, COUNT) // 4
    assert np.array_equal(np.concatenate([fitted.images, scored.images]), everything.images)
    assert np.array_equal(np.concatenate([fitted.labels, scored.labels]), everything.labels)


@pytest.mark.parametrize("ranks", [2, 3, 7])
def test_parts_do_not_depend_on_the_number_of_ranks(clipart_shards: Path, ranks: int) -> None:
    recipe = recipe_for(clipart_shards)
    part = parts_of(recipe.evaluate)["test"]
    folder, most = f"{clipart_shards}/train", 41
    alone = load_probe_set(folder, size=SIZE, max_samples=most, part=part)
    panel = load_panel_set(folder, views=recipe.views, seed=0, max_samples=most, part=part)
    shares = [(rank, ranks) for rank in range(ranks)]
    probes = [
        load_probe_set(folder, size=SIZE, max_samples=most, share=share, part=part)
        for share in shares
    ]
    panels = [
        load_panel_set(folder, views=recipe.views, seed=0, max_samples=most, share=share, part=part)
        for share in shares
    ]
    assert np.array_equal(np.concatenate([s.images for s in probes]), alone.images)
    assert np.array_equal(np.concatenate([s.labels for s in probes]), alone.labels)
    assert np.array_equal(np.concatenate([s.views for s in panels]), panel.views)
    assert len(alone.labels) == len(panel.labels) == most


def test_a_snapshot_looks_at_the_first_of_each_part(clipart_shards: Path) -> None:
    recipe = recipe_for(clipart_shards)
    images = load_snapshot_images(
        recipe.evaluate,
        views=recipe.views,
        data=recipe.data.manifests[0],
        seed=recipe.seed,
        count=40,
    )
    everything = whole(clipart_shards)
    assert np.array_equal(images.probes["train"].images, everything.images[:40])
    assert np.array_equal(images.probes["test"].images, everything.images[180:220])
    labels = read_labels(load_corpus((f"{clipart_shards}/train",)), at_most=COUNT)
    assert np.array_equal(images.panel.labels, labels[180:220])
    # Of the same samples, by their ids, as in the panel of all.
    panel = load_panel_set(
        f"{clipart_shards}/train", views=recipe.views, seed=recipe.seed, max_samples=COUNT
    )
    assert np.array_equal(images.panel.views, panel.views[180:220])


def test_probes_of_the_end_are_fitted_and_scored_on_the_parts(clipart_shards: Path) -> None:
    recipe = recipe_for(clipart_shards)
    found = probe_learner(recipe, build_learner(recipe))
    images, labels = whole(clipart_shards).images, whole(clipart_shards).labels
    expected = contestant_scores(
        {"_raw": raw_pixels},
        ProbeSet(images=images[:180], labels=labels[:180]),
        ProbeSet(images=images[180:], labels=labels[180:]),
        probes=recipe.evaluate.probes,
        seed=recipe.seed,
    )
    assert {name: found[name] for name in expected} == expected
    assert expected.keys() == {"knn_raw", "naive_bayes_raw"}


def test_floors_are_left_out_where_nobody_looks_at_them(clipart_shards: Path) -> None:
    recipe = recipe_for(clipart_shards)
    learner = build_learner(recipe)
    alone, all_of_them = (probe_learner(recipe, learner, floors=f) for f in (False, True))
    assert alone.keys() == {"knn", "naive_bayes"}
    assert {name: all_of_them[name] for name in alone} == alone
    assert len(all_of_them) == 6


def test_a_recipe_for_a_part_needs_no_test_shards(clipart_shards: Path) -> None:
    assert find_problems(recipe_for(clipart_shards), build=False) == []
    assert find_problems(recipe_for(clipart_shards, test=None), build=False) == []
    faults = find_problems(recipe_for(clipart_shards, validation=None), build=False)
    assert any("nowhere" in str(fault) for fault in faults)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation": 0.2}, "validation is a share of train: give train too"),
        ({"validation": 0.2, "test": "b"}, "validation is a share of train: give train too"),
        ({"train": "a"}, "give both train and test, or neither"),
        ({"train": "a", "validation": 1.0}, "less than 1"),
        ({"train": "a", "validation": 0.0}, "greater than 0"),
    ],
)
def test_a_part_of_nothing_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EvaluateConfig.model_validate(settings)
