"""Errors that are the user's to mend: one exception that carries every mistake found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Problem(NamedTuple):
    """One mistake: which setting or file, and what is wrong with it and what would be right."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class UserError(Exception):
    """The input is wrong; the commands print every problem and exit with code 2."""

    def __init__(self, problems: Iterable[Problem] | Problem) -> None:
        self.problems = [problems] if isinstance(problems, Problem) else list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[UserError], tuple[list[Problem]]]:
        return type(self), (self.problems,)


class InterruptedRunError(Exception):
    """A run stopped for a reason outside it; once that is mended, the same command resumes it."""
