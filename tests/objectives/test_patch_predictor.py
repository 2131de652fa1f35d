"""The predictor of patches: against lightly's, with and without padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.encoders.configs.predictor import PredictorConfig
from pipeline.encoders.transformers.patches import encode_patches
from pipeline.encoders.transformers.predictor import PatchPredictor
from pipeline.errors import UserError
from pipeline.objectives.base import EncodedPatches, EncodedViews, PatchIndices
from pipeline.objectives.ijepa import IJEPA
from tests.encoders.vit import WIDTH, vit
from tests.objectives.cases import MASKED, noise, section_of, total
from tests.objectives.patch_cases import (
    BATCH,
    PATCH_SHAPE,
    SHAPE,
    build,
    every,
    indices,
    lightlys,
    padded_otherwise,
    predicted_alone,
    views,
    whole_blocks,
    with_indices,
)

pytestmark = pytest.mark.fast


def test_some_blocks_are_padded_here_and_some_are_not() -> None:
    """Or else tests of padding test nothing."""
    chosen = indices()
    assert chosen.counted.shape == chosen.blocks.shape == (BATCH, 4, 12)
    assert len(chosen.sizes.unique()) > 2
    assert 0 < chosen.counted.all(dim=2).sum() < 4 * BATCH
    assert indices(mode="official").counted.all()


def test_the_first_patches_of_a_block_count() -> None:
    blocks, sizes = torch.zeros(2, 2, 4, dtype=torch.int64), torch.tensor([[4, 1], [2, 3]])
    counted = PatchIndices(torch.zeros(2, 1), blocks, sizes).counted
    assert counted.tolist() == [
        [[True, True, True, True], [True, False, False, False]],
        [[True, True, False, False], [True, True, True, False]],
    ]


@pytest.mark.parametrize("mode", ["corrected", "official"])
def test_the_predictor_is_lightlys(mode: str) -> None:
    torch.manual_seed(0)
    config = PredictorConfig(width=16, depth=1)
    predictor = PatchPredictor(config=config, width=WIDTH, patches=PATCH_SHAPE).double()
    chosen, seen = indices(mode=mode), views(mode=mode).patches
    assert seen is not None
    found = predictor(seen.context, chosen.visible, chosen.blocks, chosen.counted)
    theirs = lightlys(predictor)
    for sample, number, block in whole_blocks(chosen):
        one = slice(sample, sample + 1)
        expected = theirs(seen.context[one].clone(), chosen.visible[one], [block[None]])[0]
        torch.testing.assert_close(found[sample, number, : len(block)], expected)
    if mode == "official":  # there the whole batch is one call
        expected = theirs(seen.context.clone(), chosen.visible, list(chosen.blocks.unbind(1)))
        torch.testing.assert_close(found.transpose(0, 1).flatten(0, 1), expected)


def test_a_block_is_predicted_without_the_others_and_without_padding() -> None:
    objective, seen = build(MASKED["ijepa"]), views().patches
    assert isinstance(objective, IJEPA)
    assert seen is not None
    visible, blocks, _ = seen.indices
    together = objective.predictor(seen.context, visible, blocks, seen.indices.counted)
    for sample, number, block in whole_blocks(seen.indices):
        alone = predicted_alone(objective.predictor, seen.context, visible, sample, block)
        torch.testing.assert_close(together[sample, number, : len(block)], alone)


@every
def test_padding_influences_nothing(section: dict[str, Any]) -> None:
    objective, given = build(section), views(requires_grad=True)
    assert given.patches is not None
    inputs = [given.patches.context, *(w for w in objective.parameters() if w.requires_grad)]

    def of(chosen: PatchIndices) -> tuple[Tensor, ...]:
        found = objective(with_indices(given, chosen))
        looked_at = total(found) + found.projections.square().sum()
        gradient = torch.autograd.grad(looked_at, inputs)
        return found.loss, found.evidence, found.projections, *gradient

    chosen = given.patches.indices
    for one, other in zip(of(chosen), of(padded_otherwise(chosen)), strict=True):
        assert torch.equal(one, other)


def test_the_whole_step_is_that_of_a_loop_with_lightlys_predictor() -> None:
    """timm's encoder on gathered patches, its gradient through lightly's predictor."""
    encoder, twin, chosen = vit(), vit(), indices()
    with torch.no_grad():
        for weight in twin.parameters():
            weight.mul_(0.9)
    pixels = noise(BATCH, 3, 32, 32, seed=7)
    objective = build(MASKED["ijepa"])
    assert isinstance(objective, IJEPA)
    context = encode_patches(encoder, pixels, chosen.visible)
    with torch.no_grad():
        targets = encode_patches(twin, pixels)
    seen = EncodedPatches(context=context, targets=targets, indices=chosen)
    found = total(objective(EncodedViews(features=context.mean(1)[None], patches=seen)))
    ours = torch.autograd.grad(found, encoder.patch_embed.proj.weight)[0]

    tokens = encoder._pos_embed(encoder.patch_embed(pixels))
    index = chosen.visible[..., None].expand(-1, -1, WIDTH)
    visible = encoder.norm(encoder.blocks(tokens.gather(1, index)))
    with torch.no_grad():
        h = F.layer_norm(twin.forward_features(pixels), (WIDTH,))
    predictor, costs = lightlys(objective.predictor), []
    for sample, _, block in whole_blocks(chosen):
        one = slice(sample, sample + 1)
        predicted = predictor(visible[one], chosen.visible[one], [block[None]])[0]
        costs.append(F.smooth_l1_loss(predicted, h[sample, block]))
    expected = torch.stack(costs).mean()
    theirs = torch.autograd.grad(expected, encoder.patch_embed.proj.weight)[0]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(ours, theirs)


def test_heads_that_do_not_divide_the_predictor_are_refused() -> None:
    section = {"kind": "ijepa", "predictor": {"width": 16, "heads": 3}}
    with pytest.raises(UserError, match=r"objective\.predictor.*16.*3 heads"):
        section_of(section).build(SHAPE, global_batch=8)
