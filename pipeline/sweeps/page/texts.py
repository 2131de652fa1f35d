"""How the page writes values, scores and the names of settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.sweeps.spaces.scores import MEASURES, Score

_LETTERS = 40
_VAGUE = ("kind", "name", "start", "end")
"""Last words of paths that say nothing by themselves."""


def plain_text(text: str, *, letters: int = 300) -> str:
    """A text in one line, without what no file holds, and cut where it is long."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    line = " ".join(printable.split())
    return line if len(line) <= letters else f"{line[: letters - 1]}…"


def value_text(value: Any, *, letters: int = _LETTERS) -> str:
    """A value of a setting, short."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return plain_text(text, letters=letters)


def score_text(value: float | None, error: float | None = None) -> str:
    """A score with its standard error, if it has one."""
    if value is None:
        return "–"
    return f"{value:.4g}" + (f" ± {error:.2g}" if error is not None else "")


def scores_text(scores: Mapping[str, float]) -> str:
    """Scores by name, of which `NAME_error` is the error of NAME."""
    return ", ".join(
        f"{name} {score_text(value, scores.get(f'{name}_error'))}"
        for name, value in scores.items()
        if not (name.endswith("_error") and name.removesuffix("_error") in scores)
    )


def direction(score: Score) -> str:
    """A score and which way is better."""
    return f"{score} ({MEASURES[score].better} is better)"


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """For each dotted path its last words, as many as tell it from the others and say something."""
    known = list(paths)
    return {path: plain_text(_short_name(path, known)) for path in known}


def _short_name(path: str, others: list[str]) -> str:
    words = path.split(".")
    for count in range(1, len(words)):
        name = ".".join(words[-count:])
        alike = sum(other == name or other.endswith(f".{name}") for other in others)
        if alike == 1 and words[-count] not in _VAGUE and not words[-count].isdecimal():
            return name
    return path


def counted(number: int, thing: str) -> str:
    """A number of things: `1 trial`, `1,200 trials`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
