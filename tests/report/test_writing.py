"""Reports gathered from folders of runs: on a disk, in a store, whole or with parts missing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.data import storage
from pipeline.data.order.corpus import load_corpus
from pipeline.data.order.slices import slices
from pipeline.data.order.streams import StreamPlan
from pipeline.data.reading.accounting import LedgerEntry, write_ledger
from pipeline.data.reading.assemble import BatchAssembler
from pipeline.data.reading.first_views import first_images
from pipeline.data.reading.ingest import inline
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.errors import UserError
from pipeline.planning.length import stream_plan
from pipeline.recipe import Recipe
from pipeline.registry.journal import Journal
from pipeline.report import writing
from pipeline.report.facts import FirstViews, RunFacts
from pipeline.report.writing import report_of_folder, report_or_warning, write_report
from pipeline.runs.cursors import DataState
from pipeline.runs.folder import RunFolder, write_json
from pipeline.runs.identity import run_identity
from pipeline.views.batched import finish_views

pytestmark = pytest.mark.fast

RESULT: dict[str, Any] = {
    "model": None,
    "probes": {"knn": 0.875, "knn_raw": 0.5},
    "intervals": {"knn": [0.8, 0.9], "knn_raw": [0.4, 0.6]},
    "samples": {"planned": 72, "served": 72, "repeated": 0, "quarantined": 0, "dropped": 0},
    "encoder_sha256": "cd" * 32,
}


def recipe_for(shards: Path | str, **views: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "data": {"shards": str(shards), "streams": 4, "shuffle_window": 64},
            "views": {"size": 32, **views},
            "encoder": {"name": "resnet10t"},
            "train": {"steps": 3, "global_batch": 24},
        }
    )


def begun(folder: RunFolder, recipe: Recipe, fingerprint: str | None = None) -> RunFolder:
    """A run's folder as the driver and two steps leave it."""
    fingerprint = fingerprint or load_corpus(recipe.data.manifests).fingerprint
    identity = run_identity(recipe, fingerprint=fingerprint, init_sha256=None)
    write_json(folder.identity, {"identity": identity, "run_id": "1", "tracking_uri": "none"})
    storage.write_file(folder.recipe, recipe.to_yaml().encode())
    journal = Journal(folder.journal)
    journal.event("training", step=0, total_steps=3, workers=[])
    for step in (1, 2):
        journal.metrics(step, {"loss": 4.0 - step, "epoch": step / 3})
    journal.flush()
    return folder


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[RunFacts]:
    """What pages were drawn from; the drawing itself has tests of its own."""
    found: list[RunFacts] = []

    def render(facts: RunFacts) -> str:
        found.append(facts)
        return f"<p>{facts.name}</p>"

    monkeypatch.setattr(writing, "render_page", render)
    return found


@pytest.fixture
def folder(tmp_path: Path, clipart_shards: Path) -> RunFolder:
    return begun(RunFolder(str(tmp_path / "run")), recipe_for(clipart_shards / "train"))


def test_an_unfinished_run_has_a_report_in_its_folder(folder: RunFolder) -> None:
    location = report_of_folder(folder.location).page
    assert location == folder.report == f"{folder.location}/report.html"
    page = Path(location).read_text()
    assert "not finished: 2 of 3 steps" in page
    assert "data:image/png;base64," in page
    assert page.count("<section") == 9


def test_everything_in_the_folder_is_told(folder: RunFolder, drawn: list[RunFacts]) -> None:
    entry = LedgerEntry(
        sample_id=5, shard="a.tar", key="<script>", offset=512, error="torn", epoch=0
    )
    write_ledger(folder.ledger, [entry] * 60)
    write_json(folder.failure, [{"where": "data", "message": "too many bad samples"}])
    write_json(folder.result, RESULT)
    report_of_folder(folder.location)
    (facts,) = drawn
    assert facts.name == "run"
    assert facts.identity["objective.kind"] == "simclr"
    assert facts.metrics["loss"].values == [3.0, 2.0]
    assert facts.result == RESULT
    assert facts.failures == ["data: too many bad samples"]
    assert facts.ledger is not None
    assert (len(facts.ledger.entries), facts.ledger.total) == (50, 60)
    assert facts.ledger.entries[0]["key"] == "<script>"
    assert "global_batch: 24" in facts.recipe_yaml


def test_the_result_of_a_run_that_has_just_ended_is_given(
    folder: RunFolder, drawn: list[RunFacts], clipart_shards: Path
) -> None:
    write_report(recipe_for(clipart_shards / "train"), folder, RESULT)
    assert drawn[0].result == RESULT


def test_a_run_in_a_store_has_its_report_there(
    object_store: str, clipart_shards: Path, drawn: list[RunFacts]
) -> None:
    recipe = recipe_for(clipart_shards / "train")
    folder = begun(RunFolder(f"s3://runs/reports/one?{object_store}"), recipe)
    location = report_of_folder(folder.location).page
    assert location == folder.report == f"s3://runs/reports/one/report.html?{object_store}"
    assert storage.read_file(location) == b"<p>one</p>"
    assert drawn[0].last_step == 2


