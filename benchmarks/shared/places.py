"""Where the checkout has what benchmarks read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
CLIPART = ROOT / "tests" / "fixtures" / "openclipart_ci_32.npz"
"""300 public-domain pictures of 32 x 32 pixels, with images `x` and labels `y`."""
