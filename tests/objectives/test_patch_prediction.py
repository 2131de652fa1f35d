"""I-JEPA and DMT-JEPA: against lightly's predictor and losses written out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from lightly.models.modules import IJEPAPredictorTIMM
from torch import Tensor
from torch.nn import functional as F

from pipeline.encoders.patches import encode_patches
from pipeline.encoders.positions import sincos_positions
from pipeline.encoders.predictor import PatchPredictor, PredictorConfig
from pipeline.encoders.shape import EncoderShape, PatchShape
from pipeline.errors import UserError
from pipeline.objectives.base import EncodedPatches, EncodedViews, Objective, PatchIndices
from pipeline.objectives.ijepa import IJEPA, layer_normalised, relative_to_size
from pipeline.views.masks import MultiBlockConfig, draw_masks
from tests.encoders.vit import GRID, PATCHES, WIDTH, vit
from tests.objectives.cases import MASKED, noise, section_of, total

pytestmark = pytest.mark.fast

BATCH = 5
PATCH_SHAPE = PatchShape(grid=GRID, heads=2)
SHAPE = EncoderShape(width=WIDTH, size=32, patch_shape=lambda: PATCH_SHAPE)
every = pytest.mark.parametrize("section", MASKED.values(), ids=MASKED.keys())


def build(section: dict[str, Any]) -> Objective:
    torch.manual_seed(0)
    objective: Objective = section_of(section).build(SHAPE, global_batch=BATCH).double()
    with torch.no_grad():
        for weight in objective.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    return objective


def indices(batch: int = BATCH, mode: str = "corrected") -> PatchIndices:
    config = MultiBlockConfig.model_validate({"mode": mode})
    masks = draw_masks(config, grid=GRID, seed=4, epoch=0, step=0, sample_ids=np.arange(batch))
    return PatchIndices(*map(torch.from_numpy, (masks.context, masks.targets, masks.sizes)))


def padded_otherwise(chosen: PatchIndices) -> PatchIndices:
    """The same with other patches as padding."""
    draws = torch.Generator().manual_seed(5)
    others = torch.randint(PATCHES, chosen.blocks.shape, generator=draws)
    found = chosen._replace(blocks=torch.where(chosen.counted, chosen.blocks, others))
    assert (found.blocks != chosen.blocks).any(dim=2).sum() > 2
    return found


def views(
    batch: int = BATCH, *, requires_grad: bool = False, mode: str = "corrected"
) -> EncodedViews:
    chosen = indices(batch, mode)
    context = noise(batch, chosen.visible.shape[1], WIDTH, seed=3).requires_grad_(requires_grad)
    targets = noise(batch, PATCHES, WIDTH, seed=4)
    return EncodedViews(
        features=context.mean(dim=1)[None],
        global_views=1,
        patches=EncodedPatches(context=context, targets=targets, indices=chosen),
    )


def with_indices(given: EncodedViews, indices: PatchIndices) -> EncodedViews:
    assert given.patches is not None
    return replace(given, patches=replace(given.patches, indices=indices))


def whole_blocks(chosen: PatchIndices) -> Iterator[tuple[int, int, Tensor]]:
    """Sample, number and patches (n,) of every target block, without padding."""
    for sample, row in enumerate(chosen.blocks):
        for number, block in enumerate(row):
            yield sample, number, block[: int(chosen.sizes[sample, number])]


def predicted_alone(
    predictor: PatchPredictor, context: Tensor, visible: Tensor, sample: int, block: Tensor
) -> Tensor:
    """Of a block (n,) with neither padding nor other blocks and samples, (n, D)."""
    one, asked = slice(sample, sample + 1), block[None, None]
    everything = torch.ones(1, 1, len(block), dtype=torch.bool)
    found: Tensor = predictor(context[one], visible[one], asked, everything)[0, 0]
    return found


def lightlys(predictor: PatchPredictor) -> IJEPAPredictorTIMM:
    """Its module with the same weights."""
    other = IJEPAPredictorTIMM(
        num_patches=PATCHES, depth=1, mlp_dim=WIDTH, predictor_embed_dim=16, num_heads=2
    ).double()
    names = {
        "embed.": "predictor_embed.",
        "output.": "predictor_proj.",
        "blocks.": "decoder.blocks.",
        "norm.": "decoder.norm.",
        "mask_token": "decoder.mask_token",
    }
    state = {}
    for name, value in predictor.state_dict().items():
        (begin,) = (begin for begin in names if name.startswith(begin))
        state[name.replace(begin, names[begin], 1)] = value
    state["decoder.pos_embed"] = sincos_positions(GRID, 16).double()[None]
    other.load_state_dict(state)
    return other.eval()


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


@every
def test_all_patches_that_count_are_scored_and_no_others(section: dict[str, Any]) -> None:
    objective, given = build(section), views()
    assert isinstance(objective, IJEPA)
    assert given.patches is not None
    predictions: list[Tensor] = []

    def keep(_: object, __: object, predicted: Tensor) -> None:
        predicted.retain_grad()
        predictions.append(predicted)

    objective.predictor.register_forward_hook(keep)
    total(objective(given)).backward()
    gradient = predictions[0].grad
    assert gradient is not None
    assert torch.equal((gradient != 0).all(dim=-1), given.patches.indices.counted)
    assert torch.equal((gradient != 0).any(dim=-1), given.patches.indices.counted)


@every
def test_nothing_is_decided_by_what_the_masks_hold(section: dict[str, Any]) -> None:
    """On a device without values, which therefore cannot be waited for."""
    objective, given = build(section).to("meta"), views()
    assert given.patches is not None
    patches = EncodedPatches(
        context=given.patches.context.to("meta"),
        targets=given.patches.targets.to("meta"),
        indices=PatchIndices(*(index.to("meta") for index in given.patches.indices)),
    )
    losses = objective(EncodedViews(features=given.features.to("meta"), patches=patches))
    total(losses).backward()
    assert losses.loss.shape == (4, BATCH)
    assert losses.projections.shape == (4, BATCH, WIDTH)


@every
def test_the_loss_is_smooth_l1_of_every_whole_block_and_sample(section: dict[str, Any]) -> None:
    objective, given = build(section), views()
    assert isinstance(objective, IJEPA)
    seen = given.patches
    assert seen is not None
    with torch.no_grad():
        losses = objective(given)
        context, visible = objective.context(seen), seen.indices.visible
        targets = objective.targets(seen)
        assert losses.loss.shape == losses.projections.shape[:2] == (4, BATCH)
        for sample, number, block in whole_blocks(seen.indices):
            predicted = predicted_alone(objective.predictor, context, visible, sample, block)
            distances = [
                abs(float(p) - float(t))
                for place, patch in enumerate(block)
                for p, t in zip(predicted[place], targets[sample, patch], strict=True)
            ]
            assert len(distances) == seen.indices.sizes[sample, number] * WIDTH
            costs = [d * d / 2 if d < 1 else d - 0.5 for d in distances]
            assert float(losses.loss[number, sample]) == pytest.approx(sum(costs) / len(costs))
            mean = sum(predicted) / len(predicted)
            torch.testing.assert_close(losses.projections[number, sample], mean)


@every
def test_evidence_is_relative_to_the_sizes_of_blocks(section: dict[str, Any]) -> None:
    objective, given = build(section), views()
    assert given.patches is not None
    found, sizes = objective(given), given.patches.indices.sizes
    expected = relative_to_size(found.loss.detach().T, sizes, patches=PATCHES)
    assert torch.equal(found.evidence, expected)
    assert float(expected.mean()) == pytest.approx(1)


def test_targets_of_ijepa_are_normalised_over_their_dimensions() -> None:
    seen = views().patches
    assert seen is not None
    targets = build(MASKED["ijepa"]).targets(seen)  # type: ignore[operator]
    centred = seen.targets - seen.targets.mean(dim=-1, keepdim=True)
    deviation = (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(targets, centred / deviation)
    torch.testing.assert_close(targets, layer_normalised(seen.targets))


@every
def test_only_the_context_gets_a_gradient_and_every_weight_does(section: dict[str, Any]) -> None:
    objective, given = build(section), views(requires_grad=True)
    assert given.patches is not None
    given.patches.targets.requires_grad_()
    total(objective(given)).backward()
    assert given.patches.context.grad is not None
    assert given.patches.context.grad.abs().sum() > 0
    assert given.patches.targets.grad is None
    for name, weight in objective.named_parameters():
        assert (weight.grad is not None) == weight.requires_grad, name


@every
def test_the_gradient_equals_finite_differences(section: dict[str, Any]) -> None:
    objective, seen = build(section), views(batch=2).patches
    assert seen is not None
    few = seen.indices._replace(visible=seen.indices.visible[:, :3])

    def loss(context: Tensor) -> Tensor:
        patches = EncodedPatches(context=context, targets=seen.targets, indices=few)
        return total(objective(EncodedViews(features=context.mean(1)[None], patches=patches)))

    assert torch.autograd.gradcheck(loss, seen.context[:, :3].clone().requires_grad_())


@every
def test_half_precision_is_for_the_predictor_alone(section: dict[str, Any]) -> None:
    objective, given = build(section).float(), views()
    assert given.patches is not None
    seen = EncodedPatches(
        context=given.patches.context.float(),
        targets=given.patches.targets.float(),
        indices=given.patches.indices,
    )
    single = EncodedViews(features=given.features.float(), patches=seen)
    exact = objective(single).loss
    with torch.autocast("cpu", torch.bfloat16):
        losses = objective(single)
        others = objective(with_indices(single, padded_otherwise(seen.indices)))
    assert {v.dtype for v in (losses.loss, losses.evidence, losses.projections)} == {torch.float32}
    torch.testing.assert_close(losses.loss, exact, rtol=0.02, atol=0)
    assert torch.equal(losses.loss, others.loss)
    assert torch.equal(losses.projections, others.projections)


@every
def test_a_step_after_a_reload_is_the_step_that_would_have_been(section: dict[str, Any]) -> None:
    whole, taken_up = build(section), build(section)
    for number in range(2):
        whole(views())
        with torch.no_grad():
            for weight in whole.parameters():
                if weight.requires_grad:
                    weight.mul_(1.01)
        whole.after_step(progress=0.1 * number)
    taken_up.load_state_dict(whole.state_dict())
    assert torch.equal(total(whole(views())), total(taken_up(views())))


def test_the_twin_of_the_aggregation_head_follows_it() -> None:
    objective: Any = build(MASKED["dmt_jepa"])
    before = [w.clone() for w in objective.target_head.parameters()]
    objective.after_step(progress=0.0)
    trios = zip(
        before, objective.target_head.parameters(), objective.head.parameters(), strict=True
    )
    for old, new, followed in trios:
        torch.testing.assert_close(new, 0.9 * old + 0.1 * followed)


def test_evidence_compares_blocks_of_one_size() -> None:
    """Patches of large blocks are harder, which is not to count against their samples."""
    sizes = torch.tensor([[8, 8], [8, 12], [12, 12], [12, 9]])
    loss = torch.tensor([[1.0, 3.0], [2.0, 5.0], [5.0, 11.0], [3.0, 7.0]], dtype=torch.float64)
    means = {8: 2.0, 12: 6.0, 9: 7.0}
    expected = [
        sum(float(value) / means[int(size)] for value, size in zip(*row, strict=True)) / 2
        for row in zip(loss, sizes, strict=True)
    ]
    assert relative_to_size(loss, sizes, patches=64).tolist() == pytest.approx(expected)


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
