"""Which samples belong together, so that no test set has what training has seen of a group."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import Problem, UserError

SETTING = "--split-by"


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """One of three ways to tell a sample's group."""

    column: str | None = None
    """Of the source's table."""
    level: int | None = None
    """Which part of the key's path, from 1; the last, the file's name, is none."""
    pattern: str | None = None
    """A regular expression that is searched in the key; its first group counts, or all of it."""

    def of_keys(self, keys: pa.Array) -> pa.Array:
        """Groups of keys, (n,) strings, null for those that have none; not for columns."""
        if self.level is not None:
            parts = pc.split_pattern(keys, "/")
            deep = pc.greater(pc.list_value_length(parts), self.level)
            padded = pc.if_else(deep, parts, None)
            return pc.list_element(padded, self.level - 1)
        found = map(re.compile(self.pattern or "").search, keys.to_pylist())
        return pa.array([_matched(match) for match in found], pa.string())


def _matched(match: re.Match[str] | None) -> str | None:
    if match is None:
        return None
    return match[1] if match.re.groups else match[0]


def grouping_of(split_by: str | None, columns: Sequence[str]) -> Grouping | None:
    """What the user means: a column, a level of folders, or a regular expression.

    Args:
        split_by: as given.
        columns: that the source has.

    Raises:
        UserError: it is none of the three.
    """
    if split_by is None:
        return None
    if split_by in columns:
        return Grouping(column=split_by)
    if re.fullmatch(r"[0-9]+", split_by):
        if not int(split_by):
            raise UserError(Problem(SETTING, "0, but levels of folders are counted from 1"))
        return Grouping(level=int(split_by))
    has = f"; columns: {', '.join(columns)}" if columns else ""
    try:
        pattern = re.compile(split_by)
    except re.error as error:
        message = f"{split_by} is no column, no level, and no regular expression: {error}{has}"
        raise UserError(Problem(SETTING, message)) from error
    if re.fullmatch(r"\w+", split_by):
        # It could only match itself, so that all samples were one group.
        raise UserError(Problem(SETTING, f"{split_by} is no column of the source{has}"))
    return Grouping(pattern=pattern.pattern)
