"""A run with `data.exclude`: what `plan` says of it, what it is served, and which run it is."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from pipeline.data import storage
from pipeline.data.order.corpus import SOURCE_STRIDE, load_corpus
from pipeline.data.order.exclusion import NOTHING, Exclusion, load_exclusion
from pipeline.data.order.export import epoch_order
from pipeline.data.reading import ingest
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.data.sources.convert import shard
from pipeline.data.sources.manifest import load_manifest
from pipeline.errors import UserError
from pipeline.evaluation.probe_set import load_panel_set, load_probe_set
from pipeline.evaluation.snapshot import load_snapshot_images
from pipeline.planning.check import checked_recipe
from pipeline.planning.length import stream_plan
from pipeline.planning.plan import plan_recipe, write_epoch_order
from pipeline.recipe import Recipe
from pipeline.registry.journal import Journal
from pipeline.report.facts import FirstViews, RunFacts
from pipeline.report.writing import report_of_folder
from pipeline.runs.folder import RunFolder, with_own_exclusion, write_json
from pipeline.runs.identity import differences, run_identity, run_name
from pipeline.runs.trace import join_trace
from pipeline.training.loop import TrainingLoop
from tests.conftest import Checker

pytestmark = pytest.mark.fast

BAD = [0, 3, 70, 71, *range(100, 140), 239]
SMALL: dict[str, Any] = {
    "encoder": {"name": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8}},
    "views": {"size": 16},
    "objective": {"kind": "simclr", "projector": [16]},
}


@pytest.fixture
def bad_pairs(tmp_path: Path) -> Path:
    """What a former run would have found."""
    path = tmp_path / "bad_pairs.parquet"
    pq.write_table(pa.table({"sample_id": BAD, "reason": ["far"] * len(BAD)}), path)
    return path


@pytest.fixture
def recipe(tmp_path: Path, clipart_shards: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = tmp_path / "recipe.yaml"
    data = {"shards": f"{clipart_shards}/train", "streams": 4}
    path.write_text(
        yaml.safe_dump(SMALL | {"data": data, "train": {"epochs": 3, "global_batch": 24}})
    )
    return path


def recipe_for(shards: Path, exclude: Path | None, **settings: Any) -> Recipe:
    data = {"shards": str(shards), "streams": 4, "shuffle_window": 64}
    return Recipe.model_validate(
        SMALL
        | {
            "data": data | ({"exclude": str(exclude)} if exclude else {}),
            "train": {"steps": 20, "global_batch": 24, "log_every": 5, "trace": "by the driver"},
            **settings,
        }
    )


def trained(recipe: Recipe, folder: Path) -> tuple[TrainingLoop, dict[str, int], list[int]]:
    """A run in this process: its loop, its account, and the ids of its trace."""
    folder.mkdir(exist_ok=True)
    run = RunFolder(str(folder))
    loop = TrainingLoop(recipe=recipe, folder=run, device=torch.device("cpu"), ingest=ingest.inline)
    account = loop.run()
    join_trace(run.trace, folder / "trace.parquet")
    return loop, account, pq.read_table(folder / "trace.parquet")["sample_id"].to_pylist()


@pytest.mark.parametrize("pairs", [{}, {"miner": {"kind": "dbpm", "warm_up": 1}}])
def test_a_run_is_served_what_is_left_and_its_account_is_of_that(
    clipart_shards: Path, bad_pairs: Path, tmp_path: Path, pairs: dict[str, Any]
) -> None:
    recipe = recipe_for(clipart_shards / "train", bad_pairs, pairs=pairs)
    loop, account, ids = trained(recipe, tmp_path / "run")
    assert not set(ids) & set(BAD)
    boundaries = load_manifest(clipart_shards / "train").boundaries()
    plan = stream_plan(recipe)
    assert plan.steps_per_epoch == 8
    planned = [
        i
        for epoch in range(3)
        for table in epoch_order(plan, boundaries, epoch=epoch)
        for i in table["sample_id"].to_pylist()
    ]
    assert ids == planned[: 20 * 24]
    left = 240 - len(BAD)
    assert account["planned"] == 3 * left
    assert account["served"] == 20 * 24
    assert account["planned"] == account["served"] - account["repeated"] + account["dropped"]
    history = loop.learner.pairs.history
    assert (history is None) == (not pairs)
    if history is not None:
        places = history.places(torch.tensor(BAD[:-1]))  # the last id lies behind all streams
        assert not history.seen[places[places >= 0]].any()
        assert int(history.seen.sum()) == 20 * 24


def test_the_panel_passes_over_excluded_samples_and_probes_do_not(clipart_shards: Path) -> None:
    recipe = recipe_for(clipart_shards / "train", None)
    train, excluded = str(clipart_shards / "train"), Exclusion(BAD)
    whole = load_panel_set(train, views=recipe.views, seed=0, max_samples=240)
    left = np.setdiff1d(np.arange(240), BAD)
    options: dict[str, Any] = {"views": recipe.views, "data": train, "seed": 0, "count": 100}
    found = load_snapshot_images(recipe.evaluate, excluded=excluded, **options).panel
    np.testing.assert_array_equal(found.views, whole.views[left[:100]])
    np.testing.assert_array_equal(found.labels, whole.labels[left[:100]])

    labelled = recipe.evaluate.model_copy(update={"train": train, "test": train})
    found_too = load_snapshot_images(labelled, excluded=excluded, **options)
    np.testing.assert_array_equal(found_too.panel.views, whole.views[:100])
    probes = load_probe_set(train, size=16, max_samples=100)
    np.testing.assert_array_equal(found_too.probes["train"].images, probes.images)


def test_plan_counts_what_is_excluded_and_orders_what_is_left(
    recipe: Path, bad_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checked = checked_recipe(recipe, [f"data.exclude={bad_pairs.name}"])
    assert checked.data.exclude == str(bad_pairs)
    plan = plan_recipe(checked)
    assert (plan.samples, plan.excluded, plan.steps_per_epoch) == (240, 45, 8)
    assert plan.dropped_tail == 240 - 45 - 8 * 24
    assert write_epoch_order(checked, tmp_path / "order.parquet", epoch=1) == 8 * 24
    ordered = pq.read_table(tmp_path / "order.parquet")["sample_id"].to_pylist()
    assert len(set(ordered)) == len(ordered)
    assert not set(ordered) & set(BAD)


def text(path: Path, ids: Any) -> Path:
    path.write_text("\n".join(map(str, ids)))
    return path


def test_mistakes_are_told_with_all_others(problems: Checker, tmp_path: Path) -> None:
    missing = problems(
        f"data.exclude={tmp_path}/absent", f"data.shards={tmp_path}/gone", "encoder.name=resnet10x"
    )
    assert set(missing) == {"data.exclude", f"{tmp_path}/gone/manifest.arrow", "encoder.name"}
    assert missing["data.exclude"] == f"{tmp_path}/absent: there is no such file"
    folder = problems(f"data.exclude={tmp_path}", "evaluate.every=1")
    assert set(folder) == {"data.exclude"}

    other = text(tmp_path / "other", [5, 240, 999])
    found = problems(f"data.exclude={other}", "train.global_batch=22")
    assert set(found) == {"data.exclude", "train.global_batch"}
    assert found["data.exclude"] == (
        f"{other}: 2 of its 3 ids are of no sample, the first is 240; ids of data.shards are 0 to "
        "239"
    )

    found = problems(f"data.exclude={text(tmp_path / 'most', range(225))}")
    assert found == {
        "train.global_batch": "24 needs 6 samples of each of 4 streams, but the 15 samples that "
        "data.exclude leaves give 3; the largest batch that fits is 12"
    }
    found = problems(f"data.exclude={text(tmp_path / 'all', range(240))}")
    assert found == {"data.exclude": f"{tmp_path}/all: leaves none of the 240 samples"}


@pytest.fixture
def mixture(clipart: Path, clipart_shards: Path, tmp_path: Path) -> str:
    """The shards, with weights 1 and 1, and once more as another manifest of 300."""
    shard(
        clipart,
        tmp_path / "more",
        labels="y",
        images="x",
        kind="tar",
        samples_per_shard=100,
        test_fraction=0,
        seed=1,
    )
    return f"[{{path: {clipart_shards}/train}}, {{path: {tmp_path}/more}}]"


def test_ids_of_several_manifests_are_those_of_the_run(
    problems: Checker, recipe: Path, mixture: str, tmp_path: Path
) -> None:
    second = range(SOURCE_STRIDE, SOURCE_STRIDE + 300)
    ids = [*range(10), *second[100:280]]
    shards = f"data.shards={mixture}"
    checked = checked_recipe(recipe, [shards, f"data.exclude={text(tmp_path / 'bad', ids)}"])
    plan = plan_recipe(checked)
    assert [(s["samples"], s["excluded"], s["streams"]) for s in plan.sources] == [
        (240, 10, 3),
        (300, 180, 1),
    ]
    (table,) = epoch_order(
        stream_plan(checked), load_corpus(checked.data.manifests).boundaries, epoch=0
    )
    served = set(table["sample_id"].to_pylist())
    assert not served & set(ids)
    assert served <= {*range(240), *second}

    unknown = text(tmp_path / "unknown", [300, 2 * SOURCE_STRIDE])
    found = problems(shards, f"data.exclude={unknown}")["data.exclude"]
    assert "2 of its 2 ids are of no sample, the first is 300" in found
    assert f"0 to 239 and {SOURCE_STRIDE} to {SOURCE_STRIDE + 299}" in found
    found = problems(shards, f"data.exclude={text(tmp_path / 'whole', second)}")
    assert found["data.shards[1]"].startswith("its 0 samples that data.exclude leaves in 1 streams")


def test_what_is_excluded_makes_the_run_and_where_it_is_written_does_not(
    clipart_shards: Path, bad_pairs: Path, tmp_path: Path
) -> None:
    def identity(exclude: Path | None) -> dict[str, Any]:
        recipe = recipe_for(clipart_shards / "train", exclude)
        excluded = load_exclusion(recipe.data.exclude)
        return run_identity(recipe, fingerprint="data", init_sha256=None, excluded=excluded)

    before = identity(bad_pairs)
    assert before == identity(text(tmp_path / "same.txt", [*BAD, *BAD[:3]]))
    none, empty = identity(None), identity(text(tmp_path / "empty", []))
    assert (
        none
        == empty
        == run_identity(
            recipe_for(clipart_shards / "train", None), fingerprint="data", init_sha256=None
        )
    )
    other = identity(text(tmp_path / "other", BAD[1:]))
    assert len({run_name(recipe_for(tmp_path, None), i) for i in (before, none, other)}) == 3
    for now in (none, other):
        (problem, _) = differences(before, now)
        assert problem.where == "data.exclude"
        assert "leaves out other samples: those of sha256" in problem.message
    assert "now; a run cannot change" in differences(none, before)[0].message
    assert ": none when it began" in differences(none, before)[0].message


def test_a_run_goes_by_its_own_copy_and_so_does_its_report(
    clipart_shards: Path, bad_pairs: Path, tmp_path: Path, drawn: list[RunFacts]
) -> None:
    recipe = recipe_for(clipart_shards / "train", bad_pairs)
    folder = RunFolder(str(tmp_path / "run"))
    assert with_own_exclusion(recipe, folder) == recipe
    excluded = load_exclusion(recipe.data.exclude)
    fingerprint = load_corpus(recipe.data.manifests).fingerprint
    identity = run_identity(recipe, fingerprint=fingerprint, init_sha256=None, excluded=excluded)
    write_json(folder.identity, {"identity": identity, "run_id": "1", "tracking_uri": "none"})
    storage.write_file(folder.excluded, excluded.to_parquet())
    storage.write_file(folder.recipe, recipe.to_yaml().encode())
    Journal(folder.journal).flush()
    plan = stream_plan(recipe)
    bad_pairs.unlink()

    own = with_own_exclusion(recipe, folder)
    assert own.data.exclude == folder.excluded
    assert stream_plan(own) == plan
    report_of_folder(folder.location)
    views = drawn[0].views
    assert isinstance(views, FirstViews)
    boundaries = load_manifest(clipart_shards / "train").boundaries()
    (table,) = epoch_order(plan, boundaries, epoch=0)
    assert set(views.sample_ids) <= set(table["sample_id"].to_pylist()[:24])


def test_a_file_that_changes_under_a_reader_stops_it(
    clipart_shards: Path, bad_pairs: Path, tmp_path: Path
) -> None:
    """A worker's read tasks never mix two orders."""
    recipe = recipe_for(clipart_shards / "train", text(tmp_path / "bad", [1, 2]))
    plan = stream_plan(recipe)
    assert plan.excluded != NOTHING
    reader = SliceReader(manifests=recipe.data.manifests, plan=plan, views=recipe.views)
    sent = pickle.dumps(reader)
    text(tmp_path / "bad", [1, 2, 3])
    with pytest.raises(UserError, match="has changed since the run began"):
        pickle.loads(sent).plan.bounds(0)
