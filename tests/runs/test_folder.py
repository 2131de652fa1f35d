"""A run's name and identity: what may change when it is taken up again."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UserError
from pipeline.recipe import Recipe
from pipeline.runs.folder import RunFolder, fresh_name, write_json
from pipeline.runs.identity import differences, flatten, run_identity, run_name

pytestmark = pytest.mark.fast

BASE: dict[str, Any] = {
    "data": {"shards": "/shards"},
    "encoder": {"name": "resnet10t", "args": {"stem_width": 8}},
    "train": {"epochs": 10},
    "evaluate": {"train": "/a", "test": "/b"},
}


def change(settings: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    key, _, rest = dotted.partition(".")
    return {**settings, key: change(settings.get(key) or {}, rest, value) if rest else value}


def recipe(**changes: Any) -> Recipe:
    settings = BASE
    for dotted, value in changes.items():
        settings = change(settings, dotted, value)
    return Recipe.model_validate(settings)


def identity(
    fingerprint: str = "data", init_sha256: str | None = None, **changes: Any
) -> dict[str, Any]:
    """As it is read from `run.json` on resume."""
    found = run_identity(recipe(**changes), fingerprint=fingerprint, init_sha256=init_sha256)
    return json.loads(json.dumps(found))


def test_a_given_name_is_taken() -> None:
    assert run_name(recipe(name="mine"), identity()) == "mine"


def test_a_derived_name_says_what_is_trained_and_is_the_same_every_time() -> None:
    name = run_name(recipe(), identity())
    assert re.fullmatch(r"simclr-resnet10t-[0-9a-f]{8}", name)
    shuffled = dict(reversed(identity().items()))
    assert run_name(recipe(), shuffled) == name


FREE = {
    "train.workers": 4,
    "train.checkpoint": {"every_steps": 5, "keep": 9},
    "train.log_every": 1,
    "train.max_failures": 0,
    "train.wait_minutes": 1.5,
    "train.device": "cpu",
    "train.trace": "/trace.parquet",
    "sweep": {"space": {"objective.temperature": {"uniform": [0.1, 1.0]}}},
    "evaluate": None,
    "evaluate.max_samples": 99,
    "tracking": {"experiment": "other", "register": "encoder", "uri": "http://a", "storage": "x"},
    "data.shards": "/moved",
    "data.exclude": "/bad_pairs.parquet",
    "data.ingest": "inline",
    "data.ingest_cpus": 3,
    "data.readers": "anywhere",
    "data.read_ahead_bytes": 1 << 28,
    "data.cache_bytes": 1 << 30,
    "data.max_bad_fraction": 0.5,
    "encoder.init": "models:/a/1",
    "encoder.features": {"kind": "decoder_hidden", "layer": 0},
}
FIXED = {
    "train.optimizer": {"lr": 0.5},
    "train.optimizer.weight_decay": 0.0,
    "train.global_batch": 64,
    "train.micro_batch": 8,
    "train.precision": "bf16",
    "train.batch_norm": "local",
    "seed": 1,
    "data.streams": 16,
    "data.shuffle_window": 7,
    "views.size": 64,
    "views.crop_scale": [0.5, 1.0],
    "encoder.name": "resnet18",
    "encoder.args": {},
    "encoder.args.stem_width": 16,
    "objective.temperature": 0.5,
    "objective.projector": [64],
    "pairs.arbiter": {"kind": "uota"},
}


@pytest.mark.parametrize("setting", FREE)
def test_what_does_not_change_the_result_may_differ(setting: str) -> None:
    now = identity(**{setting: FREE[setting]})
    assert differences(identity(), now) == []
    assert run_name(recipe(), now) == run_name(recipe(), identity())


@pytest.mark.parametrize("setting", FIXED)
def test_what_changes_the_result_is_refused(setting: str) -> None:
    now = identity(**{setting: FIXED[setting]})
    *found, remedy = differences(identity(), now)
    assert found
    assert all(problem.where.startswith(setting) for problem in found)
    assert remedy.where == "run"
    assert "--fresh" in remedy.message
    assert run_name(recipe(), now) != run_name(recipe(), identity())


def test_both_values_are_shown() -> None:
    found = differences(
        identity(**{"train.optimizer.lr": 0.001}), identity(**{"train.optimizer.lr": 0.5})
    )
    assert found[0].where == "train.optimizer.lr"
    assert found[0].message == "the run has 0.001, the recipe says 0.5; a run cannot change"


def test_every_difference_is_told_at_once() -> None:
    now = identity(seed=1, **{"views.size": 64, "train.epochs": 3, "train.workers": 2})
    assert [problem.where for problem in differences(identity(), now)] == [
        "seed",
        "train.epochs",
        "views.size",
        "run",
    ]


@pytest.mark.parametrize("unit", ["epochs", "steps"])
def test_a_run_may_grow_but_not_shrink(unit: str) -> None:
    before, same, longer, shorter = (identity(train={unit: length}) for length in (10, 10, 20, 9))
    assert differences(before, same) == []
    assert differences(before, longer) == []
    refused = differences(before, shorter)[0]
    assert refused.where == f"train.{unit}"
    assert refused.message.startswith("the run has 10, the recipe says 9")


def test_the_unit_of_length_cannot_change() -> None:
    found = differences(identity(train={"epochs": 10}), identity(train={"steps": 1000}))
    assert [problem.where for problem in found] == ["train.epochs", "train.steps", "run"]


def test_other_data_is_refused() -> None:
    found = differences(identity("abc"), identity("abd"))
    assert found[0].where == "data.shards"
    assert found[0].message == (
        "the data has grown or changed: its fingerprint was abc when the run began and is abd now; "
        "a run cannot change"
    )


def test_other_data_is_another_run_unless_the_run_has_a_name() -> None:
    assert run_name(recipe(), identity("abc")) != run_name(recipe(), identity("abd"))


def test_other_initial_weights_are_refused_wherever_they_lie() -> None:
    before = identity(init_sha256="abc", **{"encoder.init": "/a"})
    moved = identity(init_sha256="abc", **{"encoder.init": "models:/a/1"})
    other = identity(init_sha256="abd", **{"encoder.init": "/a"})
    assert differences(before, moved) == []
    assert differences(before, other)[0].where == "encoder.init sha256"


def test_every_setting_is_either_part_of_the_identity_or_free() -> None:
    settings = {key for key, _ in flatten(recipe().resolved())}
    free = settings - identity().keys()
    assert free == {
        key
        for key in settings
        if key in ("name", "encoder.init", "views.from")
        or key.startswith(("evaluate", "tracking", "train.checkpoint"))
        or key in FREE
    }


def test_a_fresh_run_takes_the_first_name_that_is_not_taken(tmp_path: Path) -> None:
    assert fresh_name(str(tmp_path), "run") == "run"
    for name, expected in (("run", "run-2"), ("run-2", "run-3"), ("run-4", "run-3")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").touch()
        assert fresh_name(str(tmp_path), "run") == expected
    (tmp_path / "run-3").mkdir()
    assert fresh_name(str(tmp_path), "run") == "run-3"


def test_a_second_holder_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    first, second = (
        RunFolder(str(tmp_path / "new" / "run")),
        RunFolder(str(tmp_path / "new" / "run")),
    )
    with first.locked():
        with pytest.raises(UserError, match="run: this run is in progress"), second.locked():
            pass
        with RunFolder(str(tmp_path / "new" / "other")).locked():
            pass
    with second.locked():
        pass


def test_a_holder_that_fails_lets_go(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "run"))
    with pytest.raises(ZeroDivisionError), folder.locked():
        _ = 1 / 0
    with folder.locked():
        pass


def test_what_never_became_a_run_leaves_no_folder(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "run"))
    with folder.locked():
        assert Path(folder.location).exists()
    assert not Path(folder.location).exists()
    with folder.locked():
        write_json(folder.identity, {})
    assert Path(folder.identity).exists()


@pytest.mark.parametrize("name", ["photos", ".", ".."])
def test_what_never_became_a_run_takes_nothing_else_with_it(tmp_path: Path, name: str) -> None:
    storage = tmp_path / "runs" / "experiment"
    (storage / "photos").mkdir(parents=True)
    kept = storage / "photos" / "holiday.jpg"
    kept.touch()
    with contextlib.suppress(OSError), RunFolder(str(storage / name)).locked():
        pass
    assert kept.exists()


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_json(str(path), {"a": 1})
    with pytest.raises(TypeError):
        write_json(str(path), {"a": object()})
    write_json(str(path), {"a": 2})
    assert json.loads(path.read_text()) == {"a": 2}
    assert list(tmp_path.iterdir()) == [path]


def test_flatten_names_every_leaf_and_keeps_empty_sections() -> None:
    nested = {"a": {"b": 1, "c": {"d": [2, 3], "e": {}}}, "f": None}
    assert dict(flatten(nested)) == {"a.b": 1, "a.c.d": [2, 3], "a.c.e": {}, "f": None}


def test_a_run_from_before_given_pairs_is_the_same_run_now() -> None:
    """What `views.from` is without a word in the recipe had no name then."""
    assert "views.from" not in identity()
    pairs = identity(**{"views.from": ["left", "right"]})
    assert pairs["views.from"] == ["left", "right"]
    assert [problem.where for problem in differences(identity(), pairs)] == ["views.from", "run"]
    assert run_name(recipe(), pairs) != run_name(recipe(), identity())
