"""A snapshot of several ranks is that of one; what is found out about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.evaluation.snapshot import evaluate_snapshot, save_snapshot
from pipeline.recipe import Recipe
from tests.ranks import processes, snapshot_share

pytestmark = pytest.mark.fast

DECODER = {"kind": "conv", "channels": [16, 8]}


def of_ranks(world_size: int, folder: Path, shards: Path) -> list[dict[str, Any]]:
    """What each rank found."""
    folder.mkdir()
    recipe = Recipe.model_validate(
        {
            "data": {"shards": f"{shards}/train"},
            "views": {"size": 16},
            "encoder": {"name": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8}},
            "objective": {
                "kind": "composite",
                "parts": [
                    {"objective": {"kind": "simclr", "projector": [16, 12]}},
                    {"objective": {"kind": "a_mim", "width": 6, "decoder": DECODER}},
                ],
            },
            "train": {"epochs": 1},
            "evaluate": {
                "train": f"{shards}/train",
                "test": f"{shards}/test",
                "features": ["pooled", "projector", "mean", "sample", "decoder_hidden"],
                "snapshot_samples": 41,
            },
        }
    )
    (folder / "recipe.json").write_text(recipe.model_dump_json(by_alias=True))
    torch.save(
        torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), folder / "features.pt"
    )
    processes.run(snapshot_share.main, world_size, folder)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world_size)]


def test_two_ranks_find_what_one_does(clipart_shards: Path, tmp_path: Path) -> None:
    (one,) = of_ranks(1, tmp_path / "one", clipart_shards)
    two = of_ranks(2, tmp_path / "two", clipart_shards)
    assert [rank["images"] for rank in two] == [20, 21]
    for rank in two:
        assert rank["snapshot"].keys() == one["snapshot"].keys()
        for name, values in one["snapshot"].items():
            torch.testing.assert_close(rank["snapshot"][name], values, rtol=1e-4, atol=1e-5)
        assert rank["signs"].keys() == one["signs"].keys()
        for name, value in one["signs"].items():
            torch.testing.assert_close(rank["signs"][name], value)
    assert one["snapshot"]["panel"].shape == (41, 2, 8)
    widths = {"1 projector": 12 + 6, "2 mean": 6, "3 sample": 6, "4 decoder_hidden": 8}
    for name, width in widths.items():
        assert one["snapshot"][f"test {name}"].shape == (41, width)


def snapshot(**changes: Tensor) -> dict[str, Tensor]:
    noise = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 4
    centres = 3 * torch.randn(4, 8, generator=noise)
    sets = {}
    for name in ("train", "test"):
        sets[f"{name} 0 pooled"] = centres[labels] + torch.randn(40, 8, generator=noise)
        sets[f"{name} labels"] = labels.clone()
    panel = torch.randn(40, 2, 8, generator=noise)
    return {"panel": panel, "panel labels": labels, **sets, **changes}


def evaluated(found: dict[str, Tensor], tmp_path: Path) -> tuple[dict[str, float], Any]:
    location = str(tmp_path / "snapshot.safetensors")
    save_snapshot(found, location)
    found = evaluate_snapshot(location, probes=["knn", "linear", "naive_bayes"], seed=0)
    assert not found.note
    return found.metrics, found.intervals


def test_figures_carry_their_names_and_intervals(tmp_path: Path) -> None:
    metrics, intervals = evaluated(snapshot(), tmp_path)
    assert set(intervals) == {"eval/knn", "eval/linear", "eval/naive_bayes"}
    for name, (low, high) in intervals.items():
        assert 0.8 < low <= metrics[name] <= high <= 1
    assert {"eval/rankme", "eval/tolerance", "eval/dsmi"} < set(metrics)


def test_figures_that_are_not_numbers_are_left_out(tmp_path: Path) -> None:
    metrics, _ = evaluated(snapshot(panel=torch.ones(40, 2, 8)), tmp_path)
    assert "eval/alpha_req" not in metrics
    assert metrics["eval/dead_dimensions"] == 1


def test_without_labels_there_is_the_panel_alone(tmp_path: Path) -> None:
    found = {"panel": snapshot()["panel"], "panel labels": torch.full((40,), -1)}
    metrics, intervals = evaluated(found, tmp_path)
    assert intervals == {}
    assert "eval/rankme" in metrics
    assert not {"eval/tolerance", "eval/knn"} & set(metrics)
