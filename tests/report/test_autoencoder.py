"""What reports are told of autoencoders: decoded again here, from the learner's parts."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.data import storage
from pipeline.encoders.autoencoders import noise
from pipeline.encoders.autoencoders.autoencoder import Autoencoder
from pipeline.recipe import Recipe
from pipeline.report.facts import Pixels, RunFacts
from pipeline.report.gathering.autoencoder import spherical_path
from pipeline.report.writing import write_report
from pipeline.runs.folder import RunFolder
from pipeline.runs.product import trained_learner
from tests.report.autoencoder_runs import (
    CODE,
    OBJECTIVES,
    WIDTH,
    Run,
    first_of,
    recipe_for,
    told,
    trained,
)
from tests.report.report_facts import Page, pictures
from tests.report.test_patches import RESULT

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module", params=OBJECTIVES)
def any_run(
    request: pytest.FixtureRequest, clipart_shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    recipe = recipe_for(clipart_shards / "train", OBJECTIVES[request.param])
    return trained(recipe, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def finished(clipart_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = recipe_for(clipart_shards / "train", OBJECTIVES["cmim, grey"])
    return trained(recipe, tmp_path_factory.mktemp("runs") / "run")


class Parts:
    """A trained run's encoder, head and decoder."""

    def __init__(self, recipe: Recipe, folder: RunFolder) -> None:
        learner = trained_learner(recipe, folder).eval()
        self._views = recipe.views
        self._encoder = learner.encoder
        objective = learner.objective
        autoencoder = objective.autoencoder
        assert isinstance(autoencoder, Autoencoder)
        self._linear, self._decoder = autoencoder.head.linear, autoencoder.decoder
        self._gaussian = autoencoder.likelihood.kind == "gaussian"

    @torch.no_grad()
    def codes(self, images: Pixels) -> Tensor:
        mean, std = (
            torch.tensor(figure).view(3, 1, 1) for figure in (self._views.mean, self._views.std)
        )
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
        features: Tensor = self._encoder((pixels - mean) / std)
        codes: Tensor = F.linear(features, self._linear.weight, self._linear.bias)[:, :WIDTH]
        return codes

    @torch.no_grad()
    def decode(self, codes: Tensor) -> np.ndarray:
        """Means (n, S, S, C) of codes (n, D)."""
        output = self._decoder(codes).output.permute(0, 2, 3, 1)
        means: np.ndarray = (output if self._gaussian else torch.sigmoid(output)).double().numpy()
        return means


def assert_shows(pixels: Pixels, means: np.ndarray) -> None:
    assert pixels.dtype == np.uint8
    assert pixels.shape == means.shape
    assert np.abs(pixels - 255 * means.clip(0, 1)).max() <= 0.5 + 1e-2


def test_reconstructions_are_of_the_means_of_the_first_samples(
    any_run: Run, drawn: list[RunFacts]
) -> None:
    recipe, folder = any_run
    write_report(recipe, folder, RESULT)
    found, _, _ = told(drawn[0])
    first = first_of(recipe)
    assert found.sample_ids == first.sample_ids.tolist()
    assert len(found.sample_ids) == 12
    images = np.stack(first.images)  # they are of this size
    assert np.array_equal(found.images, images)
    parts = Parts(recipe, folder)
    means = parts.decode(parts.codes(images))
    assert_shows(found.means, means)
    assert found.means.std(axis=0).max() > 2  # of different samples
    beyond = (means < 0) | (means > 1)
    assert beyond.any() == (recipe.objective.kind == "mim")


def test_nats_are_those_of_all_values_together(any_run: Run, drawn: list[RunFacts]) -> None:
    recipe, folder = any_run
    write_report(recipe, folder, RESULT)
    found, _, _ = told(drawn[0])
    parts = Parts(recipe, folder)
    means = parts.decode(parts.codes(found.images))
    x = found.images / 255
    if means.shape[-1] == 1:
        x = x.mean(axis=3, keepdims=True)
    axes = (1, 2, 3)
    if found.likelihood == "bernoulli":
        values = -(x * np.log(means) + (1 - x) * np.log(1 - means))
        floor = -sum(np.where(p > 0, p * np.log(p.clip(1e-300)), 0) for p in (x, 1 - x))
    else:
        assert found.likelihood == "gaussian, scale 0.2"
        constant = math.log(0.2 * math.sqrt(2 * math.pi))
        values = (x - means) ** 2 / (2 * 0.2**2) + constant
        floor = np.full_like(x, constant)
    assert np.allclose(found.nats, values.sum(axis=axes), rtol=1e-4)
    assert np.allclose(found.least_nats, floor.sum(axis=axes), atol=1e-3)
    assert (found.least_nats < found.nats).all()


def test_samples_of_the_prior_are_of_named_noise(any_run: Run, drawn: list[RunFacts]) -> None:
    recipe, folder = any_run
    write_report(recipe, folder, RESULT)
    _, found, _ = told(drawn[0])
    codes = noise.normal("prior sample", recipe.seed, torch.arange(24), count=WIDTH)
    assert (found.width, found.seed) == (WIDTH, recipe.seed)
    assert_shows(found.means, Parts(recipe, folder).decode(codes.float()))


