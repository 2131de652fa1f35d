"""Classes one by one, and the picture of what they are taken for."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

from pipeline.evaluation.tasks.confusion_picture import (
    MOST_CLASSES,
    _shares,
    confusion_picture,
    shown_classes,
)
from pipeline.evaluation.tasks.per_class import class_scores, class_scores_as_json, mistakes_of

pytestmark = pytest.mark.fast


def guesses(classes: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs 0 and 1, 2 and 3 … are taken for each other, the first ones most often."""
    generator = np.random.default_rng(classes)
    truth = generator.integers(0, classes, count)
    wrong = generator.random(count) < 0.8 * (1 - truth / classes)
    return truth, np.where(wrong, truth ^ 1, truth).clip(max=classes - 1)


def test_scores_are_the_diagonal_of_scikit_learns_matrix() -> None:
    truth, predicted = guesses(6, 500)
    matrix = confusion_matrix(truth, predicted, normalize="true")
    scores = class_scores(truth, predicted, truth, names="abcdef", seed=0)
    assert "".join(scores) == "abcdef"
    for row, (name, score) in enumerate(scores.items()):
        assert score.samples == np.sum(truth == row)
        assert score.accuracy == pytest.approx(matrix[row, row])
        assert score.low <= score.accuracy <= score.high
        assert (score.raw, score.taken_for) == (1, "abcdef"["abcdef".index(name) ^ 1])
        assert score.taken_share == pytest.approx(np.delete(matrix[row], row).max())
    assert class_scores_as_json(scores)["a"]["samples"] == scores["a"].samples
    counts = np.zeros((6, 6))
    mistakes = mistakes_of(truth, predicted)
    counts[mistakes.truth, mistakes.taken_for] = mistakes.times
    whole = confusion_matrix(truth, predicted)
    assert np.array_equal(counts, whole - np.diag(np.diag(whole)))
    assert np.array_equal(_shares(truth, predicted, range(6), others=False), matrix)


def test_a_class_with_one_sample_or_none_and_no_mistake() -> None:
    truth = np.array([0, 2, 2])
    scores = class_scores(truth, truth, truth * 0, names=["a", "b", "c"], seed=0)
    assert list(scores) == ["a", "c"]
    assert scores["c"] == (2, 1, 1, 1, 0, None, 0)
    assert shown_classes(truth, truth, 3) == [0, 1, 2]


def test_of_many_classes_those_that_are_confused_most_stand_side_by_side() -> None:
    truth, predicted = guesses(1000, 200_000)
    shown = shown_classes(truth, predicted, 1000)
    assert len(set(shown)) == len(shown) == MOST_CLASSES
    assert all(first ^ 1 == second for first, second in zip(shown[::2], shown[1::2], strict=True))
    assert max(shown) < 500
    shares = _shares(truth, predicted, shown, others=True)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert len(shown_classes(truth, truth, 1000)) == MOST_CLASSES


@pytest.mark.parametrize("classes", [2, 25, 60])
def test_the_picture_is_a_png_whatever_names_are_like(classes: int) -> None:
    truth, predicted = guesses(classes, 300)
    names = [f"$a_{number} {{\\ <&" * 4 for number in range(classes)]
    data = confusion_picture(truth, predicted, names, title="$\\x$ " * 30)
    picture = Image.open(io.BytesIO(data))
    assert picture.format == "PNG"
    assert min(picture.size) > 500
    assert np.asarray(picture.convert("L")).std() > 5
    assert data == confusion_picture(truth, predicted, names, title="$\\x$ " * 30)
