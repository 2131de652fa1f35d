"""The learner: from blocks of views to features, in micro-batches, on several ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.encoders.heads import mlp
from pipeline.learning.learner import Learner, LearnerBatch, build_learner
from pipeline.learning.optimization import Optimization
from pipeline.objectives.base import Capabilities, EncodedViews, Objective, PairLosses
from pipeline.pairs.weighting import uniform_weights, weighted_total
from pipeline.recipe import Recipe
from pipeline.views.parameters import ImageViews
from tests.ranks import learner_gradients, processes

pytestmark = pytest.mark.fast

BATCH = 8
VIT = {
    "name": "vit_tiny_patch16_224",
    "args": {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2},
}
RESNET = {"name": "resnet10t", "args": {"channels": [8, 8, 16, 16], "stem_width": 8}}


class Keeping(Objective):
    """Keeps what it is given."""

    capabilities = Capabilities(views=2, local_views=True, mining="none", arbitration="none")

    def __init__(self) -> None:
        super().__init__(feature_width=3, projector=nn.Identity())

    def forward(self, views: EncodedViews) -> PairLosses:
        self.given = views
        loss = views.features.square().sum(-1)
        return PairLosses(loss=loss, evidence=loss.mean(0), projections=views.features)


class Everyone(Objective):
    """Each view of each sample against the whole batch, after a head with batch normalisation."""

    capabilities = Capabilities(views=2, local_views=True, mining="none", arbitration="none")

    def __init__(self, width: int) -> None:
        super().__init__(feature_width=width, projector=mlp(width, [12, 6]))

    def forward(self, views: EncodedViews) -> PairLosses:
        features = views.features
        z = F.normalize(self.projector(features.flatten(0, 1)), dim=-1)
        loss = (z @ z.T).exp().mean(1).log().view(features.shape[:2])
        return PairLosses(
            loss=loss,
            evidence=loss.detach().mean(0),
            projections=z.view(*features.shape[:2], -1),
            terms={"spread": -0.1 * z.std(0).mean()},
        )


class MeanColour(nn.Module):
    """The mean colour of an image of any size."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


def small_encoder() -> nn.Module:
    """Without batch normalisation, from images of any size to 16 features."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.GroupNorm(2, 8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


SIMCLR = {"kind": "simclr", "temperature": 0.2, "projector": [16, 8]}


def recipe_for(encoder: dict[str, Any], objective: dict[str, Any] = SIMCLR, **train: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "data": {"shards": "unused"},
            "views": {"size": 32},
            "encoder": encoder,
            "objective": objective,
            "train": {"epochs": 1, "global_batch": BATCH, **train},
        }
    )


def block(count: int = BATCH, *, views: int = 2, size: int = 32) -> Tensor:
    noise = torch.Generator().manual_seed(0)
    shape = count, views, size, size, 3
    return torch.randint(0, 256, shape, generator=noise, dtype=torch.uint8)


def outcome(learner: Learner, losses: PairLosses) -> dict[str, Tensor]:
    """Losses, every parameter's gradient, and buffers after a backward pass."""
    learner.zero_grad()
    weighted_total(losses, uniform_weights(losses)).backward()
    gradients = {f"gradient of {n}": p.grad for n, p in learner.named_parameters()}
    assert all(gradient is not None for gradient in gradients.values())
    return {"loss": losses.loss.detach(), **gradients, **dict(learner.named_buffers())}


def outcome_of_step(learner: Learner, *blocks: Tensor) -> dict[str, Tensor]:
    return outcome(
        learner,
        learner.step(LearnerBatch(sample_id=torch.arange(len(blocks[0])), views=blocks)).losses,
    )


