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

from pipeline.evaluation.config import Probe
from pipeline.evaluation.features import raw_pixels
from pipeline.evaluation.probe_set import ProbeSet
from pipeline.evaluation.probes.knn import knn_predictions
from pipeline.evaluation.probes.linear import linear_predictions
from pipeline.evaluation.probes.scoring import contestant_scores, probe_scores
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


def knn(data: Data, *, k: int, temperature: float) -> Labels:
    parts = (torch.from_numpy(part) for part in data[:3])
    predicted = knn_predictions(*parts, k=k, temperature=temperature)
    assert (predicted.shape, predicted.dtype) == ((len(data[2]),), torch.int64)
    return predicted.numpy()


def slow_knn(data: Data, *, k: int, temperature: float) -> list[int]:
    train, train_labels, test, _ = data
    predicted = []
    for query in test.astype(np.float64):
        similarity = [
            float(query @ other / (np.linalg.norm(query) * np.linalg.norm(other)))
            for other in train.astype(np.float64)
        ]
        votes = [0.0] * 5
        for neighbour in sorted(range(len(train)), key=lambda i: -similarity[i])[:k]:
            votes[train_labels[neighbour]] += math.exp(similarity[neighbour] / temperature)
        predicted.append(votes.index(max(votes)))
    return predicted


@pytest.mark.parametrize("count", [1, 7, 60])
@pytest.mark.parametrize("tests", [1, 30])
@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("temperature", [0.01, 0.07, 1.0])
def test_knn_equals_a_slow_float64_loop(count: int, tests: int, k: int, temperature: float) -> None:
    data = clusters(count, tests, seed=count + tests + k)
    expected = slow_knn(data, k=k, temperature=temperature)
    assert knn(data, k=k, temperature=temperature).tolist() == expected


@pytest.mark.parametrize("k", [1, 20, 200])
def test_knn_equals_scikit_learns(k: int) -> None:
    data = clusters(1500, 2100, noise=1.5)
    train, train_labels, test, test_labels = data
    reference = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda far: np.exp((1 - far) / 0.07)
    )
    expected = reference.fit(train.astype(np.float64), train_labels).predict(test)
    assert 0.4 < np.mean(expected == test_labels) < 0.95
    assert np.array_equal(knn(data, k=k, temperature=0.07), expected)


def test_knn_does_not_depend_on_the_scale_of_features() -> None:
    data = clusters(100, 50)
    train, train_labels, test, test_labels = data
    scaled = (train * np.float32(1e-3), train_labels, test * np.float32(1e3), test_labels)
    assert np.array_equal(knn(scaled, k=5, temperature=0.07), knn(data, k=5, temperature=0.07))


@pytest.mark.parametrize("temperature", [1e-6, 1e-8, 1e-30])
def test_knn_at_a_tiny_temperature_is_the_vote_of_the_nearest(temperature: float) -> None:
    data = clusters(200, 300, noise=2.0)
    nearest = knn(data, k=1, temperature=1.0)
    assert 0.3 < np.mean(nearest == data[3]) < 0.9
    assert np.array_equal(knn(data, k=20, temperature=temperature), nearest)


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
    expected = fitted(train, train_labels, best).predict(test)
    found = linear_predictions(train, train_labels, test, seed=seed)
    assert found.dtype == np.int64
    assert np.array_equal(found, expected)
    assert np.array_equal(found, linear_predictions(train, train_labels, test, seed=seed))
    if noise < 0.1:
        assert np.array_equal(found, test_labels)


def test_linear_predicts_each_test_sample_by_itself() -> None:
    train, train_labels, test, _ = clusters(200, 100, noise=2.0)
    halves = [
        linear_predictions(train, train_labels, part, seed=0) for part in np.array_split(test, 2)
    ]
    whole = linear_predictions(train, train_labels, test, seed=0)
    assert np.array_equal(np.concatenate(halves), whole)


def images(count: int, *, grey: bool = False) -> npt.NDArray[np.uint8]:
    channels = 1 if grey else 3
    generator = np.random.default_rng(count)
    pixels = generator.integers(0, 256, (count, 6, 6, channels), dtype=np.uint8)
    return np.repeat(pixels, 3 // channels, axis=3)


@pytest.mark.parametrize("probe", list(Probe))
def test_raw_pixels_of_a_grey_and_a_coloured_set_can_be_compared(probe: Probe) -> None:
    labels = np.arange(20) % 2
    train = ProbeSet(images=images(20, grey=True), labels=labels)
    test = ProbeSet(images=images(20), labels=labels)
    score = probe_scores(raw_pixels, train, test, probes=[probe], seed=0)[probe]
    assert 0 <= score.low <= score.accuracy <= score.high <= 1


@pytest.mark.parametrize("probe", list(Probe))
def test_a_class_that_training_lacks_counts_as_wrong(probe: Probe) -> None:
    pixels = np.zeros((9, 2, 2, 3), np.uint8)
    for row in range(9):
        pixels[row, row % 3 // 2, row % 3 % 2] = 255
    labels = np.arange(9) % 3
    train = ProbeSet(images=pixels, labels=labels)
    test = ProbeSet(images=pixels, labels=np.where(labels == 1, 9, labels))
    score = probe_scores(raw_pixels, train, test, probes=[probe], seed=0)[probe]
    if probe == Probe.linear:  # nine samples leave it few of a class
        assert score.accuracy <= 2 / 3
    else:
        assert score.accuracy == pytest.approx(2 / 3)


def test_one_class_is_always_right() -> None:
    features, labels = np.ones((20, 3), np.float32), np.full(20, 4)
    assert np.array_equal(linear_predictions(features, labels, features, seed=0), labels)


def test_only_the_probes_that_are_named_are_run() -> None:
    labels = np.arange(40) % 2
    probe_set = ProbeSet(images=images(40), labels=labels)
    every = probe_scores(raw_pixels, probe_set, probe_set, probes=list(Probe), seed=0)
    assert list(every) == ["knn", "linear", "naive_bayes"]
    for probe, score in every.items():
        alone = probe_scores(raw_pixels, probe_set, probe_set, probes=[Probe(probe)], seed=0)
        assert alone == {probe: score}


def test_scores_of_several_features_carry_their_suffixes() -> None:
    labels = np.arange(40) % 2
    probe_set = ProbeSet(images=images(40), labels=labels)
    scores = contestant_scores(
        {"": lambda pixels: raw_pixels(pixels)[:, :1], "_raw": raw_pixels},
        probe_set,
        probe_set,
        probes=[Probe.knn, Probe.naive_bayes],
        seed=0,
    )
    raw = probe_scores(raw_pixels, probe_set, probe_set, probes=[Probe.knn], seed=0)
    assert list(scores) == ["knn", "naive_bayes", "knn_raw", "naive_bayes_raw"]
    assert scores["knn_raw"] == raw["knn"]
    assert scores["knn"] != scores["knn_raw"]
