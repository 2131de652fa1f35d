"""UOTA beside a slow reference with explicit loops, and what its weights must do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from pipeline.objectives.base import PairLosses
from pipeline.pairs.config import PairsConfig, UOTAConfig
from pipeline.pairs.uota import UOTA, softmax_over_ranks, squared_distances
from pipeline.pairs.weighting import PairWeights, weight_signs, weighted_total
from tests.objectives.cases import build, noise

pytestmark = pytest.mark.fast

Array = npt.NDArray[np.float64]


def arbiter(*, per_view: bool = True, **settings: Any) -> UOTA:
    return UOTA(
        config=UOTAConfig.model_validate({"kind": "uota", **settings}),
        per_view=per_view,
    )


def slow_distances(x: Array, *, global_views: int, shrinkage: float) -> Array:
    """(V, B) of projections (V, B, D), one view of one sample after another."""
    views, samples, width = x.shape
    deviations = np.empty_like(x)
    for i in range(samples):
        units = [x[v, i] / math.sqrt(sum(value**2 for value in x[v, i])) for v in range(views)]
        centre = sum(units[:global_views]) / global_views
        for v in range(views):
            deviations[v, i] = units[v] - centre
    moment = np.zeros((width, width))
    for v in range(views):
        for i in range(samples):
            moment += np.outer(deviations[v, i], deviations[v, i]) / (views * samples)
    mean_variance = sum(moment[k, k] for k in range(width)) / width
    inverse = np.linalg.inv(moment + (shrinkage * mean_variance + 1e-8) * np.eye(width))
    found = np.empty((views, samples))
    for v in range(views):
        for i in range(samples):
            found[v, i] = deviations[v, i] @ inverse @ deviations[v, i]
    return found


def slow_weights(exponents: Array) -> Array:
    terms = [math.exp(-u) for u in exponents.flatten()]
    return np.array([len(terms) * term / sum(terms) for term in terms]).reshape(exponents.shape)


@pytest.mark.parametrize(
    ("shape", "global_views"), [((2, 40, 5), 2), ((4, 30, 5), 4), ((5, 30, 7), 2), ((3, 20, 30), 2)]
)
@pytest.mark.parametrize("shrinkage", [0.0, 1e-4, 0.5])
def test_weights_of_views_are_those_of_the_slow_reference(
    shape: tuple[int, int, int], global_views: int, shrinkage: float
) -> None:
    x = noise(*shape)
    distances = slow_distances(x.numpy(), global_views=global_views, shrinkage=shrinkage)
    expected = slow_weights(distances / (1.5 * shape[2]))
    found = arbiter(temperature=1.5, shrinkage=shrinkage).weights(x, global_views=global_views)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-6, atol=1e-8)


def test_weights_of_samples_are_those_of_the_mean_exponent_of_their_views() -> None:
    x = noise(5, 30, 7)
    distances = slow_distances(x.numpy(), global_views=2, shrinkage=1e-4)
    exponents = np.repeat(distances.mean(axis=0, keepdims=True), 5, axis=0) / (350 / 128 * 7)
    found = arbiter(per_view=False).weights(x, global_views=2)
    torch.testing.assert_close(found, torch.from_numpy(slow_weights(exponents)))
    assert (found == found[0]).all()


def test_the_default_temperature_is_that_of_the_official_code() -> None:
    assert UOTAConfig(kind="uota").temperature * 128 == 350


@pytest.mark.parametrize("views", [2, 4, 8])
def test_the_mean_squared_distance_is_the_number_of_dimensions(views: int) -> None:
    x = torch.nn.functional.normalize(noise(views, 64, 12), dim=-1)
    distances = squared_distances(x - x[:2].mean(dim=0), shrinkage=0.0)
    assert distances.mean().item() == pytest.approx(12, rel=1e-5)


@pytest.mark.parametrize("per_view", [True, False])
@pytest.mark.parametrize("views", [2, 3, 6])
def test_weights_are_1_on_average(views: int, per_view: bool) -> None:
    found = arbiter(per_view=per_view).weights(noise(views, 50, 8), global_views=2)
    assert found.mean().item() == pytest.approx(1, abs=1e-12)
    assert found.std() > 0.01
    # Two views mirror each other at their centre.
    assert torch.equal(found[0], found[-1]) == (views == 2 or not per_view)


def test_the_two_global_views_among_local_ones_weigh_the_same() -> None:
    found = arbiter().weights(noise(8, 50, 8), global_views=2)
    torch.testing.assert_close(found[0], found[1])
    assert not torch.allclose(found[2], found[3])


def test_weights_do_not_depend_on_the_length_of_projections() -> None:
    x = noise(4, 50, 8)
    lengths = 1 + 9 * torch.rand(4, 50, 1, dtype=torch.float64)
    expected = arbiter().weights(x, global_views=4)
    torch.testing.assert_close(arbiter().weights(lengths * x, global_views=4), expected)


def near_a_centre(views: int, samples: int, width: int) -> Tensor:
    return noise(samples, width) + 0.2 * noise(views, samples, width, seed=1)


def test_planted_outliers_weigh_little() -> None:
    x = near_a_centre(4, 256, 16)
    x[3, :4] = 10 * noise(4, 16, seed=2)
    found = arbiter().weights(x, global_views=4)
    assert found[3, :4].max() < 0.5 * found[:, 4:].mean()
    assert found[3, :4].max() < found[:3, :4].min()
    assert found[3, :4].max() < found[:, 4:].min()


def test_samples_with_an_outlier_weigh_little_where_samples_are_weighed() -> None:
    x = near_a_centre(2, 256, 16)
    x[1, :4] = 10 * noise(4, 16, seed=2)
    found = arbiter(per_view=False).weights(x, global_views=2)
    assert found[:, :4].max() < 0.5 * found[:, 4:].mean()


def test_local_views_that_vary_more_weigh_less() -> None:
    """As in the paper's setting of two global and six local views."""
    x = near_a_centre(8, 256, 128)
    x[2:] += 0.2 * noise(6, 256, 128, seed=3)
    found = arbiter().weights(x, global_views=2)
    assert found[:2].mean() > 1.2 > 1.0 > found[2:].mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shrinkage", [0.0, 1e-4])
