"""Noise by name: the bits of the hash that views are drawn by, and a normal distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from pipeline import randomness
from pipeline.encoders.autoencoders import noise

pytestmark = pytest.mark.fast

IDS = np.array([0, 1, 2**31, 2**62, 987654321, -5])


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_the_bits_are_those_of_numpys_hash(seed: int) -> None:
    found = noise.mix("code", seed, torch.from_numpy(IDS), 3)
    expected = randomness.mix("code", seed, IDS, 3)
    np.testing.assert_array_equal(found.numpy().view(np.uint64), expected)


def test_numbers_are_normal_and_independent() -> None:
    drawn = noise.normal("code", 1, torch.arange(4000), count=32).numpy()
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 0.01
    correlation = np.corrcoef(drawn.T) - np.eye(32)
    assert np.abs(correlation).max() < 5 / 4000**0.5


def test_a_samples_numbers_do_not_depend_on_its_batch() -> None:
    ids = torch.tensor([5, 900, 17])
    together = noise.normal("code", 3, ids, count=4)
    alone = torch.cat([noise.normal("code", 3, one[None], count=4) for one in ids])
    assert torch.equal(together, alone)
    assert torch.equal(noise.normal("code", 3, ids, count=2), together[:, :2])


def test_other_words_give_other_numbers() -> None:
    ids = torch.arange(100)
    drawn = [noise.uniform(*words, ids, count=1) for words in (("a", 1), ("a", 2), ("b", 1))]
    assert len(torch.cat(drawn).unique()) == 300
