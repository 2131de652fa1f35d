"""One dimension of a space: which values a setting may have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from pipeline.section import Section

KINDS = ("uniform", "log_uniform", "integer", "choice", "grid")


class DimensionConfig(Section):
    """Values of one setting: exactly one of the five kinds."""

    uniform: Annotated[
        tuple[float, float] | None, Field(description="[low, high], any number between them")
    ] = None
    log_uniform: Annotated[
        tuple[float, float] | None,
        Field(description="[low, high], every factor equally likely; low above 0"),
    ] = None
    integer: Annotated[
        tuple[int, int] | None, Field(description="[low, high], whole numbers, both included")
    ] = None
    choice: Annotated[
        tuple[Any, ...] | None, Field(min_length=1, description="some values, lists among them")
    ] = None
    grid: Annotated[
        tuple[Any, ...] | None,
        Field(min_length=1, description="values of which every one is tried; searcher: grid"),
    ] = None
    step: Annotated[
        float | None, Field(gt=0, description="quantised: low, low + step … of uniform or integer")
    ] = None
    when: Annotated[
        dict[str, Any],
        Field(
            default_factory=dict,
            description="only where other settings have these values, such as objective.kind",
        ),
    ]

    @model_validator(mode="after")
    def _one_kind(self) -> DimensionConfig:
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of {', '.join(KINDS)}; got {', '.join(given) or 'none'}"
            )
        ends = self.ends
        if ends is not None and not ends[0] < ends[1]:
            raise ValueError(f"{given[0]} must be [low, high] with low < high, got {list(ends)}")
        if self.log_uniform is not None and self.log_uniform[0] <= 0:
            raise ValueError(f"log_uniform needs low above 0, got {self.log_uniform[0]:g}")
        if self.step is not None and self.uniform is None and self.integer is None:
            raise ValueError("step goes with uniform or integer")
        if self.integer is not None and self.step is not None and self.step != int(self.step):
            raise ValueError(f"step of integer must be whole, got {self.step:g}")
        return self

    @property
    def ends(self) -> tuple[float, float] | None:
        """Low and high; None of values that are listed."""
        return self.uniform or self.log_uniform or self.integer

    @property
    def listed(self) -> tuple[Any, ...] | None:
        """The values, where they are listed."""
        return self.choice or self.grid

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values that say whether all are right: the ends, or each one."""
        if self.integer is not None:
            return tuple(map(int, self.integer))
        return self.listed or self.ends or ()

    def at(self, share: float) -> Any:
        """The value at a share in [0, 1) of the way from the lowest to the highest, or the last."""
        if self.listed is not None:
            return self.listed[int(share * len(self.listed))]
        assert self.ends is not None
        low, high = self.ends
        if self.log_uniform is not None:
            return min(high, low * (high / low) ** share)  # the power may round up
        if self.integer is not None:
            return int(low) + int(self.step or 1) * int(share * (self._steps + 1))
        if self.step is not None:
            return self.quantised(low + self.step * int(share * (self._steps + 1)))
        return min(high, low + (high - low) * share)

    def share_of(self, value: Any) -> float | None:
        """Where a value lies, in [0, 1], for a picture of it; None if it is none of these."""
        if self.listed is not None:
            last = max(1, len(self.listed) - 1)
            return self.listed.index(value) / last if value in self.listed else None
        assert self.ends is not None
        low, high = self.ends
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if not low <= value <= high:
            return None
        if self.log_uniform is not None:
            return math.log(value / low) / math.log(high / low)
        return float(value - low) / (high - low)

    def allows(self, value: Any) -> bool:
        """Whether a value is one of these, but for its step."""
        within = self.share_of(value) is not None
        return within and (self.integer is None or value == int(value))

    def clipped(self, value: float) -> Any:
        """The nearest value to one that was made larger or smaller."""
        assert self.ends is not None
        low, high = self.ends
        within = min(max(value, low), high)
        if self.step is not None or self.integer is not None:
            step = self.step or 1
            within = low + step * min(round((within - low) / step), self._steps)
        return int(within) if self.integer is not None else self.quantised(within)

    def applies(self, values: Mapping[str, Any]) -> bool:
        """Whether the other settings are those that it wants.

        Args:
            values: by dotted path; a list in `when` means any of its items.
        """
        return all(
            path in values
            and (values[path] in wanted if isinstance(wanted, list) else values[path] == wanted)
            for path, wanted in self.when.items()
        )

    @property
    def _steps(self) -> int:
        assert self.ends is not None
        return math.floor((self.ends[1] - self.ends[0]) / (self.step or 1) + 1e-9)

    def quantised(self, value: float) -> float:
        """Without the digits that floating point adds to sums of a step."""
        if self.step is None:
            return value
        assert self.ends is not None
        # Of the larger end, since near zero what was added is all that is left.
        digits = 12 - math.ceil(math.log10(max(map(abs, self.ends))))
        return round(value, digits) + 0.0  # no -0.0
