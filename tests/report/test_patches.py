"""What reports are told of patches: the masks of steps, the tokens of the packaged encoder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional as F

from pipeline.data import storage
from pipeline.data.order.corpus import load_corpus
from pipeline.data.order.slices import slices
from pipeline.data.reading import ingest
from pipeline.data.reading.assemble import Batch, BatchAssembler
from pipeline.data.reading.first_views import first_batch, first_images
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.encoders.transformers.patches import encode_patches
from pipeline.learning.feed import Feed
from pipeline.planning.length import stream_plan
from pipeline.recipe import Recipe
from pipeline.registry.packages.encoder import PackagedEncoder
from pipeline.report.facts import FirstMasks, PatchSimilarity, RunFacts
from pipeline.report.gathering import patches as patch_facts
from pipeline.report.gathering.patches import patch_cosines, query_patches
from pipeline.report.writing import write_report
from pipeline.runs.cursors import DataState
from pipeline.runs.folder import RunFolder, read_json, write_json
from pipeline.runs.identity import run_identity
from pipeline.runs.product import package_encoder, trained_learner
from pipeline.training.loop import TrainingLoop
from pipeline.views.parameters import ImageViews

pytestmark = pytest.mark.fast

CPU = torch.device("cpu")
VIT = {
    "name": "vit_tiny_patch16_224",
    "args": {
        "img_size": 32,
        "patch_size": 4,
        "embed_dim": 32,
        "depth": 2,
        "num_heads": 2,
        "class_token": False,
        "global_pool": "avg",
        "fc_norm": False,
    },
    "positions": "sincos",
}
RESULT: dict[str, Any] = {
    "model": None,
    "probes": {},
    "intervals": {},
    "samples": {"planned": 72, "served": 72, "repeated": 0, "quarantined": 0, "dropped": 0},
    "encoder_sha256": "cd" * 32,
}


def recipe_for(shards: Path | str, *, mode: str = "corrected", **settings: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "data": {"shards": str(shards), "streams": 4, "shuffle_window": 64},
            "views": {
                "size": 32,
                "count": 1,
                "masks": {"kind": "multiblock", "mode": mode},
                "jitter": 0,
                "grayscale": 0,
                "flip": 0,
                "crop_scale": [0.3, 1],
            },
            "encoder": VIT,
            "objective": {"kind": "ijepa", "predictor": {"width": 32, "depth": 1}, "ema": 0.9},
            "train": {"steps": 3, "global_batch": 24, "log_every": 1},
            **settings,
        }
    )


def begun(recipe: Recipe, path: Path, fingerprint: str | None = None) -> RunFolder:
    folder = RunFolder(str(path))
    fingerprint = fingerprint or load_corpus(recipe.data.manifests).fingerprint
    identity = run_identity(recipe, fingerprint=fingerprint, init_sha256=None)
    write_json(folder.identity, {"identity": identity, "run_id": "1", "tracking_uri": "none"})
    storage.write_file(folder.recipe, recipe.to_yaml().encode())
    return folder


@pytest.fixture(scope="module")
def finished(
    clipart_shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Recipe, RunFolder]:
    """A run that has trained and whose encoder is packaged."""
    recipe = recipe_for(clipart_shards / "train")
    folder = begun(recipe, tmp_path_factory.mktemp("runs") / "run")
    TrainingLoop(recipe=recipe, folder=folder, device=CPU, ingest=ingest.inline).run()
    identity = read_json(folder.identity)["identity"]
    package_encoder(recipe, folder, identity, {}, into=Path(folder.package))
    return recipe, folder


def test_the_report_of_a_masked_run_shows_masks_and_similar_patches(
    finished: tuple[Recipe, RunFolder], drawn: list[RunFacts]
) -> None:
    recipe, folder = finished
    page = Path(write_report(recipe, folder, RESULT).page).read_text()
    assert '<section id="masks">' in page
    assert '<section id="similarity">' in page
    (facts,) = drawn
    masks, found = facts.masks, facts.similarity
    assert isinstance(masks, FirstMasks)
    assert isinstance(found, PatchSimilarity)
    assert not isinstance(facts.views, str)
    assert masks.sample_ids == found.sample_ids == facts.views.sample_ids[:6]
    assert np.array_equal(masks.views, facts.views.blocks[0][:6, 0])
    assert len(re.findall(r' alt="Sample \d+: ', page)) == 12


def test_the_similarities_are_those_of_the_encoder_that_left(
    finished: tuple[Recipe, RunFolder], drawn: list[RunFacts]
) -> None:
    recipe, folder = finished
    write_report(recipe, folder, RESULT)
    found = drawn[0].similarity
    assert isinstance(found, PatchSimilarity)
    learner = trained_learner(recipe, folder)
    package = PackagedEncoder.load(Path(folder.package))
    inputs = package.normalise(torch.from_numpy(found.images).permute(0, 3, 1, 2))
    with torch.no_grad():
        twin, trained = (
            F.normalize(encode_patches(encoder, inputs), dim=-1)
            for encoder in (learner.product, learner.encoder)
        )
    of_twin, of_trained = (t[:, [36, 9]] @ t.mT for t in (twin, trained))
    assert found.queries.tolist() == [36, 9]
    assert np.allclose(found.cosines, of_twin, atol=1e-5)
    assert not np.allclose(found.cosines, of_trained, atol=1e-5)


def test_the_images_are_whole_and_as_probes_see_them(
    finished: tuple[Recipe, RunFolder], drawn: list[RunFacts]
) -> None:
    recipe, folder = finished
    write_report(recipe, folder, RESULT)
    found = drawn[0].similarity
    assert isinstance(found, PatchSimilarity)
    first = first_images(reader_of(recipe), count=6)
    assert np.array_equal(found.images, np.stack(first.images))  # they are of this size


def reader_of(recipe: Recipe) -> SliceReader:
    return SliceReader(
        manifests=recipe.data.manifests, plan=stream_plan(recipe), views=recipe.views
    )


def batch_of_step_0(reader: SliceReader) -> Batch:
    plan = reader.plan
    cursors = DataState(plan.streams).own(range(plan.streams))
    assembler = BatchAssembler(reader, cursors=cursors, step=0, total_steps=1, max_bad_fraction=1)
    pieces = slices(
        plan,
        positions=dict.fromkeys(range(plan.streams), 0),
        step=0,
        total_steps=1,
        per_stream=plan.per_batch,
    )
    return next(assembler.batches(ingest.inline(reader, pieces, cpus=1)))


@pytest.mark.parametrize("mode", ["corrected", "official"])
def test_the_masks_are_those_of_step_0(
    mode: str, clipart_shards: Path, tmp_path: Path, drawn: list[RunFacts]
) -> None:
    # With this seed the shortest context of the batch is not among the samples that are shown.
    recipe = recipe_for(clipart_shards / "train", mode=mode, seed=4)
    write_report(recipe, begun(recipe, tmp_path / "run"))
    found = drawn[0].masks
    assert isinstance(found, FirstMasks)
    batch = batch_of_step_0(reader_of(recipe))
    assert sorted(batch.sample_id) == sorted(first_batch(reader_of(recipe)))
    trained = Feed(recipe, grid=(8, 8), device=CPU).batch(batch, step=0).masks
    assert trained is not None
    rows = [batch.sample_id.tolist().index(sample_id) for sample_id in found.sample_ids]
    assert (found.grid, found.mode) == ((8, 8), mode)
    assert np.array_equal(found.masks.context, trained.visible[rows])
    assert np.array_equal(found.masks.targets, trained.blocks[rows])
    assert np.array_equal(found.masks.sizes, trained.sizes[rows])


def test_a_run_that_is_not_finished_has_masks_and_says_that_it_has_no_encoder(
    finished: tuple[Recipe, RunFolder], drawn: list[RunFacts]
) -> None:
    write_report(*finished)  # without a result: a package that is there is of a shorter run
    assert isinstance(drawn[0].masks, FirstMasks)
    assert isinstance(drawn[0].similarity, str)
    assert "the run has no encoder yet" in drawn[0].similarity


def test_a_package_that_is_gone_costs_only_the_similarities(
    clipart_shards: Path, tmp_path: Path, drawn: list[RunFacts]
) -> None:
    recipe = recipe_for(clipart_shards / "train")
    page = Path(write_report(recipe, begun(recipe, tmp_path / "run"), RESULT).page).read_text()
    assert isinstance(drawn[0].masks, FirstMasks)
    assert isinstance(drawn[0].similarity, str)
    assert "the run's encoder cannot be read or run. FileNotFoundError: " in drawn[0].similarity
    assert "The similarities cannot be drawn: " in page


def test_shards_that_are_gone_are_told_in_both(tmp_path: Path, drawn: list[RunFacts]) -> None:
    recipe = recipe_for(tmp_path / "gone")
    write_report(recipe, begun(recipe, tmp_path / "run", "fe" * 32), RESULT)
    for told in (drawn[0].masks, drawn[0].similarity):
        assert isinstance(told, str)
        assert "the shards cannot be read any more" in told


def test_a_run_that_masks_nothing_tells_of_no_patches(
    clipart_shards: Path, tmp_path: Path, drawn: list[RunFacts]
) -> None:
    recipe = recipe_for(clipart_shards / "train", views={"size": 32}, objective={"kind": "simclr"})
    page = Path(write_report(recipe, begun(recipe, tmp_path / "run"), RESULT).page).read_text()
    assert (drawn[0].masks, drawn[0].similarity) == (None, None)
    assert 'id="masks"' not in page
    assert 'id="similarity"' not in page


def test_a_large_encoder_is_shown_fewer_images(
    finished: tuple[Recipe, RunFolder], drawn: list[RunFacts], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patch_facts, "_AFFORDED", 1.0)
    write_report(*finished, RESULT)
    found = drawn[0].similarity
    assert isinstance(found, PatchSimilarity)
    assert (len(found.sample_ids), len(found.images), len(found.cosines)) == (1, 1, 1)


def test_cosines_are_between_the_tokens_of_patches() -> None:
    """By an encoder whose tokens are the colours of their patches."""
    encoder = VisionTransformer(
        img_size=32,
        patch_size=4,
        embed_dim=3,
        depth=1,
        num_heads=1,
        num_classes=0,
        class_token=False,
        global_pool="avg",
        fc_norm=False,
    )
    encoder.blocks, encoder.norm = nn.Sequential(), nn.Identity()
    with torch.no_grad():
        encoder.pos_embed.zero_()
        encoder.patch_embed.proj.bias.zero_()
        weight = torch.eye(3)[:, :, None, None] / 16
        encoder.patch_embed.proj.weight.copy_(weight.expand(3, 3, 4, 4))
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[:, :, :16, 0] = 255
    image[:, :, 16:, 1] = 255
    image[:, 28:] = 100
    views = ImageViews(size=32, mean=(0, 0, 0), std=(1, 1, 1))
    cosines = patch_cosines(encoder.eval(), image, np.array([0, 63]), views=views)
    assert cosines.shape == (1, 2, 64)
    of_red, of_grey = cosines[0].reshape(2, 8, 8)
    assert np.allclose(of_red[:7, :4], 1)
    assert np.allclose(of_red[:7, 4:], 0)
    assert np.allclose(of_red[7], 3**-0.5)
    assert np.allclose(of_grey[7], 1)
    assert np.allclose(of_grey[:7], 3**-0.5)


@pytest.mark.parametrize(
    ("grid", "patches"),
    [((8, 8), [36, 9]), ((14, 14), [105, 30]), ((4, 8), [20, 1]), ((1, 1), [0])],
)
def test_queries_are_in_the_middle_and_near_a_corner(
    grid: tuple[int, int], patches: list[int]
) -> None:
    assert query_patches(grid).tolist() == patches
