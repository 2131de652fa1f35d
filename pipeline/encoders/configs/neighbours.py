"""Which patches around a patch there are."""

from __future__ import annotations

from typing import Literal

Window = Literal["toroidal", "clamped"]
"""What lies beyond the edge of an image: its opposite edge, or nothing."""
