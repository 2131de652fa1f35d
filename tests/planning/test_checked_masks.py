"""What `plan` says of objectives that mask, and of the numbers of views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.encoders.backbone import build_backbone
from pipeline.encoders.configs.encoder import EncoderConfig
from pipeline.planning.check import checked_recipe
from pipeline.planning.plan import plan_recipe
from pipeline.registry.packages.config import PackageConfig, Preprocessing
from pipeline.registry.packages.files import write_package
from tests.conftest import Checker

pytestmark = pytest.mark.fast

MASKED: dict[str, Any] = {
    "encoder": {
        "name": "vit_tiny_patch16_224",
        "args": {
            "img_size": 16,
            "patch_size": 2,
            "embed_dim": 16,
            "depth": 1,
            "num_heads": 2,
            "class_token": False,
            "global_pool": "avg",
            "fc_norm": False,
        },
        "positions": "sincos",
    },
    "views": {"size": 16, "count": 1, "masks": {"kind": "multiblock"}},
    "objective": {"kind": "ijepa", "predictor": {"width": 16, "depth": 1}},
    "train": {"epochs": 3, "global_batch": 32},
}


@pytest.fixture
def recipe(tmp_path: Path, clipart_shards: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(MASKED | {"data": {"shards": f"{clipart_shards}/train"}}))
    return path


@pytest.mark.parametrize("kind", ["ijepa", "dmt_jepa"])
@pytest.mark.parametrize("mode", ["corrected", "official"])
def test_masked_objectives_are_planned(recipe: Path, kind: str, mode: str) -> None:
    plan = plan_recipe(
        checked_recipe(recipe, [f"objective.kind={kind}", f"views.masks.mode={mode}"])
    )
    assert plan.feature_width == 16
    assert plan.parameters > 2 * plan.encoder_parameters
    assert plan.memory_bytes > 0


def test_a_masked_objective_without_masks_is_refused(problems: Checker) -> None:
    found = problems("views.masks=null")
    assert list(found) == ["views.masks"]
    assert "ijepa predicts masked patches; allowed: kind: multiblock" in found["views.masks"]


def test_masks_without_an_objective_that_needs_them_are_refused(problems: Checker) -> None:
    found = problems("objective={kind: lejepa}", "views.count=2")
    assert list(found) == ["views.masks"]
    assert "lejepa masks nothing; allowed: null" in found["views.masks"]


def test_a_grid_that_is_too_small_is_refused_with_numbers(problems: Checker) -> None:
    found = problems("views.masks.min_keep=30")
    assert list(found) == ["views.masks"]
    assert "8 x 8" in found["views.masks"]
    assert "30" in found["views.masks"]


@pytest.mark.parametrize(
    ("overrides", "where", "needed"),
    [
        (["encoder.name=resnet10t", "encoder.args={}"], "encoder.positions", "no positions"),
        (
            ["encoder.name=resnet10t", "encoder.args={}", "encoder.positions=timm"],
            "encoder.name",
            "no patches",
        ),
        (["encoder.args.fc_norm=true"], "encoder.args", "fc_norm: false"),
        (
            ["encoder.args.global_pool=token", "encoder.args.class_token=true"],
            "encoder.args",
            "class_token: false, global_pool: avg",
        ),
    ],
)
def test_an_encoder_that_cannot_be_masked_is_refused(
    problems: Checker, overrides: list[str], where: str, needed: str
) -> None:
    found = problems(*overrides)
    assert list(found) == [where]
    assert needed in found[where]


@pytest.mark.parametrize(
    ("setting", "where", "told"),
    [
        ("views.count=2", "views.count", "2, but ijepa works on 1 view"),
        ("views.local={count: 2, size: 8}", "views.local", "ijepa uses no local views"),
        ("encoder.args.patch_drop_rate=0.5", "encoder.args.patch_drop_rate", "must be 0"),
        ("views.masks.targets=0", "views.masks.targets", "0"),
        ("views.masks.target_scale=[0.3, 0.2]", "views.masks", "target_scale must be"),
        ("views.masks.mode=right", "views.masks.mode", "corrected"),
        ("views.masks.min_kept=3", "views.masks.min_kept", "did you mean min_keep"),
        ("objective.predictor.heads=3", "objective.predictor", "no multiple of its 3 heads"),
        ("objective.predictor.widht=8", "objective.predictor.widht", "did you mean width"),
    ],
)
def test_settings_that_do_not_work_are_refused(
    problems: Checker, setting: str, where: str, told: str
) -> None:
    found = problems(setting)
    assert list(found) == [where]
    assert told in found[where]


def test_a_masked_objective_is_no_part_of_a_composition(problems: Checker) -> None:
    parts = "[{objective: {kind: simclr}}, {objective: {kind: ijepa}}]"
    found = problems(
        f"objective={{kind: composite, parts: {parts}}}", "views.count=2", "views.masks=null"
    )
    assert list(found) == ["objective.parts.1.objective.kind"]
    assert "sees masked views" in found["objective.parts.1.objective.kind"]


def test_a_plan_tells_of_augmentations_that_masks_do_without(recipe: Path) -> None:
    def told(*overrides: str) -> list[str]:
        found = plan_recipe(checked_recipe(recipe, overrides)).warnings
        return [warning for warning in found if warning.startswith("views: ")]

    (warning,) = told()
    assert "jitter 0.5, grayscale 0.2, flip 0.5" in warning
    assert told("views.jitter=0", "views.grayscale=0", "views.flip=0") == []


@pytest.mark.parametrize("count", [2, 4])
def test_lejepa_takes_two_views_or_more(recipe: Path, count: int) -> None:
    overrides = ["objective={kind: lejepa, projector: [16]}", "views.masks=null"]
    checked_recipe(recipe, [*overrides, f"views.count={count}"])


def test_a_local_view_that_the_encoder_cannot_take_is_refused(
    problems: Checker, recipe: Path
) -> None:
    overrides = [
        "objective={kind: lejepa, projector: [16]}",
        "views={size: 16, local: {count: 2, size: 8}}",
    ]
    found = problems(*overrides)
    assert list(found) == ["views.local.size"]
    assert "cannot take images of 8 x 8" in found["views.local.size"]
    checked_recipe(recipe, [*overrides, "encoder.args.dynamic_img_size=true"])


def test_lejepa_needs_two_views(problems: Checker) -> None:
    found = problems("objective={kind: lejepa, projector: [16]}", "views.masks=null")
    assert found == {"views.count": "1, but lejepa works on at least 2 views"}


def test_an_encoder_to_start_from_keeps_the_positions_that_the_recipe_says(
    problems: Checker, recipe: Path, tmp_path: Path
) -> None:
    """Others would come with its weights, and be fixed."""
    args = MASKED["encoder"]["args"]
    for positions in ("timm", "sincos"):
        encoder = EncoderConfig(name="vit_tiny_patch16_224", args=args, positions=positions)
        config = PackageConfig.of(
            encoder.name,
            encoder.create_model_args(),
            width=16,
            preprocessing=Preprocessing(size=16, mean=(0, 0, 0), std=(1, 1, 1)),
        )
        weights = build_backbone(encoder).state_dict()
        write_package(tmp_path / positions, config=config, weights=weights, card="")
    checked_recipe(recipe, [f"encoder.init={tmp_path}/sincos"])
    checked_recipe(recipe, [f"encoder.init={tmp_path}/timm", "encoder.positions=timm"])
    found = problems(f"encoder.init={tmp_path}/timm")
    assert list(found) == ["encoder.positions"]
    assert "sincos, but encoder.init has other positions" in found["encoder.positions"]