def first_batch(recipe: Recipe, plan: StreamPlan) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """The first global batch, as a lone worker trains on it but for the device's part."""
    reader = SliceReader(manifests=recipe.data.manifests, plan=plan, views=recipe.views)
    cursors = DataState(plan.streams).own(range(plan.streams))
    assembler = BatchAssembler(reader, cursors=cursors, step=0, total_steps=1, max_bad_fraction=1)
    pieces = slices(
        plan,
        positions=dict.fromkeys(range(plan.streams), 0),
        step=0,
        total_steps=1,
        per_stream=plan.per_batch,
    )
    batch = next(assembler.batches(inline(reader, pieces, cpus=1)))
    return batch.sample_id, batch.views


@pytest.mark.parametrize("executor", ["cpu", "device"])
def test_the_views_are_those_that_a_step_gets(
    clipart_shards: Path, drawn: list[RunFacts], executor: str, tmp_path: Path
) -> None:
    local = {"count": 2, "size": 16}
    recipe = recipe_for(clipart_shards / "train", executor=executor, local=local)
    folder = begun(RunFolder(str(tmp_path / "run")), recipe)
    write_report(recipe, folder)
    views = drawn[0].views
    assert isinstance(views, FirstViews)
    assert len(set(views.sample_ids)) == 12
    plan = stream_plan(recipe)
    ids, blocks = first_batch(recipe, plan)
    if executor == "device":
        tensors = tuple(torch.from_numpy(block) for block in blocks)
        finished = finish_views(
            tensors, config=recipe.views, seed=recipe.seed, epoch=0, sample_ids=ids
        )
        blocks = tuple(block.numpy() for block in finished)
    rows = [ids.tolist().index(sample_id) for sample_id in views.sample_ids]
    assert [block.shape[1:3] for block in views.blocks] == [(2, 32), (2, 16)]
    for shown, trained in zip(views.blocks, blocks, strict=True):
        assert np.array_equal(shown, trained[rows])


def test_first_samples_come_from_all_over_the_data(clipart_shards: Path) -> None:
    recipe = recipe_for(clipart_shards / "train")
    plan = stream_plan(recipe)
    reader = SliceReader(manifests=recipe.data.manifests, plan=plan, views=recipe.views)
    ids = first_images(reader, count=6).sample_ids
    bounds = [plan.bounds(stream) for stream in range(4)]
    owners = [next(s for s, (low, high) in enumerate(bounds) if low <= i < high) for i in ids]
    assert owners == [0, 1, 2, 3, 0, 1]


def test_shards_that_are_gone_cost_only_the_views(tmp_path: Path, drawn: list[RunFacts]) -> None:
    folder = begun(RunFolder(str(tmp_path / "run")), recipe_for(tmp_path / "gone"), "fe" * 32)
    report_of_folder(folder.location)
    assert isinstance(drawn[0].views, str)
    assert "the shards cannot be read any more" in drawn[0].views
    assert drawn[0].last_step == 2


def test_views_of_data_that_has_changed_are_not_passed_off_as_the_run_s(
    tmp_path: Path, clipart_shards: Path, drawn: list[RunFacts]
) -> None:
    recipe = recipe_for(clipart_shards / "train")
    report_of_folder(begun(RunFolder(str(tmp_path / "run")), recipe, "fe" * 32).location)
    assert isinstance(drawn[0].views, str)
    assert "the data has changed" in drawn[0].views


def test_a_recipe_of_another_version_costs_only_the_views(
    folder: RunFolder, drawn: list[RunFacts]
) -> None:
    storage.write_file(folder.recipe, b"data: {shards: here}\nolder: setting\n")
    report_of_folder(folder.location)
    assert isinstance(drawn[0].views, str)
    assert "does not understand the recipe" in drawn[0].views
    assert "older: setting" in drawn[0].recipe_yaml


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    for location in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match="is not the folder of a run"):
            report_of_folder(str(location))
    with pytest.raises(UserError, match="run: nowhere://bucket/run cannot be reached"):
        report_of_folder("nowhere://bucket/run")
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_written_is_one_line(folder: RunFolder) -> None:
    Path(folder.report).mkdir()
    with pytest.raises(UserError, match="run: cannot be read or written: ") as refused:
        report_of_folder(folder.location)
    assert len(str(refused.value).splitlines()) == 1


def test_a_finished_run_is_not_lost_for_a_picture(
    folder: RunFolder,
    clipart_shards: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(facts: RunFacts) -> str:
        raise ZeroDivisionError("no\nroom")

    monkeypatch.setattr(writing, "render_page", broken)
    recipe = recipe_for(clipart_shards / "train")
    with caplog.at_level(logging.WARNING):
        assert report_or_warning(recipe, folder, RESULT) is None
    (told,) = caplog.messages
    assert "ZeroDivisionError: no room" in told
    assert f"python -m jobs report {folder.location}" in told
    assert "\n" not in told
    with pytest.raises(ZeroDivisionError):
        write_report(recipe, folder, RESULT)