def test_paths_lead_from_one_reconstruction_to_another(any_run: Run, drawn: list[RunFacts]) -> None:
    recipe, folder = any_run
    write_report(recipe, folder, RESULT)
    shown, _, found = told(drawn[0])
    ids = shown.sample_ids
    assert found.sample_ids == [(ids[row], ids[row + 1]) for row in (0, 2, 4, 6)]
    assert found.means.shape[:2] == (4, 8)
    ends = found.means[:, [0, -1]].reshape(8, *found.means.shape[2:])
    assert np.abs(ends.astype(int) - shown.means[:8]).max() <= 1
    assert np.array_equal(found.images.reshape(8, 32, 32, 3), shown.images[:8])
    parts = Parts(recipe, folder)
    starts, stops = parts.codes(shown.images[:8]).double().unflatten(0, (4, 2)).unbind(dim=1)
    for row in range(4):
        start, stop = starts[row], stops[row]
        angle = torch.acos(start @ stop / start.norm() / stop.norm())
        for step in range(8):
            at = angle * step / 7
            code = ((angle - at).sin() * start + at.sin() * stop) / angle.sin()
            assert_shows(found.means[row, [step]], parts.decode(code[None].float()))


def test_a_page_shows_them_and_is_the_same_at_each_writing(any_run: Run) -> None:
    recipe, folder = any_run
    page = Path(write_report(recipe, folder, RESULT).page).read_text()
    assert Path(write_report(recipe, folder, RESULT).page).read_text() == page
    read = Page(page)
    anchors = ["reconstructions", "prior-samples", "interpolations"]
    assert [anchor for anchor in read.text if anchor in anchors] == anchors
    assert len(re.findall(r' alt="Sample \d+: ', page)) == 12
    _, first, *_ = pictures(read)  # the views' is before it
    parts = Parts(recipe, folder)
    means = parts.decode(parts.codes(np.stack(first_of(recipe, 1).images)))
    assert_shows(first[:96:3, 98:194:3, :3], np.broadcast_to(means[0], (32, 32, 3)))
    assert "Distance of pairs" not in page  # there is one view


def test_another_seed_draws_other_samples(finished: Run, drawn: list[RunFacts]) -> None:
    recipe, folder = finished
    other = recipe.model_copy(update={"seed": 1})
    for each in (recipe, other):
        write_report(each, folder, RESULT)
    one, another = (told(facts)[1].means for facts in drawn)
    assert (one != another).any(axis=(1, 2, 3)).all()


def test_a_run_in_a_store_is_told_as_one_on_a_disk(
    finished: Run, object_store: str, drawn: list[RunFacts]
) -> None:
    recipe, folder = finished
    stored = RunFolder(f"s3://runs/autoencoders/one?{object_store}")
    for file in Path(folder.location).rglob("*"):
        if file.is_file():
            name = str(file.relative_to(folder.location))
            storage.write_file(storage.join(stored.location, name), file.read_bytes())
    for each in (folder, stored):
        write_report(recipe, each, RESULT)
    for here, there in zip(*map(told, drawn), strict=True):
        assert np.array_equal(here.means, there.means)


def test_a_composite_s_autoencoder_is_shown_too(
    clipart_shards: Path, tmp_path: Path, drawn: list[RunFacts]
) -> None:
    parts = [{"kind": "simclr", "projector": [16]}, {"kind": "cmim", **CODE}]
    objective = {"kind": "composite", "parts": [{"objective": part} for part in parts]}
    recipe = recipe_for(clipart_shards / "train", objective, views={"size": 32})
    recipe, folder = trained(recipe, tmp_path / "run")
    write_report(recipe, folder, RESULT)
    found, _, _ = told(drawn[0])
    learner = trained_learner(recipe, folder).eval()
    autoencoder: Any = learner.objective.parts[1].autoencoder
    with torch.no_grad():
        features = learner.encoder(learner.normalise(torch.from_numpy(found.images)[:, None]))
        output = autoencoder.decode(autoencoder.posterior(features).mean).output
    assert_shows(found.means, output.sigmoid().permute(0, 2, 3, 1).double().numpy())


def test_an_arc_keeps_its_radius_and_its_pace() -> None:
    start, end = torch.tensor([[3.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 3.0]])
    (path,) = spherical_path(start, end, steps=4)
    turned = [math.radians(30 * step) for step in range(4)]
    expected = torch.tensor([[3 * math.cos(a), 0.0, 3 * math.sin(a)] for a in turned])
    torch.testing.assert_close(path, expected)


@pytest.mark.parametrize("end", [[2.0, 4.0], [-1.0, -2.0]])
def test_where_there_is_no_arc_it_is_a_line(end: list[float]) -> None:
    start = torch.tensor([[1.0, 2.0]])
    path = spherical_path(start, torch.tensor([end]), steps=3)
    middle = (start[0] + torch.tensor(end)) / 2
    torch.testing.assert_close(path[0], torch.stack([start[0], middle, torch.tensor(end)]))
