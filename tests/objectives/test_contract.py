"""What every objective owes the learner, the pair weighting and the journal."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.encoders.autoencoders.decoder import Decoded
from pipeline.encoders.autoencoders.latent import unrounded
from pipeline.objectives.base import EncodedViews
from pipeline.objectives.configs.composite import CompositeConfig
from pipeline.objectives.parts.latent import LatentObjective
from pipeline.pairs.config import UOTAConfig
from pipeline.pairs.weighting import PairWeighting, PairWeights, weighted_total
from tests.objectives.cases import BATCH, OBJECTIVES, build, encoded, noise, total

pytestmark = pytest.mark.fast

every = pytest.mark.parametrize("section", OBJECTIVES.values(), ids=OBJECTIVES.keys())
OF_PAIRS = {name: section for name, section in OBJECTIVES.items() if "barlow" not in name}


@every
def test_losses_have_the_shapes_of_the_contract(section: dict[str, Any]) -> None:
    objective = build(section)
    losses = objective(encoded(noise(2, BATCH, 6)))
    assert losses.loss.shape == (2, BATCH)
    assert losses.evidence.shape == (BATCH,)
    assert not losses.evidence.requires_grad
    assert losses.projections.shape[:2] == (2, BATCH)
    assert objective.project(noise(BATCH, 6)).shape == (BATCH, losses.projections.shape[2])
    assert all(value.ndim == 0 for value in (*losses.terms.values(), *losses.logs.values()))
    assert not any(value.requires_grad for value in losses.logs.values())


@every
def test_all_weights_get_a_gradient_and_targets_get_none(section: dict[str, Any]) -> None:
    objective = build(section)
    views = encoded(noise(2, BATCH, 6).requires_grad_())
    assert views.targets is not None
    views.targets.requires_grad_()
    total(objective(views)).backward()
    for name, weight in objective.named_parameters():
        if weight.requires_grad:
            assert weight.grad is not None, name
            assert weight.grad.isfinite().all(), name
    assert views.features.grad is not None
    assert views.targets.grad is None


STOPPED = ("simsiam", "unigrad without twin", "amcl over simsiam")  # targets move with features
MOVING = {name: section for name, section in OBJECTIVES.items() if name not in STOPPED}


@pytest.mark.parametrize("section", MOVING.values(), ids=MOVING.keys())
def test_the_gradient_equals_finite_differences(section: dict[str, Any]) -> None:
    objective = build(section).eval()  # batch statistics would move while it is probed
    views = encoded(noise(2, BATCH, 6))

    def loss(features: Tensor) -> Tensor:
        return total(objective(replace(views, features=features)))

    assert torch.autograd.gradcheck(loss, noise(2, BATCH, 6).requires_grad_())


@every
def test_half_precision_is_for_heads_alone(section: dict[str, Any]) -> None:
    objective = build(section).float()
    with torch.autocast("cpu", torch.bfloat16):
        losses = objective(encoded(noise(2, BATCH, 6).float()))
    found = (losses.loss, losses.evidence, losses.projections, *losses.terms.values())
    assert {value.dtype for value in found} == {torch.float32}


def test_codes_are_not_rounded_to_half_precision() -> None:
    """Their noise at the floor is smaller than bfloat16's steps, in the head and behind it."""
    objective = build(OBJECTIVES["cmim"]).float()
    assert isinstance(objective, LatentObjective)
    autoencoder, features = objective.autoencoder, noise(BATCH, 6).float()
    exact = autoencoder.posterior(features)
    with torch.autocast("cpu", torch.bfloat16):
        found = autoencoder.posterior(features)
        embedded = unrounded(autoencoder.decoder.embed, found.mean)
        decoded = autoencoder.decode(found.mean)
        moved = autoencoder.decode(found.mean + math.exp(-6))
    torch.testing.assert_close(found, exact, rtol=0, atol=0)
    torch.testing.assert_close(embedded, autoencoder.decoder.embed(exact.mean), rtol=0, atol=0)
    assert (decoded.hidden[-1].dtype, decoded.output.dtype) == (torch.bfloat16, torch.float32)
    assert not torch.equal(decoded.output, moved.output)


