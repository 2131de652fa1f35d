"""Probes: each equals a slow or foreign computation of the same thing."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from pipeline.evaluation.knn import knn_accuracy
from pipeline.evaluation.linear import linear_accuracy
from pipeline.evaluation.probe_set import ProbeSet
from pipeline.evaluation.probes import encode_images, probe_scores, raw_pixels
from pipeline.randomness import permutation

pytestmark = pytest.mark.fast

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Data = tuple[Floats, Labels, Floats, Labels]


def clusters(count: int, tests: int, *, noise: float = 1.0, width: int = 8, seed: int = 0) -> Data:
    """Samples of 5 classes around random centres."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(5, width))
    labels = generator.integers(0, 5, count + tests)
    labels[: min(5, count)] = np.arange(min(5, count))
    points = centres[labels] + noise * generator.normal(size=(count + tests, width))
    points = points.astype(np.float32)
    return points[:count], labels[:count], points[count:], labels[count:]


def knn(data: Data, *, k: int, temperature: float) -> float:
    return knn_accuracy(*(torch.from_numpy(part) for part in data), k=k, temperature=temperature)


def slow_knn(data: Data, *, k: int, temperature: float) -> float:
    train, train_labels, test, test_labels = data
    right = 0
    for query, label in zip(test.astype(np.float64), test_labels, strict=True):
        similarity = [
            float(query @ other / (np.linalg.norm(query) * np.linalg.norm(other)))
            for other in train.astype(np.float64)
        ]
        votes = [0.0] * 5
        for neighbour in sorted(range(len(train)), key=lambda i: -similarity[i])[:k]:
            votes[train_labels[neighbour]] += math.exp(similarity[neighbour] / temperature)
        right += votes.index(max(votes)) == label
    return right / len(test)


@pytest.mark.parametrize("count", [1, 7, 60])
@pytest.mark.parametrize("tests", [1, 30])
@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("temperature", [0.01, 0.07, 1.0])
def test_knn_equals_a_slow_float64_loop(count: int, tests: int, k: int, temperature: float) -> None:
    data = clusters(count, tests, seed=count + tests + k)
    expected = slow_knn(data, k=k, temperature=temperature)
    assert knn(data, k=k, temperature=temperature) == expected


@pytest.mark.parametrize("k", [1, 20, 200])
def test_knn_equals_scikit_learns(k: int) -> None:
    data = clusters(1500, 2100, noise=1.5)
    train, train_labels, test, test_labels = data
    reference = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda far: np.exp((1 - far) / 0.07)
    )
    expected = reference.fit(train.astype(np.float64), train_labels).score(test, test_labels)
    assert 0.4 < expected < 0.95
    assert knn(data, k=k, temperature=0.07) == pytest.approx(expected, abs=1e-9)


def test_knn_does_not_depend_on_the_scale_of_features() -> None:
    train, train_labels, test, test_labels = clusters(100, 50)
    scaled = (train * np.float32(1e-3), train_labels, test * np.float32(1e3), test_labels)
    assert knn(scaled, k=5, temperature=0.07) == knn(clusters(100, 50), k=5, temperature=0.07)


@pytest.mark.parametrize("temperature", [1e-6, 1e-8, 1e-30])
def test_knn_at_a_tiny_temperature_is_the_vote_of_the_nearest(temperature: float) -> None:
    data = clusters(200, 300, noise=2.0)
    nearest = knn(data, k=1, temperature=1.0)
    assert 0.3 < nearest < 0.9
    assert knn(data, k=20, temperature=temperature) == nearest


def test_knn_counts_a_class_that_training_lacks_as_wrong() -> None:
    points = np.eye(3, dtype=np.float32)
    data = (points, np.array([0, 0, 1]), points, np.array([0, 9, 1]))
    assert knn(data, k=1, temperature=0.07) == pytest.approx(2 / 3)


STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)