@pytest.mark.parametrize(
    "x",
    [
        torch.ones(4, 6, 3),
        torch.zeros(4, 6, 3),
        noise(1, 6, 3).expand(4, 6, 3),
        noise(4, 1, 3),
        noise(2, 4, 64),
        noise(4, 6, 1) * noise(3),
    ],
    ids=["equal", "zero", "views agree", "one sample", "few samples", "one direction"],
)
def test_degenerate_batches_have_finite_weights(
    x: Tensor, shrinkage: float, dtype: torch.dtype
) -> None:
    found = arbiter(shrinkage=shrinkage).weights(x.to(dtype), global_views=2)
    assert found.dtype == dtype
    assert found.isfinite().all()
    assert found.mean().item() == pytest.approx(1, abs=1e-5)


def test_samples_that_span_all_their_deviations_weigh_the_same() -> None:
    """Linearly independent deviations all lie equally far; `plan` warns of that."""
    found = arbiter().weights(noise(2, 16, 16), global_views=2)
    assert found.max() / found.min() < 1.01


def test_weights_of_any_temperature_are_finite() -> None:
    for temperature in (1e-9, 1e9):
        found = arbiter(temperature=temperature).weights(noise(4, 50, 8), global_views=2)
        assert found.isfinite().all()
        assert found.mean().item() == pytest.approx(1)


def test_the_softmax_is_stable() -> None:
    exponents = noise(2, 5)
    expected = 10 * exponents.flatten().softmax(dim=0).view(2, 5)
    for shift in (0, -1e6, 1e6):
        torch.testing.assert_close(softmax_over_ranks(exponents + shift), expected)


def test_a_projection_that_is_not_a_number_stops_nothing_here() -> None:
    """Such a loss stops the run, with the samples' names."""
    x = noise(4, 10, 3)
    x[1, 2, 0] = math.nan
    assert arbiter().weights(x, global_views=2)[1, 2].isnan()


def test_half_precision_is_not_for_weights() -> None:
    x = noise(4, 50, 8).float()
    expected = arbiter().weights(x, global_views=2)
    with torch.autocast("cpu", torch.bfloat16):
        found = arbiter().weights(x, global_views=2)
        of_half = arbiter().weights(x.bfloat16(), global_views=2)
    assert torch.equal(found, expected)
    assert found.dtype == of_half.dtype == torch.float32


def test_no_gradient_flows_through_weights() -> None:
    loss, projections = noise(2, 50).requires_grad_(), noise(2, 50, 4).requires_grad_()
    losses = PairLosses(loss=loss, evidence=loss.mean(0), projections=projections)
    weights = arbiter().weights(losses.projections, global_views=2)
    assert not weights.requires_grad
    weighted_total(losses, PairWeights(total=weights)).backward()
    assert projections.grad is None
    assert loss.grad is not None
    torch.testing.assert_close(loss.grad, weights / 100)


def test_before_its_start_all_pairs_weigh_1() -> None:
    pairs = PairsConfig.model_validate({"arbiter": {"kind": "uota", "start_epoch": 3}}).build(
        build({"kind": "simclr", "projector": [4]}).capabilities
    )
    losses = PairLosses(loss=noise(2, 9), evidence=noise(9), projections=noise(2, 9, 4))
    for epoch in range(6):
        found = pairs.weights(losses, global_views=2, epoch=epoch, sample_id=torch.arange(9))
        weights = found.total
        assert weights.shape == (2, 9)
        assert bool((weights == 1).all()) == (epoch < 3)


@pytest.mark.parametrize(
    ("weights", "share"), [([[1.0, 1.0]], 1.0), ([[2.0, 0.0]], 0.5), ([[0.5, 1.5]], 0.8)]
)
def test_the_effective_share_says_how_many_views_count(
    weights: list[list[float]], share: float
) -> None:
    given = torch.tensor(weights)
    found = weight_signs(PairWeights(total=given, arbitrated=given))
    assert found["arbiter_effective_share"].item() == pytest.approx(share)
    assert found["arbiter_weight_least"] == min(weights[0])
    assert found["arbiter_weight_most"] == max(weights[0])