def outcome_of_parts(
    learner: Learner, views: Tensor, parts: Sequence[Sequence[int]]
) -> dict[str, Tensor]:
    """The slow way: the encoder sees one part after another, and every graph is kept."""
    features: list[Tensor] = [torch.empty(0)] * len(views)
    for part in parts:
        images = views[list(part)].permute(1, 0, 4, 2, 3).flatten(0, 1)
        normal = (images.to(learner.mean.dtype) / 255 - learner.mean) / learner.std
        encoded = learner.encoder(normal).view(views.shape[1], len(part), -1)
        for sample, of_sample in zip(part, encoded.unbind(1), strict=True):
            features[sample] = of_sample
    return outcome(learner, learner.objective(EncodedViews(features=torch.stack(features, dim=1))))


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # Some gradients are nought but for roundings: normalisation undoes what they would change.
        close = torch.allclose(found[name], value, rtol=1e-9, atol=1e-12)
        assert close, f"{name}: off by {float((found[name] - value).abs().max())}"


def test_features_are_those_of_the_global_views_and_then_of_the_local_ones() -> None:
    objective = Keeping()
    config = ImageViews(mean=(0, 0, 0), std=(1, 1, 1))
    learner = Learner(encoder=MeanColour(), objective=objective, views=config)
    large, small = block(5, size=8), block(5, views=3, size=4)
    learner.step(LearnerBatch(sample_id=torch.arange(5), views=(large, small)))
    every = [*large.unbind(1), *small.unbind(1)]
    assert objective.given.features.shape == (5, 5, 3)
    for features, view in zip(objective.given.features, every, strict=True):
        torch.testing.assert_close(features, view.float().mean(dim=(1, 2)) / 255)


def test_any_objective_is_told_what_it_may_draw_by() -> None:
    objective, ids = Keeping(), torch.tensor([7, 2**41, 3])
    learner = Learner(encoder=MeanColour(), objective=objective, views=ImageViews())
    batch = LearnerBatch(sample_id=ids, views=(block(3, size=8),))
    learner.step(batch, progress=0.25, step_seed=99)
    assert torch.equal(objective.given.sample_id, ids)
    assert (objective.given.progress, objective.given.step_seed) == (0.25, 99)


@pytest.mark.parametrize("micro_batch", [1, 3, 4, 8])
def test_micro_batches_give_the_loss_and_gradient_of_the_whole_batch(micro_batch: int) -> None:
    """With two crop sizes, a term that no pair owns, and batch normalisation in the head."""
    outcomes = []
    for size in (None, micro_batch):
        torch.manual_seed(0)
        learner = Learner(
            encoder=small_encoder(),
            objective=Everyone(16),
            views=ImageViews(),
            micro_batch=size,
        ).double()
        outcomes.append(outcome_of_step(learner, block(), block(views=3, size=16)))
    whole, in_parts = outcomes
    assert_same(in_parts, whole)


def test_the_second_pass_repeats_the_noise_of_the_first() -> None:
    encoder = {**VIT, "args": {**VIT["args"], "proj_drop_rate": 0.3, "drop_path_rate": 0.5}}
    learner = build_learner(recipe_for(encoder, micro_batch=2)).double()
    torch.manual_seed(1)
    found = outcome_of_step(learner, block())
    after = torch.rand(())
    torch.manual_seed(1)
    learner.objective = build_learner(recipe_for(encoder)).objective.double()  # unmoved statistics
    expected = outcome_of_parts(learner, block(), [(0, 1), (2, 3), (4, 5), (6, 7)])
    assert_same(found, expected)
    assert torch.equal(torch.rand(()), after)
    assert not torch.equal(outcome_of_step(learner, block())["loss"], found["loss"])


