"""What journals say of pairs, against loops and our own panel."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.evaluation.pair_signs import pair_signs
from pipeline.evaluation.panel import hypersphere

pytestmark = pytest.mark.fast


def softly(cosines: Tensor) -> Tensor:
    return (cosines / 0.3).softmax(dim=1)


def views(count: int = 12) -> Tensor:
    noise = torch.Generator().manual_seed(0)
    first = torch.randn(count, 5, generator=noise)
    return torch.stack([first, first + torch.randn(count, 5, generator=noise)])


def test_they_equal_a_slow_loop() -> None:
    z = F.normalize(views().double(), dim=-1)
    entropies, close, pairs = [], 0, 0
    for i in range(12):
        negatives = [float(z[0, i] @ z[1, k]) for k in range(12) if k != i]
        weights = [math.exp(cosine / 0.3) for cosine in negatives]
        shares = [weight / sum(weights) for weight in weights]
        entropies.append(-sum(share * math.log(share) for share in shares) / math.log(11))
        close += sum(cosine >= float(z[0, i] @ z[1, i]) for cosine in negatives)
        pairs += 11
    found = pair_signs(views(), negative_weights=softly)
    assert float(found["negative_entropy"]) == pytest.approx(sum(entropies) / 12, rel=1e-5)
    assert float(found["false_negatives"]) == pytest.approx(close / pairs)


def test_alignment_and_uniformity_are_those_of_the_panel() -> None:
    z = views(40)
    found = pair_signs(z, negative_weights=softly)
    by_sample = z.transpose(0, 1).numpy()
    assert float(found["alignment"]) == pytest.approx(hypersphere.alignment(by_sample), rel=1e-5)
    assert float(found["uniformity"]) == pytest.approx(
        hypersphere.uniformity(z[0].numpy()), rel=1e-5
    )


def test_equal_weights_have_all_the_entropy_and_one_weight_has_none() -> None:
    for weigh, expected in ((torch.ones_like, 1.0), (_nearest, 0.0)):
        found = pair_signs(views(), negative_weights=weigh)
        assert float(found["negative_entropy"]) == pytest.approx(expected, abs=1e-6)


def _nearest(cosines: Tensor) -> Tensor:
    return F.one_hot(cosines.argmax(dim=1), cosines.shape[1]).float()


def test_duplicates_are_prone_to_be_false_negatives() -> None:
    z = views(6)
    twice = torch.cat([z, z], dim=1)
    assert float(pair_signs(twice, negative_weights=softly)["false_negatives"]) >= 1 / 11


@pytest.mark.parametrize("count", [2, 3])
def test_few_samples_do(count: int) -> None:
    found = pair_signs(views(count), negative_weights=softly)
    assert all(math.isfinite(float(value)) for value in found.values())
    assert 0 <= float(found["negative_entropy"]) <= 1
