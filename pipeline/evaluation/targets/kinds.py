"""What the values of a column are: classes, lists of labels, or numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.data.sources.manifest import class_names
from pipeline.evaluation.config import TargetKind
from pipeline.evaluation.targets.target import Values

SEPARATOR = ";"

_MOST_LABELS = 2000
_FEWEST_FOR_DOUBT = 20
_SORTS = ("lists", "whole numbers", "numbers", "text", "yes or no")


class Encoded(NamedTuple):
    """Values of both sets as arrays, see `TargetedSamples.values`, and the names in them."""

    train: Values
    test: Values
    names: tuple[str, ...] = ()


def is_missing(value: Any) -> bool:
    """Whether a cell says nothing: null, NaN, or nothing but space."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and value.strip().lower() in ("", "nan"))


def kind_of(values: Sequence[Any]) -> TargetKind | str:
    """What values are, or why they cannot be told.

    Lists, and text where some has a `;`, are labels; numbers of which some have a fraction or a
    point are numbers; all else are classes.

    Args:
        values: not missing; text of a CSV counts as what it reads as.
    """
    examples: dict[str, Any] = {}
    for value in values:
        examples.setdefault(_sort_of(value), value)
    found = set(examples)
    if found and found <= {"lists"}:
        return TargetKind.multilabel
    if any(isinstance(value, str) and SEPARATOR in value for value in values):
        return TargetKind.multilabel
    if "numbers" in found and found <= {"numbers", "whole numbers"}:
        return TargetKind.regression
    if len(found) == 1:
        return TargetKind.classes
    counts = Counter(map(_sort_of, values))
    told = ", ".join(
        f"{counts[sort]} {sort} ({examples[sort]!r})" for sort in _SORTS if counts[sort]
    )
    return f"mixes {told}; mend it, or say what is meant by --target-kind"


def encode(
    kind: TargetKind, train: Sequence[Any], test: Sequence[Any], *, inferred: bool
) -> Encoded | str:
    """Values as arrays, or why they cannot be what they are said to be.

    Args:
        kind: what they are.
        train: of the training samples, not missing.
        test: of the test samples, not missing.
        inferred: whether `kind_of` said so, and not the user.
    """
    if kind == TargetKind.regression:
        return _numbers(train, test)
    if kind == TargetKind.multilabel:
        return _labels(train, test)
    return _classes(train, test, inferred=inferred)


def _sort_of(value: Any) -> str:
    if isinstance(value, list):
        return "lists"
    if isinstance(value, bool):
        return "yes or no"
    if isinstance(value, int):
        return "whole numbers"
    if isinstance(value, float):
        return "numbers"
    number = _number(value)
    if number is None:
        return "text"
    return "whole numbers" if value.strip().lstrip("+-").isdigit() else "numbers"


def _number(value: Any) -> float | None:
    if isinstance(value, list):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _numbers(train: Sequence[Any], test: Sequence[Any]) -> Encoded | str:
    found: list[Values] = []
    for values in (train, test):
        numbers = [_number(value) for value in values]
        wrong = [
            value
            for value, number in zip(values, numbers, strict=True)
            if number is None or not math.isfinite(number)
        ]
        if wrong:
            return f"{len(wrong)} values are no finite numbers, the first is {wrong[0]!r}"
        found.append(np.array(numbers, dtype=np.float64))
    for name, array in zip(("--train", "--test"), found, strict=True):
        if np.ptp(array) == 0:
            return f"is {array[0]:g} for all samples of {name}; numbers must vary"
    return Encoded(found[0], found[1])


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # what tables make of whole numbers where some are missing
    return str(value).strip()


def _classes(train: Sequence[Any], test: Sequence[Any], *, inferred: bool) -> Encoded | str:
    lists = sum(isinstance(value, list) for value in (*train, *test))
    if lists:
        return f"{lists} values are lists; classes are one each"
    words = [[_text(value) for value in values] for values in (train, test)]
    known = set(words[0])
    if len(known) < 2:
        return f"is {words[0][0]!r} for all samples of --train; two classes at least are needed"
    if inferred and len(words[0]) >= _FEWEST_FOR_DOUBT and len(known) > len(words[0]) / 2:
        return (
            f"has {len(known)} values in {len(words[0])} samples of --train, which are hardly "
            "classes; say what is meant by --target-kind"
        )
    names = class_names([word for part in words for word in part])
    number = {name: place for place, name in enumerate(names)}
    arrays = [np.array([number[word] for word in part], dtype=np.int64) for part in words]
    return Encoded(arrays[0], arrays[1], names)


def _labels(train: Sequence[Any], test: Sequence[Any]) -> Encoded | str:
    sets = [[_label_names(value) for value in values] for values in (train, test)]
    names = class_names([name for part in sets for labels in part for name in labels])
    if len(names) > _MOST_LABELS:
        return f"has {len(names)} different labels; allowed: {_MOST_LABELS}"
    number = {name: place for place, name in enumerate(names)}
    tables = []
    for part in sets:
        table = np.zeros((len(part), len(names)), dtype=np.bool_)
        for row, labels in enumerate(part):
            table[row, [number[name] for name in labels]] = True
        tables.append(table)
    scored = tables[0].any(axis=0) & ~tables[0].all(axis=0) & tables[1].any(axis=0)
    if not scored.any():
        return "no label is there that some samples of --train have, some lack, and --test has too"
    return Encoded(tables[0], tables[1], names)


def _label_names(value: Any) -> set[str]:
    words = value if isinstance(value, list) else _text(value).split(SEPARATOR)
    return {_text(word) for word in words if not is_missing(word)}
