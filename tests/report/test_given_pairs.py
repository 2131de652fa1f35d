"""A run on given pairs: it trains, takes its views from both, and shows both of the worst."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pipeline
from pipeline.data.decode import decode_image
from pipeline.report.facts import BadPairs, RunFacts
from pipeline.report.writing import write_report
from pipeline.views.opencv import render_probe_view
from tests.data.pairs import COUNT, LEFTS, RIGHTS, write_pairs, write_set
from tests.report.autoencoder_runs import recipe_for, trained

pytestmark = pytest.mark.fast

PLAIN = {"size": 32, "crop_scale": [1, 1], "flip": 0, "jitter": 0, "grayscale": 0}


@pytest.mark.parametrize("kind", ["simclr", "vicreg"])
def test_a_run_on_pairs_lists_the_worst_with_both_images(
    tmp_path: Path, drawn: list[RunFacts], kind: str
) -> None:
    shards = write_pairs(tmp_path / "shards")
    recipe = recipe_for(
        shards,
        {"kind": kind, "projector": [16, 4]},
        views={**PLAIN, "from": ["left", "right"]},
        pairs={"miner": {"kind": "dbpm", "warm_up": 1, "noisy": 0.5, "faulty": 0.5}},
        train={"steps": 8, "global_batch": 24, "log_every": 4},
    )
    _, folder = trained(recipe, tmp_path / "run")
    write_report(recipe, folder)
    found = drawn[-1].bad_pairs
    assert isinstance(found, BadPairs)
    assert isinstance(found.images, dict)
    assert found.images
    for sample, picture in found.images.items():
        both = [render_probe_view(decode_image(of[sample]), 32) for of in (LEFTS, RIGHTS)]
        np.testing.assert_array_equal(picture, np.concatenate(both, axis=1))
    page = Path(folder.report).read_text()
    assert 'width="256" height="128" alt="Sample' in page
    with Image.open(folder.contact_sheet) as sheet:
        colours = np.asarray(sheet.convert("RGB"))[50:194, 16:160]  # the first one's square
    assert (colours[[10, -10]] == 255).all()  # paper above and below two images side by side
    assert not (colours[72] == 255).all()


def test_batches_have_views_of_both(tmp_path: Path) -> None:
    settings = {
        "encoder": {"name": "resnet10t"},
        "train": {"epochs": 1, "global_batch": 18},
    }
    of_pairs, *of_one = (
        list(
            pipeline.batches(
                pipeline.load_recipe(
                    settings | {"data": {"shards": str(folder), "streams": 2}, "views": views}
                )
            )
        )
        for folder, views in (
            (write_pairs(tmp_path / "pairs", "parquet"), {"size": 8, "from": ["left", "right"]}),
            (write_set(tmp_path / "left", LEFTS), {"size": 8}),
            (write_set(tmp_path / "right", RIGHTS), {"size": 8}),
        )
    )
    assert len(of_pairs) == COUNT // 18
    for place, alone in enumerate(of_one):
        for batch, other in zip(of_pairs, alone, strict=True):
            assert (batch.views[0][:, place] == other.views[0][:, place]).all()
            assert (batch.sample_id == other.sample_id).all()
