"""What reports are told of autoencoders where there is none, or not all can be had."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.data.reading.first_views import first_views
from pipeline.encoders.autoencoders.autoencoder import Autoencoder
from pipeline.report.facts import FirstViews, PriorSamples, Reconstructions, RunFacts
from pipeline.report.gathering import autoencoder as gathering
from pipeline.report.gathering.autoencoder import autoencoder_facts
from pipeline.report.gathering.pictures import FirstSamples
from pipeline.report.writing import write_report
from pipeline.runs.folder import RunFolder
from tests.report.autoencoder_runs import (
    OBJECTIVES,
    Run,
    first_of,
    reader_of,
    recipe_for,
    told,
    trained,
)
from tests.report.test_patches import RESULT, begun

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def finished(clipart_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = recipe_for(clipart_shards / "train", OBJECTIVES["cmim, grey"])
    return trained(recipe, tmp_path_factory.mktemp("runs") / "run")


def test_a_run_of_another_objective_tells_of_no_autoencoder(
    clipart_shards: Path, tmp_path: Path, drawn: list[RunFacts]
) -> None:
    simclr = {"kind": "simclr"}
    for name, objective in {
        "one": simclr,
        "two": {"kind": "composite", "parts": [{"objective": simclr}] * 2},
    }.items():
        recipe = recipe_for(clipart_shards / "train", objective, views={"size": 32})
        page = Path(write_report(recipe, begun(recipe, tmp_path / name), RESULT).page).read_text()
        assert reasons(drawn.pop()) == [None] * 3
        for anchor in ("reconstructions", "prior-samples", "interpolations"):
            assert f'id="{anchor}"' not in page


def reasons(facts: RunFacts) -> list[Any]:
    return [facts.reconstructions, facts.prior_samples, facts.interpolations]


def test_a_run_that_is_not_finished_says_that_it_has_no_encoder(
    finished: Run, drawn: list[RunFacts]
) -> None:
    page = Path(write_report(*finished).page).read_text()  # it has checkpoints, but no result
    for reason in reasons(drawn[0]):
        assert "the run has no encoder yet" in reason
    assert "The samples cannot be drawn: the run has no encoder yet" in page


def test_a_run_without_checkpoints_says_so_in_all_three(
    clipart_shards: Path, tmp_path: Path, drawn: list[RunFacts]
) -> None:
    recipe = recipe_for(clipart_shards / "train", OBJECTIVES["mim"])
    write_report(recipe, begun(recipe, tmp_path / "run"), RESULT)
    for reason in reasons(drawn[0]):
        assert reason.startswith("the run's weights cannot be read. CheckpointError: ")
        assert reason.endswith(" holds no checkpoint")


def test_weights_that_are_damaged_cost_only_the_pictures(
    finished: Run, tmp_path: Path, drawn: list[RunFacts]
) -> None:
    recipe, folder = finished
    shutil.copytree(folder.location, tmp_path / "run")
    for file in (tmp_path / "run" / "checkpoints").rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-1])
    page = Path(write_report(recipe, RunFolder(str(tmp_path / "run")), RESULT).page).read_text()
    for reason in reasons(drawn[0]):
        assert "the run's weights cannot be read. CheckpointError: no checkpoint can be" in reason
    assert page.count("the run&#39;s weights cannot be read") == 3
    assert "Loss over steps" in page


def test_without_data_there_are_samples_of_the_prior_alone(
    finished: Run, tmp_path: Path, drawn: list[RunFacts]
) -> None:
    recipe = recipe_for(tmp_path / "gone", OBJECTIVES["cmim, grey"])
    write_report(recipe, finished[1], RESULT)
    of_images, prior, paths = reasons(drawn[0])
    assert "the shards cannot be read any more" in of_images
    assert of_images == paths
    assert isinstance(prior, PriorSamples)


def broken(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("no\nroom")


def test_what_cannot_be_encoded_costs_no_samples_of_the_prior(
    finished: Run, drawn: list[RunFacts], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "render_probe_view", broken)
    write_report(*finished, RESULT)
    of_images, prior, paths = reasons(drawn[0])
    assert of_images == paths == "encoding the images failed. RuntimeError: no room"
    assert isinstance(prior, PriorSamples)


def test_what_cannot_be_decoded_is_told_in_each(
    finished: Run, drawn: list[RunFacts], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "operations", lambda run: 1)
    monkeypatch.setattr(Autoencoder, "decode", broken)
    write_report(*finished, RESULT)
    for reason in reasons(drawn[0]):
        assert reason == "decoding codes failed. RuntimeError: no room"


def test_one_sample_alone_has_no_path(finished: Run) -> None:
    recipe, folder = finished
    reader, images = reader_of(recipe), first_of(recipe, 1)
    views = FirstViews(sample_ids=images.sample_ids.tolist(), blocks=first_views(reader, images))
    first = FirstSamples(reader=reader, images=images, views=views)
    facts = autoencoder_facts(recipe, first, folder, finished=True)
    assert isinstance(facts.reconstructions, Reconstructions)
    assert len(facts.reconstructions.means) == 1
    assert isinstance(facts.interpolations, str)
    assert "there is one alone" in facts.interpolations


def test_of_a_large_model_fewer_images_are_shown(
    finished: Run, drawn: list[RunFacts], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report(*finished, RESULT)
    monkeypatch.setattr(gathering, "_AFFORDED", 1.0)
    write_report(*finished, RESULT)
    many, few = map(told, drawn)
    assert [len(found.means) for found in few] == [2, 1, 1]
    for all_of_them, first in zip(many, few, strict=True):
        away = all_of_them.means[: len(first.means)].astype(int) - first.means
        assert np.abs(away).max() <= 1


def test_the_cost_of_an_image_is_counted() -> None:
    convolution = nn.Conv2d(3, 5, kernel_size=3, padding=1)
    images = torch.zeros(1, 3, 8, 8)
    assert gathering.operations(lambda: convolution(images)) == 2 * 8 * 8 * 3 * 5 * 9
    assert gathering.operations(lambda: images + 1) == 1
