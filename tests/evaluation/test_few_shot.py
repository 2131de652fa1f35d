"""Few-shot accuracies against a slow loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import t

from pipeline.evaluation.tasks.few_shot import DRAWS, TooFew, _drawn, few_shot_estimates

pytestmark = pytest.mark.fast


def data(counts: list[int], *, width: int = 6) -> tuple[torch.Tensor, np.ndarray]:
    generator = np.random.default_rng(sum(counts))
    labels = generator.permutation(np.repeat(np.arange(len(counts)) * 2, counts))
    centres = np.random.default_rng(0).normal(size=(20, width))
    points = centres[labels] + generator.normal(size=(len(labels), width)) + 3
    return torch.from_numpy(points).float(), labels


def slow(train: np.ndarray, labels: np.ndarray, test: np.ndarray, drawn: np.ndarray) -> list[int]:
    def unit(row: np.ndarray) -> np.ndarray:
        centred = row - train.mean(axis=0)
        return centred / np.linalg.norm(centred)

    centroids = {
        int(labels[rows[0]]): np.mean([unit(train[row]) for row in rows], axis=0) for rows in drawn
    }
    return [
        min(centroids, key=lambda label: float(np.linalg.norm(unit(row) - centroids[label])))
        for row in test
    ]


def test_equals_a_slow_loop() -> None:
    train, labels = data([30, 20, 25])
    test, asked = data([40, 40, 40])
    found, left_out = few_shot_estimates(train, labels, test, asked, seed=3)
    assert left_out == []
    for shots in (1, 5, 10):
        accuracies = []
        for draw in range(DRAWS):
            drawn = _drawn(labels, shots, 3, draw)
            assert drawn.shape == (3, shots)
            assert [set(labels[rows]) for rows in drawn] == [{0}, {2}, {4}]
            assert len(np.unique(drawn)) == 3 * shots
            given = train.double().numpy(), labels, test.double().numpy(), drawn
            accuracies.append(np.mean(slow(*given) == asked))
        estimate = found[f"few_shot_{shots}"]
        assert estimate.value == pytest.approx(np.mean(accuracies), abs=1e-3)
        error = np.std(accuracies, ddof=1) / DRAWS**0.5
        expected = t.interval(0.95, DRAWS - 1, np.mean(accuracies), error)
        assert estimate[1:] == pytest.approx(expected, abs=2e-3)
    assert found["few_shot_1"].value < found["few_shot_10"].value


def test_every_sample_is_drawn_as_often() -> None:
    labels = np.zeros(10, dtype=np.int64)
    counts = np.bincount([int(_drawn(labels, 1, 0, draw)[0, 0]) for draw in range(3000)])
    assert counts.min() > 220
    assert counts.max() < 380


def test_sizes_that_a_class_has_too_few_samples_for_are_left_out_and_told() -> None:
    train, labels = data([30, 7, 25])
    found, left_out = few_shot_estimates(train, labels, train, labels, seed=0)
    assert list(found) == ["few_shot_1", "few_shot_5"]
    assert left_out == [TooFew(shots=10, label=2, samples=7)]
    _, left_out = few_shot_estimates(*data([30, 1]), *data([5, 5]), seed=0)
    assert [few.shots for few in left_out] == [5, 10]


def test_equal_features_and_classes_that_training_lacks_count_as_wrong() -> None:
    labels = np.arange(30) % 3
    found, _ = few_shot_estimates(
        torch.ones(30, 4), labels, torch.ones(8, 4), np.full(8, 9), seed=0
    )
    assert set(found.values()) == {(0, 0, 0)}