def test_codes_of_mims_own_samples_are_not_rounded_either(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = build(OBJECTIVES["mim"]).float()
    assert isinstance(objective, LatentObjective)
    views = encoded(noise(1, BATCH, 6).float(), progress=0.5)
    decode, decoded = objective.autoencoder.decode, []

    def seen(codes: Tensor, target: Tensor | None = None) -> Decoded:
        decoded.append(codes)
        return decode(codes, target)

    monkeypatch.setattr(objective.autoencoder, "decode", seen)
    objective(views)
    with torch.autocast("cpu", torch.bfloat16):
        objective(replace(views, features=views.features.bfloat16()))
    anchors = decoded[1::2]
    assert len(anchors) == 2
    assert torch.equal(*anchors)


@every
def test_evaluation_changes_no_state(section: dict[str, Any]) -> None:
    objective = build(section).eval()
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    objective.project(noise(BATCH, 6))
    objective(encoded(noise(2, BATCH, 6)))
    for name, value in objective.state_dict().items():
        assert torch.equal(value, before[name]), name


@every
def test_a_step_after_a_reload_is_the_step_that_would_have_been(section: dict[str, Any]) -> None:
    whole, taken_up = build(section), build(section)
    for number in range(2):
        whole(encoded(noise(2, BATCH, 6, seed=number)))
        whole.after_step(progress=0.1 * number)
    taken_up.load_state_dict(whole.state_dict())
    views = encoded(noise(2, BATCH, 6, seed=2), progress=0.2)
    assert torch.equal(total(whole(views)), total(taken_up(views)))


@every
def test_negatives_have_weights(section: dict[str, Any]) -> None:
    weights = build(section).negative_weights(torch.linspace(-1, 1, 21).repeat(3, 1), 0.5)
    assert weights.shape == (3, 21)
    assert (weights >= 0).all()
    assert (weights.sum(dim=1) > 0).all()


@pytest.mark.parametrize("section", OF_PAIRS.values(), ids=OF_PAIRS.keys())
def test_where_pairs_own_the_loss_they_can_be_weighted(section: dict[str, Any]) -> None:
    objective = build(section)
    assert objective.capabilities.mining == "per_sample"
    assert objective(encoded(noise(2, BATCH, 6))).loss.std() > 0


@pytest.mark.parametrize("name", ["moco", "byol", "simsiam", "amcl over simsiam"])
def test_a_sample_without_weight_has_no_pull(name: str) -> None:
    """Where no other sample's loss looks at it."""
    objective = build(OBJECTIVES[name]).eval()
    views = encoded(noise(2, BATCH, 6).requires_grad_())
    weights = torch.ones(2, BATCH, dtype=torch.float64)
    weights[:, 3] = 0
    weighted_total(objective(views), PairWeights(total=weights)).backward()
    pulls = views.features.grad.abs().sum(dim=(0, 2))
    assert [sample for sample, pull in enumerate(pulls) if not pull] == [3]


@pytest.mark.parametrize("name", [n for n in OBJECTIVES if "barlow" in n])
def test_where_no_pair_owns_the_loss_pairs_cannot_be_weighted(name: str) -> None:
    objective = build(OBJECTIVES[name])
    losses = objective(encoded(noise(2, BATCH, 6)))
    assert (objective.capabilities.mining, objective.capabilities.arbitration) == ("none", "none")
    assert not losses.loss.any()
    assert set(losses.terms) >= {"invariance", "redundancy"}


MULTI_CROP = {
    name: section for name, section in OBJECTIVES.items() if build(section).capabilities.local_views
}


def test_local_views_are_for_those_that_predict_global_ones() -> None:
    assert {section["kind"] for section in MULTI_CROP.values()} == {
        *("simclr", "moco", "mocov3", "byol", "simsiam", "hard_contrastive", "amcl", "lejepa"),
    }


@pytest.mark.parametrize("section", MULTI_CROP.values(), ids=MULTI_CROP.keys())
def test_local_views_reach_those_of_global_ones_by_batch_statistics_alone(
    section: dict[str, Any],
) -> None:
    """A local view predicts; it is nobody's target and nobody's negative."""
    objective = build(section).eval()
    features = noise(5, BATCH, 6)
    with_local = objective(encoded(features)).loss
    assert with_local.shape == (5, BATCH)
    torch.testing.assert_close(with_local[:2], objective(encoded(features[:2])).loss)


PREDICTING = {name: section for name, section in MULTI_CROP.items() if name != "lejepa"}


@pytest.mark.parametrize("section", PREDICTING.values(), ids=PREDICTING.keys())
def test_a_local_view_equal_to_a_global_one_costs_what_its_pairs_cost(
    section: dict[str, Any],
) -> None:
    """The mean over both global targets, of which the one is its own twin's target."""
    objective = build(section).eval()
    features = noise(2, BATCH, 6)
    views = encoded(torch.cat([features, features[:1]]))
    losses = objective(views).loss
    assert (losses[2] - losses[0]).abs().max() > 1e-6
    swapped = EncodedViews(
        features=torch.cat([features.flip(0), features[:1]]),
        targets=views.targets.flip(0) if views.targets is not None else None,
    )
    if section["kind"] != "moco" and section.get("base") != "moco":  # a queue for each view
        torch.testing.assert_close(objective(swapped).loss[2], losses[2])


@pytest.mark.parametrize("section", PREDICTING.values(), ids=PREDICTING.keys())
def test_a_local_view_without_weight_has_no_pull(section: dict[str, Any]) -> None:
    """Weights belong to the view that predicts, so that an arbiter may give each its own."""
    objective = build(section).eval()
    assert objective.capabilities.arbitration == "per_view"
    views = encoded(noise(4, BATCH, 6).requires_grad_())
    weights = torch.ones(4, BATCH, dtype=torch.float64)
    weights[2, 3] = 0
    weighted_total(objective(views), PairWeights(total=weights)).backward()
    pulls = views.features.grad.abs().sum(dim=2)
    assert (pulls == 0).nonzero().tolist() == [[2, 3]]


@pytest.mark.parametrize(
    ("names", "arbitration"),
    [
        (["simclr", "barlow"], "per_view"),
        (["simclr", "vicreg"], "per_sample"),
        (["barlow", "cmim"], "none"),
    ],
)
def test_a_composite_is_arbitrated_as_all_its_parts_can_be(
    names: list[str], arbitration: str
) -> None:
    parts = [{"objective": OBJECTIVES[name]} for name in names]
    assert build({"kind": "composite", "parts": parts}).capabilities.arbitration == arbitration


def test_an_arbiter_sees_the_parts_of_a_composite_that_may_be_arbitrated() -> None:
    parts = [{"objective": OBJECTIVES[name]} for name in ("cmim", "simclr", "barlow")]
    composite = build({"kind": "composite", "parts": parts})
    views = encoded(noise(2, BATCH, 6))
    alone = composite.parts[1](views).projections
    found = composite(views)
    torch.testing.assert_close(found.arbitrated, F.normalize(alone, dim=-1))
    assert found.projections.shape[2] > 2 * 8

    weighting = PairWeighting(arbiter=UOTAConfig(kind="uota", start_epoch=0).build(per_view=True))
    told = {"global_views": 2, "epoch": 0, "sample_id": torch.arange(BATCH)}
    by_part = weighting.weights(replace(found, projections=alone, arbitrated=None), **told)
    torch.testing.assert_close(weighting.weights(found, **told).total, by_part.total)
    assert composite.float().arbitrated_width == alone.shape[2] == 8


def test_a_composite_is_the_weighted_sum_of_its_parts() -> None:
    section = OBJECTIVES["composite"]
    composite = build(section)
    views = encoded(noise(2, BATCH, 6).requires_grad_())
    found = composite(views)
    weights = [part.get("weight", 1.0) for part in section["parts"]]
    parts = [part(views) for part in composite.parts]
    expected = sum(w * total(part) for w, part in zip(weights, parts, strict=True))
    torch.testing.assert_close(total(found), expected)
    torch.testing.assert_close(found.evidence, parts[0].evidence + 0.5 * parts[1].evidence)
    torch.testing.assert_close(found.terms["barlow/redundancy"], 0.1 * parts[2].terms["redundancy"])
    assert found.projections.shape == (2, BATCH, 3 * 8)
    assert composite.ema == composite.parts[1].ema


def test_a_composite_is_given_images_where_a_part_reconstructs() -> None:
    simclr, cmim = ({"objective": OBJECTIVES[name]} for name in ("simclr", "cmim"))
    assert build({"kind": "composite", "parts": [simclr, cmim]}).reconstructs
    assert not build({"kind": "composite", "parts": [simclr, simclr]}).reconstructs


def test_parts_of_one_kind_are_told_apart() -> None:
    part = {"objective": {"kind": "simclr", "projector": [4]}}
    config = CompositeConfig(kind="composite", parts=[part, part])
    assert config.names == ["simclr0", "simclr1"]
    assert set(build(config.model_dump())(encoded(noise(2, 8, 6))).logs) == {
        *("simclr0/loss", "simclr0/temperature", "simclr1/loss", "simclr1/temperature"),
    }