@pytest.mark.parametrize("batch_norm", ["sync", "local"])
def test_batch_normalisation_in_the_encoder_sees_each_micro_batch_once(batch_norm: str) -> None:
    learner, slow = (
        build_learner(recipe_for(RESNET, micro_batch=4, batch_norm=batch_norm)).double()
        for _ in range(2)
    )
    parts = [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert_same(outcome_of_step(learner, block()), outcome_of_parts(slow, block(), parts))
    (counts,) = {int(v) for n, v in learner.encoder.named_buffers() if n.endswith("_tracked")}
    assert counts == len(parts)


class PeakBytes(TorchDispatchMode):
    """The most bytes that live tensors made within it took at once."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._live: WeakSet[Any] = WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._live.add(leaf.untyped_storage())
        self.peak = max(self.peak, sum(storage.nbytes() for storage in self._live))
        return result


def peak_bytes(micro_batch: int | None) -> int:
    learner = build_learner(recipe_for(RESNET, micro_batch=micro_batch))
    views = block(64)
    with PeakBytes() as memory:
        learner.step(LearnerBatch(sample_id=torch.arange(64), views=(views,))).total.backward()
    return memory.peak


def test_memory_is_that_of_a_micro_batch() -> None:
    whole = peak_bytes(None)
    assert peak_bytes(8) < whole * (8 / 64 + 0.05)
    assert peak_bytes(16) < whole * (16 / 64 + 0.05)


def test_gradients_of_micro_batches_are_summed_in_float32() -> None:
    recipe = recipe_for(VIT, micro_batch=1, precision="bf16", optimizer={"kind": "sgd"})
    learner, slow = build_learner(recipe), build_learner(recipe)
    optimization = Optimization(
        learner, config=recipe.train, seed=0, total_steps=2, device=torch.device("cpu")
    )
    optimization.step(LearnerBatch(sample_id=torch.arange(BATCH), views=(block(),)))
    with torch.autocast("cpu", torch.bfloat16):
        features = []
        for sample in block():
            images = (sample.permute(0, 3, 1, 2).float() / 255 - slow.mean) / slow.std
            features.append(slow.encoder(images))
            torch.clear_autocast_cache()
        losses = slow.objective(EncodedViews(features=torch.stack(features, dim=1)))
    at_features = torch.autograd.grad(losses.loss.mean(), features)
    weights = dict(slow.encoder.named_parameters())
    expected = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for one, gradient in zip(features, at_features, strict=True):
        shares = torch.autograd.grad(one, list(weights.values()), gradient)
        for name, share in zip(weights, shares, strict=True):
            expected[name] += share
    for name, weight in learner.encoder.named_parameters():
        assert (weight.grad - expected[name]).norm() < 1e-5 * expected[name].norm(), name


RunRanks = Callable[[Recipe], list[dict[str, Any]]]


@pytest.fixture
def run_ranks(tmp_path: Path) -> RunRanks:
    """Runs a step on the batch's halves in two processes."""

    def run(recipe: Recipe) -> list[dict[str, Any]]:
        (tmp_path / "recipe.json").write_text(recipe.model_dump_json(by_alias=True))
        torch.save(block(), tmp_path / "views.pt")
        processes.run(learner_gradients.main, 2, tmp_path)
        return [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]

    return run


@pytest.mark.parametrize(
    ("encoder", "objective", "micro_batch", "parts"),
    [
        (RESNET, SIMCLR, None, [range(BATCH)]),
        (VIT, SIMCLR, 2, [range(BATCH)]),
        # Parts are what both ranks encode at the same time.
        (RESNET, SIMCLR, 2, [(0, 1, 4, 5), (2, 3, 6, 7)]),
    ],
)
def test_two_processes_give_the_loss_and_gradient_of_one(
    encoder: dict[str, Any],
    objective: dict[str, Any],
    micro_batch: int | None,
    parts: Sequence[Sequence[int]],
    run_ranks: RunRanks,
) -> None:
    """With batch normalisation in the projector, in float64; gradients are summed once."""
    learner = build_learner(recipe_for(encoder, objective)).double()
    expected = outcome_of_parts(learner, block(), parts)
    ranks = run_ranks(recipe_for(encoder, objective, micro_batch=micro_batch))
    loss = torch.cat([rank["loss"] for rank in ranks], dim=1)
    for rank in ranks:
        gradients = {f"gradient of {name}": value for name, value in rank["gradients"].items()}
        assert_same({"loss": loss, **gradients, **rank["buffers"]}, expected)
        assert sorted(rank["summed"]) == sorted(rank["gradients"])
