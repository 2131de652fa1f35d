"""I-JEPA and DMT-JEPA: against losses written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.objectives.base import EncodedPatches, EncodedViews, PatchIndices
from pipeline.objectives.ijepa import IJEPA, layer_normalised, relative_to_size
from tests.encoders.vit import PATCHES, WIDTH
from tests.objectives.cases import MASKED, total
from tests.objectives.patch_cases import (
    BATCH,
    build,
    every,
    padded_otherwise,
    predicted_alone,
    views,
    whole_blocks,
    with_indices,
)

pytestmark = pytest.mark.fast


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