@pytest.mark.parametrize("noise", [0.01, 1.0, 3.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_linear_equals_scikit_learn_with_the_strength_that_validates_best(
    noise: float, seed: int
) -> None:
    data = clusters(300, 400, noise=noise, width=12, seed=seed)
    train, train_labels, test, test_labels = data

    def fitted(features: Floats, labels: Labels, strength: float) -> LogisticRegression:
        model = LogisticRegression(C=strength, tol=1e-3)
        return make_pipeline(StandardScaler(), model).fit(features, labels)

    order = permutation(300, "linear probe", seed)
    check, fit = order[:60], order[60:]
    validated = [
        fitted(train[fit], train_labels[fit], c).score(train[check], train_labels[check])
        for c in STRENGTHS
    ]
    best = STRENGTHS[validated.index(max(validated))]
    expected = fitted(train, train_labels, best).score(test, test_labels)
    found = linear_accuracy(*data, seed=seed)
    assert found == expected
    assert found == linear_accuracy(*data, seed=seed)
    assert type(found) is float
    if noise < 0.1:
        assert found == 1.0


def test_linear_never_looks_at_the_test_set_to_choose() -> None:
    data = clusters(200, 100, noise=2.0)
    train, train_labels, test, test_labels = data
    halves = [
        linear_accuracy(train, train_labels, test[part], test_labels[part], seed=0)
        for part in (slice(None, 50), slice(50, None))
    ]
    assert sum(halves) / 2 == pytest.approx(linear_accuracy(*data, seed=0))


def images(count: int, *, grey: bool = False, size: int = 6) -> npt.NDArray[np.uint8]:
    channels = 1 if grey else 3
    generator = np.random.default_rng(count)
    pixels = generator.integers(0, 256, (count, size, size, channels), dtype=np.uint8)
    return np.repeat(pixels, 3 // channels, axis=3)


def test_raw_pixels_are_scaled_to_one() -> None:
    pixels = images(4)
    assert torch.equal(raw_pixels(pixels), torch.from_numpy(pixels.reshape(4, -1)) / 255)


@pytest.mark.parametrize("probe", ["knn", "linear"])
def test_raw_pixels_of_a_grey_and_a_coloured_set_can_be_compared(probe: str) -> None:
    labels = np.arange(20) % 2
    train = ProbeSet(images=images(20, grey=True), labels=labels)
    test = ProbeSet(images=images(20), labels=labels)
    assert 0 <= probe_scores(raw_pixels, train, test, probes=[probe], seed=0)[probe] <= 1


def test_one_class_is_always_right() -> None:
    features, labels = np.ones((20, 3), np.float32), np.zeros(20, np.int64)
    assert linear_accuracy(features, labels, features, labels, seed=0) == 1.0


def test_only_the_probes_that_are_named_are_run() -> None:
    labels = np.arange(40) % 2
    probe_set = ProbeSet(images=images(40), labels=labels)
    both = probe_scores(raw_pixels, probe_set, probe_set, probes=["knn", "linear"], seed=0)
    assert list(both) == ["knn", "linear"]
    for probe, score in both.items():
        alone = probe_scores(raw_pixels, probe_set, probe_set, probes=[probe], seed=0)
        assert alone == {probe: score}


@pytest.fixture
def encoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten())


@pytest.mark.parametrize("count", [1, 256, 300])
@pytest.mark.parametrize("training", [True, False])
def test_features_equal_a_direct_computation_in_eval_mode(
    encoder: nn.Module, count: int, training: bool
) -> None:
    pixels = images(count)
    encoder.train(training)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    found = encode_images(encoder, pixels, mean=mean, std=std)
    assert encoder.training == training
    assert all(module.training == training for module in encoder.modules())
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())

    scaled = (pixels.astype(np.float32) / 255 - np.float32(mean)) / np.float32(std)
    with torch.no_grad():
        expected = encoder.eval()(torch.from_numpy(scaled.transpose(0, 3, 1, 2).copy()))
    assert (found.dtype, found.requires_grad) == (torch.float32, False)
    torch.testing.assert_close(found, expected)


def test_modules_that_were_frozen_or_whose_encoding_failed_keep_their_mode(
    encoder: nn.Module,
) -> None:
    encoder[1].eval()
    encode_images(encoder, images(2), mean=(0, 0, 0), std=(1, 1, 1))
    assert not encoder[1].training
    with pytest.raises(RuntimeError):
        encode_images(encoder, images(2, size=2), mean=(0, 0, 0), std=(1, 1, 1))
    assert encoder.training
