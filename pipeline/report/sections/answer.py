"""An answer of the summary: a question, what is known, and how it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

Tone = Literal["good", "doubt", "bad", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the summary says to one question."""

    question: str
    verdict: str
    tone: Tone
    lines: Sequence[str] = ()
    picture: Markup | None = None
