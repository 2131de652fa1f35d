"""What `plan` finds out about a recipe's encoder and objective: features, memory, and misfits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.planning.check import checked_recipe
from pipeline.planning.plan import plan_recipe
from tests.conftest import Checker
from tests.objectives.cases import BATCH, OBJECTIVES

pytestmark = pytest.mark.fast


CODED = "objective={kind: cmim, width: 5, decoder: {kind: conv, channels: [8, 8]}}"

TWICE = (
    "objective={kind: composite, parts: [{objective: {kind: a_mim}}, {objective: {kind: cmim}}]}"
)


@pytest.mark.parametrize("objective", ["objective.temperature=0.2", TWICE], ids=["simclr", "two"])
@pytest.mark.parametrize("kind", ["mean", "sample", "decoder_hidden"])
def test_features_of_codes_need_an_objective_with_codes(
    problems: Checker, objective: str, kind: str
) -> None:
    needs = f"{kind}: needs one autoencoder behind the encoder, as mim, a_mim and cmim train it"
    found = problems(
        objective,
        f"encoder.features={kind}",
        f"evaluate={{features: [pooled, {kind}]}}",
    )
    assert found == {
        "encoder.features": f"{needs}; allowed: pooled",
        "evaluate.features": f"{needs}; allowed: pooled, patch_average, last_layers, projector",
    }
    assert list(problems(objective, f"encoder.features={kind}")) == ["encoder.features"]


@pytest.mark.parametrize("floor", [-20, 1])
def test_a_floor_at_which_draws_are_rounded_is_refused(problems: Checker, floor: int) -> None:
    (told,) = problems(f"objective={{kind: a_mim, log_scale_least: {floor}}}").items()
    assert told[0] == "objective.log_scale_least"
    assert f"{floor} is wrong" in told[1]


MIM_OF_TWO = "{kind: composite, parts: [{objective: {kind: simclr}}, {objective: {%s}}]}"
MIM = "kind: mim, width: 5, decoder: {kind: conv, channels: [8, 8]}"


@pytest.mark.parametrize(
    ("objective", "where"),
    [
        (f"{{{MIM}}}", "objective"),
        (f"{{{MIM}, likelihood: {{kind: gaussian}}}}", None),
        (f"{{{MIM}, model_samples: 0}}", None),
        (MIM_OF_TWO % MIM, "objective.parts[1].objective"),
    ],
)
def test_own_samples_without_gradient_are_told(
    recipe: Path, objective: str, where: str | None
) -> None:
    found = plan_recipe(checked_recipe(recipe, [f"objective={objective}"])).warnings
    told = [warning for warning in found if "score function" in warning]
    assert len(told) == (where is not None)
    if where:
        assert told[0].startswith(f"{where}: mim with likelihood bernoulli")


def test_a_layer_that_the_decoder_has_not_is_refused_with_the_range(problems: Checker) -> None:
    found = problems(CODED, "encoder.features={kind: decoder_hidden, layer: 2}")
    told = "2 is wrong: the decoder has 2 hidden layers; allowed: -2 to 1"
    assert found == {"encoder.features.layer": told}


@pytest.mark.parametrize(
    ("objective", "features", "given", "width"),
    [
        ("objective.temperature=0.2", "null", "pooled", 32),
        (CODED, "null", "mean", 5),
        (CODED, "pooled", "pooled", 32),
        (CODED, "sample", "sample", 5),
        (CODED, "decoder_hidden", "decoder_hidden", 8),
        (CODED, "{kind: decoder_hidden, layer: 0, pool: none}", "decoder_hidden", 8 * 8 * 8),
    ],
)
def test_a_plan_says_what_the_encoder_will_give(
    recipe: Path, objective: str, features: str, given: str, width: int
) -> None:
    settings = [objective, f"encoder.features={features}", "evaluate.features=[pooled]"]
    plan = plan_recipe(checked_recipe(recipe, settings))
    assert (plan.features, plan.feature_width) == (given, width)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_has_a_plan(recipe: Path, name: str) -> None:
    objective = json.dumps(OBJECTIVES[name])
    checked = checked_recipe(recipe, [f"objective={objective}", f"train.global_batch={BATCH}"])
    planned = plan_recipe(checked)
    assert planned.memory_bytes > planned.parameters * 4
    assert planned.encoder_parameters < planned.parameters


@pytest.mark.parametrize(
    "objective",
    ["{kind: amcl}", "{kind: amcl, base: moco, queue: 128}", "{kind: barlow, projector: [512]}"],
)
@pytest.mark.parametrize("micro_batch", ["null", "2"])
def test_a_plan_does_not_depend_on_the_size_that_it_measures(
    recipe: Path, objective: str, micro_batch: str
) -> None:
    settings = [f"objective={objective}", f"train.micro_batch={micro_batch}"]
    assert plan_recipe(checked_recipe(recipe, settings)).memory_bytes > 0


def test_matrices_of_dimensions_are_counted_once(recipe: Path) -> None:
    """A correlation of 1024 x 1024 takes 4 MB whatever the batch."""
    bytes_of = [
        plan_recipe(
            checked_recipe(
                recipe,
                ["objective={kind: barlow, projector: [1024]}", f"train.global_batch={batch}"],
            )
        ).memory_bytes
        for batch in (32, 64)
    ]
    assert bytes_of[1] - bytes_of[0] < 32 * 2**20


def test_a_twin_is_counted(recipe: Path) -> None:
    with_twin, without = (
        plan_recipe(checked_recipe(recipe, [f"objective={{kind: {kind}, projector: [32]}}"]))
        for kind in ("byol", "simsiam")
    )
    assert with_twin.parameters > without.parameters + with_twin.encoder_parameters


def test_local_views_are_refused_where_only_whole_ones_are_compared(problems: Checker) -> None:
    local = "views.local={count: 2, size: 8}"
    found = problems("objective={kind: barlow, projector: [16]}", local)
    assert list(found) == ["views.local"]
    assert "barlow uses no local views" in found["views.local"]


@pytest.mark.parametrize(
    "pairs",
    ["{miner: {kind: dbpm, warm_up: 1}}", "{arbiter: {kind: uota, start_epoch: 0}}"],
    ids=["miner", "arbiter"],
)
def test_the_history_of_samples_is_counted(recipe: Path, pairs: str) -> None:
    without, remembering = (
        plan_recipe(checked_recipe(recipe, settings)) for settings in ([], [f"pairs={pairs}"])
    )
    assert remembering.memory_bytes == without.memory_bytes + 40 * without.samples


def test_the_history_is_that_of_the_worker_with_the_most_samples(
    recipe: Path, clipart_shards: Path
) -> None:
    """Of two sets, each on a worker of its own."""
    sets = f"data.shards=[{{path: {clipart_shards}/train}}, {{path: {clipart_shards}/test}}]"
    two = [sets, "data.streams=2", "train.workers=2"]
    without, remembering = (
        plan_recipe(checked_recipe(recipe, [*two, *settings]))
        for settings in ([], ["pairs.miner=dbpm"])
    )
    largest = max(source["samples"] for source in without.sources)
    assert largest > without.samples / 2
    assert remembering.memory_bytes == without.memory_bytes + 40 * largest


def test_samples_of_its_own_are_counted_though_mim_begins_without_them(recipe: Path) -> None:
    without, later, at_once = (
        plan_recipe(checked_recipe(recipe, [f"objective={{{MIM}, {setting}}}"])).memory_bytes
        for setting in ("model_samples: 0", "warm_up: 0.05", "warm_up: 0")
    )
    assert without < later == at_once


def test_memory_is_planned_for_the_micro_batch(recipe: Path) -> None:
    def memory(micro_batch: int | None) -> int:
        setting = f"train.micro_batch={micro_batch or 'null'}"
        return plan_recipe(checked_recipe(recipe, [setting])).memory_bytes

    assert memory(32) == memory(None)  # all of the one worker's samples
    assert memory(32) - memory(16) == 2 * (memory(16) - memory(8))
    assert memory(4) < memory(None) / 2  # weights and their moments stay


@pytest.mark.parametrize(
    "settings",
    [
        ["objective={kind: byol, projector: [16], predictor: [16]}"],
        [CODED, "views.count=1"],
        ["objective={kind: simclr, projector: [16]}", "views.local={count: 1, size: 8}"],
    ],
    ids=["views apart", "one view", "one local view"],
)
def test_a_micro_batch_of_one_image_is_refused_where_it_is_normalised(
    problems: Checker, recipe: Path, settings: list[str]
) -> None:
    found = problems(*settings, "train.micro_batch=1")
    assert found == {
        "train.micro_batch": "1 leaves batch normalisation in the encoder a single view to "
        "normalise by; allowed: null, or 2 and more"
    }
    assert checked_recipe(recipe, [*settings, "train.micro_batch=2"])
    vit = "encoder.args={img_size: 16, patch_size: 8, embed_dim: 16, depth: 1, num_heads: 1}"
    of_means = ["encoder.name=vit_tiny_patch16_224", f"{vit[:-1]}, dynamic_img_size: true}}"]
    assert checked_recipe(recipe, [*settings, *of_means, "train.micro_batch=1"])


def test_a_plan_says_what_batch_normalisation_makes_of_micro_batches(recipe: Path) -> None:
    def warnings(*overrides: str) -> list[str]:
        found = plan_recipe(checked_recipe(recipe, [*overrides, "data.ingest=inline"])).warnings
        return [warning for warning in found if warning.startswith("train.micro_batch: ")]

    (fixed,) = warnings("train.micro_batch=8")
    assert "sees 8 samples of each worker at once, not the whole batch" in fixed
    (elastic,) = warnings("train.micro_batch=8", "train.workers=[1, 4]")
    assert elastic == f"{fixed}; results depend on how many workers train"
    assert warnings("train.micro_batch=32") == []
    assert warnings("train.workers=[1, 4]") == []
    vit = "encoder.args={img_size: 16, patch_size: 8, embed_dim: 16, depth: 1, num_heads: 1}"
    assert warnings("train.micro_batch=8", "encoder.name=vit_tiny_patch16_224", vit) == []


@pytest.mark.parametrize(
    ("overrides", "where"),
    [
        (["views.count=3"], "views.count"),
        (["encoder.args.num_classes=10"], "encoder.args.num_classes"),
        (["encoder.args.pretrained=true"], "encoder.args"),
        (["encoder.name=vit_tiny_patch16_224", "encoder.args={}"], "views.size"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(
    problems: Checker, overrides: list[str], where: str
) -> None:
    assert list(problems(*overrides)) == [where]
